"""Several answers to a case at once against one after the other, in the same engine: what writing traces gains.

    python benchmarks/sampling.py CHECKPOINT [--cases 4] [--samples 8] [--prompt 128] [--tokens 64] [--repeats 3]

CHECKPOINT is the 4-bit folder that `rounds bench 1.5b --out DIR` leaves in DIR/models/packed. Prompts of so many tokens
are drawn from common words; every answer runs to its last token. Three ways in turn within each repeat: each answer by
itself; all in one batch; all in one batch with the prompt of a case read once (prefix cache).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from rounds.chain.bench_model import prompts_of
from rounds.engine.openvino import OpenVINO, Settings
from rounds.records import Prompt, Sampling


def one_by_one(engine: OpenVINO, prompts: list[Prompt], sampling: Sampling) -> int:
    """Tokens of all answers, each asked for when the one before has ended."""
    single = sampling.model_copy(update={"samples": 1})
    traces = []
    for prompt in prompts:
        for sample in range(sampling.samples):
            traces += engine.respond([prompt], single.model_copy(update={"seed": sample}))
    return sum(trace.thinking_tokens + trace.reply_tokens for trace in traces)


def together(engine: OpenVINO, prompts: list[Prompt], sampling: Sampling) -> int:
    """Tokens of all answers, asked for at once."""
    return sum(trace.thinking_tokens + trace.reply_tokens for trace in engine.respond(prompts, sampling))


def main() -> None:
    """A line a way: seconds, tokens a second, and the ratio to one after the other in the same repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    for name, count in (("cases", 4), ("samples", 8), ("prompt", 128), ("tokens", 64), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=count)
    given = parser.parse_args()
    plain = OpenVINO(given.checkpoint, settings=Settings(batch=64))
    cached = OpenVINO(given.checkpoint, settings=Settings(batch=64, prefix_caching=True))
    ways: dict[str, Callable[[list[Prompt], Sampling], int]] = {
        "one by one": lambda prompts, sampling: one_by_one(plain, prompts, sampling),
        "one batch": lambda prompts, sampling: together(plain, prompts, sampling),
        "one batch, prompts read once": lambda prompts, sampling: together(cached, prompts, sampling),
    }
    sampling = Sampling(temperature=0.6, top_p=0.95, max_tokens=given.tokens, samples=given.samples)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(given.repeats):
        prompts = prompts_of(plain.codec, given.prompt, given.cases, f"sampling-{repeat}")
        for name, way in ways.items():
            began = time.perf_counter()
            tokens = way(prompts, sampling)
            rates[name].append(tokens / (time.perf_counter() - began))
    for name, found in rates.items():
        ratios = [rate / first for rate, first in zip(found, rates["one by one"], strict=True)]
        print(
            f"{name:<30} {statistics.median(found):8.1f} tokens/s ({min(found):.1f}-{max(found):.1f})   "
            f"x {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
