"""Was nothing lost? The paired non-inferiority score test, how many cases it needs, and what a given n can see.

The score test is checked against its exact distribution. That, and power, are computed by enumeration: over the number
of discordant pairs (a binomial, cut where less than 1e-8 of it is left) and, given that number, over the losses among
them. Left out on purpose: a default margin. How much may be lost is a clinical decision, stated with its reason in the
recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rounds.stats.intervals import score
from rounds.stats.paired import Pairs, binomial_cdf, binomial_pmf

Test = Literal["exact", "midp"]
Rule = Literal["decided", "score"]

SPARED = 1e-4
"""Chance that the true discordance lies outside the interval in which the exact test looks for its worst value."""
GRID = 100
"""Values of the discordance tried there; the chance of a tail moves by less than SPARED between two."""

ALPHA = 0.025
"""One-sided level of the non-inferiority test (ICH E9)."""


def noninferior(pairs: Pairs, margin: float) -> float:
    """One-sided p against 'after is worse than before by `margin` or more'; 1 without cases.

    Source: Tango 1998 (Stat Med 17:891); Liu, Hsueh, Hsieh, Chen 2002 (Stat Med 21:231). p < .025 holds exactly when
    the lower end of the 95 % Tango interval lies above -margin.

    Raises:
        ValueError: the margin is not between 0 and 1.
    """
    _check_margin(margin)
    if pairs.n == 0:
        return 1.0
    numerator, variance = score(pairs, -margin)
    if variance <= 0:
        return 0.0 if numerator > 0 else 1.0
    return float(special.ndtr(-numerator / sqrt(variance)))


def unconditional(pairs: Pairs, margin: float) -> float:
    """The same hypothesis, exact: the largest chance of a score as good as this one, over the plausible discordances.

    Tables are ordered by the score of `noninferior`; the true difference is the margin, as any larger loss makes good
    scores rarer. The discordance is sought in its Clopper-Pearson interval of level 1 - SPARED, and SPARED is added.
    Source: Hsueh, Liu, Chen 2001 (Biometrics 57:478); Berger, Boos 1994 (JASA 89:1012), for pairs Berger, Sidik 2003
    (Stat Methods Med Res 12:91).

    Raises:
        ValueError: the margin is not between 0 and 1.
    """
    _check_margin(margin)
    n, seen = pairs.n, pairs.discordant
    if n == 0:
        return 1.0
    gains, losses = np.array([pairs.only_after], dtype=float), np.array([pairs.only_before], dtype=float)
    # Tables of the same score are as good: what rounding parts is put together.
    least = float(_score_z(n, gains, losses, margin)[0]) - 1e-9
    low = float(special.betaincinv(seen, n - seen + 1, SPARED / 2)) if seen else 0.0
    high = float(special.betaincinv(seen + 1, n - seen, 1 - SPARED / 2)) if seen < n else 1.0
    low, worst = max(low, margin), 0.0
    if high >= low:
        first = int(_discordant(n, low).counts[0])
        most = _most_losses(n, np.arange(first, _discordant(n, high).counts[-1] + 1), margin, least)
        for discordance in np.linspace(low, high, GRID):
            window = _discordant(n, float(discordance))
            start = int(window.counts[0]) - first
            held = most[start : start + len(window.counts)]
            tail = window.weights * binomial_cdf(held, window.counts, 0.5 * (1 + margin / discordance))
            worst = max(worst, float(np.sum(tail)))
    return min(1.0, worst + SPARED)


@lru_cache(maxsize=4096)
def decided(pairs: Pairs, margin: float) -> float:
    """The p that decides: the larger of the score test's and the exact one.

    Below ALPHA the interval lies above -margin, and the chance to overlook a loss of the margin is at most ALPHA at any
    number of pairs and any discordance. .1 s at a thousand pairs, under 1 s at a million.

    Raises:
        ValueError: the margin is not between 0 and 1.
    """
    p = noninferior(pairs, margin)
    # The exact test is asked only where it could change the decision.
    return max(p, unconditional(pairs, margin)) if p < ALPHA else p


def cases_for(
    discordance: float, margin: float, *, difference: float = 0.0, power: float = 0.8, alpha: float = ALPHA
) -> int | None:
    """Pairs that show non-inferiority with the given power, for planning.

    discordance: share of cases on which the two differ, 0..1; difference: the true one (0: truly equal). Normal
    approximation (z_alpha + z_power)^2 (discordance - difference^2) / (margin + difference)^2, Liu et al. 2002, and
    never below z_alpha^2 (1-margin)/margin, which the score test needs even without any discordance. None when the
    true difference lies at or beyond the margin: no number of cases would do.

    Raises:
        ValueError: the margin is not between 0 and 1.
    """
    _check_margin(margin)
    if difference <= -margin:
        return None
    z_alpha, z_power = float(special.ndtri(1 - alpha)), float(special.ndtri(power))
    spread = max(discordance, abs(difference)) - difference**2
    wanted = (z_alpha + z_power) ** 2 * spread / (margin + difference) ** 2
    least = z_alpha**2 * (1 - margin) / margin
    return max(1, ceil(wanted - 1e-9), floor(least) + 1)


def cases_needed(pairs: Pairs, margin: float, *, power: float = 0.8) -> int | None:
    """Pairs that would decide non-inferiority at the discordance seen, were the two truly equal.

    When so many have been seen already and nothing is decided, the difference seen is taken for the true one instead;
    None when that lies at or beyond the margin, as more cases would then more likely show a loss.
    """
    discordance = pairs.discordant / pairs.n if pairs.n else 1.0
    needed = cases_for(discordance, margin, power=power)
    if needed is not None and needed <= pairs.n and decided(pairs, margin) >= ALPHA:
        return cases_for(discordance, margin, difference=pairs.difference, power=power)
    return needed


def noninferior_power(
    n: int, discordance: float, margin: float, difference: float = 0.0, *, rule: Rule = "decided"
) -> float:
    """Chance that non-inferiority is shown (one-sided .025) as it is decided, or by the score test alone.

    By enumeration. The score test alone takes some milliseconds; as it is decided, up to a minute at 1,000 pairs.

    Raises:
        ValueError: the margin is not between 0 and 1, or |difference| exceeds the discordance.
    """
    _check_margin(margin)
    if abs(difference) > discordance:
        raise ValueError(f"a difference of {difference} needs a discordance of at least {abs(difference)}")
    if n == 0:
        return 0.0
    window = _discordant(n, discordance)
    most = _most_losses(n, window.counts, margin, float(special.ndtri(1 - ALPHA)))
    if rule == "decided":
        most = np.array([_decided_losses(n, int(d), int(b), margin) for d, b in zip(window.counts, most, strict=True)])
    share_lost = 0.5 * (1 - difference / discordance) if discordance else 0.5
    return float(np.sum(window.weights * binomial_cdf(most, window.counts, share_lost)))


def loss_power(n: int, discordance: float, loss: float, alpha: float, *, test: Test = "exact") -> float:
    """Chance that McNemar's test (exact, or mid-p) at two-sided `alpha` shows a true loss of `loss`, by enumeration.

    A loss larger than the discordance raises it to the loss (every changed case is then a lost one).
    """
    if n == 0:
        return 0.0
    discordance = max(discordance, loss)
    window = _discordant(n, discordance)
    share_gained = 0.5 * (1 - loss / discordance) if discordance else 0.5
    most = _most_gains(window.counts, alpha, test)
    return float(np.sum(window.weights * binomial_cdf(most, window.counts, share_gained)))


def minimum_detectable(pairs: Pairs, alpha: float, *, power: float = 0.8) -> float | None:
    """Smallest true loss that the exact test at `alpha` shows with the given power at this n and discordance.

    A share, 0..1, to 1e-4, rounded up; None when not even losing every case would be seen (n too small).
    """
    n = pairs.n
    discordance = pairs.discordant / n if n else 0.0
    if loss_power(n, discordance, 1.0, alpha) < power:
        return None
    unseen, seen = 0, 10_000
    while seen - unseen > 1:
        middle = (unseen + seen) // 2
        if loss_power(n, discordance, middle / 10_000, alpha) >= power:
            seen = middle
        else:
            unseen = middle
    return seen / 10_000


@dataclass(frozen=True, slots=True)
class Window:
    """Numbers of discordant pairs worth counting, and the chance of each."""

    counts: NDArray[np.float64]
    weights: NDArray[np.float64]


def _discordant(n: int, discordance: float) -> Window:
    middle, spread = n * discordance, sqrt(n * discordance * (1 - discordance))
    # 6 standard deviations and 40 counts leave less than 1e-8 outside, also where the binomial is skewed.
    low, high = max(0, floor(middle - 6 * spread - 40)), min(n, ceil(middle + 6 * spread + 40))
    counts = np.arange(low, high + 1, dtype=float)
    return Window(counts, binomial_pmf(counts, np.array(float(n)), discordance))


@lru_cache(maxsize=65536)
def _decided_losses(n: int, discordant: int, most: int, margin: float) -> int:
    """Most losses, out of `most` by the score test, that also pass the exact one; -1: none."""
    while most >= 0 and decided(Pairs(n - discordant, most, discordant - most, 0), margin) >= ALPHA:
        most -= 1
    return most


def _most_losses(n: int, counts: NDArray[np.float64], margin: float, least: float) -> NDArray[np.float64]:
    """Most losses among so many discordant pairs at which z is above `least`; -1: none."""
    # z falls as losses grow at a fixed number of discordant pairs: bisect.
    most, too_many = np.full(counts.shape, -1.0), counts + 1.0
    while np.any(too_many - most > 1):
        losses = np.floor((most + too_many) / 2)
        passed = _score_z(n, counts - losses, losses, margin) > least
        most, too_many = np.where(passed, losses, most), np.where(passed, too_many, losses)
    return most


def _most_gains(discordant: NDArray[np.float64], alpha: float, test: Test) -> NDArray[np.float64]:
    """Most gains among so many discordant pairs at which the two-sided p is still below alpha; -1: none."""
    most, too_many = np.full(discordant.shape, -1.0), np.floor(discordant / 2) + 1.0
    while np.any(too_many - most > 1):
        gains = np.floor((most + too_many) / 2)
        p = 2.0 * binomial_cdf(gains, discordant, 0.5)
        if test == "midp":
            p = p - binomial_pmf(gains, discordant, 0.5)
        most, too_many = np.where(p < alpha, gains, most), np.where(p < alpha, too_many, gains)
    return most


def _score_z(n: int, gains: NDArray[np.float64], losses: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """`intervals.score` at -margin for arrays of tables of one n."""
    a, b = 2.0 * n, -gains - losses - (2.0 * n - gains + losses) * margin
    c = losses * margin * (1 + margin)
    loss = (np.sqrt(np.maximum(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * loss - margin * (1 + margin))
    numerator = gains - losses + n * margin
    return np.asarray(numerator / np.sqrt(np.maximum(variance, 1e-300)), dtype=float)


def _check_margin(margin: float) -> None:
    if not 0.0 < margin < 1.0:
        raise ValueError(f"margin {margin} is not between 0 and 1")
