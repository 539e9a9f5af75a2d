"""`rounds quantize`: the student packed for the CPU engine, by the smallest rung of the ladder that is held."""

from __future__ import annotations

import argparse

from rounds.cli import stages

HELP = "Pack the student into 4 bits for the engine that serves."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    stages.configure(parser)
    parser.add_argument(
        "--gpu", action="store_true", help="pack for vLLM or SGLang instead (compressed-tensors; needs rounds[gpu4])"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh, and show the ladder; 0 when all is made."""
    from rounds import files, recipe
    from rounds.chain.ladder import LADDER, Ladder
    from rounds.chain.run import PACKED_GPU

    made = PACKED_GPU if arguments.gpu else "packed"
    code = stages.run_stages(arguments, "quantize", (made,))
    path = stages.directory(arguments, recipe.read(arguments.recipe).name) / made / LADDER
    if not arguments.json and path.is_file():
        for rung in files.read_json(path, Ladder).rungs:
            print(f"  {rung.name}: {rung.bytes:,} bytes, {rung.bits_per_weight:.2f} bits a weight: {rung.why}")
    return code
