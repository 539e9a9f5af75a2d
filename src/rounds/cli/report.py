"""`rounds report RUN`: make report.html anew from a run's report.json, cases, answers and grades.

Left out on purpose: judging anew. The findings are those of report.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.records import Grade, Report, Trace

HELP = "write report.html of a run from its report.json, cases, answers and grades"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="directory of a run, as runs/tiny")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where to write the page (RUN/report.html)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is; 0 whatever the findings are, since nothing is judged here."""
    from rounds.exam import words

    page = arguments.html or arguments.run_dir / "report.html"
    report = write_page(arguments.run_dir, page)
    banner = words.banner(report)
    if arguments.json:
        findings = [{"before": v.before, "after": v.after, "arm": v.arm, "finding": v.finding} for v in report.verdicts]
        print(json.dumps({"html": str(page), "status": banner.kind, "why": banner.why, "verdicts": findings}, indent=1))
        return 0
    for verdict in report.verdicts:
        line = f"{verdict.after} against {verdict.before} ({verdict.arm}): {verdict.finding}"
        print(f"{line}, {words.points(verdict.difference)} points ({words.interval(verdict)})".replace("−", "-"))
    print(f"{banner.headline}. {banner.why}")
    print(page)
    return 0


def write_page(run: Path, page: Path) -> Report:
    """Write the page of a run's directory and give the report that it shows.

    Raises:
        UserError: report.json, cases or grades cannot be read, or the page cannot be written.
    """
    from rounds.exam import figures
    from rounds.exam.report import write_report
    from rounds.files import read_json, read_jsonl
    from rounds.records import Case, Report

    report = read_json(run / "report.json", Report)
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
    write_report(report, [case for case in cases if not case.outside], answers, page)
    return report


def _answers(directory: Path, report: Report) -> dict[str, list[tuple[Trace | None, Grade]]]:
    """Grades with their traces of every model a verdict names; a model without grades is left out."""
    from rounds.files import read_jsonl
    from rounds.records import Grade, Trace

    found: dict[str, list[tuple[Trace | None, Grade]]] = {}
    for model in dict.fromkeys(name for verdict in report.verdicts for name in (verdict.before, verdict.after)):
        grades, traces = (directory / "grades" / model / name for name in ("grades.jsonl", "traces.jsonl"))
        if not grades.is_file():
            continue
        said: dict[tuple[str, int], Trace] = {}
        if traces.is_file():
            said = {(trace.prompt.case_id, trace.sample): trace for trace in read_jsonl(traces, Trace)}
        found[model] = [(said.get((grade.case_id, grade.sample)), grade) for grade in read_jsonl(grades, Grade)]
    return found
