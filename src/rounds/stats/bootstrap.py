"""Bias-corrected and accelerated ends of a bootstrap, shared by the paired difference and the agreement of raters.

Left out on purpose: drawing. Who draws knows what the unit is (a case, a condition, a rated item), and the unit is the
whole question.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rounds.records import Interval
from rounds.stats.intervals import z_of

LEAST = 100
"""Fewest resamples that make an interval."""


def bca(
    draws: NDArray[np.float64],
    estimate: float,
    left_out: NDArray[np.float64],
    *,
    weights: NDArray[np.float64] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Interval from resampled estimates, shape (resamples,), and the estimates with one unit left out, shape (units,).

    weights: how many units each entry of `left_out` stands for, where equal units are given once. Draws exactly at the
    estimate count half, as they are many where the statistic is a count. Source: Efron 1987 (J Am Stat Assoc 82:171).

    Raises:
        ValueError: fewer than 100 draws.
    """
    count = len(draws)
    check_resamples(count)
    each = np.ones(len(left_out)) if weights is None else weights
    below = float(np.sum(draws < estimate) + 0.5 * np.sum(draws == estimate)) / count
    bias = float(special.ndtri(min(max(below, 1 / (count + 1)), count / (count + 1))))
    away = np.average(left_out, weights=each) - left_out
    scale = float((each * away**2).sum()) ** 1.5
    skew = float((each * away**3).sum()) / (6 * scale) if scale > 0 else 0.0
    z = z_of(confidence)
    ends = [float(special.ndtr(bias + (bias + side) / (1 - skew * (bias + side)))) for side in (-z, z)]
    low, high = np.quantile(draws, ends)
    return Interval(low=float(low), high=float(high))


def check_resamples(count: int) -> None:
    """Raise a ValueError below `LEAST`."""
    if count < LEAST:
        raise ValueError(f"{count} resamples are too few for an interval; use {LEAST} or more")
