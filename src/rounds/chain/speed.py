"""One line of the report: what a token costs the mixture of experts, against a dense model of equal active size."""

from __future__ import annotations

import statistics
import time
from typing import Any

from rounds import recipe
from rounds.chain.stage import Work
from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.records import Figures

ROWS, LENGTH, REPEATS = 8, 128, 7


def make_speed(work: Work, chosen: recipe.Recipe) -> Figures:
    """teacher/speed/: microseconds a token of one forward pass, median of several, both models in the same minute."""
    backbone = chosen.teacher.backbone
    assert backbone is not None
    mixture = checkpoint.load(work.inputs["teacher/reasoned"])
    # A token passes the shared expert and its routed ones: together the width of the dense layer beside them.
    active = (backbone.experts_per_token + 1) * backbone.expert_width
    fields = {**backbone.model_dump(), "structure": "llama", "feed_forward": active}
    dense = build(recipe.Backbone(**fields), mixture.config.vocab_size, chosen.seed, bos=0, eos=1, pad=2).eval()
    times: dict[str, list[float]] = {"mixture": [], "dense": []}
    for _ in range(REPEATS):
        times["mixture"].append(_forward(mixture))
        times["dense"].append(_forward(dense))
    mixture_us, dense_us = (1e6 * statistics.median(times[name]) / (ROWS * LENGTH) for name in ("mixture", "dense"))
    return {
        "mixture_us_per_token": round(mixture_us, 1),
        "dense_us_per_token": round(dense_us, 1),
        "mixture_over_dense": round(mixture_us / dense_us, 2),
    }


def _forward(model: Any) -> float:
    import torch

    torch.set_num_threads(1)
    ids = torch.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) % model.config.vocab_size
    started = time.perf_counter()
    with torch.inference_mode():
        model(input_ids=ids, use_cache=False)
    return time.perf_counter() - started
