"""Holds reasoning against the case, claim by claim, by rule: no judge model.

A sentence that names findings of the vocabulary makes claims: each finding is stated (the case must have it) or denied
(the case must not state it), and with words such as "fits" it is linked to conditions (the knowledge base must list
it there). The diagnosis put first must have been argued for. Left out on purpose: cases without structured
findings, and drift, red-flag and priority detectors, which read the same sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from rounds.grade.names import normalise
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Answer, Case, StepCheck

NEGATION = re.compile(r"\b(?:no|not|without|absent|absence|denies|denied|never)\b")
AGAINST = re.compile(r"\bagainst\b")
SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
EXPECTED = 0.5
"""'X is absent, against C' holds when C shows X at least this often."""


@dataclass(slots=True, frozen=True)
class Lexicon:
    """The surface forms of findings and conditions, longest first, as two patterns."""

    findings: Mapping[str, str]
    conditions: Mapping[str, str]
    pattern: re.Pattern[str]

    @staticmethod
    def of(knowledge: KnowledgeBase) -> Lexicon:
        """Every wording of every finding and every name of more than three letters, in normal form."""
        findings = {normalise(words): f.id for f in knowledge.findings.values() for words in f.says}
        conditions = {normalise(n): c.id for c in knowledge.conditions.values() for n in c.names if len(n) > 3}
        forms = sorted({*findings, *conditions}, key=len, reverse=True)
        return Lexicon(findings, conditions, re.compile(r"\b(?:" + "|".join(map(re.escape, forms)) + r")\b"))

    def mentions(self, sentence: str) -> tuple[list[str], list[str]]:
        """(finding ids, condition ids) in the order they occur in a normalised sentence.

        A form that names both a finding and a condition counts as the condition after a linking word, and as the
        finding before it, where it stands first.
        """
        found: list[str] = []
        named: list[str] = []
        for match in self.pattern.finditer(sentence):
            form = match.group()
            if form in self.findings and not (found and form in self.conditions):
                found.append(self.findings[form])
            else:
                named.append(self.conditions[form])
        return found, named


@cache
def lexicon(knowledge: KnowledgeBase) -> Lexicon:
    """The lexicon of a knowledge base, built once."""
    return Lexicon.of(knowledge)


def check_steps(thinking: str, answer: Answer, case: Case, knowledge: KnowledgeBase) -> StepCheck:
    """Decide every claim of one line of thought.

    Sentences that name no finding make no claim. A conclusion is unargued when the condition occurs nowhere in the
    thinking; an answer without thinking makes no claims at all.
    """
    words = lexicon(knowledge)
    present, stated, denied, links, argued = set(case.present), [], [], [], set()
    claims = 0
    for raw in SENTENCE.split(thinking):
        sentence = normalise(raw)
        found, named = words.mentions(sentence)
        argued.update(named)
        if not found:
            continue
        # Findings such as "absent tendon reflexes" deny nothing: their own words are set aside first.
        rest = words.pattern.sub(" ", sentence)
        negative = bool(NEGATION.search(rest))
        against = negative or bool(AGAINST.search(rest))
        claims += len(found) + len(found) * len(named)
        stated += [f for f in found if not negative]
        denied += [f for f in found if negative]
        links += [(f, c, against) for f in found for c in named]
    unargued = _unargued(answer, argued, words) if thinking.strip() else ()
    return StepCheck(
        claims=claims + (len(answer.diagnoses[:1]) if thinking.strip() else 0),
        invented=tuple(f for f in stated if f not in present),
        denied=tuple(f for f in denied if f in present),
        unsupported=tuple(f"{f} -> {c}" for f, c, no in links if not _holds(knowledge, f, c, no)),
        unargued=unargued,
    )


def _holds(knowledge: KnowledgeBase, finding: str, condition: str, against: bool) -> bool:
    chance = knowledge.conditions[condition].findings.get(finding, 0.0)
    return chance >= EXPECTED if against else chance > 0.01


def _unargued(answer: Answer, argued: Iterable[str], words: Lexicon) -> tuple[str, ...]:
    meant = set(argued)
    return tuple(name for name in answer.diagnoses[:1] if words.conditions.get(normalise(name)) not in meant)
