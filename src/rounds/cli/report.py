"""`rounds report RUN`: make report.html anew from a run's report.json, cases, answers and grades.

Left out on purpose: judging anew. The findings are those of report.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "write report.html of a run from its report.json, cases, answers and grades"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="directory of a run, as runs/tiny")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where to write the page (RUN/report.html)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is; 0 whatever the findings are, since nothing is judged here."""
    from rounds.exam import words
    from rounds.exam.remake import PAGE, write_page

    page = arguments.html or arguments.run_dir / PAGE
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
