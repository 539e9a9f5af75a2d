"""The paired 2x2 table and the variants of McNemar's test, each under its own name.

A library that says only "McNemar" hides a choice: on 97/8/0/5 the exact test gives p = .0078 and Edwards' correction
.0133, one on each side of .01. Rounds decides by the exact test. Left out on purpose: unconditional exact tests
(Suissa-Shuster), which cost much and change no finding at the sizes used here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special


@dataclass(frozen=True, slots=True)
class Pairs:
    """Cases marked under both models, by who was right.

    Raises:
        ValueError: a count is negative.
    """

    both: int
    only_before: int
    """Right before, wrong after: lost."""
    only_after: int
    """Wrong before, right after: gained."""
    neither: int

    def __post_init__(self) -> None:
        if min(self.both, self.only_before, self.only_after, self.neither) < 0:
            raise ValueError(f"counts of a paired table cannot be negative: {self}")

    @property
    def n(self) -> int:
        return self.both + self.only_before + self.only_after + self.neither

    @property
    def discordant(self) -> int:
        return self.only_before + self.only_after

    @property
    def difference(self) -> float:
        """Share right after minus share right before, -1..1; 0 without cases."""
        return (self.only_after - self.only_before) / self.n if self.n else 0.0

    def swapped(self) -> Pairs:
        """The same table with before and after exchanged."""
        return Pairs(self.both, self.only_after, self.only_before, self.neither)


def count(before: ArrayLike, after: ArrayLike) -> Pairs:
    """The table of two columns of marks, one entry a case, true where right.

    Raises:
        ValueError: the two differ in length.
    """
    old, new = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if old.shape != new.shape:
        raise ValueError(f"{old.size} marks before and {new.size} after are not pairs")
    both, right_before, right_after = (int(np.count_nonzero(marks)) for marks in (old & new, old, new))
    return Pairs(both, right_before - both, right_after - both, old.size - right_before - right_after + both)


@dataclass(frozen=True, slots=True)
class Statistic:
    """A chi-squared statistic and its two-sided p."""

    value: float
    p: float


def binomial_cdf(k: NDArray[np.float64], n: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """P(X <= k) for X ~ Binomial(n, p), elementwise: the regularised incomplete beta function. 0 where k < 0."""
    inside = np.asarray(special.betainc(np.maximum(n - k, 1e-300), np.maximum(k, 0.0) + 1.0, 1.0 - p), dtype=float)
    return np.where(k < 0, 0.0, np.where(k >= n, 1.0, inside))


def binomial_pmf(k: NDArray[np.float64], n: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """P(X = k) for X ~ Binomial(n, p), elementwise."""
    choose = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return np.asarray(np.exp(choose + special.xlogy(k, p) + special.xlogy(n - k, 1 - p)), dtype=float)


def exact(pairs: Pairs) -> float:
    """Two-sided p of the exact conditional test: twice the smaller binomial tail, at most 1.

    1 when no pair is discordant. Source: McNemar 1947 (Psychometrika 12:153) conditioned on the discordant pairs;
    Fagerland, Lydersen, Laake 2013 (BMC Med Res Methodol 13:91), equation 4.
    """
    return min(1.0, 2.0 * _lower_tail(pairs))


def midp(pairs: Pairs) -> float:
    """Two-sided mid-p: the exact p less the probability of the observed table; 1 when no pair is discordant.

    Recommended over the exact test by Fagerland, Lydersen, Laake 2013 (BMC Med Res Methodol 13:91), where it never
    broke the nominal level in 9,595 scenarios. At a tie (as many lost as gained) authors differ, between 1 less the
    probability (here), 1 less half of it, and 1; none of the three is near any level in use.
    """
    if pairs.discordant == 0:
        return 1.0
    smaller = np.array(float(min(pairs.only_before, pairs.only_after)))
    observed = float(binomial_pmf(smaller, np.array(float(pairs.discordant)), 0.5))
    return max(0.0, exact(pairs) - observed)


def asymptotic(pairs: Pairs) -> Statistic:
    """(b-c)^2/(b+c) on one degree of freedom, without correction. Source: McNemar 1947 (Psychometrika 12:153)."""
    return _corrected(pairs, 0.0)


def edwards(pairs: Pairs) -> Statistic:
    """(|b-c|-1)^2/(b+c): Edwards' continuity correction (Psychometrika 1948;13:185), R's and many packages' default."""
    return _corrected(pairs, 1.0)


def half_yates(pairs: Pairs) -> Statistic:
    """(|b-c|-0.5)^2/(b+c): half a unit, seen in print under the name of Yates; kept to check papers that used it."""
    return _corrected(pairs, 0.5)


def _lower_tail(pairs: Pairs) -> float:
    if pairs.discordant == 0:
        return 1.0
    smaller = float(min(pairs.only_before, pairs.only_after))
    return float(binomial_cdf(np.array(smaller), np.array(float(pairs.discordant)), 0.5))


def _corrected(pairs: Pairs, correction: float) -> Statistic:
    if pairs.discordant == 0:
        return Statistic(0.0, 1.0)
    apart = max(0.0, abs(pairs.only_after - pairs.only_before) - correction)
    statistic = apart * apart / pairs.discordant
    return Statistic(statistic, float(special.chdtrc(1.0, statistic)))
