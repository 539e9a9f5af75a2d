"""`rounds run`: a whole recipe, from cases to the verdict, and the table that says what was shown.

Exit codes: 0 all kept or gained, 1 a step lost, 3 too few cases to tell. Left out on purpose: the page itself
(`rounds report`), serving (`rounds serve`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rounds.cli import stages

if TYPE_CHECKING:
    from rounds.chain.run import Outcome
    from rounds.records import Report, Verdict

HELP = "Run a whole recipe: cases, teacher, student, GRPO, 4 bits, exam, report."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)
    parser.add_argument(
        "--keep-going", action="store_true", help="go on after a step that is lost; the passport says so"
    )
    parser.add_argument("--jobs", type=int, default=0, help="stages side by side (default: two; one with a checkpoint)")
    parser.add_argument("--stage", metavar="NAME", help="make one stage only, in this process")


def run(arguments: argparse.Namespace) -> int:
    """Run what is not fresh, print the verdicts, and return the gate's exit code."""
    if arguments.stage:
        return stages.run_stages(arguments, "run", [arguments.stage])
    from rounds import recipe
    from rounds.chain.run import run_all

    chosen = recipe.read(arguments.recipe)
    place = stages.directory(arguments, chosen.name)
    source = recipe.find(arguments.recipe)
    outcome = run_all(chosen, source, place, keep_going=arguments.keep_going, jobs=arguments.jobs)
    if arguments.json:
        print(outcome.judgement.report.model_dump_json())
    else:
        print("\n".join(table(outcome, place)))
    if outcome.lost is not None:
        sentence = f"{outcome.lost}. The run stops here; --keep-going goes on, and the passport says so."
        print(f"rounds: {sentence}", file=sys.stderr)
    return outcome.code


def table(outcome: Outcome, place: Path) -> list[str]:
    """The verdicts as text, then where the report is and how to serve."""
    made, fresh = len(outcome.made), len(outcome.steps) - len(outcome.made)
    return [
        *verdict_table(outcome.judgement.report),
        "",
        f"{made} stages made, {fresh} fresh, {outcome.seconds:.0f} s",
        f"report: {place / 'report.html'}",
        f"serve:  rounds serve {place}{' --unproven' if outcome.code == 1 else ''}",
    ]


def verdict_table(report: Report) -> list[str]:
    """What a report shows, as lines of text: comparisons, then every model beside its ceiling and its baselines."""
    lines = [f"{'comparison':<34} {'arm':<10} {'before':>7} {'after':>7} {'change':>7}  {'95 % interval':<14} finding"]
    lines += [_line(verdict) for verdict in report.verdicts]
    lines += ["", f"{'on the same cases':<38} {'top-1':>6} {'top-5':>6}"]
    for name, row in {**report.baselines, **report.models}.items():
        lines.append(f"{name:<38} {_percent(row.get('top1'))} {_percent(row.get('top5'))}")
    lines += ["", f"margin {report.margin:g}: {report.why_margin}; alpha {report.alpha:g}"]
    if report.evidence == "synthetic":
        lines.append("evidence: synthetic. Demonstration, not for patients.")
    else:
        lines.append(f"evidence: {report.evidence}")
    return lines


def _line(verdict: Verdict) -> str:
    before = (verdict.both + verdict.only_before) / max(1, verdict.n)
    after = (verdict.both + verdict.only_after) / max(1, verdict.n)
    span = f"{100 * verdict.tango.low:+.1f} to {100 * verdict.tango.high:+.1f}"
    return (
        f"{verdict.before + ' -> ' + verdict.after:<34} {verdict.arm:<10} {before:>7.1%} {after:>7.1%} "
        f"{100 * verdict.difference:>+7.1f}  {span:<14} {verdict.finding}"
    )


def _percent(value: object) -> str:
    return f"{value:>6.1%}" if isinstance(value, float | int) else f"{'-':>6}"
