"""`rounds specialise RUN`: an adapter a specialty, and the matrix of what each costs the others.

Exits 0 when nothing is lost or open, 1 when something is lost somewhere, 3 with too few cases to tell. Left out on
purpose: the choices themselves, which stand in [specialise] of the run's recipe.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.exam.specialties import Matrix

HELP = "Train an adapter on one specialty's lessons, and examine it on every specialty: gained here, kept elsewhere?"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a finished run (runs/tiny)")
    parser.add_argument(
        "--specialty", action="append", default=[], metavar="NAME", help="make this one only; may be given again"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh, print the matrix, and give its exit code."""
    from rounds.chain.specialise import PAGE, RECIPE, specialise_run
    from rounds.exam.later import SPECIALISE
    from rounds.records import UserError

    place: Path = arguments.run_dir
    if not (place / RECIPE).is_file():
        raise UserError(f"{place}: is no run (it has no {RECIPE}); give the directory of a finished run.")
    found = specialise_run(place, arguments.specialty)
    if arguments.json:
        print(found.model_dump_json(indent=1))
    else:
        print("\n".join([*lines(found), f"written: {place / SPECIALISE}, {place / PAGE}"]))
    return found.code


def lines(found: Matrix) -> list[str]:
    """The matrix and its sentences for a terminal, in plain ASCII signs."""
    from rounds.exam.specialties import separate_sentences

    told = [f"start: {found.start}. {found.thinned}".strip()]
    width = max(len(name) for name in (*found.cases, "trained on"))
    told.append(f"{'trained on':<{width}}  " + "  ".join(f"{name:<{width}}" for name in found.cases))
    for row in found.rows:
        cells = [f"{100 * v.difference:+.1f} {v.finding}" for v in row.cells.values()]
        told.append(f"{row.trained_on:<{width}}  " + "  ".join(f"{cell:<{width}}" for cell in cells))
    told += [row.sentence for row in found.rows]
    told += separate_sentences(found.separate)
    told.append(
        f"margin {100 * found.margin:g} points, alpha {found.alpha:g}; {sum(found.cases.values()):,} exam cases"
    )
    return [line.replace("−", "-").rstrip() for line in told]
