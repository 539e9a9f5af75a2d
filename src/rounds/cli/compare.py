"""`rounds compare BEFORE AFTER`: a gate for anyone's CI. Exit 0 kept or gained, 1 lost, 2 usage, 3 too few cases.

Left out on purpose: asking a model anything. The marks are already there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rounds.exam.marks import Mark
    from rounds.records import Grade, Trace, Verdict

HELP = "compare two models on the same cases: gained, kept, lost or too few cases"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("before", metavar="BEFORE", type=Path, help="marks of the model before (Grade or plain JSONL)")
    parser.add_argument("after", metavar="AFTER", type=Path, help="marks of the model after, on the same cases")
    parser.add_argument(
        "--margin", type=float, required=True, help="largest loss you would accept, as a share: 0.02 is two points"
    )
    parser.add_argument("--why-margin", default="", help="the clinical reason for that margin; needed by --html")
    parser.add_argument("--alpha", type=float, default=0.01, help="level of the tests for loss and gain (0.01)")
    parser.add_argument(
        "--by", default="", metavar="COLUMNS", help="columns to split by, commas between; a*b crosses two"
    )
    parser.add_argument(
        "--evidence",
        choices=("synthetic", "public", "local-reviewed"),
        default="synthetic",
        help="kind of the cases, for the page: only local-reviewed can show proven (synthetic)",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to look at")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print, and give the exit code of the findings."""
    from rounds.exam.compare import check_rules, compare_marks, exit_code
    from rounds.exam.marks import read_marks
    from rounds.records import UserError

    check_rules(arguments.margin, arguments.alpha)
    if arguments.html and not arguments.why_margin.strip():
        raise UserError("--html needs --why-margin: a page with a margin must say why; give the clinical reason.")
    names = _names(arguments.before, arguments.after)
    marks = {name: read_marks(path) for name, path in zip(names, (arguments.before, arguments.after), strict=True)}
    verdicts = compare_marks(
        marks[names[0]],
        marks[names[1]],
        names=names,
        margin=arguments.margin,
        alpha=arguments.alpha,
        by=[column.strip() for column in arguments.by.split(",") if column.strip()],
    )
    if arguments.html:
        _write_page(arguments, names, marks, verdicts)
    if arguments.json:
        print(json.dumps(as_json(verdicts, arguments.margin, arguments.alpha), indent=1))
    else:
        print(as_text(verdicts, arguments.margin, arguments.alpha))
    return exit_code(verdicts)


def as_json(verdicts: Sequence[Verdict], margin: float, alpha: float) -> dict[str, Any]:
    """`overall`, `groups` by column and value, `holm` by arm; `red_flags` beside `overall` where marks have them."""
    decided = [verdict for verdict in verdicts if verdict.finding is not None]
    groups: dict[str, dict[str, Any]] = {}
    for cell in verdicts:
        if cell.finding is None:
            column, _, value = cell.group.partition("=")
            groups.setdefault(column, {})[value] = _figures(cell)
    by_arm = {verdict.arm: verdict for verdict in decided}
    flags = {"red_flags": _figures(by_arm["red flags"])} if "red flags" in by_arm else {}
    return {
        "overall": _figures(by_arm["accuracy"]),
        **flags,
        "groups": groups,
        "holm": {arm: verdict.p_holm for arm, verdict in by_arm.items()},
        "alpha": alpha,
        "margin": margin,
    }


def _figures(verdict: Verdict) -> dict[str, Any]:
    return {
        "n": verdict.n,
        "both": verdict.both,
        "only_before": verdict.only_before,
        "only_after": verdict.only_after,
        "neither": verdict.neither,
        "unpaired_before": verdict.unpaired_before,
        "unpaired_after": verdict.unpaired_after,
        "ungradable": verdict.ungradable,
        "difference": verdict.difference,
        "tango": [verdict.tango.low, verdict.tango.high],
        "newcombe": [verdict.newcombe.low, verdict.newcombe.high],
        "p_exact": verdict.p_exact,
        "p_midp": verdict.p_midp,
        "p_noninferior": verdict.p_noninferior,
        "finding": verdict.finding,
        "cases_needed": verdict.cases_needed,
        "minimum_detectable": verdict.minimum_detectable,
    }


def as_text(verdicts: Sequence[Verdict], margin: float, alpha: float) -> str:
    """A few lines for a terminal, in plain ASCII signs."""
    from rounds.exam import words

    lines: list[str] = []
    for verdict in verdicts:
        if verdict.finding is None:
            continue
        noninferior = (
            "" if verdict.p_noninferior is None else f", non-inferiority p {words.p_value(verdict.p_noninferior)}"
        )
        left_out = f"{verdict.unpaired_before} only before, {verdict.unpaired_after} only after"
        lines += [
            f"{verdict.arm}: {verdict.finding}",
            f"  {words.verdict_sentence(verdict, margin)}",
            f"  difference {words.points(verdict.difference)} points, 95 % interval {words.interval(verdict)} (Tango), "
            f"{verdict.n} cases",
            f"  both right {verdict.both}, only before {verdict.only_before}, only after {verdict.only_after}, "
            f"neither {verdict.neither}",
            f"  exact p {words.p_value(verdict.p_exact)}, mid-p {words.p_value(verdict.p_midp)}{noninferior}",
            f"  left out: {left_out}, {verdict.ungradable} not gradable",
        ]
    cells = [verdict for verdict in verdicts if verdict.finding is None]
    if cells:
        width = max(len(cell.group) for cell in cells)
        lines.append("by group (an interval each, no finding):")
        lines += [
            f"  {cell.group:<{width}}  {words.points(cell.difference):>6}  ({words.interval(cell)})  {cell.n} cases"
            for cell in cells
        ]
    lines.append(f"margin {words.points(margin, signed=False)} points, alpha {alpha}")
    return "\n".join(lines).replace("−", "-")


def _names(before: Path, after: Path) -> tuple[str, str]:
    """The shortest ends of the two paths that tell them apart: `distilled`, `packed` for two `grades.jsonl`."""
    from rounds.records import UserError

    if before.stem != after.stem:
        return before.stem, after.stem
    here, there = before.absolute(), after.absolute()
    if here == there:
        raise UserError(f"{before}: is given twice; compare it with the marks of another model.")
    for old, new in zip(reversed(here.parts[:-1]), reversed(there.parts[:-1]), strict=False):
        if old != new:
            return old, new
    return str(before), str(after)


def _write_page(
    arguments: argparse.Namespace,
    names: tuple[str, str],
    marks: dict[str, list[Mark]],
    verdicts: Sequence[Verdict],
) -> None:
    from rounds.exam.report import write_report
    from rounds.files import digest
    from rounds.records import Report

    report = Report(
        title=f"{names[1]} against {names[0]}",
        alpha=arguments.alpha,
        margin=arguments.margin,
        why_margin=arguments.why_margin,
        evidence=arguments.evidence,
        verdicts=tuple(verdict for verdict in verdicts if verdict.finding is not None),
        cells=tuple(verdict for verdict in verdicts if verdict.finding is None),
        digests={name: digest(path) for name, path in zip(names, (arguments.before, arguments.after), strict=True)},
    )
    answers: dict[str, list[tuple[Trace | None, Grade]]] = {}
    write_report(report, (), answers, arguments.html, marks=marks)
