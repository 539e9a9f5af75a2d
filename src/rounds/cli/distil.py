"""`rounds distil`: the student after the kept traces, and its answer-only controls."""

from __future__ import annotations

import argparse

from rounds.cli import stages

HELP = "Teach the student the kept traces, and train the answer-only controls."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh; 0 when all is made."""
    return stages.run_stages(arguments, "distil")
