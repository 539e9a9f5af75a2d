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
from rounds.stats.bootstrap import bca, check_resamples
from rounds.stats.intervals import UNKNOWN, z_of
from rounds.stats.paired import Pairs, Statistic

CHUNK = 4_000_000
"""Numbers drawn at once by the bootstrap: bounds its memory to some 64 MB."""

TINY = 1e-18
"""A variance below this is rounding: the clusters agree exactly."""


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


def singles(pairs: Pairs) -> Clusters:
    """Every pair a cluster of its own."""
    gain = np.repeat([0.0, -1.0, 1.0], [pairs.both + pairs.neither, pairs.only_before, pairs.only_after])
    return Clusters(gain, np.ones(pairs.n))


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
    middle, spread = groups.difference, _variance(groups)
    half = z * sqrt(spread) if spread > TINY else z * z / (k + z * z)
    return Interval(low=max(-1.0, middle - half), high=min(1.0, middle + half))


def noninferior(groups: Clusters, margin: float) -> float:
    """One-sided p against 'after is worse than before by `margin` or more', clusters counted; 1 for fewer than two.

    The normal test that belongs to `interval`: p < .025 exactly when its lower end at 95 % lies above -margin.

    Raises:
        ValueError: the margin is not between 0 and 1.
    """
    if not 0.0 < margin < 1.0:
        raise ValueError(f"margin {margin} is not between 0 and 1")
    k = len(groups.gain)
    if k < 2:
        return 1.0
    spread = _variance(groups)
    if spread <= TINY:
        # As in `interval`: K clusters that agree exactly reach z^2 / (K + z^2) at any z; solved for z at the margin.
        beyond = groups.difference + margin
        return float(special.ndtr(-sqrt(k * beyond / (1 - beyond)))) if 0 < beyond < 1 else float(beyond <= 0)
    return float(special.ndtr(-(groups.difference + margin) / sqrt(spread)))


def bootstrap(groups: Clusters, *, seed: int, resamples: int = 10_000, confidence: float = 0.95) -> Interval:
    """BCa interval of the difference, clusters drawn with replacement; same seed, same interval.

    With `singles(pairs)` it is the paired case bootstrap. Falls back as `interval` does where there is no spread.
    Clusters of equal content are drawn together (a multinomial), so a million single pairs cost no more than three.
    Source: Efron 1987 (J Am Stat Assoc 82:171); Field, Welsh 2007 (J R Stat Soc B 69:369) for clusters.

    Raises:
        ValueError: fewer than 100 resamples.
    """
    check_resamples(resamples)
    k = len(groups.gain)
    if k < 2 or float(np.ptp(groups.gain / groups.pairs)) < 1e-12:
        return interval(groups, confidence)
    kinds = _kinds(groups)
    draws = _draws(groups, kinds, np.random.default_rng(seed), resamples)
    left_out = (groups.gain.sum() - kinds.gain) / (groups.pairs.sum() - kinds.pairs)
    return bca(draws, groups.difference, left_out, weights=kinds.count, confidence=confidence)


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Clusters of equal gain and size, shape (D,), and how many there are of each."""

    gain: NDArray[np.float64]
    pairs: NDArray[np.float64]
    count: NDArray[np.float64]


def _kinds(groups: Clusters) -> _Kinds:
    # As one complex number each: numpy sorts those ten times faster than rows.
    kinds, count = np.unique(groups.gain + 1j * groups.pairs, return_counts=True)
    return _Kinds(kinds.real, kinds.imag, count.astype(float))


def _draws(groups: Clusters, kinds: _Kinds, rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    k, few = len(groups.gain), len(kinds.gain)
    parts: list[NDArray[np.float64]] = []
    # A multinomial cell costs about as much as eight drawn indices.
    together = few * 8 < k
    rows = max(1, CHUNK // (few if together else k))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        if together:
            times = rng.multinomial(k, kinds.count / k, size=size)
            parts.append((times @ kinds.gain) / (times @ kinds.pairs))
        else:
            chosen = rng.integers(0, k, size=(size, k))
            parts.append(groups.gain[chosen].sum(axis=1) / groups.pairs[chosen].sum(axis=1))
    return np.concatenate(parts)


def _variance(groups: Clusters) -> float:
    """Between-cluster variance of the ratio `difference`; two clusters or more."""
    k = len(groups.gain)
    apart = groups.gain - groups.pairs * groups.difference
    return k / (k - 1) * float((apart**2).sum()) / float(groups.pairs.sum()) ** 2


def _chi(above: float, below: float) -> Statistic:
    statistic = above / below if below > 0 else 0.0
    return Statistic(statistic, float(special.chdtrc(1.0, statistic)))
