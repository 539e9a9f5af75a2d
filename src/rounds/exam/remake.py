"""The page of a run made anew from what lies in its directory. Left out on purpose: judging anew."""

from __future__ import annotations

from pathlib import Path

from rounds.exam import figures, later
from rounds.exam.report import write_report
from rounds.files import read_json, read_jsonl
from rounds.records import Case, Grade, Report, Trace

REPORT, PAGE = "report.json", "report.html"


def refresh(run: Path) -> None:
    """report.html of a run with what was measured since, where the run has a report at all.

    Raises:
        UserError: as `write_page`.
    """
    if (run / REPORT).is_file():
        write_page(run, run / PAGE)


def write_page(run: Path, page: Path) -> Report:
    """Write the page of a run's directory and give the report that it shows.

    Raises:
        UserError: report.json, cases, grades or a later measurement cannot be read, or the page cannot be written.
    """
    report = read_json(run / REPORT, Report)
    cases_file = run / "cases" / "exam.jsonl"
    cases = list(read_jsonl(cases_file, Case)) if cases_file.is_file() else []
    outside = figures.outside_of(cases)
    everything = _answers(run, report)
    if not report.sittings:  # made by an older version, which left this to be counted
        report = figures.with_sittings(report, everything, outside)
    # As in the run: cases outside the knowledge base have figures of their own and are in no pair.
    answers = {
        model: [(trace, grade) for trace, grade in pairs if grade.case_id not in outside]
        for model, pairs in everything.items()
    }
    inside = [case for case in cases if not case.outside]
    write_report(report, inside, answers, page, later=later.read(run))
    return report


def _answers(directory: Path, report: Report) -> dict[str, list[tuple[Trace | None, Grade]]]:
    """Grades with their traces of every model that sat the exam; a model without grades is left out."""
    found: dict[str, list[tuple[Trace | None, Grade]]] = {}
    judged = (name for verdict in report.verdicts for name in (verdict.before, verdict.after))
    for model in dict.fromkeys((*report.models, *judged)):
        grades, traces = (directory / "grades" / model / name for name in ("grades.jsonl", "traces.jsonl"))
        if not grades.is_file():
            continue
        said: dict[tuple[str, int], Trace] = {}
        if traces.is_file():
            said = {(trace.prompt.case_id, trace.sample): trace for trace in read_jsonl(traces, Trace)}
        found[model] = [(said.get((grade.case_id, grade.sample)), grade) for grade in read_jsonl(grades, Grade)]
    return found
