from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from rounds.stats.bootstrap import bca


def of_mean(values: np.ndarray, seed: int, resamples: int = 5_000) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    draws = values[rng.integers(0, len(values), size=(resamples, len(values)))].mean(axis=1)
    left_out = (values.sum() - values) / (len(values) - 1)
    found = bca(draws, float(values.mean()), left_out)
    return found.low, found.high


def test_is_the_interval_of_scipy() -> None:
    values = np.random.default_rng(3).exponential(size=40)
    theirs = reference.bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(8))
    here = of_mean(values, 4, 20_000)
    assert here == pytest.approx((theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.02)


def test_equal_units_may_be_given_once() -> None:
    draws = np.random.default_rng(1).normal(size=500)
    left_out = np.array([0.1] * 30 + [-0.4] * 5)
    apart = bca(draws, 0.05, left_out)
    assert bca(draws, 0.05, np.array([0.1, -0.4]), weights=np.array([30.0, 5.0])) == apart


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.floats(-1, 1))
def test_ends_lie_within_the_draws(values: list[float], estimate: float) -> None:
    draws = np.resize(np.array(values), 200)
    found = bca(draws, estimate, np.array(values))
    assert draws.min() <= found.low <= found.high <= draws.max()


def test_few_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="99 resamples are too few for an interval; use 100 or more"):
        bca(np.zeros(99), 0.0, np.zeros(3))
