"""Rejection sampling: the teacher answers teach cases, `grade` verifies, what is wrong is not taught.

Filtering drops the hard and the rare, so cells of specialty x incidence that kept too little are asked again on fresh
cases, and the kept lessons are resampled to the mix that was asked. Acceptance by cell is published. Left out on
purpose: generating (a Responder does it) and writing files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from rounds.grade.mark import Marker, faults
from rounds.recipe import Trace as Settings
from rounds.records import Case, Grade, Lesson, Trace, UserError

PER_CASE = 2
"""Most kept answers to one case: more of the same teaches little."""

Ask = Callable[[Sequence[Case]], Iterable[Trace]]


@dataclass(slots=True, frozen=True)
class Kept:
    """A trace that passed verification."""

    case: Case
    trace: Trace
    grade: Grade


@dataclass(slots=True)
class Collected:
    """What tracing brought."""

    kept: list[Kept] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    """Answers by cell."""
    accepted: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    """Rejections by first reason."""
    claims: int = 0
    """Claims of all answers' reasoning that could be checked."""
    errors: int = 0
    """Those that do not hold."""

    def acceptance(self) -> dict[str, float]:
        """Share of answers kept, by cell."""
        return {cell: round(self.accepted[cell] / n, 4) for cell, n in sorted(self.asked.items())}


def cell(case: Case) -> str:
    """specialty x incidence; cases outside the knowledge base are a cell of their own."""
    return "outside" if case.outside else f"{case.specialty} / {case.incidence}"


def collect(cases: Sequence[Case], ask: Ask, marker: Marker, settings: Settings) -> Collected:
    """Ask in rounds: first `settings.cases` cases, then fresh ones for the cells that kept too little.

    Raises:
        UserError: nothing was kept.
    """
    found = Collected()
    pool = list(cases)
    asked, pool = pool[: settings.cases], pool[settings.cases :]
    wanted = Counter(cell(case) for case in asked)
    for _ in range(settings.rounds):
        if not asked:
            break
        _verify(asked, ask, marker, found)
        asked = _short(pool, wanted, found, settings.samples)
        taken = {case.id for case in asked}
        pool = [case for case in pool if case.id not in taken]
    if not found.kept:
        reason = next((name for name, _ in found.rejected.most_common(1)), "no answer")
        raise UserError(
            f"0 of {found.asked.total()} traces passed verification (most often: {reason}); teach the teacher longer."
        )
    return found


def _verify(asked: Sequence[Case], ask: Ask, marker: Marker, found: Collected) -> None:
    by_id = {case.id: case for case in asked}
    kept_of: Counter[str] = Counter()
    for trace in ask(asked):
        case = by_id[trace.prompt.case_id]
        grade = marker.mark(case, trace)
        found.asked[cell(case)] += 1
        if grade.steps is not None:
            found.claims += grade.steps.claims
            found.errors += grade.steps.errors
        reasons = faults(case, grade)
        if trace.finish != "stop":
            reasons = ("cut off", *reasons)
        if reasons:
            found.rejected[reasons[0]] += 1
        else:
            found.accepted[cell(case)] += 1
            kept_of[case.id] += 1
            if kept_of[case.id] <= PER_CASE:
                found.kept.append(Kept(case, trace, grade))


def _short(pool: Sequence[Case], wanted: Mapping[str, int], found: Collected, samples: int) -> list[Case]:
    """Fresh cases for the cells below half of the mean share of kept answers, as many as should close the gap."""
    kept = Counter(cell(one.case) for one in found.kept)
    mean = sum(kept.values()) / max(1, sum(wanted.values()))
    chosen: list[Case] = []
    for name, count in wanted.items():
        rate = max(0.02, found.accepted[name] / max(1, found.asked[name]))
        missing = 0.8 * mean * count - kept[name]
        if missing > 0:
            fresh = [case for case in pool if cell(case) == name]
            chosen += fresh[: min(len(fresh), round(missing / (rate * min(samples, PER_CASE))), count)]
    return chosen


def stratum(case: Case) -> tuple[str, bool]:
    """The cell, and whether there is a red flag to name: an answer to such a case has one more way to fail."""
    return cell(case), bool(case.red_flags)


def balanced(found: Collected, asked: Sequence[Case], seed: int) -> list[Lesson]:
    """Lessons in the mix of the cases asked: strata that kept less are repeated, those that kept more are thinned."""
    random = Random(f"{seed}-balance")
    groups: dict[tuple[str, bool], list[Kept]] = {}
    for one in found.kept:
        groups.setdefault(stratum(one.case), []).append(one)
    wanted = Counter(map(stratum, asked))
    total = len(found.kept)
    lessons: list[Lesson] = []
    among = sum(wanted[name] for name in groups)
    for name, group in sorted(groups.items()):
        count = max(1, round(total * wanted[name] / among))
        whole, rest = divmod(count, len(group))
        # No lesson more than four times: past that a stratum is learnt by heart, and the report shows its acceptance.
        chosen = group * min(whole, 4) + (random.sample(group, rest) if whole < 4 else [])
        lessons += [lesson(one.trace) for one in chosen]
    random.shuffle(lessons)
    return lessons


def lesson(trace: Trace) -> Lesson:
    """A trace as something to learn."""
    return Lesson(prompt=trace.prompt, thinking=trace.thinking, reply=trace.reply, teacher=trace.model)
