from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.stats.multiplicity import cochran_q, holm
from rounds.stats.paired import Pairs, asymptotic, exact


def test_holm_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_neither_pair_of_the_seed_study_survives_holm_at_one_in_a_hundred() -> None:
    ps = [exact(Pairs(97, 0, 8, 5)), exact(Pairs(43, 28, 9, 30)), 0.3, 0.5, 0.9]
    adjusted = holm(ps)
    assert adjusted[0] == pytest.approx(0.03125, abs=1e-9)
    assert adjusted[1] == pytest.approx(0.0128, abs=5e-5)


def test_holm_of_few() -> None:
    assert holm([]) == ()
    assert holm([0.2]) == (0.2,)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_order_and_never_helps(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= a <= 1 for p, a in zip(ps, adjusted, strict=True))
    ranked = sorted(zip(ps, adjusted, strict=True))
    assert [a for _, a in ranked] == sorted(a for _, a in ranked)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_p(bad: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, bad])


def test_cochran_with_two_models_is_mcnemar() -> None:
    rows = [[True, True]] * 20 + [[True, False]] * 12 + [[False, True]] * 2 + [[False, False]] * 16
    found, reference = cochran_q(rows), asymptotic(Pairs(20, 12, 2, 16))
    assert found.value == pytest.approx(reference.value)
    assert found.p == pytest.approx(reference.p)


def test_cochran_by_hand() -> None:
    # Column sums 5, 3, 1; row sums 3, 2, 1, 1, 2: Q = 2 (3 * 35 - 81) / (27 - 19) = 6.
    rows = [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]]
    found = cochran_q([[bool(mark) for mark in row] for row in rows])
    assert found.value == pytest.approx(6.0)
    assert found.p == pytest.approx(0.049787, abs=1e-6)  # exp(-3)


def rows_of(text: str) -> list[list[bool]]:
    return [[mark == "1" for mark in row] for row in text.split()]


def test_cochran_of_twelve_cases_and_three_models() -> None:
    # Conover 1999, page 253: three hitters on twelve games, Q = 2.8, p = .2466.
    found = cochran_q(rows_of("111 111 010 110 000 111 111 110 001 010 111 111"))
    assert found.value == pytest.approx(2.8)
    assert found.p == pytest.approx(0.246597, abs=5e-7)
    # Column sums 5 apart and 9 mixed cases: Q = (25 + 25) / 9 = 5.5556, p = .062177 (statsmodels and pingouin agree).
    found = cochran_q(rows_of("111 111 000 100 100 100 100 100 010 001 110 101"))
    assert found.value == pytest.approx(5.5556, abs=5e-5)
    assert found.p == pytest.approx(0.062177, abs=5e-7)


def test_cochran_of_a_million_cases() -> None:
    marks = np.random.default_rng(1).random((1_000_000, 5)) < 0.7
    assert cochran_q(marks).p > 1e-4
    marks[:10_000, 0] = True
    assert cochran_q(marks).p < 1e-6


def test_cochran_is_near_its_permutations() -> None:
    # Within each case every order of its marks is equally likely when the models do not differ.
    rows = [(1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]
    seen = cochran_q([[bool(mark) for mark in row] for row in rows]).value
    orders = [sorted({(r[i], r[j], r[k]) for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))}) for r in rows]
    every = [cochran_q([[bool(mark) for mark in row] for row in table]).value for table in product(*orders)]
    assert len(every) == 3**7
    exact_p = sum(value >= seen - 1e-9 for value in every) / len(every)
    assert cochran_q([[bool(mark) for mark in row] for row in rows]).p == pytest.approx(exact_p, abs=0.03)


def test_cochran_of_nothing() -> None:
    assert (cochran_q([]).value, cochran_q([]).p) == (0.0, 1.0)
    assert cochran_q([[True, True, True], [False, False, False]]).p == 1.0


def test_cochran_refuses_ragged_rows() -> None:
    with pytest.raises(ValueError, match="one mark for each"):
        cochran_q([[True, False], [True]])
    with pytest.raises(ValueError, match="two or more"):
        cochran_q([[True]])
