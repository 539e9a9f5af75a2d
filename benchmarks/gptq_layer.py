"""One decoder layer of a true shape rounded by GPTQ: processor seconds of its parts, and what a whole model would take.

    python benchmarks/gptq_layer.py 7b [--sequences 2] [--tokens 2048] [--calibration 32] [--length 2298]

The layer is packed by `rounds.quant.openvino.quantize`, as `rounds quantize` does, on random weights and random text.
Of its parts reading the text and Hessians grow with the tokens, rounding does not: so `--calibration` texts of
`--length` tokens follow from few; what is fixed in the rest is counted as growing, so it is an upper bound. Seconds of
all cores together, which other work beside lengthens little. Left out: embeddings and head, which GPTQ leaves be, and
the calibration answers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from rounds.chain.bench_model import INT4, make, shape_named, stored
from rounds.chain.bench_worker import highest, memory
from rounds.chain.hours import told
from rounds.chain.plan import gigabytes
from rounds.chain.rates import multiplied, processor
from rounds.chain.stage import cores
from rounds.engine.export import exported
from rounds.quant.openvino import quantize

VOCABULARY = 1200
PARTS = {"_calculate_hessian": "Hessians", "_quantize_weights": "rounding"}
"""Methods of NNCF's GPTQ."""


def timed(work: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    """`work`, its processor seconds added up in `spent`."""

    def timing(*given: Any, **named: Any) -> Any:
        started = time.process_time()
        try:
            return work(*given, **named)
        finally:
            spent[part] = spent.get(part, 0.0) + time.process_time() - started

    return timing


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("shape")
    asked.add_argument("--sequences", type=int, default=2)
    asked.add_argument("--tokens", type=int, default=2048)
    asked.add_argument("--calibration", type=int, default=32)
    asked.add_argument("--length", type=int, default=2298)
    given = asked.parse_args()
    shape = shape_named(given.shape)
    one = stored(replace(shape, layers=1, vocabulary=VOCABULARY), given.tokens)
    draw = Random(1)
    text = [[draw.randrange(VOCABULARY) for _ in range(given.tokens)] for _ in range(given.sequences)]
    rate = multiplied(cores())

    from nncf.quantization.algorithms.weight_compression.gptq import GPTQ

    spent: dict[str, float] = {}
    for method, part in PARTS.items():
        setattr(GPTQ, method, timed(getattr(GPTQ, method), part, spent))
    with tempfile.TemporaryDirectory(prefix="rounds-gptq-") as folder:
        make(one, Path(folder) / "checkpoint")
        exported(Path(folder) / "checkpoint")
        before, started = memory("RssAnon"), time.process_time()
        with highest("RssAnon") as anonymous:
            quantize(Path(folder) / "checkpoint", text, INT4.model_copy(update={"gptq": True}), Path(folder) / "packed")
        whole = time.process_time() - started
    spent["reading the text, and the rest"] = whole - sum(spent.values())
    tokens = given.sequences * given.tokens
    wanted = given.calibration * given.length
    print(f"{processor()}; {rate / 1e9:.0f} billion operations a second; {one.structure}, width {one.width}, ", end="")
    print(f"feed-forward {one.feed_forward}: one layer, {one.body:,} weights, {tokens:,} tokens")
    layer = 0.0
    for part, seconds in spent.items():
        grows = part != PARTS["_quantize_weights"]
        there = seconds * (wanted / tokens if grows else 1.0)
        layer += there
        print(f"{part:32} {seconds:8.1f} s   with {wanted:,} tokens {there:8.0f} s")
    print(f"{'one layer':32} {whole:8.1f} s   with {wanted:,} tokens {layer:8.0f} s")
    print(f"{shape.layers} layers of {given.calibration} texts of {given.length} tokens: ", end="")
    print(f"{told(shape.layers * layer / cores())} of {cores()} cores")
    print(f"memory: resident {gigabytes(memory('VmHWM'))}, not mapped from files {gigabytes(max(anonymous))}", end="")
    print(f" ({gigabytes(before)} before)")


if __name__ == "__main__":
    main()
