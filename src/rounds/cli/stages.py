"""What the verbs of the chain share: a recipe, a run's directory, and the stages that bear their name."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of every verb that makes one part of a run."""
    parser.add_argument("recipe", metavar="RECIPE", help="name of a shipped recipe, or a path ending in .toml")
    parser.add_argument("--out", type=Path, metavar="RUN_DIR", help="the run's directory (default: runs/NAME)")
    parser.add_argument("--json", action="store_true", help="print the lineage of each stage as JSON")


def directory(arguments: argparse.Namespace, name: str) -> Path:
    """Where the run lives."""
    return arguments.out if arguments.out is not None else Path("runs") / name


def run_stages(arguments: argparse.Namespace, verb: str, names: Sequence[str] = ()) -> int:
    """Make the stages of a verb (or those named) in order; fresh ones are skipped."""
    from rounds import recipe
    from rounds.chain.run import run_one, stages

    chosen = recipe.read(arguments.recipe)
    source = recipe.find(arguments.recipe)
    run = directory(arguments, chosen.name)
    wanted = list(names) or [stage.name for stage in stages(chosen).values() if stage.verb == verb]
    done = {name: run_one(chosen, source, run, name) for name in wanted}
    if arguments.json:
        print(json.dumps({name: step.model_dump() for name, step in done.items()}))
        return 0
    for name, step in done.items():
        shown = ", ".join(f"{key} {value}" for key, value in step.figures.items() if value is not None)
        print(f"{run / name}: {shown} ({step.seconds:.0f} s)")
    return 0
