"""`rounds plan`: memory, disk, time and cases a recipe needs, before anything starts.

Exit code 0 whatever it finds: it says, it does not stop. Left out on purpose: prices.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.chain.hours import Rates
    from rounds.chain.plan import Exam, Need, Plan

HELP = "Say what a recipe needs of memory, disk, time and cases before anything starts."

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
        "--rate",
        metavar="N",
        help="operations a second of the device that trains, such as 150T (default: measured here)",
    )
    parser.add_argument("--bandwidth", metavar="SIZE", help="bytes a second of its memory, such as 900GB; with --rate")
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
    from rounds.chain.hours import measured, timed
    from rounds.chain.plan import machine_memory, plan
    from rounds.records import UserError

    if not 0 < arguments.discordance <= 1:
        raise UserError(f"--discordance {arguments.discordance} is not a share; give one above 0 and up to 1.")
    memory = machine_memory() if arguments.memory is None else recipe.bytes_of(arguments.memory, "--memory")
    ram = None if arguments.ram is None else recipe.bytes_of(arguments.ram, "--ram")
    stated = _stated(arguments.rate, arguments.bandwidth)
    chosen = recipe.read(arguments.recipe)
    found, here = plan(chosen, memory, arguments.discordance, ram), measured()
    device = stated or (here if ram is None else None)
    found = timed(found, chosen, device, here)
    print(found.model_dump_json() if arguments.json else "\n".join(lines(found, device, here)))
    return 0


def _stated(rate: str | None, bandwidth: str | None) -> Rates | None:
    from rounds import recipe
    from rounds.chain.hours import Rates
    from rounds.records import UserError

    if rate is None and bandwidth is None:
        return None
    if rate is None or bandwidth is None:
        raise UserError("--rate and --bandwidth belong together; give both of the device, or neither.")
    try:
        return Rates(recipe.bytes_of(rate, "--rate"), recipe.bytes_of(bandwidth, "--bandwidth"))
    except UserError as error:
        raise UserError(f"--rate {rate} --bandwidth {bandwidth} are no rates; give such as 150T and 900GB.") from error


def lines(found: Plan, device: Rates | None, here: Rates) -> list[str]:
    """The plan as text."""
    from rounds.chain.hours import told
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
    head = ("weights", "optimiser", "activations", "KV cache", "together", "disk", "tokens", "time")
    shown += ["", f"{'stage':<{WIDE}}" + "".join(f"{name:>12}" for name in head)]
    shown += [_row(need) for need in found.stages]
    together = told(sum(need.seconds or 0 for need in found.stages))
    shown.append(f"{'all stages':<{WIDE}}" + " " * 60 + f"{gigabytes(found.disk):>12}" + " " * 12 + f"{together:>12}")
    shown += ["", *_fit(found), "", *_time(device, here), "", *_exam(found.exam)]
    return shown


def _time(device: Rates | None, here: Rates) -> list[str]:
    """On what the times rest, and how sure they are."""
    from rounds.chain.hours import SURE
    from rounds.chain.plan import gigabytes

    bandwidth = gigabytes(round(here.bandwidth))
    told = f"measured here: {here.operations / 1e9:,.0f} billion operations and {bandwidth} a second"
    if device is not None and device is not here:
        stated = (
            f"{device.operations / 1e12:,.4g} trillion operations and {gigabytes(round(device.bandwidth))} a second"
        )
        told = f"stated for the device: {stated}, of which {device.reached:.0%} is taken to be reached; the rest {told}"
    shown = [
        f"Time is that of one stage after the other at usual lengths, {told}.",
        f"Sure within a factor of {SURE} for the tiny recipe on processors; not checked elsewhere.",
    ]
    if device is None:
        shown.append("The device that trains has no time: give its --rate and --bandwidth.")
    return shown


def _row(need: Need) -> str:
    from rounds.chain.hours import told
    from rounds.chain.plan import gigabytes

    sizes = (need.weights, need.optimiser, need.activations, need.kv, need.memory, need.disk)
    cells = [gigabytes(size) if size else "-" for size in sizes]
    cells += [f"{need.tokens:,}" if need.tokens else "-", told(need.seconds)]
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
