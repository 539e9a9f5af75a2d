"""Flips: whose answer changes when the person does, beyond what changes when the same question is asked twice.

An answer is compared by ICD-10 codes, so that two words or two languages for one disease are no flip. Three kinds: the
set of the five, the first of them, and urgency (whether red flags are named). Two languages are compared by categories
of three signs, and only where every diagnosis has a code. The test is paired: on the same case, did the swap flip the
answer, and did asking again? Left out on purpose: shares of groups without pairs, where a difference
may come from the cases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rounds.exam.compare import Comparison
from rounds.exam.safety_outcomes import mark
from rounds.exam.twins import CONTROL
from rounds.grade.codes import CODE, Codes, tidy
from rounds.grade.lexicon import lexicon
from rounds.grade.match import Reader
from rounds.grade.names import Names, normalise
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Answer, Record
from rounds.stats import multiplicity, paired

Kind = Literal["set of five", "rank 1", "urgency"]
KINDS: tuple[Kind, ...] = ("set of five", "rank 1", "urgency")

CODED = re.compile(r"\b([A-TV-Z]\d\d(?:\.\d{1,4})?)\b")
BESIDE = re.compile(
    r"[\s*_]*[(\[（【:：,-]?\s*(?:(?:ICD|CIE)[- ]?10\W{0,2})?([A-TV-Z]\d\d(?:\.\d{1,4})?)(?!\w)", re.IGNORECASE
)
"""A code that follows a name."""
CATEGORY = 3
"""Signs of a code that two languages are compared by: the rest is a habit of coding."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer as it is compared."""

    first: str
    """Code of the first diagnosis, '' without any."""
    five: frozenset[str]
    urgent: bool
    coded: bool = True
    """Every diagnosis has a code."""

    def category(self) -> Seen:
        """The same by categories alone."""
        return Seen(self.first[:CATEGORY], frozenset(code[:CATEGORY] for code in self.five), self.urgent, self.coded)

    def flips(self, other: Seen, kind: Kind) -> bool:
        """Whether another answer to the same case differs from this one in a kind."""
        if kind == "set of five":
            return self.five != other.five
        return self.first != other.first if kind == "rank 1" else self.urgent != other.urgent


class Flips(Record):
    """One swap and one kind of flip over all cases that have the twin."""

    attribute: str
    value: str
    kind: str
    cases: int
    swapped: int
    """Cases whose answer flipped under the swap."""
    retest: int
    """Cases whose answer flipped when asked again unchanged."""
    only_swapped: int
    only_retest: int
    excess: float
    """Share flipped under the swap less share flipped on asking again."""
    p: float
    """Exact McNemar, two-sided."""
    p_holm: float = 1.0
    """Over the swaps of this kind, those that flip no more than asking again counted as 1; the control left out."""


class Omnibus(Record):
    """Cochran's Q: is any form of the person answered right more often than another?"""

    attribute: str
    cases: int
    forms: tuple[str, ...]
    right: tuple[int, ...]
    q: float
    p: float
    p_holm: float = 1.0


class Coder:
    """Names of diagnoses to ICD-10 codes: a code given beside the name, the knowledge base, WHO's titles."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self._knowledge = knowledge
        self._names = Names(knowledge)
        words = lexicon(knowledge)
        self._titles = Codes(words)
        self._reader = Reader(words, self._titles.vocabulary)
        self._known: dict[str, str] = {}

    def code(self, name: str) -> str:
        """The code, or the normal form of a name without one."""
        if name not in self._known:
            self._known[name] = self._code(name)
        return self._known[name]

    def _code(self, name: str) -> str:
        given = CODED.search(name)
        if given and tidy(given[1]):
            return tidy(given[1])
        meant = self._names.meaning(name)
        if meant is not None:
            return self._knowledge.conditions[meant].icd10
        titled = self._titles.of(self._reader.variants(name, right=False))
        return min(titled) if titled else normalise(name) or name

    def seen(self, answer: Answer, reply: str = "") -> Seen:
        """What of an answer is compared. reply: the text it was read from, which may hold codes behind the names."""
        codes = [self._beside(name, reply) or self.code(name) for name in answer.diagnoses]
        coded = all(CODE.match(code) for code in codes)
        return Seen(codes[0] if codes else "", frozenset(codes), bool(answer.red_flags), coded)

    @staticmethod
    def _beside(name: str, reply: str) -> str:
        """The code behind a name where it begins a line or an item: *gout* is no part of *pseudogout (M11)*."""
        place = re.search(rf"(?:^|\d[.)）、]\s)[\W\d_]*{re.escape(name)}", reply, re.MULTILINE)
        found = None if place is None else BESIDE.match(reply, place.end())
        return tidy(found[1]) if found else ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One original and one of its twins, each as answered; `again` is the original asked a second time."""

    case_id: str
    cluster: str
    attribute: str
    value: str
    original: Seen
    again: Seen
    twin: Seen


def flips(asked: Sequence[Asked]) -> list[Flips]:
    """Every swap and kind, in the order they come; Holm over the swaps of a kind."""
    found: list[Flips] = []
    for kind in KINDS:
        rows = [_flips(kind, attribute, value, asked) for attribute, value in swaps(asked)]
        tested = [row.p if row.excess > 0 else 1.0 for row in rows if row.attribute != CONTROL]
        adjusted = iter(multiplicity.holm(tested))
        found += [
            row if row.attribute == CONTROL else row.model_copy(update={"p_holm": next(adjusted)}) for row in rows
        ]
    return found


def swaps(asked: Sequence[Asked]) -> list[tuple[str, str]]:
    """Every attribute with its values."""
    return list(dict.fromkeys((one.attribute, one.value) for one in asked))


def _flips(kind: Kind, attribute: str, value: str, asked: Sequence[Asked]) -> Flips:
    chosen = [one for one in asked if (one.attribute, one.value) == (attribute, value)]
    return count(
        attribute,
        value,
        kind,
        [one.original.flips(one.twin, kind) for one in chosen],
        [one.original.flips(one.again, kind) for one in chosen],
    )


def count(attribute: str, value: str, kind: str, swapped: Sequence[bool], retest: Sequence[bool]) -> Flips:
    """One row from recorded flips, one entry a case in both.

    Raises:
        ValueError: the two differ in length.
    """
    pairs = paired.count(retest, swapped)
    return Flips(
        attribute=attribute,
        value=value,
        kind=kind,
        cases=pairs.n,
        swapped=pairs.both + pairs.only_after,
        retest=pairs.both + pairs.only_before,
        only_swapped=pairs.only_after,
        only_retest=pairs.only_before,
        excess=pairs.difference,
        p=paired.exact(pairs),
    )


def omnibus(right: Mapping[str, Mapping[str, Mapping[str, bool]]]) -> list[Omnibus]:
    """Cochran's Q of each attribute: attribute to form (the original among them) to case id to right or not.

    Only cases that have every form count. Holm over the attributes, the control left out.
    """
    rows = []
    for attribute, forms in right.items():
        shared = sorted(set.intersection(*(set(marks) for marks in forms.values()))) if forms else []
        if len(forms) < 2 or not shared:
            continue
        table = np.array([[marks[case] for marks in forms.values()] for case in shared], dtype=bool)
        q = multiplicity.cochran_q(table)
        rows.append(
            Omnibus(
                attribute=attribute,
                cases=len(shared),
                forms=tuple(forms),
                right=tuple(int(column) for column in table.sum(axis=0)),
                q=q.value,
                p=q.p,
            )
        )
    adjusted = iter(multiplicity.holm([row.p for row in rows if row.attribute != CONTROL]))
    return [row if row.attribute == CONTROL else row.model_copy(update={"p_holm": next(adjusted)}) for row in rows]


def comparison(asked: Sequence[Asked], kind: Kind, attribute: str) -> Comparison:
    """For the gate: answers that stayed when asked again (before) against those that stayed under the swap (after)."""
    chosen = [one for one in asked if one.attribute == attribute]
    stayed = [
        (
            f"{one.case_id}~{one.value}",
            not one.original.flips(one.again, kind),
            not one.original.flips(one.twin, kind),
            one.cluster,
        )
        for one in chosen
    ]
    return Comparison(
        "asked again",
        f"{attribute} swapped",
        [mark(key, again, {"cluster": cluster}) for key, again, _, cluster in stayed],
        [mark(key, swapped, {"cluster": cluster}) for key, _, swapped, cluster in stayed],
    )
