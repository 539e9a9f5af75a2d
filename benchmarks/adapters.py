"""What adapters cost an engine: seconds to load, seconds to answer, memory; with none, one and five of them.

    python benchmarks/adapters.py START ADAPTER CASES.jsonl [--cases N] [--engine E ...] [--adapters N ...]

START is the checkpoint that ADAPTER, a folder in PEFT's layout, was trained on. Each line is a process of its own, on
one thread: the engine with so many copies of the adapter; then the cases, the first by the model itself, the next by
the first adapter, and so on in turn, in one call, greedy. Memory is what the process holds for itself afterwards
(RssAnon); pages of mapped files, which processes share, come apart (RssFile).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

from rounds.engine.choose import open_directory
from rounds.files import read_jsonl
from rounds.prompts.template import render
from rounds.records import Case, Sampling

ONE = "--one"


def measure(given: argparse.Namespace, engine: str, count: int) -> str:
    """One line of the table."""
    names = [f"copy-{number}" for number in range(count)]
    began = time.monotonic()
    responder = open_directory(given.start, engine, threads=1, at_once=8, adapters=dict.fromkeys(names, given.adapter))
    loaded = time.monotonic() - began
    cases = list(islice(read_jsonl(given.cases, Case), given.count))
    turns = ["", *names]
    prompts = [
        render(case, "differential-brief@1").model_copy(update={"adapter": turns[place % len(turns)]})
        for place, case in enumerate(cases)
    ]
    began = time.monotonic()
    traces = list(responder.respond(prompts, Sampling(temperature=0, max_tokens=120)))
    answered = time.monotonic() - began
    tokens = sum(trace.thinking_tokens + trace.reply_tokens for trace in traces)
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    own, mapped = (int(told[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    cells = (engine, count, f"{loaded:.1f}", f"{answered:.1f}", tokens, f"{own:.0f}", f"{mapped:.0f}")
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--cases", type=int, default=48, dest="count", help="cases asked (default %(default)s)")
    parser.add_argument("--engine", nargs="+", default=["openvino", "transformers"])
    parser.add_argument("--adapters", nargs="+", type=int, default=[0, 1, 5])
    parser.add_argument(ONE, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(measure(given, given.engine[0], given.adapters[0]))
        return
    print("| engine | adapters | load s | answers s | tokens | own MB | mapped MB |\n|---|---|---|---|---|---|---|")
    for engine in given.engine:
        for count in given.adapters:
            places = [str(path) for path in (given.start, given.adapter, given.cases)]
            more = ["--cases", str(given.count), "--engine", engine, "--adapters", str(count), ONE]
            command = [sys.executable, __file__, *places, *more]
            print(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
