"""One model's figures over an exam, how it sat it, and how each figure is named and written in a table.

Every average is over cases; samples of a case are averaged within it first. What became of the answers is counted by
answer. Left out on purpose: comparing models, which needs pairs (`rounds.exam.compare`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from rounds.exam import audits, words
from rounds.exam.marks import from_grades
from rounds.records import Case, Figures, Floor, Grade, Noise, Report, Share, Sitting, Stretch, Trace
from rounds.stats.intervals import wilson_lower


@dataclass(frozen=True, slots=True)
class Column:
    """How one figure is shown."""

    label: str
    unit: Literal["share", "count", "tokens", "seconds", "bytes", "bits", "plain"]


COLUMNS: Mapping[str, Column] = {
    "cases": Column("cases", "count"),
    "top1": Column("right diagnosis first", "share"),
    "top5": Column("right diagnosis among five", "share"),
    "top5_lenient": Column("the same, near misses counted as right", "share"),
    "valid_five": Column("five valid diagnoses", "share"),
    "step_error_rate": Column("reasoning steps in error", "share"),
    "hallucinated_findings": Column("findings stated that the case lacks", "share"),
    "red_flags": Column("red flags named", "share"),
    "must_not_miss": Column("must-not-miss listed", "share"),
    "abstained_outside": Column("abstained when it should", "share"),
    "abstained_inside": Column("abstained when it should not: the price", "share"),
    "unreadable": Column("unreadable replies", "count"),
    "thinking_tokens": Column("thinking tokens", "tokens"),
    "seconds": Column("seconds an answer", "seconds"),
    "bytes": Column("size", "bytes"),
    "bits": Column("bits a weight", "bits"),
}
"""Figures in the order of the table; an unknown key is shown after them under its own name."""


def model_figures(grades: Sequence[Grade], outside: Iterable[str] = ()) -> dict[str, float | int | str | None]:
    """Figures of one model. outside: ids of cases from conditions kept out of the knowledge base.

    Shares are 0..1; None where no case can tell (no red flags, no checked steps, no times). top-1, top-5, valid five
    and the price of abstention are over cases inside the knowledge base, and a grade that is None is left out.
    """
    beyond = set(outside)
    known = [grade for grade in grades if grade.case_id not in beyond]
    unknown = [grade for grade in grades if grade.case_id in beyond]
    gradable = [grade for grade in known if grade.correct is not None]
    steps = [grade.steps for grade in grades if grade.steps is not None]
    claims = sum(step.claims for step in steps)
    stated = sum(step.stated for step in steps)
    seconds = [grade.total_s for grade in grades if grade.total_s is not None]
    return {
        "cases": len({grade.case_id for grade in grades}),
        "top1": _mean(gradable, lambda grade: float(grade.rank == 1)),
        "top5": _mean(gradable, lambda grade: float(grade.correct is True)),
        "top5_lenient": _mean(gradable, lambda grade: float(grade.correct is True or grade.near_rank is not None)),
        "valid_five": _mean(known, lambda grade: float(grade.valid_five)),
        "step_error_rate": sum(step.errors for step in steps) / claims if claims else None,
        "hallucinated_findings": sum(len(step.invented) for step in steps) / stated if stated else None,
        "red_flags": _ratio(known, lambda grade: (grade.red_flags_named, grade.red_flags_total)),
        "must_not_miss": _ratio(known, lambda grade: (grade.must_not_miss_named, grade.must_not_miss_total)),
        "abstained_outside": _mean(unknown, lambda grade: float(grade.answer.abstained)),
        "abstained_inside": _mean(known, lambda grade: float(grade.answer.abstained)),
        "unreadable": sum(grade.answer.unreadable for grade in grades),
        "thinking_tokens": _mean(grades, lambda grade: float(grade.thinking_tokens)),
        "seconds": median(seconds) if seconds else None,
    }


def outside_of(cases: Iterable[Case]) -> set[str]:
    """Ids of the cases whose right answer is to abstain."""
    return {case.id for case in cases if case.outside}


def floor(name: str, model: str, hits: int, n: int, minimum: float) -> Floor:
    """An absolute floor: met when the one-sided 97.5 % Wilson bound reaches the minimum (0 asks for nothing)."""
    lower = wilson_lower(hits, n)
    rate = hits / n if n else 0.0
    return Floor(name=name, model=model, hits=hits, n=n, rate=rate, lower=lower, floor=minimum, met=lower >= minimum)


OUTCOMES = (
    "exact",
    "synonym",
    "code",
    "judge",
    "human",
    "right",
    "right abstention",
    "near",
    "missed",
    "abstained",
    "refused",
    "unreadable",
    "not gradable",
)
"""What an answer can come to, in the order shown: hits by the level of their match, then the rest."""

PARTS = 4
"""Groups of about equal size into which a model's answers are parted by the length of their thoughts."""

Answered = Sequence[tuple[Trace | None, Grade]]


def with_sittings(report: Report, answers: Mapping[str, Answered], outside: Iterable[str] = ()) -> Report:
    """The report with the sitting of every model that `answers` names; outside: as in `model_figures`."""
    beyond = set(outside)
    sat = {model: sitting(pairs, beyond) for model, pairs in answers.items() if pairs}
    return report.model_copy(update={"sittings": sat})


def sitting(answers: Answered, outside: Iterable[str] = ()) -> Sitting:
    """How one model sat the exam. outside: ids of cases from conditions kept out of the knowledge base."""
    beyond = set(outside)
    traces = [trace for trace, _ in answers if trace is not None]
    grades = [grade for _, grade in answers]
    came_to = [_outcome(grade) for grade in grades]
    return Sitting(
        answers=len(answers),
        asked=_asked(traces),
        outcomes={name: came_to.count(name) for name in OUTCOMES if name in came_to},
        cut=sum(trace.finish == "length" for trace in traces) if traces else None,
        reasoning=audits.shares(audits.audit(grades)),
        lengths=_lengths([pair for pair in answers if pair[1].case_id not in beyond and pair[1].correct is not None]),
    )


def noise(model: str, how: str, first: Sequence[Grade], second: Sequence[Grade]) -> Noise:
    """What changed between two sets of grades of one model, paired by case as in a comparison."""
    again = {mark.case_id: mark.correct for mark in from_grades(second)}
    marks = [(mark.correct, again.get(mark.case_id), mark.case_id) for mark in from_grades(first)]
    graded = {case: (a, b) for a, b, case in marks if a is not None and b is not None}
    answers = {(grade.case_id, grade.sample): grade.answer for grade in second}
    changed = {grade.case_id for grade in first if grade.answer != answers.get((grade.case_id, grade.sample))}
    return Noise(
        model=model,
        how=how,
        cases=len(graded),
        changed=len(changed & graded.keys()),
        only_first=sum(a and not b for a, b in graded.values()),
        only_second=sum(b and not a for a, b in graded.values()),
    )


def _outcome(grade: Grade) -> str:
    answer = grade.answer
    if grade.correct is None:
        return "not gradable"
    if grade.correct:
        return grade.level or ("right abstention" if answer.abstained else "right")
    for name, said in (("unreadable", answer.unreadable), ("refused", answer.refused), ("abstained", answer.abstained)):
        if said:
            return name
    return "missed" if grade.near_rank is None else "near"


def _asked(traces: Sequence[Trace]) -> dict[str, str]:
    """Engine, template and sampling; several values of one are joined."""
    told = {
        "engine": [trace.engine for trace in traces],
        "template": [trace.prompt.template for trace in traces],
        "temperature": [f"{trace.sampling.temperature:g}" for trace in traces],
        "top-p": [f"{trace.sampling.top_p:g}" for trace in traces],
        "tokens at most": [f"{trace.sampling.max_tokens:,}" for trace in traces],
        "thinking tokens at most": [
            "no limit" if trace.sampling.thinking_budget is None else f"{trace.sampling.thinking_budget:,}"
            for trace in traces
        ],
        "answers a case": [str(trace.sampling.samples) for trace in traces],
        "seed": [str(trace.sampling.seed) for trace in traces],
    }
    return {name: ", ".join(dict.fromkeys(values)) for name, values in told.items() if values}


def _lengths(answers: Answered) -> tuple[Stretch, ...]:
    """Accuracy and time by the length of the thoughts; answers without a thought are a stretch of their own."""
    thought = sorted(grade.thinking_tokens for _, grade in answers if grade.thinking_tokens > 0)
    # Equal lengths stay together, so a group can be larger than its part.
    last = (max(0, len(thought) * part // PARTS - 1) for part in range(1, PARTS + 1))
    edges = sorted({thought[place] for place in last}) if thought else []
    lows = [0, *edges]
    found = []
    for low, high in zip([-1, *lows[:-1]], lows, strict=True):
        within = [(trace, grade) for trace, grade in answers if low < grade.thinking_tokens <= high]
        if not within:
            continue
        tokens = [grade.thinking_tokens for _, grade in within]
        seconds = [s for trace, grade in within if (s := seconds_of(trace, grade)) is not None]
        name = "no thoughts" if not high else f"{min(tokens):,} to {max(tokens):,} tokens"
        found.append(
            Stretch(
                shortest=min(tokens),
                longest=max(tokens),
                right=_right(name, [grade for _, grade in within]),
                seconds=median(seconds) if seconds else None,
            )
        )
    return tuple(found)


def _right(name: str, grades: Sequence[Grade]) -> Share:
    return audits.share(name, audits.rate(grades, lambda grade: (int(grade.correct is True), 1)))


def seconds_of(trace: Trace | None, grade: Grade) -> float | None:
    """Seconds of an answer, from its trace where it tells them."""
    return grade.total_s if trace is None or trace.total_s is None else trace.total_s


def columns_of(tables: Iterable[Figures]) -> dict[str, Column]:
    """The columns that any row fills, known ones first and in order."""
    filled = [key for table in tables for key, value in table.items() if value is not None]
    known = {key: column for key, column in COLUMNS.items() if key in filled}
    return known | {key: Column(key.replace("_", " "), "plain") for key in filled if key not in COLUMNS}


def written(value: float | int | str | bool | None, column: Column) -> str:
    """A figure as it stands in a table; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, str | bool):
        return str(value)
    match column.unit:
        case "share":
            return words.percent(value)
        case "count":
            return f"{value:,.0f}"
        case "tokens":
            return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
        case "seconds":
            return f"{value:.2f} s"
        case "bytes":
            return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.2f} MB"
        case "bits":
            return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _mean(grades: Sequence[Grade], of: Callable[[Grade], float]) -> float | None:
    by_case: dict[str, list[float]] = {}
    for grade in grades:
        by_case.setdefault(grade.case_id, []).append(of(grade))
    return fmean(fmean(values) for values in by_case.values()) if by_case else None


def _ratio(grades: Sequence[Grade], of: Callable[[Grade], tuple[int, int]]) -> float | None:
    parts = [of(grade) for grade in grades]
    total = sum(part[1] for part in parts)
    return sum(part[0] for part in parts) / total if total else None
