"""`rounds quantize`: the student in 4 bits for the CPU engine."""

from __future__ import annotations

import argparse

from rounds.cli import stages

HELP = "Pack the student into 4 bits for the engine that serves."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh; 0 when all is made."""
    return stages.run_stages(arguments, "quantize")
