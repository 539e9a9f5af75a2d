"""What a model was examined on, and whether a case lies within it: its language, the patient's age, pregnancy.

Read from the exam cases of the run. A group of patients counts as examined from ten cases on; fewer show nothing. A
case outside is answered with the reason, not with five guesses. Left out on purpose: whether the model knows the
disease, which it says itself by abstaining, and reading an age out of what only implies one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from rounds.files import read_jsonl
from rounds.grade.reading import facts_of_text
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Case, Record
from rounds.serve.language import LETTERS, language_of

CASES = Path("cases") / "exam.jsonl"
"""The exam of a run, below its directory."""

LEAST = 10
"""Exam cases from which on a group of patients counts as examined."""
FEW_WORDS = 20
"""Fewer may be shorthand, which has no small words in any language."""

Band = Literal["newborn", "infant", "child", "adolescent", "adult", "older", "oldest"]
BANDS: tuple[tuple[Band, float], ...] = (
    ("newborn", 28 / 365.25),
    ("infant", 1),
    ("child", 12),
    ("adolescent", 18),
    ("adult", 65),
    ("older", 80),
    ("oldest", 200),
)
"""Each band of age with the years below which it ends."""

Limit = Literal["language", "language-unknown", "age", "pregnancy"]

UNITS = {"year": 1.0, "month": 1 / 12, "week": 7 / 365.25, "day": 1 / 365.25}
AGES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?P<n>\d{1,3})[\s-]*(?P<unit>year|month|week|day)s?[\s-]*(?:old|of\s+age)\b",
        r"\b(?P<n>\d{1,3})[\s-]*(?:y\.?\s?/?o\b|yrs?\s+old\b|y/o\b|(?:[FM])\b(?!\d))",
        r"\b(?:aged?|(?:woman|man|lady|gentleman|girl|boy|patient) of)[\s:]+(?P<n>\d{1,3})\b(?!\.\d)"
        r"(?:\s+(?P<unit>year|month|week|day)s?\b)?",
        r"\b(?:female|male|woman|man|lady|gentleman|girl|boy|patient)[\s,(]+(?P<n>\d{1,3})\b(?![\s-]*(?:%|mg|kg|[a-z]))",
        r"\bde\s+(?P<n>\d{1,3})\s+(?:(?:años|anos|ans)\b)",
        r"(?P<n>\d{1,3})\s*(?:岁|歳|세)",
    )
)
NEWBORN = re.compile(r"\b(?:newborn|neonate|recién nacid[oa])\b|新生儿", re.IGNORECASE)
OLDEST = 120

PREGNANT = re.compile(
    r"\bpregnan(?:t|cy)\b|\bweeks?(?:'|’)?\s+(?:of\s+)?gestation\b|\bgestational age\b"
    r"|\bembaraz(?:ada|o)\b|\bgestante\b|怀孕|妊娠",
    re.IGNORECASE,
)
NOT_NOW = re.compile(
    r"\b(?:no|not|never|non|without|denie[sd]|denying|absent|absence|negative|previous|earlier|past|prior|last|first"
    r"|between|avoid|planning|plans|after|since|before|wish\w*|trying|sin|niega)\b|无|未|否认",
    re.IGNORECASE,
)
"""Words before it in its clause that say there is no pregnancy now."""
NEGATIVE_AFTER = re.compile(
    r"^\s*(?:test\s*)?(?:\(?hcg\)?\s*)?(?:is|was|:)?\s*(?:negative|excluded|ruled out|unlikely|none\b|no\b)",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"[.!?;\n。；]|\bbut\b|\band now\b", re.IGNORECASE)
EXPECTING = frozenset({"pregnant", "positive_pregnancy_test", "bleeding_in_pregnancy"})
"""Findings of the knowledge base that say so."""


class Examined(Record):
    """What the exam cases of a run held."""

    cases: int
    languages: dict[str, int]
    """ISO 639-1 code to cases."""
    ages: dict[Band, int]
    """Band to cases whose text tells an age within it."""
    pregnant: int
    """Cases that state a pregnancy."""

    @property
    def tells_ages(self) -> bool:
        """Whether enough cases tell an age for a limit to be drawn."""
        return sum(self.ages.values()) >= LEAST

    def has_age(self, band: Band) -> bool:
        return self.ages.get(band, 0) >= LEAST

    def has_language(self, code: str) -> bool:
        return self.languages.get(code, 0) >= LEAST


def examined(run: Path, knowledge: KnowledgeBase) -> Examined | None:
    """What the run was examined on; None without exam cases, and then no limit can be drawn.

    Raises:
        UserError: a line of the exam is no case.
    """
    path = run / CASES
    return of_cases(read_jsonl(path, Case), knowledge) if path.is_file() else None


def of_cases(cases: Iterable[Case], knowledge: KnowledgeBase) -> Examined | None:
    """The same of cases at hand; None without any."""
    languages: Counter[str] = Counter()
    ages: Counter[Band] = Counter()
    pregnant = 0
    for case in cases:
        languages[case.language] += 1
        age = age_in(case.vignette)
        if age is not None:
            ages[band_of(age)] += 1
        told = bool(case.present or case.absent)  # structured findings spare reading the text
        pregnant += bool(EXPECTING.intersection(case.present)) if told else expecting(case.vignette, knowledge)
    found = languages.total()
    return Examined(cases=found, languages=dict(languages), ages=dict(ages), pregnant=pregnant) if found else None


def limits(text: str, known: Examined | None, knowledge: KnowledgeBase) -> tuple[Limit, ...]:
    """Why a case lies outside what was examined, the weightiest first; empty when it lies within, or none is known."""
    if known is None:
        return ()
    found: list[Limit] = []
    language = language_of(text)
    if language and not known.has_language(language):
        found.append("language")
    elif not language and len(LETTERS.findall(text)) >= FEW_WORDS and not _recognised(text, knowledge):
        found.append("language-unknown")
    age = age_in(text)
    if age is not None and known.tells_ages and not known.has_age(band_of(age)):
        found.append("age")
    if known.pregnant < LEAST and expecting(text, knowledge):
        found.append("pregnancy")
    return tuple(found)


def age_in(text: str) -> float | None:
    """The age a text tells first, in years; None when it tells none."""
    found = [match for pattern in AGES for match in pattern.finditer(text) if int(match["n"]) <= OLDEST * 12]
    if not found:
        return 0.0 if NEWBORN.search(text[:400]) else None
    first = min(found, key=lambda match: match.start())
    unit = (first.groupdict().get("unit") or "year").lower()
    age = int(first["n"]) * UNITS[unit]
    return age if age <= OLDEST else None


def band_of(age: float) -> Band:
    """The band an age in years lies in."""
    return next(name for name, end in BANDS if age < end)


def expecting(text: str, knowledge: KnowledgeBase) -> bool:
    """Whether a text says that the patient is pregnant now."""
    told = facts_of_text(text, knowledge)
    # The bare word is read below, in its clause: "her last pregnancy" is not one now.
    if "pregnant" not in told.absent and (EXPECTING - {"pregnant"}) & told.present:
        return True
    for match in PREGNANT.finditer(text):
        before = CLAUSE.split(text[: match.start()])[-1]
        if not NOT_NOW.search(before) and not NEGATIVE_AFTER.match(text[match.end() :]):
            return True
    return False


def _recognised(text: str, knowledge: KnowledgeBase) -> bool:
    told = facts_of_text(text, knowledge)
    return bool(told.present or told.absent)
