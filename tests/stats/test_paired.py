from __future__ import annotations

import json
from math import comb
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.stats import intervals, paired
from rounds.stats.paired import Pairs, asymptotic, count, edwards, exact, half_yates, midp

EXPECTED = Path(__file__).parents[3] / "shared" / "data" / "99_expected_statistics" / "expected.json"

small = st.integers(0, 30)
tables = st.builds(Pairs, small, small, small, small)


def brute_exact(before: int, after: int) -> float:
    """Both tails at least as improbable as the smaller count, by summing the binomial."""
    n, least = before + after, min(before, after)
    return min(1.0, 2 * sum(comb(n, k) for k in range(least + 1)) / 2**n)


def brute_midp(before: int, after: int) -> float:
    n = before + after
    return brute_exact(before, after) - comb(n, before) / 2**n if n else 1.0


def test_seed_study_is_the_exact_test() -> None:
    # arXiv study: 105/110 against 97/110, p = .008; only 97/8/0/5 under the exact test gives it.
    table = Pairs(both=97, only_before=0, only_after=8, neither=5)
    assert table.n == 110
    assert table.difference == pytest.approx(8 / 110)
    assert exact(table) == pytest.approx(0.0078125, abs=1e-12)
    assert midp(table) == pytest.approx(0.00390625, abs=1e-12)
    assert asymptotic(table).p == pytest.approx(0.00468, abs=5e-6)
    assert edwards(table).p == pytest.approx(0.01333, abs=5e-6)
    assert half_yates(table).p == pytest.approx(0.00801, abs=5e-6)


@pytest.mark.parametrize(("before", "after", "p"), [(28, 9, 0.00256), (29, 10, 0.00338)])
def test_second_pair_of_the_seed_study(before: int, after: int, p: float) -> None:
    assert exact(Pairs(43, before, after, 30)) == pytest.approx(p, abs=5e-6)


@pytest.mark.parametrize(
    ("method", "before", "after", "p"),
    [(midp, 30, 11, 0.00289), (asymptotic, 30, 11, 0.00300), (edwards, 28, 9, 0.00308), (half_yates, 29, 10, 0.00305)],
)
def test_other_variants_of_the_seed_study(method: object, before: int, after: int, p: float) -> None:
    found = method(Pairs(42, before, after, 29))  # type: ignore[operator]
    assert (found if isinstance(found, float) else found.p) == pytest.approx(p, abs=5e-6)


def test_only_two_variants_can_give_both_p_of_the_seed_study() -> None:
    # 105 and 97 of 110 differ by 8, 71 and 52 by 19; printed: .008 and .003. Every split of the discordant pairs.
    def p(method: object, before: int, after: int) -> float:
        found = method(Pairs(0, before, after, 0))  # type: ignore[operator]
        return found if isinstance(found, float) else found.p

    def splits(method: object, apart: int, most: int, printed: float) -> list[tuple[int, int]]:
        every = ((fewer + apart, fewer) for fewer in range(most + 1))
        return [(more, fewer) for more, fewer in every if round(p(method, fewer, more), 3) == printed]

    found = {m.__name__: (splits(m, 8, 5, 0.008), splits(m, 19, 39, 0.003)) for m in (exact, midp, asymptotic, edwards)}
    assert found["exact"] == ([(8, 0)], [(28, 9), (29, 10)])
    assert found["midp"][0] == found["asymptotic"][0] == found["edwards"][0] == []
    assert (30, 11) in found["midp"][1]
    assert (30, 11) in found["asymptotic"][1]
    assert (28, 9) in found["edwards"][1]
    assert splits(half_yates, 8, 5, 0.008) == [(8, 0)]
    assert (29, 10) in splits(half_yates, 19, 39, 0.003)
    assert min(p(edwards, fewer, fewer + 8) for fewer in range(6)) == pytest.approx(0.01333, abs=5e-6)


def test_marks_are_counted() -> None:
    before, after = [True, True, False, False, True], [True, False, True, False, True]
    assert count(before, after) == Pairs(both=2, only_before=1, only_after=1, neither=1)
    assert count([], []) == Pairs(0, 0, 0, 0)
    with pytest.raises(ValueError, match="2 marks before and 1 after are not pairs"):
        count([True, False], [True])


def test_cavo_2012() -> None:
    # R package contingencytables, chapter 8: (59, 6; 16, 80); its difference is first minus second.
    table = Pairs(both=59, only_before=16, only_after=6, neither=80)
    assert asymptotic(table).p == pytest.approx(0.033006, abs=5e-7)
    assert asymptotic(table).value ** 0.5 == pytest.approx(2.132, abs=5e-4)
    assert edwards(table).p == pytest.approx(0.055009, abs=5e-7)
    assert edwards(table).value ** 0.5 == pytest.approx(1.919, abs=5e-4)
    assert exact(table) == pytest.approx(0.052479, abs=5e-7)
    assert midp(table) == pytest.approx(0.034690, abs=5e-7)


def test_bentur_2009() -> None:
    table = Pairs(both=1, only_before=7, only_after=1, neither=12)
    assert exact(table) == pytest.approx(0.0703125, abs=1e-9)
    assert midp(table) == pytest.approx(0.0390625, abs=1e-9)
    assert asymptotic(table).p == pytest.approx(0.033895, abs=5e-7)
    assert edwards(table).p == pytest.approx(0.077100, abs=5e-7)


def test_armitage_berry() -> None:
    table = Pairs(20, 12, 2, 16)
    assert edwards(table).value == pytest.approx(5.785714, abs=5e-7)
    assert edwards(table).p == pytest.approx(0.016157, abs=5e-7)
    assert exact(table) == pytest.approx(0.012939, abs=5e-7)


def test_agresti_approval() -> None:
    table = Pairs(794, 150, 86, 570)
    assert exact(table) == pytest.approx(3.716e-5, abs=5e-9)
    assert asymptotic(table).value == pytest.approx(17.356, abs=5e-4)
    assert asymptotic(table).p == pytest.approx(3.0993e-5, abs=5e-10)
    assert edwards(table).value == pytest.approx(16.818, abs=5e-4)
    assert edwards(table).p == pytest.approx(4.1146e-5, abs=5e-10)


@pytest.mark.parametrize(
    ("method", "alpha", "fewest"), [(exact, 0.01, 8), (midp, 0.01, 7), (exact, 0.05, 6), (midp, 0.05, 5)]
)
def test_fewest_one_way_changes_that_show_anything(method: object, alpha: float, fewest: int) -> None:
    assert method(Pairs(0, 0, fewest, 0)) <= alpha < method(Pairs(0, 0, fewest - 1, 0))  # type: ignore[operator]


def test_against_enumeration() -> None:
    for before in range(26):
        for after in range(26):
            table = Pairs(3, before, after, 2)
            assert exact(table) == pytest.approx(brute_exact(before, after), abs=1e-12)
            assert midp(table) == pytest.approx(brute_midp(before, after), abs=1e-12)


@pytest.mark.parametrize("table", [Pairs(0, 0, 0, 0), Pairs(1, 0, 0, 0), Pairs(7, 0, 0, 3)])
def test_nothing_discordant_shows_nothing(table: Pairs) -> None:
    assert (exact(table), midp(table), table.difference) == (1.0, 1.0, 0.0)
    for variant in (asymptotic, edwards, half_yates):
        assert (variant(table).value, variant(table).p) == (0.0, 1.0)


def test_one_case_shows_nothing() -> None:
    assert exact(Pairs(0, 1, 0, 0)) == 1.0
    assert midp(Pairs(0, 1, 0, 0)) == 0.5
    assert edwards(Pairs(0, 1, 0, 0)).p == 1.0


def test_a_million_pairs() -> None:
    table = Pairs(400_000, 101_000, 100_000, 399_000)
    assert exact(table) == pytest.approx(asymptotic(table).p, rel=0.01)
    assert midp(table) == pytest.approx(asymptotic(table).p, rel=1e-4)


@settings(deadline=None)
@given(tables)
def test_swapping_changes_the_sign_and_no_p(table: Pairs) -> None:
    other = table.swapped()
    assert other.difference == -table.difference
    assert exact(other) == exact(table)
    assert midp(other) == midp(table)
    assert edwards(other) == edwards(table)


@settings(deadline=None)
@given(tables)
def test_order_of_the_variants(table: Pairs) -> None:
    assert 0.0 <= midp(table) <= exact(table) <= 1.0
    assert asymptotic(table).p <= half_yates(table).p <= edwards(table).p <= 1.0


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        Pairs(1, -1, 0, 0)


@pytest.mark.shared
@pytest.mark.skipif(not EXPECTED.is_file(), reason="../shared/data/99_expected_statistics is not here")
def test_expected_statistics_of_real_marks() -> None:
    checked = 0
    for name, block in json.loads(EXPECTED.read_text(encoding="utf-8")).items():
        if "both_right" not in block:
            continue
        # A is named first; the difference there is A minus B, so A is our after.
        table = Pairs(block["both_right"], block["only_B_right"], block["only_A_right"], block["both_wrong"])
        found = {
            "p_exact": exact(table),
            "p_midp": midp(table),
            "p_chi2": asymptotic(table).p,
            "p_chi2_cc": edwards(table).p,
            "diff_A_minus_B": table.difference,
        }
        for key, value in found.items():
            if block.get(key) is not None:
                assert value == pytest.approx(block[key], abs=1e-6), (name, key)
        hits = {"A": table.both + table.only_after, "B": table.both + table.only_before}
        for side, right in hits.items():
            if f"wilson95_{side}" in block:
                share = intervals.wilson(right, table.n)
                assert (share.low, share.high) == pytest.approx(block[f"wilson95_{side}"], abs=1e-6), name
        if "wald95_diff" in block:
            wald = intervals.wald(table)
            assert (wald.low, wald.high) == pytest.approx(block["wald95_diff"], abs=1e-6), name
        checked += 1
    assert checked >= 60


def test_binomial_tail_ends() -> None:
    import numpy as np

    k, n = np.array([-1.0, 0.0, 3.0, 4.0]), np.array([4.0, 4.0, 4.0, 4.0])
    assert paired.binomial_cdf(k, n, 0.5).tolist() == pytest.approx([0.0, 1 / 16, 15 / 16, 1.0])
    assert paired.binomial_pmf(np.array([0.0, 4.0]), np.array([4.0, 4.0]), 0.0).tolist() == [1.0, 0.0]
