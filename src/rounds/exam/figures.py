"""One model's figures over an exam, and how each is named and written in a table.

Every figure is an average over cases; samples of a case are averaged within it first. Left out on purpose: comparing
models, which needs pairs (`rounds.exam.compare`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from rounds.exam import words
from rounds.records import Case, Figures, Floor, Grade
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
