"""`rounds cases`: the teach, tune and exam cases of a run."""

from __future__ import annotations

import argparse

from rounds.cli import stages

HELP = "Write the teach, tune and exam cases of a recipe."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh; 0 when all is made."""
    return stages.run_stages(arguments, "cases")
