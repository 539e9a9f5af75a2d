"""`rounds trace`: the teacher's answers to teach cases, verified."""

from __future__ import annotations

import argparse

from rounds.cli import stages

HELP = "Let the teacher answer teach cases and keep the verified traces."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh; 0 when all is made."""
    return stages.run_stages(arguments, "trace")
