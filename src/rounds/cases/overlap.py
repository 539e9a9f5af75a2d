"""Leaks between splits: an exam case that was a lesson measures memory, not skill, and fails the build.

Three signs, the surest first. The same set of present findings (where cases state them). The same clauses in any
order. Near-duplicate text: clauses that many cases share are boilerplate and set aside, the rest is cut into runs of
three words inside a clause, runs that many cases share go as well (the frame round a rare finding), and two cases are
near when the runs left have a Jaccard likeness of at least `NEAR` (Broder, On the resemblance and containment of
documents, 1997). Numbers count as one token, so that a copy with other values is still seen. Left out on purpose:
paraphrase in other words throughout, which needs the finding sets or a reader.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import Field

from rounds.records import Case, Record, UserError

NEAR = 0.6
"""Jaccard likeness from which two texts are near-duplicates."""

FEWEST_SHARED = 20
"""Fewer common runs than this show nothing: two patients may share a long phrase or two, each of some eight runs."""

COMMON_CASES = 5
COMMON_SHARE = 0.002
"""A clause or run is boilerplate when more than this many cases, and more than this share of all, have it."""

RUN = 3
"""Words of a run."""

CLAUSE = re.compile(r"[.;:!?\n]+(?:\s|$)|,\s|\b(?:and|or|but|with)\b")
WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*")


Kind = Literal["same findings", "same text", "near text"]


class Overlap(Record):
    """Two cases that are one."""

    held: str
    """Id of the case held back."""
    other: str
    """Id of the case it repeats."""
    kind: Kind
    likeness: float = Field(ge=0, le=1)
    """Jaccard likeness of the texts after boilerplate; 1 for same findings and same text."""


def overlaps(held: Sequence[Case], others: Sequence[Case]) -> list[Overlap]:
    """Every held case that repeats one of the others, each pair once, in the order of `others`.

    Linear in the cases but for pairs that share runs of words: 1,000 against 24,000 takes seconds.
    """
    held_clauses = [_clauses(case.vignette) for case in held]
    held_texts = [frozenset(clauses) for clauses in held_clauses]
    other_clauses = [_clauses(case.vignette) for case in others]
    runs = _telling([_runs(clauses) for clauses in _telling([*held_clauses, *other_clauses])])
    held_runs, other_runs = runs[: len(held)], runs[len(held) :]
    by_findings: dict[frozenset[str], list[int]] = defaultdict(list)
    by_text: dict[frozenset[str], list[int]] = defaultdict(list)
    by_run: dict[str, list[int]] = defaultdict(list)
    for i, case in enumerate(held):
        if case.present:
            by_findings[frozenset(case.present)].append(i)
        by_text[held_texts[i]].append(i)
        for run in held_runs[i]:
            by_run[run].append(i)
    found: list[Overlap] = []
    for case, clauses, told in zip(others, other_clauses, other_runs, strict=True):
        same_findings = by_findings.get(frozenset(case.present), []) if case.present else []
        same_text = by_text.get(frozenset(clauses), [])
        near = _near(told, held_runs, by_run)
        for i in sorted({*same_findings, *same_text, *near}):
            kind: Kind = "same findings" if i in same_findings else "same text" if i in same_text else "near text"
            likeness = near.get(i, 1.0) if kind == "near text" else 1.0
            found.append(Overlap(held=held[i].id, other=case.id, kind=kind, likeness=likeness))
    return found


def refuse_overlap(held: Sequence[Case], others: Sequence[Case]) -> None:
    """Stop when any case of a split held back repeats one of the others.

    Raises:
        UserError: naming the first pair and how many there are.
    """
    found = overlaps(held, others)
    if found:
        first = found[0]
        raise UserError(
            f"case '{first.held}' repeats case '{first.other}' ({first.kind}, likeness {first.likeness:.2f}; "
            f"{len(found)} such pairs): an exam that was taught measures memory; remove one of each pair."
        )


def _clauses(text: str) -> list[str]:
    """The clauses of a text in normal form: lower case, no punctuation, every number one token, none empty."""
    parts = (" ".join("0" if w[0].isdigit() else w for w in WORD.findall(part)) for part in CLAUSE.split(text.lower()))
    return [part for part in parts if part]


def _telling(texts: Sequence[Iterable[str]]) -> list[frozenset[str]]:
    """Each text's parts (clauses or runs) without those that many texts share."""
    parts = [frozenset(text) for text in texts]
    counts = Counter(part for text in parts for part in text)
    limit = max(COMMON_CASES, COMMON_SHARE * len(parts))
    return [frozenset(part for part in text if counts[part] <= limit) for text in parts]


def _runs(clauses: Iterable[str]) -> Iterator[str]:
    """Runs of `RUN` words inside a clause; a shorter clause is one run."""
    for clause in clauses:
        words = clause.split()
        for i in range(max(1, len(words) - RUN + 1)):
            yield " ".join(words[i : i + RUN])


def _near(runs: frozenset[str], held: Sequence[frozenset[str]], by_run: dict[str, list[int]]) -> dict[int, float]:
    """Index of each held text near these runs, with its likeness."""
    shared = Counter(i for run in runs for i in by_run.get(run, ()))
    likeness = {i: count / (len(runs) + len(held[i]) - count) for i, count in shared.items() if count >= FEWEST_SHARED}
    return {i: value for i, value in likeness.items() if value >= NEAR}
