"""`rounds bench SHAPE`: load, first token, decode, end to end, memory and energy of every engine, in one run.

Left out on purpose: answers' quality; the weights are random.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.chain.bench import Settings

HELP = "Measure the engines on this machine: random weights at a true shape, same prompts, ratios with spread."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "shape", metavar="SHAPE", help="1.5b, 7b or 8b, a recipe (its student, such as tiny), or a config.json"
    )
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="NAME",
        help="engine to measure, or none (default: all installed)",
    )
    parser.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="also an OpenAI-compatible server, such as llama=http://127.0.0.1:8080/v1",
    )
    parser.add_argument("--prompts", default="128,2048", metavar="N,N", help="tokens of a prompt (%(default)s)")
    parser.add_argument("--streams", default="1,2,4,8,16", metavar="N,N", help="answers at once (%(default)s)")
    parser.add_argument("--new", type=int, default=64, metavar="N", help="tokens of an answer (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="how often, 3 or more (%(default)s)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads an engine has (default: cores)")
    parser.add_argument("--against", default="", metavar="NAME", help="engine of the ratios (default: the first)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds an endpoint may be silent (%(default)s)"
    )
    parser.add_argument(
        "--key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable with the endpoints' key (%(default)s)"
    )
    parser.add_argument(
        "--plain", action="store_true", help="send endpoints no ignore_eos, for a server that refuses it"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write bench.json and bench.md, and keep the models")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write, print; 0."""
    from rounds import files
    from rounds.chain.bench import bench
    from rounds.chain.bench_result import markdown

    found = bench(_settings(arguments), None if arguments.out is None else arguments.out / "models")
    if arguments.out is not None:
        files.write_text(arguments.out / "bench.json", found.model_dump_json(indent=1))
        files.write_text(arguments.out / "bench.md", markdown(found))
    print(found.model_dump_json() if arguments.json else markdown(found), end="\n" if arguments.json else "")
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    from rounds.chain.bench import Settings
    from rounds.records import UserError

    endpoints: dict[str, str] = {}
    for text in arguments.endpoint:
        name, _, url = text.partition("=")
        if not name or not url.startswith(("http://", "https://")):
            raise UserError(f"--endpoint '{text}' is no NAME=URL; give one such as llama=http://127.0.0.1:8080/v1.")
        if name in endpoints:
            raise UserError(f"--endpoint '{name}' is given twice; give each a name of its own.")
        endpoints[name] = url
    if arguments.repeats < 3:
        raise UserError(f"--repeats {arguments.repeats} is below 3; fewer show no spread.")
    if arguments.new < 2:
        raise UserError(f"--new {arguments.new} is below 2; the first token of an answer is not decoding.")
    if arguments.threads < 0 or arguments.timeout <= 0:
        raise UserError("--threads and --timeout must be above 0; leave them out for what the machine has.")
    return Settings(
        shape=arguments.shape,
        engines=tuple(arguments.engine),
        endpoints=endpoints,
        prompts=_numbers(arguments.prompts, "--prompts"),
        streams=_numbers(arguments.streams, "--streams"),
        new_tokens=arguments.new,
        repeats=arguments.repeats,
        threads=arguments.threads,
        against=arguments.against,
        timeout_s=arguments.timeout,
        key_env=arguments.key_env,
        ignore_eos=not arguments.plain,
    )


def _numbers(text: str, option: str) -> tuple[int, ...]:
    from rounds.records import UserError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"{option} '{text}' is no list of different whole numbers; give one such as 1,8.")
    return tuple(map(int, parts))
