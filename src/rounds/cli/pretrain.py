"""`rounds pretrain`: the tokenizer and the base student of a run."""

from __future__ import annotations

import argparse

from rounds.cli import stages

HELP = "Make the base student from scratch, or link the recipe's checkpoint."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh; 0 when all is made."""
    return stages.run_stages(arguments, "pretrain")
