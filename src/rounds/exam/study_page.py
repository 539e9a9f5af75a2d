"""The page of a study: Cochran's Q, every model, every named pair on one axis, then by group, then all pairs.

Made as the page of a run is (`rounds.exam.report`): one static file, no script, one style sheet allowed by its hash.
Left out on purpose: single cases, which have a page of their own in the form of that report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rounds.exam import figures, plots, words
from rounds.exam.page import EVIDENCE, page
from rounds.exam.study_result import Omnibus, Result
from rounds.files import write_text
from rounds.records import Report, Verdict

COLUMNS = ("cases", "right", "top1", "unreadable", "thinking_tokens", "seconds")
"""Figures of a model that are shown; those no model has are left out."""


@dataclass(frozen=True, slots=True)
class Group:
    """The cells of one column, a row each value and a bar each pair."""

    title: str
    pairs: tuple[tuple[str, plots.Forest], ...]


def write_page(result: Result, path: Path, cases_page: str) -> None:
    """Write the page, whole or not at all. cases_page: address of the page with every case.

    Raises:
        UserError: full disk, no permission.
    """
    write_text(path, render(result, cases_page))


def render(result: Result, cases_page: str) -> str:
    """The page as text."""
    report = result.report
    return page(
        "study.html.j2",
        report=report,
        omnibus=omnibus_sentences(result.omnibus, report.alpha),
        banner=words.banner(report),
        evidence=EVIDENCE[report.evidence],
        models=_models(report),
        named=_overall(report.verdicts, report.margin),
        sentences=tuple(words.verdict_sentence(verdict, report.margin) for verdict in report.verdicts),
        groups=_groups(report),
        every=_overall(result.all_pairs, report.margin),
        cases_page=cases_page,
        width=plots.FOREST,
    )


def omnibus_sentences(found: Omnibus, alpha: float) -> tuple[str, str]:
    """Cochran's Q in words: what it is, and what it says."""
    left_out = f"; {found.left_out:,} cases that some were not graded on are left out" if found.left_out else ""
    first = (
        f"Cochran's Q = {found.q:.2f} on {found.degrees} degrees of freedom, p {words.p_value(found.p)}, "
        f"over {found.cases:,} cases graded for all {found.models} models{left_out}."
    )
    if found.cases == 0:
        return first, "No case was graded for every model, so nothing was shown."
    if found.p < alpha:
        return first, "Somewhere among the models is a difference that chance does not explain."
    return first, "No difference among the models was shown. This does not say that they are equal."


def _models(report: Report) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """Column titles, and a row each model."""
    known = {**figures.COLUMNS, "right": figures.Column("right", "share")}
    shown = [key for key in COLUMNS if any(row.get(key) is not None for row in report.models.values())]
    rows = []
    for name, row in report.models.items():
        cells = []
        for key in shown:
            text = figures.written(row.get(key), known[key])
            low, high = row.get("low"), row.get("high")
            if key == "right" and row.get(key) is not None and isinstance(low, float) and isinstance(high, float):
                text += f" ({100 * low:.1f} to {100 * high:.1f})"
            cells.append(text)
        rows.append((name, tuple(cells)))
    titles = {"right": "right (95 % Wilson interval)"}
    return tuple(titles.get(key, known[key].label) for key in shown), tuple(rows)


def _overall(verdicts: Sequence[Verdict], margin: float) -> tuple[tuple[Verdict, plots.Bar, plots.Axis], ...]:
    """Each verdict with its bar; all bars share one axis."""
    drawn = plots.forest(verdicts, margin, plots.FOREST)
    return tuple((verdict, bar, drawn.axis) for verdict, bar in zip(verdicts, drawn.bars, strict=True))


def _groups(report: Report) -> tuple[Group, ...]:
    """By column: each named pair with its overall difference and one bar a value."""
    columns = dict.fromkeys(cell.group.partition("=")[0] for cell in report.cells)
    overall = [verdict for verdict in report.verdicts if verdict.arm == "accuracy"]
    groups = []
    for column in columns:
        pairs = []
        for whole in overall:
            cells = [
                cell
                for cell in report.cells
                if (cell.before, cell.after) == (whole.before, whole.after) and cell.group.partition("=")[0] == column
            ]
            drawn = plots.forest([whole, *cells], report.margin, plots.FOREST)
            pairs.append((f"{whole.after} against {whole.before}", drawn))
        groups.append(Group(column.replace("*", " and "), tuple(pairs)))
    return tuple(groups)
