from __future__ import annotations

from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from rounds.records import Interval
from rounds.stats.intervals import agresti_min, bonett_price, newcombe, score, tango, wald, wilson, wilson_lower, z_of
from rounds.stats.paired import Pairs

small = st.integers(0, 30)
tables = st.builds(Pairs, small, small, small, small)


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


# both, only_before, only_after, neither: difference, Wald, Newcombe, Tango, Bonett-Price (notes on the seed study)
SEED = [
    (Pairs(97, 0, 8, 5), 0.0727, (0.0242, 0.1213), (0.0215, 0.1365), (0.0365, 0.1370), (0.0177, 0.1252)),
    (Pairs(43, 28, 9, 30), -0.1727, (-0.2762, -0.0693), (-0.2728, -0.0661), (-0.2777, -0.0676), (-0.2743, -0.0650)),
    (Pairs(42, 29, 10, 29), -0.1727, (-0.2792, -0.0662), (-0.2756, -0.0631), (-0.2801, -0.0643), (-0.2772, -0.0621)),
]


@pytest.mark.parametrize(("table", "difference", "by_wald", "by_newcombe", "by_tango", "by_bonett"), SEED)
def test_seed_study(
    table: Pairs,
    difference: float,
    by_wald: tuple[float, float],
    by_newcombe: tuple[float, float],
    by_tango: tuple[float, float],
    by_bonett: tuple[float, float],
) -> None:
    assert table.difference == pytest.approx(difference, abs=5e-5)
    assert ends(wald(table)) == pytest.approx(by_wald, abs=5.1e-5)
    assert ends(newcombe(table)) == pytest.approx(by_newcombe, abs=5.1e-5)
    assert ends(tango(table)) == pytest.approx(by_tango, abs=5.1e-5)
    assert ends(bonett_price(table)) == pytest.approx(by_bonett, abs=5.1e-5)


def test_cavo_2012() -> None:
    table = Pairs(59, 16, 6, 80)
    assert ends(wald(table)) == pytest.approx((-0.1184, -0.0058), abs=5.1e-5)
    assert ends(newcombe(table)) == pytest.approx((-0.1186, -0.0046), abs=5.1e-5)
    assert ends(tango(table)) == pytest.approx((-0.1240, -0.0054), abs=5.1e-5)
    assert ends(agresti_min(table)) == pytest.approx((-0.1182, -0.0045), abs=5.1e-5)


def test_bentur_2009() -> None:
    table = Pairs(1, 7, 1, 12)
    assert ends(tango(table)) == pytest.approx((-0.517, -0.026), abs=5.1e-4)
    assert ends(wald(table)) == pytest.approx((-0.5197, -0.0517), abs=5.1e-5)
    assert ends(newcombe(table)) == pytest.approx((-0.5069, -0.0256), abs=5.1e-5)


@pytest.mark.parametrize(
    ("table", "confidence", "expected"),
    [
        # ratesci test3.R gives cells (a, b, c, d) and b - c: b is our only_after.
        (Pairs(4, 3, 9, 16), 0.95, (-0.027, 0.390)),
        (Pairs(53, 8, 16, 9), 0.95, (-0.020, 0.207)),
        (Pairs(43, 1, 0, 0), 0.90, (-0.096, 0.037)),
    ],
)
def test_tango_as_in_ratesci(table: Pairs, confidence: float, expected: tuple[float, float]) -> None:
    assert ends(tango(table, confidence)) == pytest.approx(expected, abs=5.1e-4)


def test_corners_of_tango() -> None:
    z2 = z_of(0.95) ** 2
    assert ends(tango(Pairs(0, 0, 0, 0))) == (-1.0, 1.0)
    assert ends(tango(Pairs(1, 0, 0, 0))) == pytest.approx((-z2 / (1 + z2), z2 / (1 + z2)))
    assert ends(tango(Pairs(50, 0, 0, 60))) == pytest.approx((-z2 / (110 + z2), z2 / (110 + z2)))
    # contingencytables: n12 = 3 alone gives -.1230 to 1.
    assert ends(tango(Pairs(0, 0, 3, 0))) == pytest.approx((-0.1230, 1.0), abs=5.1e-5)
    assert ends(tango(Pairs(0, 3, 0, 0))) == pytest.approx((-1.0, 0.1230), abs=5.1e-5)
    assert ends(tango(Pairs(0, 0, 1, 0)))[1] == 1.0


def test_corners_of_newcombe() -> None:
    # contingencytables: (1, 0, 0, 1) gives +-.5734.
    assert ends(newcombe(Pairs(1, 0, 0, 1))) == pytest.approx((-0.5734, 0.5734), abs=5.1e-5)
    assert ends(newcombe(Pairs(0, 0, 0, 0))) == (-1.0, 1.0)
    # One case, gained: both Wilson intervals are 0.7935 wide and uncorrelated.
    assert ends(newcombe(Pairs(0, 0, 1, 0))) == pytest.approx((1 - 0.79346 * 2**0.5, 1.0), abs=5e-5)


@pytest.mark.parametrize("method", [tango, newcombe, bonett_price, agresti_min, wald])
def test_no_case_is_no_knowledge(method: object) -> None:
    assert ends(method(Pairs(0, 0, 0, 0))) == (-1.0, 1.0)  # type: ignore[operator]


@settings(deadline=None)
@given(tables)
def test_tango_solves_its_equation(table: Pairs) -> None:
    interval = tango(table)
    assert -1.0 <= interval.low <= table.difference <= interval.high <= 1.0
    for end in ends(interval):
        if table.n and -1.0 < end < 1.0:
            numerator, variance = score(table, end)
            assert abs(numerator) == pytest.approx(1.959963984540054 * sqrt(variance), rel=1e-6)


@settings(deadline=None)
@given(tables)
def test_swapping_mirrors_every_interval(table: Pairs) -> None:
    for method in (tango, newcombe, bonett_price, agresti_min, wald):
        here, there = method(table), method(table.swapped())
        assert (there.low, there.high) == pytest.approx((-here.high, -here.low), abs=1e-9)


@settings(deadline=None)
@given(tables)
def test_more_confidence_is_wider(table: Pairs) -> None:
    narrow, wide = tango(table, 0.9), tango(table, 0.99)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


def closed_form(table: Pairs, z: float) -> list[float]:
    """Real roots of the quartic that Tango's equation becomes (Yang, Sun, Hardin 2013); two of them may be spurious.

    The equation gives the nuisance probability as a square of the difference; put into the quadratic that the
    restricted likelihood asks of it, a polynomial of the fourth degree is left.
    """
    n, gains, losses = table.n, table.only_after, table.only_before
    apart = Polynomial([gains - losses, -n])
    curve = Polynomial([0, 1, -1])
    loss = (apart**2 / (z * z * n) - curve) / 2
    middle = Polynomial([-gains - losses, 2 * n - gains + losses])
    roots = (2 * n * loss**2 + middle * loss - losses * curve).roots()
    return [float(root.real) for root in roots if abs(root.imag) < 1e-7]


def test_tango_is_among_the_roots_of_its_closed_form() -> None:
    rng = np.random.default_rng(1)
    z = z_of(0.95)
    for _ in range(300):
        table = Pairs(*(int(k) for k in rng.integers(1, 60, size=4)))
        roots = closed_form(table, z)
        assert all(min(abs(root - end) for root in roots) < 1e-5 for end in ends(tango(table))), table


def test_the_closed_form_has_spurious_roots() -> None:
    # Why the search is what decides: 97/0/8/5 has roots that no interval ends at.
    roots = closed_form(Pairs(97, 0, 8, 5), z_of(0.95))
    assert sum(min(abs(root - end) for end in ends(tango(Pairs(97, 0, 8, 5)))) < 1e-5 for root in roots) == 2
    assert len(roots) == 4


def test_tango_covers_by_enumeration() -> None:
    # Every table of 30 pairs, weighted by its chance: the share of tables whose interval holds the truth.
    n = 30
    found = {(b, c): tango(Pairs(n - b - c, b, c, 0)) for b in range(n + 1) for c in range(n + 1 - b)}
    for lost, gained in ((0.1, 0.1), (0.15, 0.05), (0.3, 0.2), (0.05, 0.2)):
        covered = sum(
            comb(n, b) * comb(n - b, c) * lost**b * gained**c * (1 - lost - gained) ** (n - b - c)
            for (b, c), interval in found.items()
            if interval.low <= gained - lost <= interval.high
        )
        assert 0.93 < covered < 0.975


def test_wilson() -> None:
    assert ends(wilson(0, 0)) == (0.0, 1.0)
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == 1.0
    # Newcombe 1998 (Stat Med 17:857), table I, method 3: 81/263 and 1/29.
    assert ends(wilson(81, 263)) == pytest.approx((0.2553, 0.3662), abs=5.1e-5)
    assert ends(wilson(1, 29)) == pytest.approx((0.0061, 0.1718), abs=5.1e-5)


def test_one_sided_wilson_is_an_end_of_the_two_sided() -> None:
    assert wilson_lower(81, 263) == pytest.approx(wilson(81, 263).low, abs=1e-12)
    assert wilson_lower(81, 263, 0.95) > wilson_lower(81, 263, 0.975)


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_mirrors(hits: int, misses: int) -> None:
    here, there = wilson(hits, hits + misses), wilson(misses, hits + misses)
    assert (1 - there.high, 1 - there.low) == pytest.approx(ends(here), abs=1e-12)


def test_impossible_shares_and_confidences_are_refused() -> None:
    with pytest.raises(ValueError, match="3 hits of 2"):
        wilson(3, 2)
    with pytest.raises(ValueError, match=r"confidence 1\.0"):
        tango(Pairs(1, 1, 1, 1), 1.0)
