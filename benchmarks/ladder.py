"""Every rung of the ladder of bits on a finished run, also those that `rounds quantize` would never make.

    python benchmarks/ladder.py RUN_DIR [--tune]

Prints for each rung seconds, bytes, bits a weight, and KL and changed likeliest tokens by class against the unquantised
student, on its own answers to tune cases inside OpenVINO; with --tune also the paired finding on those cases. Plain
rounding, everything in 4 bits, 8-bit keys and values, and embeddings in shuffled order (a destroyed model) stand below
for comparison. Nothing is written into the run but the export that the engine keeps beside a checkpoint.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from random import Random

from rounds import recipe
from rounds.chain.judge import exam_sampling
from rounds.chain.ladder import SENSED, Plan, made, plans
from rounds.chain.prepare import part, read_cases
from rounds.chain.same import TEXTS, Rules, judge, sit, spread
from rounds.engine.answering import context_of
from rounds.engine.choose import open_responder
from rounds.exam.examine import Examined
from rounds.grade.mark import Marker
from rounds.knowledge.base import load
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.prompts.template import render
from rounds.quant import calibration, classes
from rounds.quant.divergence import divergence, in_openvino
from rounds.quant.sensitivity import most_sensitive, sensitivity
from rounds.records import Sampling


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--tune", action="store_true")
    arguments = parser.parse_args()
    run, source = arguments.run, arguments.run / "reasoned"
    chosen = recipe.read(str(run / "recipe.toml"))
    settings = chosen.quantize.model_copy(update={"bits": 4, "group": 128, "ladder": True})
    rules = Rules(chosen.compare.margin, chosen.compare.alpha, chosen.examine.template, exam_sampling(chosen))
    marker, tune = Marker(load()), read_cases(run / "cases", "tune")
    before = sit(source, "openvino", tune, rules, marker)
    reader = classes.Reader(Codec.load(source), marker.knowledge, tune)
    texts = classes.texts(reader, spread(before.traces, TEXTS), context_of(source))
    own = classes.texts(reader, _calibration(run, source, chosen), context_of(source))
    started = time.perf_counter()
    layers = sensitivity(source, spread(own, SENSED), 32)
    print(f"sensitivity of {len(layers)} layers: {time.perf_counter() - started:.1f} s")
    for layer in layers:
        print(f"  {layer.name:<40} {layer.weights:>10,} {layer.kl:.2g}")
    fine = settings.model_copy(update={"group": 32})
    trials = [
        *plans(settings),
        Plan("plain rounding, groups of 128", settings.model_copy(update={"gptq": False})),
        Plan("everything in 4 bits, groups of 32", fine.model_copy(update={"everything": True})),
        Plan("8-bit keys and values, groups of 32", fine.model_copy(update={"kv_cache": "u8"})),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for plan in trials:
            out = Path(scratch) / "rung"
            started = time.perf_counter()
            figures = made(source, own, plan, out, most_sensitive(layers, plan.share) if plan.share else [])
            size = f"{figures['bytes_after']:,} bytes, {figures['bits_per_weight']:.2f} bits, group {figures['group']}"
            print(f"{plan.name}: {time.perf_counter() - started:.1f} s, {size}")
            after = sit(out, "openvino", tune, rules, marker) if arguments.tune else None
            _tell(source, out, texts, before, after, rules)
        print("embeddings in shuffled order:")
        _tell(source, _destroyed(source, Path(scratch) / "destroyed"), texts, before, None, rules)


def _calibration(run: Path, source: Path, chosen: recipe.Recipe) -> list[classes.Told]:
    pool = part(read_cases(run / "cases", "teach"), "traces")
    cases = Random(f"{chosen.seed}-calibrate").sample(pool, min(len(pool), 2 * chosen.quantize.calibration))
    prompts = [render(case, chosen.examine.template) for case in cases]
    sampling = Sampling(temperature=0, max_tokens=chosen.examine.max_tokens)
    traces = list(open_responder(source).respond(prompts, sampling))
    return [*calibration.choose(traces, cases, chosen.quantize.calibration, exam=read_cases(run / "cases", "exam"))]


def _destroyed(source: Path, out: Path) -> Path:
    import torch

    model = checkpoint.load(source)
    rows = model.get_input_embeddings().weight.data
    rows.copy_(rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))])
    shutil.rmtree(out, ignore_errors=True)
    checkpoint.save(model, source, out)
    return out


def _tell(
    source: Path, out: Path, texts: list[classes.Text], before: Examined, after: Examined | None, rules: Rules
) -> None:
    started = time.perf_counter()
    found = divergence(in_openvino(source), in_openvino(out), texts)
    seconds = time.perf_counter() - started
    parts = [f"{name} KL {one.kl:.2g} flips {100 * one.flips:.1f} % of {one.tokens:,}" for name, one in found.items()]
    print(f"  {'; '.join(parts)} ({seconds:.1f} s)")
    same = judge(("parent", "rung"), found, None if after is None else (before, after), rules)
    arms = [f"{one.arm} {100 * one.difference:+.1f} points, {one.finding}" for one in same.verdicts]
    print(f"  {same.finding}, {'close' if same.close else 'not close'}{''.join(f'; {arm}' for arm in arms)}")


if __name__ == "__main__":
    main()
