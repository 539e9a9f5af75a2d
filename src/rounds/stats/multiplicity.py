"""Several tests at once: Holm's adjustment, and Cochran's Q before several models are compared two by two.

Left out on purpose: false-discovery rates, which allow some false claims; a claim about patients should not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rounds.stats.paired import Statistic


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p in the order given, at most 1; controls the chance of any false claim in the family.

    Source: Holm 1979 (Scand J Stat 6:65).

    Raises:
        ValueError: a p outside 0..1 (NaN included).
    """
    if not all(0.0 <= p <= 1.0 for p in ps):
        raise ValueError(f"p values must lie between 0 and 1: {list(ps)}")
    adjusted = [1.0] * len(ps)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def cochran_q(marks: Sequence[Sequence[bool]] | NDArray[np.bool_]) -> Statistic:
    """Do k models differ at all? marks: one row a case, one column a model, shape (n, k).

    Chi-squared on k-1 degrees of freedom; Q = 0, p = 1 when every case is right for all or wrong for all. With two
    models it is McNemar's uncorrected test. Source: Cochran 1950 (Biometrika 37:256).

    Raises:
        ValueError: rows of different lengths, or fewer than two models.
    """
    if len(marks) == 0:
        return Statistic(0.0, 1.0)
    try:
        table = np.asarray(marks, dtype=bool)
    except ValueError:  # rows of different lengths
        table = np.zeros(0, dtype=bool)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError("every case needs one mark for each of two or more models")
    k = table.shape[1]
    # Python's whole numbers: the squares of a million cases would leave 32 bits on some machines.
    models = [int(right) for right in table.sum(axis=0)]
    right, cases = np.unique(table.sum(axis=1), return_counts=True)
    total = sum(models)
    below = k * total - sum(int(r) * int(r) * int(c) for r, c in zip(right, cases, strict=True))
    if below == 0:
        return Statistic(0.0, 1.0)
    statistic = (k - 1) * (k * sum(model * model for model in models) - total * total) / below
    return Statistic(statistic, float(special.chdtrc(k - 1.0, statistic)))
