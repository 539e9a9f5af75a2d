"""A record written from a conversation, held against the record people wrote, section by section and entry by entry.

Statements of a section are paired one to one by the words they share. A number that differs (a dose, a side, a date) or
a denial turned round keeps two statements apart. What pairs with nothing is told apart: said in the conversation but
not in the record of reference, or in neither, which is hallucinated. Left out on purpose: meaning beyond words (two
statements without a word in common never pair), so that figures compare models and are no absolute truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rounds.prompts.outputs import Consultation
from rounds.records import Record

SHARED = 0.5
"""Least share of words (harmonic mean of both directions) that makes two statements one."""
SUPPORTED = 0.5
"""Least share of a statement's words that the conversation must hold for it not to be hallucinated."""

SECTIONS = tuple(name for name in Consultation.model_fields if name != "plan")
"""Sections scored; plan is scored with assessment, as notes write both under one heading."""

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "complaint": ("cc", "chief complaint", "reason for visit"),
    "present_illness": ("genhx", "history of present illness", "hpi", "subjective"),
    "review_of_systems": ("ros", "review of systems"),
    "past_history": ("pastmedicalhx", "past medical history", "medical history", "past history", "other_history"),
    "operations": ("pastsurgical", "past surgical history", "surgical history"),
    "medications": ("medications", "current medications", "medication"),
    "allergies": ("allergy", "allergies"),
    "family_and_social": ("fam/sochx", "family history", "social history"),
    "gynaecology": ("gynhx", "gynecologic history", "obstetric history"),
    "immunisations": ("immunizations", "immunisations"),
    "examination": ("exam", "physical exam", "physical examination", "vitals", "vitals reviewed"),
    "results": ("labs", "imaging", "results", "laboratory", "diagnostics"),
    "procedures": ("procedures", "procedure"),
    "assessment": (
        "assessment",
        "diagnosis",
        "impression",
        "plan",
        "disposition",
        "assessment and plan",
        "instructions",
    ),
    "course": ("edcourse", "emergency department course", "hospital course"),
}
"""Section to the headings that people write for it, small letters."""

UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS = {word: str(value) for value, word in enumerate(UNITS.split())} | {
    word: str(10 * tens) for tens, word in enumerate(TENS.split(), start=2)
}
DENIES = re.compile(
    r"\b(?:no|not|never|none|negative|denie[sd]|deny|without|non|noncontributory|unremarkable|absent)\b|n't\b",
    re.IGNORECASE,
)
LISTED = re.compile(
    r"\b(?:denies|denied|negative for|no|without)\s+(?P<items>[^.;]+(?:,|\bor\b|\band\b)[^.;]+)", re.IGNORECASE
)
SMALL = (
    "a an the and or of to in on at for with by from as is are was were be been has have had he she they it his her "
    "their patient this that there which who also any some at no not never none negative denies denied deny without "
    "non does do did reports states notes per mr mrs ms dr approximately about currently history"
)
EMPTY = frozenset(SMALL.split())
"""Words that do not count."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing a record says."""

    text: str
    words: frozenset[str]
    numbers: frozenset[str]
    denied: bool


class Counts(Record):
    """What became of the statements of one section, or of all."""

    right: int = 0
    """Paired with a statement of the same section."""
    misplaced: int = 0
    """Paired with a statement of another section."""
    unasked: int = 0
    """Said in the conversation, but not in the record of reference."""
    hallucinated: int = 0
    """In neither, or the contrary of what is there."""
    omitted: int = 0
    """In the record of reference, paired with nothing."""
    wanted: int = 0
    """Statements of the record of reference."""

    @property
    def said(self) -> int:
        """Statements of the record that is scored."""
        return self.right + self.misplaced + self.unasked + self.hallucinated

    @property
    def precision(self) -> float | None:
        return self.right / self.said if self.said else None

    @property
    def recall(self) -> float | None:
        return self.right / self.wanted if self.wanted else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where neither record says anything."""
        both = self.said + self.wanted
        return 2 * self.right / both if both else None

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})


class Scored(Record):
    """One record held against its reference."""

    sections: dict[str, Counts]
    hallucinated: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()

    @property
    def all(self) -> Counts:
        """The sections together."""
        return total(self.sections.values())


def total(counts: Iterable[Counts]) -> Counts:
    """Sum of counts, for figures over statements and not over sections."""
    found = Counts()
    for one in counts:
        found = found.plus(one)
    return found


def section_of(heading: str) -> str | None:
    """The section a heading stands for, None for one that is unknown."""
    wanted = heading.strip(" :*#\t").casefold()
    return next((section for section, known in HEADINGS.items() if wanted in known), None)


def read_note(note: str) -> dict[str, list[str]]:
    """Sections of a note with headings on lines of their own; text under an unknown heading, or none, is left out."""
    found: dict[str, list[str]] = {}
    section: str | None = None
    for line in note.splitlines():
        named = section_of(line) if len(line) < 60 else None
        if named is not None or _heads(line):
            section = named
        elif section is not None and line.strip():
            found.setdefault(section, []).append(line.strip(" •-*\t"))
    return found


def _heads(line: str) -> bool:
    return line.isupper() and len(line) < 60


def unknown_headings(note: str) -> list[str]:
    """Lines in capitals that head text of a note and name no section: `read_note` leaves out what stands below."""
    return [line.strip() for line in note.splitlines() if _heads(line) and section_of(line) is None]


def sections_of(record: Consultation) -> dict[str, list[str]]:
    """A record as sections to score."""
    listed = {section: list(getattr(record, section)) for section in SECTIONS}
    return listed | {"assessment": [*record.assessment, *record.plan]}


def statements(texts: Iterable[str]) -> list[Statement]:
    """Sentences, items and each part of a list of denials, as statements of their own."""
    parts: list[str] = []
    for text in texts:
        for sentence in re.split(r"(?<=[.;!?])\s+|\n+|(?<=[a-z]):\s+|\s•\s|(?:^|\s)\d{1,2}[.)]\s+", text):
            listed = LISTED.search(sentence)
            if listed:
                items = re.split(r",\s*(?:or|and)?\s*|\s+(?:or|and)\s+", listed["items"])
                parts += [f"no {item}" for item in items if item.strip()]
            elif sentence.strip():
                parts.append(sentence)
    return [one for part in parts if (one := _statement(part)).words or one.denied]


def score(wanted: Mapping[str, Sequence[str]], said: Mapping[str, Sequence[str]], dialogue: str) -> Scored:
    """Hold a record against the one of reference; both by section, `dialogue` is what was said."""
    gold = {section: statements(wanted.get(section, ())) for section in SECTIONS}
    told = {section: statements(said.get(section, ())) for section in SECTIONS}
    heard = _statement(dialogue)
    right: dict[str, int] = {}
    for section in SECTIONS:
        pairs = _paired(gold[section], told[section])
        right[section] = len(pairs)
        gold[section] = [one for place, one in enumerate(gold[section]) if place not in {g for g, _ in pairs}]
        told[section] = [one for place, one in enumerate(told[section]) if place not in {t for _, t in pairs}]
    left = [(section, one) for section in SECTIONS for one in told[section]]
    missing = [(section, one) for section in SECTIONS for one in gold[section]]
    apart = _paired([one for _, one in missing], [one for _, one in left])
    elsewhere, found_elsewhere = {t for _, t in apart}, {g for g, _ in apart}
    counts = {section: {"right": right[section], "wanted": right[section] + len(gold[section])} for section in SECTIONS}
    hallucinated = []
    for place, (section, one) in enumerate(left):
        what = "misplaced" if place in elsewhere else "unasked" if _supported(one, heard, missing) else "hallucinated"
        counts[section][what] = counts[section].get(what, 0) + 1
        if what == "hallucinated":
            hallucinated.append(one.text)
    omitted = [(section, one) for place, (section, one) in enumerate(missing) if place not in found_elsewhere]
    for section, _ in omitted:
        counts[section]["omitted"] = counts[section].get("omitted", 0) + 1
    return Scored(
        sections={section: Counts(**counts[section]) for section in SECTIONS},
        hallucinated=tuple(hallucinated),
        omitted=tuple(one.text for _, one in omitted),
    )


def _statement(text: str) -> Statement:
    tokens = re.findall(r"[a-z]+|\d+(?:\.\d+)?", text.casefold().replace("n't", " not"))
    tokens = [NUMBERS.get(token, token) for token in tokens]
    numbers = frozenset(token for token in tokens if token[0].isdigit())
    words = frozenset(_stem(token) for token in tokens if token not in EMPTY and not token[0].isdigit())
    return Statement(" ".join(text.split()), words | numbers, numbers, bool(DENIES.search(text)))


def _stem(word: str) -> str:
    for end in ("ations", "ation", "ings", "ing", "ies", "ied", "es", "ed", "s", "y", "e"):
        if word.endswith(end) and len(word) - len(end) >= 3:
            return word[: -len(end)]
    return word


def _alike(one: Statement, other: Statement) -> float:
    """Share of words in common, 0..1; 0 where a number or a denial keeps them apart."""
    if one.denied != other.denied or (one.numbers and other.numbers and not one.numbers & other.numbers):
        return 0.0
    if not one.words and not other.words:
        return 1.0
    return 2 * len(one.words & other.words) / (len(one.words) + len(other.words))


def _paired(gold: Sequence[Statement], told: Sequence[Statement]) -> list[tuple[int, int]]:
    """Places of the statements that are one, each used once, so that most is shared in sum."""
    if not gold or not told:
        return []
    from scipy.optimize import linear_sum_assignment

    alike = np.array([[_alike(one, other) for other in told] for one in gold])
    rows, columns = linear_sum_assignment(np.where(alike >= SHARED, alike, 0.0), maximize=True)
    return [(int(g), int(t)) for g, t in zip(rows, columns, strict=True) if alike[g, t] >= SHARED]


def _supported(one: Statement, heard: Statement, missing: Sequence[tuple[str, Statement]]) -> bool:
    """Whether the conversation holds a statement; the contrary of a statement of reference is never held by it."""
    turned = Statement(one.text, one.words, one.numbers, not one.denied)
    if any(_alike(turned, other) >= SHARED for _, other in missing):
        return False
    return one.numbers <= heard.numbers and len(one.words & heard.words) >= SUPPORTED * len(one.words)
