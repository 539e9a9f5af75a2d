"""Cases that come in clusters: cases of one condition, or several samples of one case, are not independent pairs.

The cluster is what is drawn at random, so the cluster is what is counted. Left out on purpose: mixed models, which ask
for assumptions that a reader cannot check on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rounds.records import Interval
from rounds.stats.intervals import UNKNOWN, z_of
from rounds.stats.paired import Statistic

CHUNK = 4_000_000
"""Numbers drawn at once by the bootstrap: bounds its memory to some 64 MB."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Arrays of one entry a cluster, shape (K,)."""

    gain: NDArray[np.float64]
    """Sum over the cluster's pairs of mark after minus mark before."""
    pairs: NDArray[np.float64]
    """Number of pairs in the cluster, at least 1."""

    @property
    def difference(self) -> float:
        """After minus before over all pairs, each pair counting once; 0 without pairs."""
        return float(self.gain.sum() / self.pairs.sum()) if len(self.pairs) else 0.0


def clusters(keys: Sequence[str], before: Sequence[float], after: Sequence[float]) -> Clusters:
    """Gather pairs into clusters: keys, before and after have one entry a pair; marks are 0..1 (a share for samples).

    Raises:
        ValueError: the three differ in length.
    """
    gain: dict[str, float] = {}
    pairs: dict[str, int] = {}
    for key, old, new in zip(keys, before, after, strict=True):
        gain[key] = gain.get(key, 0.0) + (new - old)
        pairs[key] = pairs.get(key, 0) + 1
    return Clusters(np.array(list(gain.values()), dtype=float), np.array(list(pairs.values()), dtype=float))


def durkalski(groups: Clusters) -> Statistic:
    """McNemar's test for clusters, each weighted equally: (sum d/n)^2 / sum (d/n)^2 on one degree of freedom.

    Equals McNemar's uncorrected test when every cluster is one pair; 0 and p = 1 when no cluster changed.
    Source: Durkalski, Palesch, Lipsitz, Rust 2003 (Stat Med 22:2417).
    """
    shares = groups.gain / groups.pairs
    return _chi(float(shares.sum()) ** 2, float((shares * shares).sum()))


def obuchowski(groups: Clusters) -> Statistic:
    """McNemar's test for clusters, each pair weighted equally, variance under no difference.

    With K clusters of one pair it is McNemar's uncorrected statistic times (K-1)/K. 0 and p = 1 for fewer than two
    clusters or when none changed. Source: Obuchowski 1998 (Stat Med 17:1495).
    """
    k = len(groups.gain)
    if k < 2:
        return Statistic(0.0, 1.0)
    return _chi(float(groups.gain.sum()) ** 2, k / (k - 1) * float((groups.gain**2).sum()))


def interval(groups: Clusters, confidence: float = 0.95) -> Interval:
    """Normal interval of the difference with the between-cluster variance of a ratio.

    Source: Obuchowski 1998 (Stat Med 17:1495). -1..1 for fewer than two clusters; when all clusters agree exactly, so
    that the spread cannot be estimated, the reach of Tango's interval for K concordant pairs.
    """
    k, z = len(groups.gain), z_of(confidence)
    if k < 2:
        return UNKNOWN
    middle = groups.difference
    spread = k / (k - 1) * float(((groups.gain - groups.pairs * middle) ** 2).sum()) / float(groups.pairs.sum()) ** 2
    half = z * sqrt(spread) if spread > 1e-18 else z * z / (k + z * z)
    return Interval(low=max(-1.0, middle - half), high=min(1.0, middle + half))


def bootstrap(groups: Clusters, *, seed: int, resamples: int = 10_000, confidence: float = 0.95) -> Interval:
    """BCa interval of the difference, clusters drawn with replacement; same seed, same interval.

    Time grows with resamples x K (10,000 x 720: about 0.1 s). Falls back as `interval` does where there is no spread.
    Source: Efron 1987 (J Am Stat Assoc 82:171); Field, Welsh 2007 (J R Stat Soc B 69:369) for clusters.

    Raises:
        ValueError: fewer than 100 resamples.
    """
    if resamples < 100:
        raise ValueError(f"{resamples} resamples are too few for an interval; use 100 or more")
    k = len(groups.gain)
    if k < 2 or float(np.ptp(groups.gain / groups.pairs)) < 1e-12:
        return interval(groups, confidence)
    draws = np.sort(_draws(groups, np.random.default_rng(seed), resamples))
    middle = groups.difference
    below = (np.sum(draws < middle) + 0.5 * np.sum(draws == middle)) / resamples
    bias = float(special.ndtri(min(max(float(below), 1 / (resamples + 1)), resamples / (resamples + 1))))
    left_out = (groups.gain.sum() - groups.gain) / (groups.pairs.sum() - groups.pairs)
    away = left_out.mean() - left_out
    scale = float((away**2).sum()) ** 1.5
    skew = float((away**3).sum()) / (6 * scale) if scale > 0 else 0.0
    z = z_of(confidence)
    ends = [float(special.ndtr(bias + (bias + side) / (1 - skew * (bias + side)))) for side in (-z, z)]
    low, high = np.quantile(draws, ends)
    return Interval(low=float(low), high=float(high))


def _draws(groups: Clusters, rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    k = len(groups.gain)
    rows = max(1, CHUNK // k)
    parts: list[NDArray[np.float64]] = []
    for start in range(0, resamples, rows):
        chosen = rng.integers(0, k, size=(min(rows, resamples - start), k))
        parts.append(groups.gain[chosen].sum(axis=1) / groups.pairs[chosen].sum(axis=1))
    return np.concatenate(parts)


def _chi(above: float, below: float) -> Statistic:
    statistic = above / below if below > 0 else 0.0
    return Statistic(statistic, float(special.chdtrc(1.0, statistic)))
