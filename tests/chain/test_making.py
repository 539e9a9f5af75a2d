"""Memory of the making against what was measured, and a making that really is smaller than what it makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rounds.chain import bench_model
from rounds.chain.bench_model import PRESETS, make, stored
from rounds.chain.bench_worker import highest
from rounds.chain.making import CHECKPOINT, EVERYTHING, EXPORT, PACKED, making
from rounds.chain.shape import Shape

GB = 10**9
HALF = Shape("qwen2", 896, 24, 14, 2, 64, 4864, 151936)


@pytest.mark.parametrize(
    ("shape", "kinds", "measured"),
    [
        (HALF, {CHECKPOINT}, 0.51 * GB),
        (HALF, {EXPORT}, 0.91 * GB),
        (HALF, {PACKED}, 1.73 * GB),
        (replace(HALF, layers=1), {EXPORT}, 0.72 * GB),
        (replace(HALF, layers=1), {PACKED}, 1.71 * GB),
        (replace(HALF, layers=1), {EVERYTHING}, 1.46 * GB),
        (replace(HALF, layers=1), {CHECKPOINT, EXPORT, PACKED, EVERYTHING}, 1.94 * GB),
        (replace(HALF, vocabulary=1200), {EXPORT}, 0.66 * GB),
        (replace(HALF, vocabulary=1200), {PACKED}, 0.45 * GB),
    ],
)
def test_what_is_told_is_what_was_measured(shape: Shape, kinds: set[str], measured: float) -> None:
    """Peaks of memory not mapped from files, looked at every 10 ms (benchmarks/README.md)."""
    assert making(shape, kinds) == pytest.approx(measured, rel=0.1)


def test_seven_billion_weights_are_made_on_a_machine_of_16_gigabytes() -> None:
    every = {CHECKPOINT, EXPORT, PACKED, EVERYTHING}
    assert making(PRESETS["7b"], set()) == 0 < making(PRESETS["7b"], every) < 8 * GB


def test_a_model_is_drawn_in_a_fraction_of_its_own_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_model, "PIECE", 2**20)
    small, large = (stored(Shape("qwen2", width, 1, 4, 2, 64, 512, 24_000, context=128), 128) for width in (32, 1024))
    make(small, tmp_path / "small")  # loads the libraries
    with highest("RssAnon") as heights:
        make(large, tmp_path / "large")
    assert max(heights) - heights[0] < large.weights  # half of its bytes
