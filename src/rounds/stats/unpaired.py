"""Two independent samples: whether one could have come from where the other came from. For watching, not for gates.

Both tests keep their level also with ties and small counts, where they are conservative. Left out on purpose: paired
data (`rounds.stats.paired`), and looking again after each single observation, for which the level does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scipy import stats

from rounds.stats.multiplicity import holm

FEW = 25


def kolmogorov_smirnov(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p that two samples are of one distribution; 1 where one is empty.

    Source: Smirnov 1939; exact where one sample is smaller than FEW, else by its limit (scipy.stats.ks_2samp).
    """
    if not one or not other:
        return 1.0
    # Counting every path is exact, but loses its digits in larger samples, as scipy says by a warning.
    return float(stats.ks_2samp(one, other, method="exact" if min(len(one), len(other)) < FEW else "asymp").pvalue)


def fisher(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """Two-sided p of Fisher's exact test that two shares are one; 1 where there is no case.

    Source: Fisher 1934; the two-sided p adds every table no likelier than the one seen.

    Raises:
        ValueError: more hits than cases, or a negative count.
    """
    if not (0 <= hits <= n and 0 <= other_hits <= other_n):
        raise ValueError(f"{hits} of {n} against {other_hits} of {other_n} are no shares")
    if not n or not other_n:
        return 1.0
    return float(stats.fisher_exact([[hits, n - hits], [other_hits, other_n - other_hits]]).pvalue)


def alarms(ps: Mapping[str, float], level: float) -> tuple[str, ...]:
    """Names that differ, at a chance of at most `level` that any is named when nothing differs (Holm 1979)."""
    adjusted = holm(list(ps.values()))
    return tuple(name for name, p in zip(ps, adjusted, strict=True) if p < level)
