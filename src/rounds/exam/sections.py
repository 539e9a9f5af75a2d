"""What the page shows beside the comparisons: reasoning, marks, time, noise; from report.json alone, save the dots.

Left out on purpose: counting, which `rounds.exam.figures` and `rounds.exam.audits` have done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rounds.exam import audits, figures, plots, words
from rounds.exam.grid import Answers
from rounds.grade.modes import MODES
from rounds.records import Figures, Report, Share, Sitting, Stretch

OUTCOME_LABELS: Mapping[str, str] = {
    "exact": "hit, same words",
    "synonym": "hit, a synonym of the case or the knowledge base",
    "code": "hit, same ICD-10 code",
    "judge": "hit by a judge model alone",
    "human": "hit by a person",
    "right": "right, not by a diagnosis",
    "right abstention": "rightly abstained",
    "near": "near miss: close, counted as wrong",
    "missed": "missed, or answered where abstaining was right",
    "abstained": "abstained when it should not",
    "refused": "refused",
    "unreadable": "unreadable, counted as wrong",
    "not gradable": "not gradable, left out of every pair",
}
ALWAYS = ("exact", "synonym", "code", "judge", "human", "missed", "unreadable", "not gradable")
"""Shown with 0 as well: that nothing was unreadable is worth saying."""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures written out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Measure:
    """One rate of reasoning for every model it could be counted for."""

    name: str
    standing: str
    drawn: plots.Ranges


@dataclass(frozen=True, slots=True)
class Thinking:
    """Time and accuracy of one model against the length of its thoughts."""

    model: str
    sentence: str
    lengths: plots.Ranges | None
    """None for a model that did not think."""
    dots: plots.Dots | None


@dataclass(frozen=True, slots=True)
class Repeat:
    """Run-to-run noise beside what the comparisons moved."""

    sentence: str
    rows: tuple[tuple[str, str, str, str], ...]
    """What was compared, cases, right on the one side only and on the other."""


def reasoning(report: Report) -> tuple[Measure, ...]:
    """Step errors, hallucinated findings and error modes, a row each model."""
    found: dict[str, list[tuple[str, str, Share]]] = {name: [] for name in (*audits.STEPS, *MODES)}
    for model, sat in report.sittings.items():
        for share in sat.reasoning:
            of = f"{share.events:,} of {share.chances:,}"
            found.setdefault(share.name, []).append((model, of, share))
    return tuple(
        Measure(name, shares[0][2].standing, plots.ranges(shares, plots.FOREST))
        for name, shares in found.items()
        if shares
    )


def outcomes(report: Report) -> Table:
    """What the answers of each model came to, a column each model."""
    sat = report.sittings
    shown = [name for name in figures.OUTCOMES if name in ALWAYS or any(name in one.outcomes for one in sat.values())]
    rows = [(OUTCOME_LABELS[name], tuple(f"{one.outcomes.get(name, 0):,}" for one in sat.values())) for name in shown]
    rows.append(("all answers", tuple(f"{one.answers:,}" for one in sat.values())))
    if any(one.cut is not None for one in sat.values()):
        rows.append(("of these cut short at the limit of tokens", tuple(_count(one.cut) for one in sat.values())))
    return Table(tuple(sat), tuple(rows))


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def judge_sentence(report: Report) -> str:
    """What the hits rest on besides rules; a judge of unknown agreement is called not validated."""
    ruled = sum(sat.outcomes.get("judge", 0) for sat in report.sittings.values())
    people = sum(sat.outcomes.get("human", 0) for sat in report.sittings.values())
    by_people = f" {people:,} hits were ruled by people." if people else ""
    if ruled:
        return (
            f"{ruled:,} hits rest on a judge model. Its agreement with people is not in this run: not validated."
            + by_people
        )
    return "No hit rests on a judge model: there is no agreement of one to show." + by_people


def unpaired_sentence(report: Report) -> str:
    """Cases that a comparison could not use, summed up."""
    short = [v for v in report.verdicts if v.unpaired_before or v.unpaired_after or v.ungradable]
    if not short:
        return "Every case was paired in every comparison: none was left out."
    parts = [
        f"{v.after} against {v.before} ({v.arm}): {v.unpaired_before:,} answered only before, "
        f"{v.unpaired_after:,} only after, {v.ungradable:,} not gradable"
        for v in short
    ]
    return "Left out of the pairs: " + "; ".join(parts) + "."


def thinking(report: Report, scatter: plots.Scatter | None) -> tuple[Thinking, ...]:
    """Every model, those that thought with a picture."""
    found = []
    for model, sat in report.sittings.items():
        thought = [stretch for stretch in sat.lengths if stretch.longest > 0]
        dots = scatter.models.get(model) if scatter is not None else None
        drawn = None
        if thought:
            rows = [(stretch.right.name, _stretch(stretch), stretch.right) for stretch in sat.lengths]
            drawn = plots.ranges(rows, plots.FOREST, top=1.0)
        found.append(Thinking(model, _thought(sat, dots), drawn, dots))
    return tuple(found)


def _stretch(stretch: Stretch) -> str:
    timed = "" if stretch.seconds is None else f", {stretch.seconds:.2f} s"
    return f"{stretch.right.chances:,}{timed}"


def _thought(sat: Sitting, dots: plots.Dots | None) -> str:
    if sat.lengths and all(stretch.longest == 0 for stretch in sat.lengths):
        right, seconds = sat.lengths[0].right, sat.lengths[0].seconds
        timed = "" if seconds is None else f", median {seconds:.2f} s an answer"
        return f"did not think: {words.percent(right.events / right.chances)} right{timed}."
    if dots is None:
        return "was not timed."
    return f"median {dots.median_tokens:,.0f} thinking tokens, {dots.median_seconds:.2f} s an answer."


def noise(report: Report) -> Repeat | None:
    """The same model twice, above what each comparison of accuracy moved."""
    twice = report.noise
    if twice is None:
        return None
    moved = twice.only_first + twice.only_second
    sentence = (
        f"{twice.model} answered {twice.cases:,} cases a second time, {twice.how}. "
        f"The answers to {twice.changed:,} were not the same, and {moved:,} changed between right and wrong."
    )
    rows = [(f"{twice.model}, twice", *_moved(twice.cases, twice.only_first, twice.only_second))]
    rows += [
        (f"{v.after} against {v.before}", *_moved(v.n, v.only_before, v.only_after))
        for v in report.verdicts
        if v.arm == "accuracy"
    ]
    return Repeat(sentence, tuple(rows))


def _moved(cases: int, one: int, other: int) -> tuple[str, str, str]:
    share = words.percent((one + other) / cases) if cases else "–"
    return f"{cases:,}", f"{one:,} and {other:,}", share


def asked(report: Report) -> dict[str, dict[str, str]]:
    """How the models were asked: one entry where all were asked alike."""
    told = {model: sat.asked for model, sat in report.sittings.items() if sat.asked}
    first = next(iter(told.values()), {})
    return {"every model": first} if first and all(one == first for one in told.values()) else told


def by_row(tables: Mapping[str, Figures]) -> Table:
    """One row a name: for few figures of names that are long."""
    columns = figures.columns_of(tables.values())
    rows = tuple(
        (name, tuple(figures.written(table.get(key), column) for key, column in columns.items()))
        for name, table in tables.items()
    )
    return Table(tuple(column.label for column in columns.values()), rows)


def by_column(tables: Mapping[str, Figures]) -> Table:
    """One row a figure, one column a name: for many figures."""
    rows = tuple(
        (column.label, tuple(figures.written(table.get(key), column) for table in tables.values()))
        for key, column in figures.columns_of(tables.values()).items()
    )
    return Table(tuple(tables), rows)


def timed(answers: Answers) -> plots.Scatter | None:
    """The dots of every answer that thought and was timed."""
    return plots.scatter(
        {
            model: [(grade.thinking_tokens, figures.seconds_of(trace, grade)) for trace, grade in pairs]
            for model, pairs in answers.items()
        }
    )
