"""Prints what a finished run measured of itself, stage by stage: `python benchmarks/tiny.py runs/tiny`."""

from __future__ import annotations

import sys
from pathlib import Path

from rounds.chain.run import RECIPE, stages
from rounds.files import lineage
from rounds.recipe import read

SHOWN = (
    "steps",
    "tokens",
    "loss",
    "kept",
    "asked",
    "lessons",
    "top1",
    "top5",
    "valid_five",
    "step_error_rate",
    "red_flags",
    "abstained_outside",
    "abstained_inside",
    "thinking_tokens",
    "rung",
    "rungs_made",
    "tune",
    "bytes_before",
    "bytes_after",
    "bits_per_weight",
    "kl",
    "flips",
    "tune_before",
    "tune_after",
    "expert_load_max_over_mean",
    "mixture_over_dense",
)


def main(run: Path) -> None:
    """One line a stage: seconds, peak memory, and the figures worth a table."""
    print(f"{'stage':<28} {'s':>6} {'MB':>6}  figures")
    total, peak = 0.0, 0.0
    for name in stages(read(str(run / RECIPE))):
        step = lineage(run / name)
        if step is None:
            print(f"{name:<28} {'-':>6} {'-':>6}  not made")
            continue
        total, peak = total + step.seconds, max(peak, step.peak_memory_mb)
        figures = {key: step.figures[key] for key in SHOWN if step.figures.get(key) is not None}
        words = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
        print(f"{name:<28} {step.seconds:>6.0f} {step.peak_memory_mb:>6.0f}  {words}")
    print(f"{'all stages':<28} {total:>6.0f} {peak:>6.0f}  sum of seconds, largest single process")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
