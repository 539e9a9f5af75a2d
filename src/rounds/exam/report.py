"""The page a person looks at: one static file, no script, nothing fetched, printable, readable without colour.

report.json holds every figure (the gate, the passport and this page read it); report.html is made from it, and takes
from the run's cases and answers the grid, the texts and the dots alone. Every text passes the template's escaping, and
the page's own policy (a Content-Security-Policy that allows one style sheet by its hash) would stop what slipped
through. Left out on purpose: deciding anything, which `rounds.exam.compare` has done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rounds.exam import plots, sections, tripod, words
from rounds.exam.grid import DETAILED, LABEL, ORDER, Answers, Grid, grid
from rounds.exam.later import Later
from rounds.exam.marks import Mark, from_grades
from rounds.exam.page import EVIDENCE, page
from rounds.files import write_text
from rounds.records import Case, Report, Verdict

NOTHING = Later()


@dataclass(frozen=True, slots=True)
class Judged:
    """One verdict as a card."""

    verdict: Verdict
    sentence: str
    strip: plots.Forest
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """All that the page says about one pair of models."""

    anchor: str
    before: str
    after: str
    judged: tuple[Judged, ...]
    forests: tuple[tuple[str, plots.Forest], ...]
    grid: Grid | None


def write_json(report: Report, path: Path) -> None:
    """Write the report as one JSON document, whole or not at all.

    Raises:
        UserError: full disk, no permission.
    """
    write_text(path, report.model_dump_json(indent=1) + "\n")


def write_report(
    report: Report,
    cases: Sequence[Case],
    answers: Answers,
    path: Path,
    *,
    marks: Mapping[str, Sequence[Mark]] | None = None,
    later: Later = NOTHING,
) -> None:
    """Write the page.

    answers: by the names that the verdicts bear; a model without any gets no grid. marks: where there are no grades
    to take them from (plain JSONL), by the same names. later: what was measured after the exam.

    Raises:
        UserError: full disk, no permission.
    """
    write_text(path, render(report, cases, answers, marks=marks, later=later))


def render(
    report: Report,
    cases: Sequence[Case],
    answers: Answers,
    *,
    marks: Mapping[str, Sequence[Mark]] | None = None,
    later: Later = NOTHING,
) -> str:
    """The page as text."""
    marked = {model: from_grades(grade for _, grade in pairs) for model, pairs in answers.items()} | dict(marks or {})
    by_id = {case.id: case for case in cases}
    scatter = sections.timed(answers)
    items = tripod.checklist(report, cases)
    return page(
        "report.html.j2",
        report=report,
        banner=words.banner(report),
        evidence=EVIDENCE[report.evidence],
        sections=_sections(report, marked, by_id, answers),
        models=sections.by_column(report.models),
        baselines=sections.by_row(report.baselines),
        reasoning=sections.reasoning(report),
        outcomes=sections.outcomes(report),
        judge_sentence=sections.judge_sentence(report),
        unpaired_sentence=sections.unpaired_sentence(report),
        scatter=scatter,
        thinking=sections.thinking(report, scatter),
        noise=sections.noise(report),
        ladder=sections.by_row({str(rung): row for rung, row in enumerate(report.ladder, start=1)}),
        asked=sections.asked(report),
        budget=later.budget_of(report.digests),
        shortening=later.shortening_of(report.digests),
        safety=later.safety_of(report.digests),
        tripod=items,
        tripod_counts=tripod.counts(items),
        opened=words.opened(report.exam_opened),
        order=ORDER,
        label=LABEL,
        detailed=DETAILED,
        strip_width=plots.STRIP,
        scatter_size=(plots.SCATTER_WIDTH, plots.SCATTER_HEIGHT),
    )


def _sections(
    report: Report, marks: Mapping[str, Sequence[Mark]], cases: Mapping[str, Case], answers: Answers
) -> list[Section]:
    names = list(dict.fromkeys((verdict.before, verdict.after) for verdict in report.verdicts))
    found = []
    for number, (before, after) in enumerate(names, start=1):
        verdicts = [v for v in report.verdicts if (v.before, v.after) == (before, after)]
        cells = [v for v in report.cells if (v.before, v.after) == (before, after)]
        graded = before in marks and after in marks
        some = {name: answers[name] for name in (before, after) if name in answers}
        found.append(
            Section(
                anchor=f"comparison-{number}",
                before=before,
                after=after,
                judged=tuple(_judged(verdict, report) for verdict in verdicts),
                forests=_forests(verdicts, cells, report.margin),
                grid=grid((before, after), marks[before], marks[after], cases, some) if graded else None,
            )
        )
    return found


def _judged(verdict: Verdict, report: Report) -> Judged:
    strip = plots.forest([verdict], report.margin, plots.STRIP)
    shown = [
        ("difference (95 % Tango interval)", f"{words.points(verdict.difference)} points ({words.interval(verdict)})"),
        ("exact McNemar, two-sided", f"p {words.p_value(verdict.p_exact)}"),
        ("mid-p", f"p {words.p_value(verdict.p_midp)}"),
    ]
    if verdict.p_holm is not None and verdict.difference > 0:
        shown.append(("exact p after Holm, as a gain", f"p {words.p_value(verdict.p_holm)}"))
    if verdict.p_noninferior is not None:
        limit = words.points(report.margin, signed=False)
        shown.append((f"non-inferiority at {limit} points, one-sided", f"p {words.p_value(verdict.p_noninferior)}"))
    newcombe = f"{words.points(verdict.newcombe.low)} to {words.points(verdict.newcombe.high)}"
    shown.append(("Newcombe interval, as a cross-check", newcombe))
    if verdict.cases_needed is not None and verdict.finding == "too few cases":
        shown.append(("cases needed at this disagreement", f"about {verdict.cases_needed:,}"))
    smallest = verdict.minimum_detectable
    detectable = "none" if smallest is None else f"{words.points(smallest, signed=False)} points"
    shown.append(("smallest true loss seen with 80 % power", detectable))
    unpaired = f"{verdict.unpaired_before} only before, {verdict.unpaired_after} only after"
    shown.append(("cases left out", f"{unpaired}, {verdict.ungradable} not gradable"))
    return Judged(verdict, words.verdict_sentence(verdict, report.margin), strip, tuple(shown))


def _forests(
    verdicts: Sequence[Verdict], cells: Sequence[Verdict], margin: float
) -> tuple[tuple[str, plots.Forest], ...]:
    overall = [verdict for verdict in verdicts if verdict.arm == "accuracy"][:1]
    columns = dict.fromkeys(cell.group.partition("=")[0] for cell in cells)
    return tuple(
        (
            column.replace("*", " and "),
            plots.forest([*overall, *(c for c in cells if c.group.partition("=")[0] == column)], margin, plots.FOREST),
        )
        for column in columns
    )
