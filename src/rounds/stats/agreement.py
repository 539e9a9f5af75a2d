"""How far raters agree beyond chance: Cohen's and Fleiss' kappa, PABAK and Krippendorff's alpha, with intervals.

A kappa falls when one label is rare although the raters agree as well as before; PABAK, which takes chance to be even,
stands beside it for that reason. Where every rating is the same label there is no chance to correct for: the value is
then None, never 1. Left out on purpose: words such as "substantial" for a kappa, whose borders nobody derived.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rounds.records import Interval
from rounds.stats.bootstrap import LEAST, bca, check_resamples
from rounds.stats.intervals import UNKNOWN, wilson, z_of

Scale = Literal["nominal", "ordinal", "interval", "ratio"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """A coefficient of agreement, 1 for perfect and 0 for what chance would give."""

    value: float | None
    """None: not defined, as chance alone would agree on everything (one label only), or nothing was rated."""
    interval: Interval
    """-1..1 where the value is None."""
    observed: float
    """Share of agreement seen, chance included; for alpha 1 less the disagreement seen. 0 without ratings."""
    error: float | None = None
    """Standard error; None where the interval does not come from one."""


def cohen(first: Sequence[Hashable], second: Sequence[Hashable], confidence: float = 0.95) -> Agreement:
    """Cohen's kappa of two raters over the same items, one label an item each.

    Source and error: see `cohen_table`.

    Raises:
        ValueError: the two differ in length.
    """
    labels: dict[Hashable, int] = {}
    places = [
        (labels.setdefault(one, len(labels)), labels.setdefault(other, len(labels)))
        for one, other in zip(first, second, strict=True)
    ]
    table = np.zeros((len(labels), len(labels)))
    if places:
        np.add.at(table, tuple(np.array(places).T), 1.0)
    return cohen_table(table, confidence)


def cohen_table(table: ArrayLike, confidence: float = 0.95) -> Agreement:
    """Cohen's kappa of a square table of counts: rows are the first rater's labels, columns the second's.

    Source: Cohen 1960 (Educ Psychol Meas 20:37); standard error Fleiss, Cohen, Everitt 1969 (Psychol Bull 72:323);
    normal interval, clipped to -1..1.

    Raises:
        ValueError: not a square table of counts.
    """
    counts = np.asarray(table, dtype=float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not bool(np.all(counts >= 0)):
        raise ValueError("kappa needs a square table of counts, one row and one column a label")
    n = float(counts.sum())
    if n == 0:
        return Agreement(None, UNKNOWN, 0.0)
    shares = counts / n
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    observed, chance = float(np.trace(shares)), float(rows @ columns)
    if chance > 1 - 1e-12:
        return Agreement(None, UNKNOWN, observed)
    kappa = (observed - chance) / (1 - chance)
    on = float((np.diag(shares) * (1 - (rows + columns) * (1 - kappa)) ** 2).sum())
    reach = (columns[:, None] + rows[None, :]) ** 2 * shares
    off = (1 - kappa) ** 2 * float(reach.sum() - np.trace(reach))
    variance = max(0.0, on + off - (kappa - chance * (1 - kappa)) ** 2) / ((1 - chance) ** 2 * n)
    return _normal(kappa, observed, sqrt(variance), z_of(confidence))


def fleiss(counts: ArrayLike, confidence: float = 0.95) -> Agreement:
    """Fleiss' kappa: counts[i, k] raters put item i under label k, shape (items, labels), equally many raters an item.

    Source: Fleiss 1971 (Psychol Bull 76:378); standard error for a kappa that is not 0 and Student's interval on
    items-1 degrees of freedom: Gwet 2014 (Handbook of Inter-Rater Reliability, 4th ed., chapter 5). Fleiss' own
    error of 1971 supposes a kappa of 0 and makes no interval.

    Raises:
        ValueError: not a table of counts, fewer than two raters, or items with different numbers of raters.
    """
    rated = np.asarray(counts, dtype=float)
    if rated.size == 0:
        return Agreement(None, UNKNOWN, 0.0)
    if rated.ndim != 2 or not bool(np.all(rated >= 0)):
        raise ValueError("Fleiss' kappa needs a table of counts, one row an item and one column a label")
    raters = float(rated[0].sum())
    if raters < 2 or bool(np.any(rated.sum(axis=1) != raters)):
        raise ValueError("Fleiss' kappa needs the same number of raters, two or more, for every item")
    n = len(rated)
    each = (rated * (rated - 1)).sum(axis=1) / (raters * (raters - 1))
    labels = rated.sum(axis=0) / (n * raters)
    observed, chance = float(each.mean()), float((labels**2).sum())
    if chance > 1 - 1e-12:
        return Agreement(None, UNKNOWN, observed)
    kappa = (observed - chance) / (1 - chance)
    if n < 2:
        return Agreement(kappa, UNKNOWN, observed)
    chances = (rated / raters) @ labels
    by_item = (each - chance) / (1 - chance) - 2 * (1 - kappa) * (chances - chance) / (1 - chance)
    error = sqrt(float(((by_item - kappa) ** 2).sum()) / (n * (n - 1)))
    return _normal(kappa, observed, error, float(special.stdtrit(n - 1, 0.5 + confidence / 2)))


def pabak(agreed: int, n: int, *, labels: int = 2, confidence: float = 0.95) -> Agreement:
    """Prevalence- and bias-adjusted kappa: chance taken as even over the labels; two raters, `agreed` of `n` items.

    Interval: Wilson's for the share agreed, carried over. Source: Byrt, Bishop, Carlin 1993 (J Clin Epidemiol 46:423);
    for more labels Bennett, Alpert, Goldstein 1954 (Public Opin Q 18:303).

    Raises:
        ValueError: more agreed than items, or fewer than two labels.
    """
    if labels < 2:
        raise ValueError(f"PABAK needs two labels or more, not {labels}")
    share = wilson(agreed, n, confidence)
    if n == 0:
        return Agreement(None, UNKNOWN, 0.0)

    def adjusted(observed: float) -> float:
        return (labels * observed - 1) / (labels - 1)

    ends = Interval(low=adjusted(share.low), high=adjusted(share.high))
    return Agreement(adjusted(agreed / n), ends, agreed / n)


def krippendorff(
    ratings: Sequence[Sequence[float | str | None]],
    scale: Scale = "nominal",
    *,
    seed: int,
    resamples: int = 2_000,
    confidence: float = 0.95,
) -> Agreement:
    """Krippendorff's alpha: one row an item, any number of ratings in it, None where a rater gave none.

    Texts can only be nominal. An item with fewer than two ratings counts nothing. Interval: BCa bootstrap of items,
    same seed, same interval. Source: Krippendorff 2018 (Content Analysis, 4th ed., chapter 12).

    Raises:
        ValueError: texts on a scale of numbers, a rating that is not finite, fewer than 100 resamples.
    """
    check_resamples(resamples)
    items = [kept for row in ratings if len(kept := [one for one in row if one is not None]) > 1]
    values = sorted({one for row in items for one in row}, key=lambda one: (isinstance(one, str), one))
    numbers = np.arange(len(values), dtype=float)
    if scale != "nominal":
        if any(isinstance(value, str) for value in values):
            raise ValueError(f"texts cannot be rated on the {scale} scale; use nominal")
        numbers = np.array(values, dtype=float)
    if any(isinstance(value, float) and not np.isfinite(value) for value in values):
        raise ValueError("a rating is not a finite number; give None where there is none")
    place = {value: k for k, value in enumerate(values)}
    if not items:
        return Agreement(None, UNKNOWN, 0.0)
    size = len(values)
    rows = np.array([_coincidences([place[one] for one in row], size).ravel() for row in items])
    # Items rated alike are drawn together; alpha of the whole, of a resample, of all but one are the same few sums.
    kinds, count = np.unique(rows, axis=0, return_counts=True)
    total = count @ kinds
    observed = float(np.trace(total.reshape(size, size))) / float(total.sum())
    estimate = float(_alpha(total[None], numbers, scale)[0])
    if np.isnan(estimate) or len(items) < 2:
        return Agreement(None if np.isnan(estimate) else estimate, UNKNOWN, observed)
    times = np.random.default_rng(seed).multinomial(len(items), count / len(items), size=resamples)
    draws = _alpha(times @ kinds, numbers, scale)
    left = _alpha(total - kinds, numbers, scale)
    draws, count, left = draws[~np.isnan(draws)], count[~np.isnan(left)], left[~np.isnan(left)]
    if len(draws) < LEAST or not len(left):
        return Agreement(estimate, UNKNOWN, observed)
    ends = bca(draws, estimate, left, weights=count.astype(float), confidence=confidence)
    return Agreement(estimate, ends, observed)


def _coincidences(places: Sequence[int], size: int) -> NDArray[np.float64]:
    """Ordered pairs of values within one item, each weighted 1 / (ratings - 1); shape (values, values)."""
    counts = np.bincount(places, minlength=size).astype(float)
    return (np.outer(counts, counts) - np.diag(counts)) / (len(places) - 1)


def _alpha(flat: NDArray[np.float64], numbers: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Alpha of each matrix of coincidences, shape (m, values * values); NaN where a single value is left."""
    pairs = flat.reshape(len(flat), len(numbers), len(numbers))
    totals = pairs.sum(axis=2)
    apart = _apart(totals, numbers, scale)
    expected = (totals[:, :, None] * totals[:, None, :] * apart).sum(axis=(1, 2))
    seen = (pairs * apart).sum(axis=(1, 2))
    alphas = np.full(len(flat), np.nan)
    np.divide((totals.sum(axis=1) - 1) * seen, expected, out=alphas, where=expected > 0)
    return np.asarray(1 - alphas, dtype=float)


def _apart(totals: NDArray[np.float64], numbers: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Squared difference between two values, shape (m or 1, values, values)."""
    if scale == "ordinal":
        # Values lie as far apart as ratings fall between them, the two ends counted half.
        middle = np.cumsum(totals, axis=1) - totals / 2
        return np.asarray((middle[:, :, None] - middle[:, None, :]) ** 2, dtype=float)
    difference = numbers[:, None] - numbers[None, :]
    if scale == "nominal":
        return np.asarray(difference != 0, dtype=float)[None]
    if scale == "ratio":
        total = numbers[:, None] + numbers[None, :]
        difference = np.divide(difference, total, out=np.zeros_like(total), where=total != 0)
    return np.asarray(difference**2, dtype=float)[None]


def _normal(value: float, observed: float, error: float, reach: float) -> Agreement:
    ends = Interval(low=max(-1.0, value - reach * error), high=min(1.0, value + reach * error))
    return Agreement(value, ends, observed, error)
