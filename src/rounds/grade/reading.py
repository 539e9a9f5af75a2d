"""Reads thoughts and case texts sentence by sentence: which findings are stated, denied or only spoken of.

Words are folded (case, accents, US and UK spelling, plurals) and looked up, longest wording first, in the vocabulary of
the knowledge base. Negation reaches from its word to the next turn of the sentence (after NegEx: Chapman 2001, J Biomed
Inform 34:301), and a sentence about diseases in general ("migraine often brings nausea") says nothing of the patient.
Left out on purpose: a parser of grammar, and any judgement (`steps`, `modes`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache

from rounds.knowledge.base import KnowledgeBase, Measure
from rounds.records import Case

SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
DIGIT = re.compile(r"\d")
TOKEN = re.compile(r"[a-z0-9]+(?:\.[0-9]+)?|[,;:()]")
SPELLING = (
    (re.compile(r"(?<=[a-z])[ao]e(?=[a-z])|^[ao]e(?=[a-z]{3})"), "e"),
    (re.compile(r"(?<=[a-z]{2})is(?=(?:e|ed|ing|ation)$)"), "iz"),
    (re.compile(r"(?<=tum|col|lab|avi)our|(?<=od)our"), "or"),
    (re.compile(r"(?<=leu)c"), "k"),
    (re.compile(r"(?<=neuron)e"), ""),
)
"""UK spelling brought to US, word by word."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BEFORE = _words("no not without denies denied deny denying never neither nor absence lack lacks lacking")
"""Words that deny what follows."""
AFTER = _words("absent denied negative")
"""Words that deny what stands before them, unless a finding follows at once ('absent reflexes')."""
ONWARD = _words("any for having the a of all either")
"""Words that carry such a word on to what follows: 'negative for fever', 'denied any fever'."""
KEPT = _words("only forget forgotten ignore ignored overlook overlooked neglect exclude doubt deny")
"""After a denying word these deny nothing: 'do not forget', 'not only', 'no doubt'."""
SEEN = _words("present seen found noted reported there mentioned observed described evident detected")
"""After 'not' these deny what stands before: 'fever is not present'."""
TURNS = _words("; but however although though while whereas yet except despite because since which")
"""Words that end the reach of a negation and open a clause."""
VERBS = _words(
    "has have had having report reported complain complained complaining presented presenting show showed reveal "
    "revealed develop developed suggest support point fit argue indicate present make making"
)
"""Verbs, folded, that end it too, unless they follow the denying word at once ('does not have')."""
GENERAL = _words(
    "typically usually often commonly classically generally normally may might can could would if should expect "
    "expected characterized"
)
"""Words after which a finding is spoken of, not claimed: 'migraine often brings nausea', 'it could be the cough'."""
OPPOSING = _words("against unlikely exclude excluding")
"""Words that turn a sentence against the conditions it names; so do 'less likely', 'rules out' and 'rather than'."""
PAIRS = frozenset({("less", "likely"), ("rule", "out"), ("ruled", "out"), ("ruling", "out"), ("rather", "than")})
SUPPORTING = _words("support supporting supported suggest suggesting favor favoring fit point consistent")
CUES = BEFORE | AFTER | GENERAL | OPPOSING | SUPPORTING | {first for first, _ in PAIRS}
AT_ONCE = 2
"""A verb or 'seen' so many words after 'not' belongs to it."""
REACH = 7
"""Most words between a denial and what it denies; in a list it is counted from item to item."""


@dataclass(slots=True, frozen=True)
class Sentence:
    """One sentence, decided. Findings and conditions are ids, in the order they occur."""

    text: str
    """As it was written."""
    stated: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    spoken: tuple[str, ...] = ()
    """Findings named without a claim about this patient."""
    named: tuple[str, ...] = ()
    """Conditions."""
    opposed: tuple[str, ...] = ()
    """Those of `named` the sentence speaks against."""
    supports: bool = False
    """A word such as 'suggests' stands in it."""
    wordings: Mapping[str, str] = field(default_factory=dict)
    """Finding to the folded words it was named by."""

    @property
    def findings(self) -> tuple[str, ...]:
        """Everything named, whatever is said of it."""
        return (*self.stated, *self.denied, *self.spoken)


@dataclass(slots=True, frozen=True)
class Lexicon:
    """Every wording of every finding and condition, folded, to ids."""

    findings: Mapping[str, str]
    conditions: Mapping[str, str]
    """Names of more than three letters: a shorter one is a word of another kind too often."""
    meanings: Mapping[str, str]
    """All names of conditions, short ones included: for a name that stands alone."""
    measures: tuple[tuple[str, Measure, re.Pattern[str]], ...]
    """Finding, its measure, and the pattern that finds its number in a folded text."""
    by_first: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]]
    """First word of a wording to (words, wording), longest first."""

    @staticmethod
    def of(knowledge: KnowledgeBase) -> Lexicon:
        """The vocabulary of a knowledge base."""
        findings = {fold(words): f.id for f in knowledge.findings.values() for words in f.says}
        meanings = {fold(name): c.id for c in knowledge.conditions.values() for name in c.names}
        conditions = {
            words: condition
            for words, condition in meanings.items()
            if len(words) > 3 and not _is_clause(words, findings)
        }
        by_first: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for form in {*findings, *conditions}:
            words = tuple(form.split())
            by_first.setdefault(words[0], []).append((words, form))
        longest = {first: tuple(sorted(forms, key=lambda form: -len(form[0]))) for first, forms in by_first.items()}
        measures = tuple((f.id, m, _number(m)) for f in knowledge.findings.values() if (m := f.measure) is not None)
        return Lexicon(findings, conditions, meanings, measures, longest)

    def spans(self, words: list[str]) -> Iterator[tuple[int, int, str]]:
        """(first word, word after the last, wording) of every mention, longest first, none inside another."""
        place = 0
        while place < len(words):
            for form, wording in self.by_first.get(words[place], ()):
                if tuple(words[place : place + len(form)]) == form:
                    yield place, place + len(form), wording
                    place += len(form)
                    break
            else:
                place += 1

    def mentions(self, sentence: str) -> tuple[list[str], list[str]]:
        """(finding ids, condition ids) in the order they occur.

        A form that names both a finding and a condition counts as the finding where it stands first, and as the
        condition after another finding.
        """
        found: list[str] = []
        named: list[str] = []
        for _, _, form in self.spans(tokens(sentence)):
            self.file(form, found, named)
        return found, named

    def file(self, form: str, found: list[str], named: list[str]) -> None:
        """Put one mention with the findings or with the conditions."""
        if form in self.findings and not (found and form in self.conditions):
            found.append(self.findings[form])
        else:
            named.append(self.conditions[form])


def _is_clause(name: str, findings: Mapping[str, str]) -> bool:
    """'fever fits' names a seizure, but in a sentence it is the fever that fits something."""
    rest, _, last = name.rpartition(" ")
    return last in SUPPORTING and rest in findings


@cache
def lexicon(knowledge: KnowledgeBase) -> Lexicon:
    """The lexicon of a knowledge base, built once."""
    return Lexicon.of(knowledge)


def tokens(text: str) -> list[str]:
    """Folded words and the marks , ; : ( ) of a text, in order."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.replace("’", "'").replace("µ", "u"))
        text = "".join(c for c in text if not unicodedata.combining(c))
    text = text.lower().replace("n't", " not").replace("cannot", "can not").replace("'s", "")
    return [_word(word) for word in TOKEN.findall(text)]


@lru_cache(maxsize=65536)
def fold(text: str) -> str:
    """A wording brought to one form: folded words, brackets dropped, joined by single spaces."""
    return " ".join(word for word in tokens(text) if word not in "();:") or text.strip().lower()


@lru_cache(maxsize=65536)
def _word(word: str) -> str:
    if len(word) < 4 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is", "os")):
        word = word[:-1]
    for uk, us in SPELLING:
        word = uk.sub(us, word)
    return word


@lru_cache(maxsize=64)
def read(text: str, knowledge: KnowledgeBase) -> tuple[Sentence, ...]:
    """Every sentence that names a finding or a condition, decided; the last texts read are remembered."""
    words = lexicon(knowledge)
    sentences = (_decide(raw, words) for raw in SENTENCE.split(text))
    return tuple(sentence for sentence in sentences if sentence is not None)


def _decide(raw: str, lex: Lexicon) -> Sentence | None:
    words = tokens(raw)
    spans = list(lex.spans(words))
    reached, normal = _numbers(words, lex) if DIGIT.search(raw) else ({}, {})
    if not spans and not reached and not normal:
        return None
    found: list[str] = []
    named: list[str] = []
    starts: dict[int, tuple[int, bool]] = {}
    wordings: dict[str, str] = {}
    for start, end, form in spans:
        before = len(found)
        lex.file(form, found, named)
        starts[start] = (end, len(found) > before)
        if len(found) > before:
            wordings[found[-1]] = form
    wordings |= reached | normal
    if CUES.isdisjoint(words):
        stated = (*found, *reached)
        return Sentence(raw, stated=stated, denied=tuple(normal), named=tuple(named), wordings=wordings)
    scan = _Scan()
    place = 0
    while place < len(words):
        if place in starts:
            end, is_finding = starts[place]
            scan.mention(place, end, is_finding)
            place = end
        else:
            place += scan.word(words, place, starts.get(place + 1, (0, False))[1])
    return Sentence(
        raw,
        stated=(*(f for f, manner in zip(found, scan.manner, strict=True) if manner == "stated"), *reached),
        denied=(*(f for f, manner in zip(found, scan.manner, strict=True) if manner == "denied"), *normal),
        spoken=tuple(f for f, manner in zip(found, scan.manner, strict=True) if manner == "spoken"),
        named=tuple(named),
        opposed=tuple(c for c, opposed in zip(named, scan.opposed, strict=True) if opposed),
        supports=scan.supports,
        wordings=wordings,
    )


@dataclass(slots=True)
class _Scan:
    """Walks one sentence from left to right and says of each mention how it is meant."""

    manner: list[str] = field(default_factory=list)
    opposed: list[bool] = field(default_factory=list)
    supports: bool = False
    denying: int | None = None
    """Place of the denying word that still reaches, or of what it denied last."""
    since: int = 0
    """Place of the denying word."""
    listing: bool = False
    """Whether that word denies lists: 'denies a, b or c'; 'not' denies what follows at once."""
    general: bool = False
    against: bool = False
    clause: tuple[int, int] = (0, 0)
    """How many findings and conditions stand in the clauses before this one."""

    def mention(self, place: int, end: int, is_finding: bool) -> None:
        """Take one mention; in a list the denial reaches on from it."""
        denied = self.denying is not None and place - self.denying <= REACH
        if is_finding:
            self.manner.append("spoken" if self.general else "denied" if denied else "stated")
        else:
            self.opposed.append(self.against or denied)
        self.denying = end if denied else None

    def word(self, words: list[str], place: int, finding_next: bool) -> int:
        """Take one word that is no mention; gives how many words were used."""
        word, following = words[place], words[place + 1 : place + 1 + AT_ONCE]
        pair = (word, following[0]) if following else None
        self.supports = self.supports or word in SUPPORTING
        after = word in AFTER and not finding_next and not ONWARD.intersection(following[:1])
        if after or (word in ("not", "never") and not SEEN.isdisjoint(following)):
            onward = ":" in words[place : place + 2 + AT_ONCE]
            return self._deny_before(place, following if word in ("not", "never") else [], onward)
        if word == "," and self.listing and self.denying is not None and place - self.denying <= REACH:
            self.denying = place
        elif word in BEFORE or word in AFTER:
            self.denying, self.since, self.listing = place, place, word != "not"
            if KEPT.intersection(following):
                self.denying = None
        elif word in TURNS or (word == "present" and following[:1] != ["with"]):
            self._turn()
        elif word in VERBS and self.denying is not None and place - self.since > AT_ONCE:
            self.denying = None
        elif word in GENERAL:
            self.general = True
        if word in OPPOSING or pair in PAIRS:
            self.against = True
            if pair != ("rather", "than"):
                self.opposed[self.clause[1] :] = [True] * (len(self.opposed) - self.clause[1])
        return 1

    def _deny_before(self, place: int, following: list[str], onward: bool) -> int:
        """'fever is absent': what stands before in this clause is denied; 'absent: fever': what follows."""
        reached = len(self.manner) - self.clause[0]
        if reached:
            self.manner[self.clause[0] :] = ["denied"] * reached
            self.clause = (len(self.manner), self.clause[1])
        elif onward:
            self.denying, self.since, self.listing = place, place, True
        seen = next((step for step, word in enumerate(following, start=1) if word in SEEN), 0)
        return 1 + seen

    def _turn(self) -> None:
        self.denying, self.general, self.against = None, False, False
        self.clause = (len(self.manner), len(self.opposed))


def _number(measure: Measure) -> re.Pattern[str]:
    """The number after the name of a test in a folded text, with the knowledge base's own unit behind it."""
    unit = fold(measure.unit) if any(character.isalnum() for character in measure.unit) else ""
    behind = rf" {re.escape(unit)}\b" if unit != "min" else " (?:min|bpm|breath min|beat min)"
    return re.compile(
        rf"\b{re.escape(fold(measure.test))} (?:[,:(] )?(?:(?:is|was|of|at) )?(\d+(?:\.\d+)?){behind * bool(unit)}"
    )


def _numbers(words: list[str], lex: Lexicon) -> tuple[dict[str, str], dict[str, str]]:
    """Findings whose threshold a number passes, and those that a number of their test denies, to the words read.

    A number that passes one threshold of its test does not go on to deny the other.
    """
    text = " ".join(words)
    reached: dict[str, str] = {}
    normal: dict[str, tuple[str, str]] = {}
    for finding, measure, pattern in lex.measures:
        for match in pattern.finditer(text):
            if _reached(measure, float(match.group(1))):
                reached[finding] = match.group()
            else:
                normal[finding] = (match.group(), measure.test)
    passed = {measure.test for finding, measure, _ in lex.measures if finding in reached}
    return reached, {f: words for f, (words, test) in normal.items() if test not in passed}


def _reached(measure: Measure, value: float) -> bool:
    return value > measure.above if measure.above is not None else value < (measure.below or 0.0)


@dataclass(slots=True, frozen=True)
class Facts:
    """What a case states and denies, and its words for what the vocabulary does not hold."""

    present: frozenset[str]
    absent: frozenset[str]
    words: frozenset[str]
    """Folded words of a free text; empty for a case with structured findings."""

    @property
    def free(self) -> bool:
        return bool(self.words)

    def states(self, finding: str, wording: str = "") -> bool:
        """Whether the case states the finding: by id, or in a free text by every word it was named with."""
        if finding in self.present:
            return True
        return self.free and finding not in self.absent and bool(wording) and set(wording.split()) <= self.words


def facts(case: Case, knowledge: KnowledgeBase) -> Facts:
    """The structured findings of a case, or, when it has none, what its text states and denies."""
    if case.present or case.absent:
        return Facts(frozenset(case.present), frozenset(case.absent), frozenset())
    return facts_of_text(case.vignette, knowledge)


@lru_cache(maxsize=64)
def facts_of_text(text: str, knowledge: KnowledgeBase) -> Facts:
    """What a free text states and denies: in words, negation aware, and by numbers past a finding's threshold.

    A finding both stated and denied counts as stated. Numbers are read in the units of the knowledge base only.
    """
    sentences = read(text, knowledge)
    present = frozenset(finding for sentence in sentences for finding in sentence.stated)
    absent = frozenset(finding for sentence in sentences for finding in sentence.denied)
    return Facts(present, absent - present, frozenset(tokens(text)))
