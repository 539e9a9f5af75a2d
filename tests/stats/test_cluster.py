from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.stats.cluster import Clusters, bootstrap, clusters, durkalski, interval, noninferior, obuchowski, singles
from rounds.stats.intervals import tango, wald
from rounds.stats.paired import Pairs, asymptotic


def drawn(seed: int, count: int, size: int, lift: float) -> Clusters:
    """Clusters whose pairs share luck."""
    rng = np.random.default_rng(seed)
    luck = rng.uniform(0.3, 0.9, count)
    before = rng.random((count, size)) < luck[:, None]
    after = rng.random((count, size)) < np.clip(luck + lift + rng.normal(0, 0.15, count), 0, 1)[:, None]
    return Clusters((after.astype(float) - before).sum(axis=1), np.full(count, float(size)))


def test_pairs_are_gathered() -> None:
    found = clusters(["a", "b", "a"], [1.0, 0.0, 0.5], [1.0, 1.0, 0.0])
    assert found.gain.tolist() == [-0.5, 1.0]
    assert found.pairs.tolist() == [2.0, 1.0]
    assert found.difference == pytest.approx(0.5 / 3)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        clusters(["a", "b"], [1.0, 0.0], [1.0])


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_single_pairs_give_mcnemar(both: int, before: int, after: int, neither: int) -> None:
    table = Pairs(both, before, after, neither)
    if table.n < 2:
        return
    assert durkalski(singles(table)).value == pytest.approx(asymptotic(table).value)
    expected = asymptotic(table).value * (table.n - 1) / table.n
    assert obuchowski(singles(table)).value == pytest.approx(expected)


def test_singles_are_the_pairs_one_by_one() -> None:
    found = singles(Pairs(2, 1, 3, 1))
    assert sorted(found.gain.tolist()) == [-1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert found.pairs.tolist() == [1.0] * 7
    assert found.difference == pytest.approx(Pairs(2, 1, 3, 1).difference)


def test_single_pairs_give_nearly_the_wald_interval() -> None:
    table = Pairs(200, 30, 60, 110)
    here, reference = interval(singles(table)), wald(table)
    assert (here.low, here.high) == pytest.approx((reference.low, reference.high), abs=1e-4)


def test_copies_of_a_case_add_nothing() -> None:
    # Ten samples of each case that all say the same are no more evidence than one.
    one = singles(Pairs(60, 10, 20, 20))
    ten = Clusters(one.gain * 10, one.pairs * 10)
    assert ten.difference == pytest.approx(one.difference)
    assert durkalski(ten).p == pytest.approx(durkalski(one).p)
    assert obuchowski(ten).p == pytest.approx(obuchowski(one).p)
    assert (interval(ten).low, interval(ten).high) == pytest.approx((interval(one).low, interval(one).high))
    here, there = bootstrap(ten, seed=1, resamples=500), bootstrap(one, seed=1, resamples=500)
    assert (here.low, here.high) == pytest.approx((there.low, there.high))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(4, 9)), min_size=2, max_size=30))
def test_swapping_mirrors(pairs: list[tuple[int, int]]) -> None:
    gain, size = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], float)
    here, there = Clusters(gain, size), Clusters(-gain, size)
    assert obuchowski(here).p == pytest.approx(obuchowski(there).p)
    assert durkalski(here).p == pytest.approx(durkalski(there).p)
    assert interval(there).low == pytest.approx(-interval(here).high)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(4, 9)), max_size=12))
def test_every_interval_is_finite_and_ordered(pairs: list[tuple[int, int]]) -> None:
    groups = Clusters(np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], float))
    for found in (interval(groups), bootstrap(groups, seed=3, resamples=200)):
        assert -1.0 <= found.low <= found.high <= 1.0


def test_corner_cases() -> None:
    nothing = clusters([], [], [])
    assert (interval(nothing).low, interval(nothing).high, nothing.difference) == (-1.0, 1.0, 0.0)
    assert obuchowski(nothing).p == 1.0
    assert durkalski(nothing).p == 1.0
    one = clusters(["a", "a"], [0.0, 0.0], [1.0, 1.0])
    assert (interval(one).low, interval(one).high) == (-1.0, 1.0)
    assert (bootstrap(one, seed=1).low, bootstrap(one, seed=1).high) == (-1.0, 1.0)
    still = singles(Pairs(30, 0, 0, 10))
    same = tango(Pairs(30, 0, 0, 10))
    assert obuchowski(still).p == 1.0
    assert (interval(still).low, interval(still).high) == pytest.approx((same.low, same.high))


def test_bootstrap_is_repeatable_and_near_the_normal_interval() -> None:
    groups = drawn(5, 110, 6, 0.05)
    first, again = bootstrap(groups, seed=11), bootstrap(groups, seed=11)
    assert first == again
    assert first != bootstrap(groups, seed=12)
    normal = interval(groups)
    assert (first.low, first.high) == pytest.approx((normal.low, normal.high), abs=0.01)


def test_bootstrap_follows_skew() -> None:
    # A few clusters lost much: the lower arm of the interval is the longer one.
    groups = Clusters(np.array([0.0] * 57 + [-5.0, -6.0, -6.0]), np.full(60, 6.0))
    found = bootstrap(groups, seed=2)
    assert found.high < 0.0
    assert groups.difference - found.low > found.high - groups.difference


def test_clustering_widens_what_shares_luck() -> None:
    rng = np.random.default_rng(9)
    moved = rng.choice([-1.0, 0.0, 1.0], size=60, p=[0.2, 0.5, 0.3])
    together = Clusters(moved * 6, np.full(60, 6.0))
    apart = Clusters(np.repeat(moved, 6), np.ones(360))
    wide, narrow = interval(together), interval(apart)
    assert (wide.high - wide.low) > 2 * (narrow.high - narrow.low)


def test_coverage_of_the_clustered_interval() -> None:
    held = sum(
        interval(drawn(seed, 80, 6, 0.0)).low <= 0.0 <= interval(drawn(seed, 80, 6, 0.0)).high for seed in range(300)
    )
    assert 0.9 <= held / 300 <= 0.985


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="99 resamples"):
        bootstrap(drawn(1, 10, 2, 0.0), seed=1, resamples=99)


@pytest.mark.parametrize("margin", [0.01, 0.03, 0.05, 0.1, 0.3])
@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(4, 9)), min_size=2, max_size=30))
def test_kept_is_the_clustered_interval_above_the_margin(margin: float, pairs: list[tuple[int, int]]) -> None:
    groups = Clusters(np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], float))
    low = interval(groups).low
    if abs(low + margin) > 1e-9 and low > -1.0:
        assert (noninferior(groups, margin) < 0.025) == (low > -margin)


def test_noninferiority_counts_clusters() -> None:
    assert noninferior(Clusters(np.array([1.0]), np.array([6.0])), 0.05) == 1.0
    one = drawn(4, 80, 6, 0.0)
    ten = Clusters(one.gain * 10, one.pairs * 10)
    assert noninferior(ten, 0.05) == pytest.approx(noninferior(one, 0.05))
    with pytest.raises(ValueError, match=r"margin 1\.0 is not between 0 and 1"):
        noninferior(one, 1.0)


def test_bootstrap_of_single_pairs_is_near_tango() -> None:
    table = Pairs(200, 30, 60, 110)
    found, reference = bootstrap(singles(table), seed=3), tango(table)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.005)


def test_equal_clusters_are_drawn_together_with_the_same_result() -> None:
    # 60 clusters of four kinds are drawn as a multinomial; with an invisible difference they are drawn one by one.
    groups = Clusters(np.repeat([-3.0, 0.0, 1.0, 4.0], 15), np.full(60, 6.0))
    apart = Clusters(groups.gain + np.linspace(0, 1e-9, 60), groups.pairs)
    here, there = bootstrap(groups, seed=5, resamples=20_000), bootstrap(apart, seed=5, resamples=20_000)
    assert (here.low, here.high) == pytest.approx((there.low, there.high), abs=0.01)


def test_a_million_single_pairs_are_drawn_in_a_moment() -> None:
    table = Pairs(450_000, 50_500, 50_000, 449_500)
    found, reference = bootstrap(singles(table), seed=1), tango(table)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=5e-5)
