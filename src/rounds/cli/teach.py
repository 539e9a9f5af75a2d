"""`rounds teach`: the teacher's arc: pretrained, taught chain of thought, GRPO."""

from __future__ import annotations

import argparse

from rounds.cli import stages

HELP = "Make the teacher: pretrained, taught chain of thought by the oracle, then GRPO."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh; 0 when all is made."""
    return stages.run_stages(arguments, "teach")
