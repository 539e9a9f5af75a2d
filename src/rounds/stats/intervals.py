"""Intervals for the paired difference (after minus before) and for a single share.

Tango's score interval is the one that decides and is printed; Newcombe's is the cross-check; the others are there to
hold published papers to. All are clipped to -1..1 and answer -1..1 (0..1 for a share) when there is no case at all.
Left out on purpose: the closed form of Tango's interval, whose quartic gives spurious roots in the corners.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

from scipy import special

from rounds.records import Interval
from rounds.stats.paired import Pairs

UNKNOWN = Interval(low=-1.0, high=1.0)


def z_of(confidence: float) -> float:
    """Standard normal quantile of a two-sided confidence.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    return float(special.ndtri(0.5 + confidence / 2.0))


def score(pairs: Pairs, difference: float) -> tuple[float, float]:
    """Numerator and variance of Tango's score statistic at a supposed true difference: z = numerator / sqrt(variance).

    Source: Tango 1998 (Stat Med 17:891), equations 8-11: the nuisance probability of a loss is the positive root of
    its restricted likelihood equation, here in the form that does not cancel.
    """
    n, gains, losses = pairs.n, pairs.only_after, pairs.only_before
    a = 2.0 * n
    b = -gains - losses + (2.0 * n - gains + losses) * difference
    c = -losses * difference * (1.0 - difference)
    root = sqrt(max(0.0, b * b - 4.0 * a * c))
    loss = (root - b) / (2.0 * a) if b <= 0 else -2.0 * c / (b + root)
    variance = n * (2.0 * loss + difference * (1.0 - difference))
    return gains - losses - n * difference, max(0.0, variance)


def tango(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Score interval of the paired difference, by root finding.

    Source: Tango 1998 (Stat Med 17:891). All concordant: +-z^2/(n+z^2); all changed one way: one end is 1 or -1.
    """
    z = z_of(confidence)
    n = pairs.n
    if n == 0:
        return UNKNOWN
    if pairs.discordant == 0:
        reach = z * z / (n + z * z)
        return Interval(low=-reach, high=reach)
    if n in (pairs.only_after, pairs.only_before):
        # The variance at the estimate is 0, so the search has no inside to start from; the equation is then linear.
        inner = (n - z * z) / (n + z * z)
        return Interval(low=inner, high=1.0) if pairs.only_after else Interval(low=-1.0, high=-inner)

    def beyond(difference: float) -> float:
        numerator, variance = score(pairs, difference)
        return numerator * numerator - z * z * variance

    return Interval(
        low=_root(beyond, -1.0, pairs.difference),
        high=_root(beyond, 1.0, pairs.difference),
    )


def _root(beyond: Callable[[float], float], outside: float, inside: float) -> float:
    """Bisection between a point outside the interval (beyond >= 0) and one inside (beyond < 0)."""
    for _ in range(200):
        middle = 0.5 * (outside + inside)
        if middle in (outside, inside):
            break
        if beyond(middle) >= 0:
            outside = middle
        else:
            inside = middle
    return outside


def newcombe(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Square-and-add of two Wilson intervals with a continuity-corrected phi.

    Source: Newcombe 1998 (Stat Med 17:2635), method 10.
    """
    if pairs.n == 0:
        return UNKNOWN
    right_before, right_after = pairs.both + pairs.only_before, pairs.both + pairs.only_after
    before, after = wilson(right_before, pairs.n, confidence), wilson(right_after, pairs.n, confidence)
    p_before, p_after = right_before / pairs.n, right_after / pairs.n
    phi = _corrected_phi(pairs, right_before, right_after)
    down, up = p_after - after.low, before.high - p_before
    low = sqrt(max(0.0, down * down - 2 * phi * down * up + up * up))
    rise, fall = after.high - p_after, p_before - before.low
    high = sqrt(max(0.0, rise * rise - 2 * phi * rise * fall + fall * fall))
    return _clipped(pairs.difference - low, pairs.difference + high)


def _corrected_phi(pairs: Pairs, right_before: int, right_after: int) -> float:
    margins = right_before * right_after * (pairs.n - right_before) * (pairs.n - right_after)
    if margins == 0:
        return 0.0
    product = float(pairs.both * pairs.neither - pairs.only_before * pairs.only_after)
    if product > 0:
        product = max(0.0, product - pairs.n / 2)
    return product / sqrt(margins)


def bonett_price(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Wald interval after adding one to each discordant cell. Source: Bonett, Price 2012 (J Educ Behav Stat 37:479)."""
    return _adjusted_wald(pairs, 1.0, z_of(confidence))


def agresti_min(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Wald interval after adding a half to each cell. Source: Agresti, Min 2005 (Stat Med 24:729)."""
    return _adjusted_wald(pairs, 0.5, z_of(confidence))


def wald(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """The textbook interval, too short for few cases and of no width at all without discordance: to check papers."""
    if pairs.n == 0:
        return UNKNOWN
    spread = pairs.discordant / pairs.n - pairs.difference**2
    half = z_of(confidence) * sqrt(max(0.0, spread) / pairs.n)
    return _clipped(pairs.difference - half, pairs.difference + half)


def _adjusted_wald(pairs: Pairs, added: float, z: float) -> Interval:
    if pairs.n == 0:
        return UNKNOWN
    n = pairs.n + 2.0
    gains, losses = (pairs.only_after + added) / n, (pairs.only_before + added) / n
    difference = gains - losses
    half = z * sqrt(max(0.0, gains + losses - difference**2) / n)
    return _clipped(difference - half, difference + half)


def wilson(hits: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a share; 0..1 without cases.

    Source: Wilson 1927 (J Am Stat Assoc 22:209).

    Raises:
        ValueError: more hits than cases, or a negative count.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n} cases is not a share")
    if n == 0:
        return Interval(low=0.0, high=1.0)
    z = z_of(confidence)
    share, z2 = hits / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends the score equation has the exact roots 0 and 1, which rounding would miss by an ulp.
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == n else min(1.0, middle + half)
    return Interval(low=low, high=high)


def wilson_lower(hits: int, n: int, confidence: float = 0.975) -> float:
    """Lower end of the one-sided score interval; at .975 it equals the lower end of the two-sided 95 % interval."""
    return wilson(hits, n, 2.0 * confidence - 1.0).low


def _clipped(low: float, high: float) -> Interval:
    return Interval(low=max(-1.0, low), high=min(1.0, high))
