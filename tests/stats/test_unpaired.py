"""Two samples: golden values, and the level that the alarm of drift states."""

from __future__ import annotations

from random import Random

import pytest

from rounds.stats.unpaired import alarms, fisher, kolmogorov_smirnov


def test_fisher_gives_the_lady_her_tea() -> None:
    # Fisher 1935, The Design of Experiments: 3 of 4 against 1 of 4, two-sided 34/70.
    assert fisher(3, 4, 1, 4) == pytest.approx(34 / 70)
    assert fisher(4, 4, 0, 4) == pytest.approx(2 / 70)


def test_smirnov_by_hand() -> None:
    # Two samples of three that do not overlap: 2 of the 20 orders are as extreme.
    assert kolmogorov_smirnov([1, 2, 3], [4, 5, 6]) == pytest.approx(0.1)
    assert kolmogorov_smirnov([1, 2, 3], [1, 2, 3]) == 1.0


def test_without_observations_nothing_differs() -> None:
    assert kolmogorov_smirnov([], [1.0]) == 1.0
    assert fisher(0, 0, 3, 4) == 1.0


@pytest.mark.parametrize("counts", [(2, 1, 0, 1), (-1, 1, 0, 1), (0, 1, 2, 1)])
def test_no_share_is_a_fault(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no shares"):
        fisher(*counts)


def test_alarms_name_what_differs_after_holm() -> None:
    assert alarms({"a": 0.004, "b": 0.004, "c": 0.5}, 0.01) == ()
    assert alarms({"a": 0.003, "b": 0.004, "c": 0.5}, 0.01) == ("a", "b")


def test_the_level_is_kept_when_nothing_differs() -> None:
    random = Random(5)
    raised = 0
    for _ in range(400):
        one, other = ([random.gauss(0, 1) // 0.5 for _ in range(60)] for _ in range(2))
        hits, more = (sum(random.random() < 0.1 for _ in range(60)) for _ in range(2))
        raised += bool(alarms({"a": kolmogorov_smirnov(one, other), "b": fisher(hits, 60, more, 60)}, 0.05))
    assert raised <= 29  # 20 expected at most; more than 29 has a chance of 0.02 at the level itself
