"""What thinking is worth: the same cases at several thinking budgets, and the smallest that loses nothing shown.

Two ways of holding a model to a budget. *closed*: the engine closes the thought at the budget and the reply is still
written; only answers whose thoughts reach the budget are asked for again, as it does not touch the others. *cut*: where
nobody can close a thought (an endpoint, recorded answers), an answer that thought longer counts as no answer: what a
hard limit would do, and a lower bound of what closing would. The smallest budget is sought from the longest down, each
against no limit, and the first that is not kept ends the search, so that trying many budgets does not make it easier
to find one. Left out on purpose: opening models, and the exam split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, median, quantiles
from typing import Literal

from pydantic import Field

from rounds.exam import audits, figures
from rounds.exam.compare import Comparison, compare_family
from rounds.exam.examine import Examined, examine
from rounds.exam.marks import from_grades
from rounds.grade.mark import Marker
from rounds.records import Answer, Case, Grade, Record, Responder, Sampling, Share, Trace, UserError, Verdict

How = Literal["closed", "cut"]
NO_LIMIT = "no limit"
PARTS = (10, 30, 50, 70, 90, 98)
"""Percent of the answers that think no longer than each budget that is tried where none are given."""
MOST_BUDGETS = 32


class Point(Record):
    """One budget on the cases."""

    budget: int | None = Field(default=None, ge=0)
    """Tokens allowed before `</think>`; None is no limit."""
    touched: int
    """Answers that thought so long that the budget changed them."""
    right: Share
    """Right diagnosis among five, or what the source counts as right; cases outside the knowledge base left out."""
    top1: float | None
    step_error_rate: float | None
    red_flags: float | None
    cut: int
    """Answers that ended at the limit of tokens, or counted as cut at the budget."""
    thinking_tokens: float
    """Mean of an answer."""
    tokens: float | None
    """Mean of an answer, thinking and reply; None where the source does not tell."""
    seconds: float | None
    """Median to the whole answer; one at a time on this machine where `timed` is above 0."""
    slow_seconds: float | None
    """The slowest tenth takes longer."""
    verdicts: tuple[Verdict, ...] = ()
    """Against no limit; empty for no limit itself."""

    @property
    def name(self) -> str:
        return NO_LIMIT if self.budget is None else str(self.budget)

    @property
    def kept(self) -> bool:
        """Every arm kept or gained."""
        return bool(self.verdicts) and all(v.finding in ("kept", "gained") for v in self.verdicts)


class Curve(Record):
    """One model at its budgets, shortest first, no limit last."""

    name: str
    model: str
    how: How
    split: str = "tune"
    cases: int
    margin: float
    alpha: float
    timed: int = 0
    """Answers a budget that were made one at a time for their seconds; 0 where seconds are those of a batch."""
    points: tuple[Point, ...]
    chosen: int | None = None
    """The smallest budget that is kept; None is no limit."""
    why: str
    """The choice in one sentence."""
    exam: tuple[Verdict, ...] = ()
    """The chosen budget against no limit on the exam, where it was opened for it."""
    machine: dict[str, str] = Field(default_factory=dict)
    asked: dict[str, str] = Field(default_factory=dict)
    """Engine, template and sampling without a budget."""


def lengths(grades: Sequence[Grade]) -> list[int]:
    """Budgets worth trying for a model whose answers have these thoughts: none, and lengths that part its answers.

    Raises:
        UserError: no answer thought.
    """
    thought = sorted(grade.thinking_tokens for grade in grades if grade.thinking_tokens > 0)
    if not thought:
        raise UserError("no answer had any thinking tokens, so there is no budget to set; give a model that reasons.")
    ends = quantiles(thought, n=100, method="inclusive") if len(thought) > 1 else [float(thought[0])] * 99
    return sorted({0, *(max(1, round(ends[part - 1])) for part in PARTS)})


def check_budgets(budgets: Sequence[int]) -> list[int]:
    """The budgets sorted, each once.

    Raises:
        UserError: none, too many, or one below 0 or above what `Sampling` takes.
    """
    wrong = next((budget for budget in budgets if not 0 <= budget <= 131072), None)
    if wrong is not None:
        raise UserError(f"thinking budget {wrong} is not between 0 and 131072 tokens; give some such as 0 64 256.")
    if not 0 < len(set(budgets)) <= MOST_BUDGETS:
        raise UserError(f"{len(set(budgets))} thinking budgets were given; give 1 to {MOST_BUDGETS}.")
    return sorted(set(budgets))


def touches(trace: Trace, budget: int) -> bool:
    """Whether an answer without limit would have been changed: its thought fills the budget, closing mark included."""
    return trace.thinking_tokens >= budget


def closed(
    cases: Sequence[Case],
    free: Examined,
    budget: int,
    responder: Responder,
    *,
    template: str,
    sampling: Sampling,
    marker: Marker,
) -> Examined:
    """Answers under a budget, in the order of `free`, the same model's without one."""
    asked = {trace.prompt.case_id for trace in free.traces if touches(trace, budget)}
    if not asked:
        return free
    again = examine(
        [case for case in cases if case.id in asked],
        responder,
        template=template,
        sampling=sampling.model_copy(update={"thinking_budget": budget}),
        marker=marker,
    )
    held = {(t.prompt.case_id, t.sample): (t, g) for t, g in zip(again.traces, again.grades, strict=True)}
    pairs = [
        held[trace.prompt.case_id, trace.sample] if touches(trace, budget) else (trace, grade)
        for trace, grade in zip(free.traces, free.grades, strict=True)
    ]
    return Examined([trace for trace, _ in pairs], [grade for _, grade in pairs])


def cut(grades: Sequence[Grade], budget: int) -> list[Grade]:
    """The grades if every answer with a longer thought had been stopped there: a miss, at its share of the time."""
    return [_stopped(grade, budget) if grade.thinking_tokens > budget else grade for grade in grades]


def _stopped(grade: Grade, budget: int) -> Grade:
    share = budget / grade.thinking_tokens
    return grade.model_copy(
        update={
            "answer": Answer(case_id=grade.case_id, unreadable=True),
            "correct": None if grade.correct is None else False,
            "rank": None,
            "level": None,
            "near_rank": None,
            "valid_five": False,
            "red_flags_named": 0,
            "must_not_miss_named": 0,
            "steps": None,
            "error_modes": (),
            "thinking_tokens": budget,
            "total_s": None if grade.total_s is None else grade.total_s * share,
        }
    )


def point(
    grades: Sequence[Grade],
    *,
    budget: int | None,
    touched: int,
    outside: Iterable[str] = (),
    traces: Sequence[Trace] = (),
    seconds: Sequence[float] = (),
) -> Point:
    """Figures at one budget. seconds: of answers made one at a time; without any, those of the grades."""
    beyond = set(outside)
    shown = figures.model_figures(grades, beyond)
    inside = [grade for grade in grades if grade.case_id not in beyond and grade.correct is not None]
    timed = sorted(seconds or [grade.total_s for grade in grades if grade.total_s is not None])
    return Point(
        budget=budget,
        touched=touched,
        right=audits.share("right", audits.rate(inside, lambda grade: (int(grade.correct is True), 1))),
        top1=_number(shown["top1"]) if any(grade.rank for grade in inside) else None,
        # Without a thought a few claims in replies are no rate.
        step_error_rate=None if budget == 0 else _number(shown["step_error_rate"]),
        red_flags=_number(shown["red_flags"]),
        cut=sum(trace.finish == "length" for trace in traces) if traces else touched,
        thinking_tokens=round(fmean(grade.thinking_tokens for grade in grades), 2),
        tokens=round(fmean(t.thinking_tokens + t.reply_tokens for t in traces), 2) if traces else None,
        seconds=round(median(timed), 4) if timed else None,
        slow_seconds=round(timed[min(len(timed) - 1, round(0.9 * len(timed)))], 4) if timed else None,
    )


def _number(value: float | int | str | None) -> float | None:
    return round(float(value), 4) if isinstance(value, int | float) else None


def judged(
    points: Sequence[Point],
    grades: Sequence[Sequence[Grade]],
    *,
    margin: float,
    alpha: float,
    outside: Iterable[str] = (),
) -> tuple[Point, ...]:
    """The points, each limited one with its verdicts against the last, which has no limit; one Holm family.

    grades: of each point, in the same order.
    """
    beyond = set(outside)
    marks = [from_grades(grade for grade in given if grade.case_id not in beyond) for given in grades]
    family = [
        Comparison(NO_LIMIT, f"{one.budget} tokens", marks[-1], own)
        for one, own in zip(points[:-1], marks[:-1], strict=True)
    ]
    verdicts = compare_family(family, margin=margin, alpha=alpha)
    named: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        named.setdefault(verdict.after, []).append(verdict)
    return (
        *(one.model_copy(update={"verdicts": tuple(named[f"{one.budget} tokens"])}) for one in points[:-1]),
        points[-1],
    )


def choose(points: Sequence[Point]) -> tuple[int | None, str]:
    """The smallest budget that is kept, sought from the longest down, and the choice in words."""
    found: Point | None = None
    stopped: Point | None = None
    for one in sorted((p for p in points if p.budget is not None), key=lambda p: p.budget or 0, reverse=True):
        if not one.kept:
            stopped = one
            break
        found = one
    reason = "" if stopped is None else f"; {_stopping(stopped)}"
    if found is None:
        return None, f"no budget is kept against no limit{reason}."
    free = next(p for p in points if p.budget is None)
    spared = 1 - found.thinking_tokens / free.thinking_tokens if free.thinking_tokens else 0.0
    return found.budget, (
        f"{found.budget} tokens is the smallest budget that is kept against no limit, with {100 * spared:.0f} % fewer "
        f"thinking tokens{reason}."
    )


def _stopping(one: Point) -> str:
    worst = next(v for v in one.verdicts if v.finding not in ("kept", "gained"))
    if worst.finding == "lost":
        return f"{one.budget} is lost on {worst.arm}"
    more = worst.cases_needed is not None and worst.cases_needed > worst.n
    needed = f" (about {worst.cases_needed:,} would decide)" if more else ""
    return f"{one.budget} has too few cases to tell on {worst.arm}{needed}"


def cut_curve(
    name: str,
    grades: Sequence[Grade],
    budgets: Sequence[int],
    *,
    margin: float,
    alpha: float,
    outside: Iterable[str] = (),
    model: str = "",
    split: str = "recorded",
) -> Curve:
    """The curve of answers that are there already: recorded ones, or those of an endpoint.

    Raises:
        UserError: no answer thought, or no grades.
    """
    if not grades:
        raise UserError(f"{name}: there are 0 answers to draw a curve of; check the file.")
    budgets = check_budgets(budgets) if budgets else lengths(grades)
    beyond = set(outside)
    each = [cut(grades, budget) for budget in budgets]
    points = [
        point(own, budget=budget, touched=sum(g.thinking_tokens > budget for g in grades), outside=beyond)
        for budget, own in zip(budgets, each, strict=True)
    ]
    points.append(point(grades, budget=None, touched=0, outside=beyond))
    shown = judged(points, [*each, grades], margin=margin, alpha=alpha, outside=beyond)
    chosen, why = choose(shown)
    return Curve(
        name=name,
        model=model or name,
        how="cut",
        split=split,
        cases=len({grade.case_id for grade in grades}),
        margin=margin,
        alpha=alpha,
        points=shown,
        chosen=chosen,
        why=why,
    )
