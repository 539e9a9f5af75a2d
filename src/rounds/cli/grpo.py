"""`rounds grpo`: the student after group relative policy optimisation."""

from __future__ import annotations

import argparse

from rounds.cli import stages

HELP = "Reinforce the student with medical rewards, watched by monitors."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh; 0 when all is made."""
    return stages.run_stages(arguments, "grpo")
