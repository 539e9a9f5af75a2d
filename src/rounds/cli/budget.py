"""`rounds budget`: how long a model should think. Exits 0 with a budget that is kept, 1 lost on the exam, 3 none shown.

Left out on purpose: choosing by the exam, which opens only for the budget that was chosen on tune cases.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.chain.budget import Given
    from rounds.exam.curve import Curve

HELP = "Answer the tune cases at several thinking budgets, and choose the smallest that loses nothing."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("place", metavar="RUN|CHECKPOINT|ENDPOINT", help="a run, a checkpoint, or an endpoint's URL")
    parser.add_argument(
        "--budgets", type=int, nargs="+", metavar="N", help="thinking tokens to try (default: by length)"
    )
    parser.add_argument("--per-condition", type=int, metavar="N", help="tune cases a condition, drawn anew for a run")
    parser.add_argument("--cases", type=Path, metavar="FILE", help="JSONL of tune cases (default: those of the run)")
    parser.add_argument("--margin", type=float, help="largest loss you would accept (default: the run's recipe)")
    parser.add_argument("--alpha", type=float, help="level of the tests (default: the run's recipe, else 0.01)")
    parser.add_argument(
        "--evidence",
        choices=("synthetic", "public", "local-reviewed"),
        help="what the cases are (default: the run's recipe, else public)",
    )
    parser.add_argument("--timed", type=int, metavar="N", help="answers a budget made one at a time for time (16)")
    parser.add_argument("--exam", action="store_true", help="open the exam once, for the budget that was chosen")
    parser.add_argument("--shorten", action="store_true", help="teach the run's model to think less ([shorten])")
    parser.add_argument("--name", help="the model's name at an endpoint")
    parser.add_argument("--key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable with the endpoint's key")
    parser.add_argument("--template", help="template of the prompts outside a run (default: differential@1)")
    parser.add_argument("--temperature", type=float, help="outside a run: 0 is greedy (default); R1 asks for 0.6")
    parser.add_argument("--max-tokens", type=int, help="outside a run: thinking and reply together (4096)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the results go (default: the run)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Measure, choose, write, print; the exit code is that of the choice."""
    from rounds import files, recipe
    from rounds.chain.budget import PAGE, RECIPE, Given, curve, of_model, of_run, open_exam
    from rounds.engine.choose import is_endpoint
    from rounds.exam.curve_page import write_page
    from rounds.exam.later import BUDGET
    from rounds.exam.remake import refresh
    from rounds.records import UserError
    from rounds.serve.chosen import Serving, write_serving

    given = Given(
        cases=arguments.cases,
        per_condition=arguments.per_condition,
        margin=arguments.margin,
        alpha=arguments.alpha,
        timed=arguments.timed,
        out=arguments.out,
        template=arguments.template,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
    )
    place = Path(arguments.place)
    is_run = not is_endpoint(arguments.place) and (place / RECIPE).is_file()
    if (arguments.exam or arguments.shorten) and not (is_run and given.cases is None and given.out is None):
        option = "--exam" if arguments.exam else "--shorten"
        raise UserError(f"{option} needs a run and its own cases; give the run, and leave --cases and --out out.")
    if arguments.per_condition is not None and (arguments.per_condition < 1 or not is_run):
        raise UserError(f"--per-condition {arguments.per_condition} needs a run and a number above 0, such as 12.")
    if arguments.shorten:
        if arguments.exam or arguments.margin is not None:
            option = "--exam" if arguments.exam else f"--margin {arguments.margin:g}"
            raise UserError(
                f"{option} is not for --shorten, which takes tune cases and the margin of [shorten]; leave it out."
            )
        return _shorten(arguments, place, given)
    subject = of_run(place, given) if is_run else of_model(arguments.place, arguments.name, arguments.key_env, given)
    found = curve(subject, arguments.budgets)
    if arguments.exam and found.chosen is not None:
        verdicts = open_exam(subject, place, found.chosen, found.margin, found.alpha)
        found = found.model_copy(update={"exam": verdicts})
    lost = any(verdict.finding == "lost" for verdict in found.exam)
    kind = recipe.read(str(place / RECIPE)).compare.evidence if is_run else "public"
    evidence = arguments.evidence or kind
    files.write_text(subject.home / BUDGET, found.model_dump_json(indent=1) + "\n")
    write_page(f"Thinking budgets of {found.name}", [found], evidence, subject.home / PAGE)
    refresh(subject.home)
    if is_run and given.out is None:
        why = "lost on the exam, so no limit is set" if lost else found.why
        write_serving(place, Serving(checkpoint=found.model, thinking_budget=None if lost else found.chosen, why=why))
    print(found.model_dump_json(indent=1) if arguments.json else "\n".join(lines(found, subject.home)))
    return 1 if lost else 3 if found.chosen is None else 0


def lines(found: Curve, home: Path) -> list[str]:
    """The curve for a terminal."""
    from rounds.chain.budget import PAGE
    from rounds.exam.later import BUDGET

    told = [*_table(found), found.why]
    told += [f"on the exam: {v.arm} {v.finding}, {100 * v.difference:+.1f} points of {v.n} cases" for v in found.exam]
    return [*told, f"written: {home / BUDGET}, {home / PAGE}"]


def _table(found: Curve) -> list[str]:
    told = [f"{found.name}: {found.cases:,} cases of the {found.split} split, margin {100 * found.margin:g} points"]
    columns = f"{'right':>6}  {'first':>6}  {'thinking':>8}  {'seconds':>8}  {'step errors':>11}  against no limit"
    told.append(f"{'budget':>9}  {columns}")
    for point in found.points:
        rate = point.right.events / point.right.chances if point.right.chances else None
        findings = ", ".join(f"{v.finding} ({v.arm}, {100 * v.difference:+.1f})" for v in point.verdicts)
        told.append(
            f"{point.name:>9}  {_share(rate)}  {_share(point.top1)}  {point.thinking_tokens:>8.1f}  "
            f"{'-' if point.seconds is None else format(point.seconds, '.3f'):>8}  "
            f"{_share(point.step_error_rate):>11}  {findings or '-'}"
        )
    return told


def _share(value: float | None) -> str:
    return f"{'-':>6}" if value is None else f"{value:>6.1%}"


def _shorten(arguments: argparse.Namespace, place: Path, given: Given) -> int:
    from rounds.chain.shorten import PAGE, shorten
    from rounds.exam.shortening import JSON

    found = shorten(place, given, arguments.budgets)
    if arguments.json:
        print(found.model_dump_json(indent=1))
        return found.code
    for curve in found.curves:
        print("\n".join(_table(curve)))
    for way in found.ways:
        print(way.sentence)
    print(f"written: {place / JSON}, {place / PAGE}")
    return found.code
