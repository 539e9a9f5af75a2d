"""`rounds plan`: memory, disk and cases a recipe needs, before anything starts.

Exit code 0 whatever it finds: it says, it does not stop. Left out on purpose: time (tokens are given instead).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.chain.plan import Exam, Need, Plan

HELP = "Say what a recipe needs of memory, disk and cases before anything starts."

WIDE = 26
"""Columns of a stage's name."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("recipe", metavar="RECIPE", help="name of a shipped recipe, or a path ending in .toml")
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory that trains, such as 24GiB: a GPU's, or RAM (default: this machine's RAM)",
    )
    parser.add_argument(
        "--ram", metavar="SIZE", help="RAM for the stages of the CPU engine, beside a GPU (default: as --memory)"
    )
    parser.add_argument(
        "--discordance",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of exam cases on which two models are taken to differ (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; 0."""
    from rounds import recipe
    from rounds.chain.plan import machine_memory, plan
    from rounds.records import UserError

    if not 0 < arguments.discordance <= 1:
        raise UserError(f"--discordance {arguments.discordance} is not a share; give one above 0 and up to 1.")
    memory = machine_memory() if arguments.memory is None else recipe.bytes_of(arguments.memory, "--memory")
    ram = None if arguments.ram is None else recipe.bytes_of(arguments.ram, "--ram")
    found = plan(recipe.read(arguments.recipe), memory, arguments.discordance, ram)
    print(found.model_dump_json() if arguments.json else "\n".join(lines(found)))
    return 0


def lines(found: Plan) -> list[str]:
    """The plan as text."""
    from rounds.chain.plan import gigabytes

    memory = f"memory {gigabytes(found.memory)}"
    memory += f", RAM of the CPU engine {gigabytes(found.ram)}" if found.ram != found.memory else ""
    shown = [f"rounds plan {found.recipe}, {memory}", ""]
    for size in found.models:
        shown.append(
            f"{size.role}: {size.structure}, {size.weights:,} weights, {size.where}; "
            f"{gigabytes(size.bytes_16_bit)} in 16 bit, {gigabytes(size.bytes_32_bit)} in 32, "
            f"{gigabytes(size.bytes_packed)} packed; KV cache {gigabytes(size.kv_bytes_a_token)} a token"
        )
    head = ("weights", "optimiser", "activations", "KV cache", "together", "disk", "tokens")
    shown += ["", f"{'stage':<{WIDE}}" + "".join(f"{name:>12}" for name in head)]
    shown += [_row(need) for need in found.stages]
    shown.append(f"{'all stages':<{WIDE}}" + " " * 60 + f"{gigabytes(found.disk):>12}")
    shown += ["", *_fit(found), "", *_exam(found.exam)]
    return shown


def _row(need: Need) -> str:
    from rounds.chain.plan import gigabytes

    sizes = (need.weights, need.optimiser, need.activations, need.kv, need.memory, need.disk)
    cells = [gigabytes(size) if size else "-" for size in sizes]
    cells.append(f"{need.tokens:,}" if need.tokens else "-")
    return f"{need.stage:<{WIDE}}" + "".join(f"{cell:>12}" for cell in cells) + ("" if need.fits else "  does not fit")


def _fit(found: Plan) -> list[str]:
    from rounds.chain.plan import gigabytes

    if found.fits:
        return ["Every stage fits."]
    there = {"device": found.memory, "RAM": found.ram}
    return [
        f"{need.stage} does not fit: {gigabytes(need.memory)} of {gigabytes(there[need.place])}; {need.advice}."
        for need in found.stages
        if not need.fits
    ]


def _exam(exam: Exam) -> list[str]:
    wanted = (
        f"To show 'kept' at a margin of {100 * exam.margin:g} points when two models differ on "
        f"{100 * exam.discordance:g} % of the cases takes {exam.needed:,} cases (80 % power)."
    )
    if exam.cases is None:
        return ["The file of cases is not there yet.", wanted]
    said = "enough" if exam.enough else "too small"
    shown = [
        wanted,
        f"This exam has {exam.cases:,}: {said}. Its power is {exam.power:.0%}; it decides while models differ on at "
        f"most {100 * (exam.decides_up_to or 0):.1f} % of the cases.",
    ]
    if exam.smallest_loss_seen is not None:
        shown.append(
            f"A true loss of {100 * exam.smallest_loss_seen:.1f} points or more is shown as lost at alpha "
            f"{exam.alpha:g} (80 % power)."
        )
    return shown
