from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.stats.agreement import Agreement, Scale, cohen, cohen_table, fleiss, krippendorff, pabak

SHARED = Path(__file__).parents[3] / "shared" / "data"
EXPECTED = SHARED / "99_expected_statistics" / "expected.json"
XSTEST = SHARED / "18_xstest" / "labelled_completions_llama2_pair.jsonl.gz"

N = None

# Krippendorff 2011 (Computing Krippendorff's Alpha-Reliability): four observers, twelve units, ratings missing.
FOUR_OBSERVERS = [
    [1, 1, N, 1],
    [2, 2, 3, 2],
    [3, 3, 3, 3],
    [3, 3, 3, 3],
    [2, 2, 2, 2],
    [1, 2, 3, 4],
    [4, 4, 4, 4],
    [1, 1, 2, 1],
    [2, 2, 2, 2],
    [N, 5, 5, 5],
    [N, N, 1, 1],
    [N, N, 3, N],
]

# Fleiss 1971, as laid out in Gwet's irrCAC (distrib.6raters): fifteen patients, six psychiatrists, five diagnoses.
SIX_RATERS = [
    [0, 0, 0, 6, 0],
    [0, 3, 0, 0, 3],
    [0, 1, 4, 0, 1],
    [0, 0, 0, 0, 6],
    [0, 3, 0, 3, 0],
    [2, 0, 4, 0, 0],
    [0, 0, 4, 0, 2],
    [2, 0, 3, 1, 0],
    [2, 0, 0, 4, 0],
    [0, 0, 0, 0, 6],
    [1, 0, 0, 5, 0],
    [1, 1, 0, 4, 0],
    [0, 3, 3, 0, 0],
    [1, 0, 0, 5, 0],
    [0, 2, 0, 3, 1],
]

# The worked example of ten items, fourteen raters, five labels.
FOURTEEN_RATERS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def ends(found: Agreement) -> tuple[float, float]:
    return found.interval.low, found.interval.high


def test_cohen_example() -> None:
    found = cohen_table([[20, 5], [10, 15]])
    assert found.value == pytest.approx(0.4)
    assert found.error == pytest.approx(0.127, abs=5e-4)
    assert ends(found) == pytest.approx((0.151, 0.649), abs=5.1e-4)
    assert found.observed == pytest.approx(0.7)


def test_cohen_as_in_irrcac() -> None:
    # cont3x3abstractors of Gwet's irrCAC: .7964094, standard error .05891072, interval .680 to .913 (Student's there).
    found = cohen_table([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
    assert found.value == pytest.approx(0.7964094, abs=5e-8)
    assert found.error == pytest.approx(0.05891072, abs=5e-9)
    assert ends(found) == pytest.approx((0.680, 0.913), abs=0.0015)


def test_cohen_of_labels_is_cohen_of_their_table() -> None:
    first, second = ["yes"] * 25 + ["no"] * 25, ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen(first, second) == cohen_table([[20, 5], [10, 15]])
    with pytest.raises(ValueError, match="shorter"):
        cohen([1, 2], [1])


def test_perfect_and_opposite() -> None:
    assert cohen([1, 2, 1, 2], [1, 2, 1, 2]).value == pytest.approx(1.0)
    assert cohen([1, 2, 1, 2], [2, 1, 2, 1]).value == pytest.approx(-1.0)


def test_one_label_only_is_not_agreement() -> None:
    found = cohen(["hit"] * 9, ["hit"] * 9)
    assert (found.value, ends(found), found.observed) == (None, (-1.0, 1.0), 1.0)
    assert fleiss([[3, 0], [3, 0]]).value is None
    assert krippendorff([["a", "a"], ["a", "a"]], seed=1).value is None


@pytest.mark.parametrize("found", [cohen([], []), fleiss([]), pabak(0, 0), krippendorff([], seed=1)])
def test_nothing_rated(found: Agreement) -> None:
    assert (found.value, ends(found), found.observed) == (None, (-1.0, 1.0), 0.0)


def test_a_lone_rating_counts_nothing() -> None:
    assert krippendorff([[1, N], [N, 2]], seed=1).value is None


def test_fleiss_examples() -> None:
    assert fleiss(FOURTEEN_RATERS).value == pytest.approx(0.2099, abs=5e-5)
    found = fleiss(SIX_RATERS)
    assert found.value == pytest.approx(0.4139265, abs=5e-8)
    assert found.error == pytest.approx(0.08119291, abs=5e-9)
    assert ends(found) == pytest.approx((0.240, 0.588), abs=5.1e-4)
    assert found.observed == pytest.approx(0.5511111, abs=5e-8)


def test_fleiss_of_one_item_has_no_interval() -> None:
    found = fleiss([[2, 1]])
    assert found.value == pytest.approx(-0.5)
    assert ends(found) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_krippendorff_example(scale: Scale, alpha: float) -> None:
    found = krippendorff(FOUR_OBSERVERS, scale, seed=1)
    assert found.value == pytest.approx(alpha, abs=5.1e-4)
    assert found.interval.low < alpha < found.interval.high <= 1.0
    assert found == krippendorff(FOUR_OBSERVERS, scale, seed=1)


def test_krippendorff_as_in_irrcac() -> None:
    # Gwet's irrCAC on the same data: .74342, interval .419 to 1; on the six psychiatrists .4204384, .244 to .597.
    assert krippendorff(FOUR_OBSERVERS, seed=1).value == pytest.approx(0.74342, abs=5e-6)
    items = [[label for label, times in zip("abcde", row, strict=True) for _ in range(times)] for row in SIX_RATERS]
    found = krippendorff(items, seed=1)
    assert found.value == pytest.approx(0.4204384, abs=5e-8)
    assert ends(found) == pytest.approx((0.244, 0.597), abs=0.06)


def test_krippendorff_of_two_raters_is_nearly_cohen() -> None:
    rng = np.random.default_rng(2)
    first = rng.integers(0, 2, size=2_000)
    second = np.where(rng.random(2_000) < 0.8, first, 1 - first)
    alpha = krippendorff(list(zip(first.tolist(), second.tolist(), strict=True)), seed=1, resamples=500)
    kappa = cohen(first.tolist(), second.tolist())
    assert alpha.value == pytest.approx(kappa.value, abs=0.002)
    assert ends(alpha) == pytest.approx(ends(kappa), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([1, 2, 3, 5, None]), min_size=1, max_size=4), max_size=12),
    st.sampled_from(["nominal", "ordinal", "interval", "ratio"]),
)
def test_alpha_by_hand(rows: list[list[int | None]], scale: Scale) -> None:
    # 1 - (mean difference within items) / (mean difference over all pairs), summed pair by pair.
    kept = [[one for one in row if one is not None] for row in rows]
    kept = [row for row in kept if len(row) > 1]
    every = [one for row in kept for one in row]
    totals = {value: every.count(value) for value in set(every)}

    def apart(one: int, other: int) -> float:
        low, high = min(one, other), max(one, other)
        if scale == "ordinal":
            between = sum(times for value, times in totals.items() if low <= value <= high)
            return (between - (totals[low] + totals[high]) / 2) ** 2 if low != high else 0.0
        numbers = {
            "nominal": float(one != other),
            "interval": float(one - other),
            "ratio": (one - other) / (one + other),
        }
        return numbers[scale] ** 2

    within = sum(
        sum(apart(a, b) for i, a in enumerate(row) for j, b in enumerate(row) if i != j) / (len(row) - 1)
        for row in kept
    )
    across = sum(apart(a, b) for i, a in enumerate(every) for j, b in enumerate(every) if i != j)
    found = krippendorff(rows, scale, seed=1, resamples=100)
    if across == 0:
        assert found.value is None
    else:
        assert found.value == pytest.approx(1 - (len(every) - 1) * within / across)
        assert found.interval.low <= found.interval.high <= 1.0 + 1e-12


def test_pabak() -> None:
    found = pabak(35, 50)
    assert found.value == pytest.approx(0.4)
    assert found.interval.low == pytest.approx(2 * 0.5625 - 1, abs=5e-4)
    # Prevalence does not move it, where kappa falls to a third.
    assert pabak(90, 100).value == pytest.approx(0.8)
    assert cohen_table([[88, 5], [5, 2]]).value == pytest.approx(0.232, abs=5e-4)
    assert pabak(30, 40, labels=4).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cohen_table([[1, 2, 3], [4, 5, 6]]), "kappa needs a square table of counts"),
        (lambda: cohen_table([[1, -2], [4, 5]]), "kappa needs a square table of counts"),
        (lambda: cohen_table([[1, float("nan")], [4, 5]]), "kappa needs a square table of counts"),
        (lambda: fleiss([[1, 2], [2, 2]]), "needs the same number of raters"),
        (lambda: fleiss([[1, 0], [0, 1]]), "needs the same number of raters, two or more"),
        (lambda: fleiss([1, 2, 3]), "needs a table of counts"),
        (lambda: pabak(3, 2), "3 hits of 2"),
        (lambda: pabak(1, 2, labels=1), "PABAK needs two labels or more, not 1"),
        (lambda: krippendorff([["a", "b"]], "interval", seed=1), "texts cannot be rated on the interval scale"),
        (lambda: krippendorff([[1.0, float("nan")]], seed=1), "a rating is not a finite number"),
        (lambda: krippendorff([[1, 2]], seed=1, resamples=10), "10 resamples are too few"),
    ],
)
def test_what_cannot_be_rated_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=3))
def test_every_kappa_lies_in_its_interval(table: list[list[int]]) -> None:
    found = cohen_table(table)
    if found.value is not None:
        assert -1.0 <= found.interval.low <= found.value + 1e-12
        assert found.value - 1e-12 <= found.interval.high <= 1.0


def test_coverage_of_the_interval_of_cohen() -> None:
    rng = np.random.default_rng(6)
    truth = np.array([[0.35, 0.05], [0.10, 0.50]])
    target = cohen_table(truth * 1e6).value
    assert target is not None
    held = 0
    for _ in range(1500):
        found = cohen_table(rng.multinomial(200, truth.ravel()).reshape(2, 2))
        held += found.interval.low <= target <= found.interval.high
    assert 0.925 <= held / 1500 <= 0.965


@pytest.mark.shared
@pytest.mark.skipif(not EXPECTED.is_file(), reason="../shared/data/99_expected_statistics is not here")
def test_agreement_of_two_recorded_judges() -> None:
    blocks = json.loads(EXPECTED.read_text(encoding="utf-8"))
    found = [block for block in blocks.values() if "cohen_kappa" in block]
    assert found
    for block in found:
        assert cohen_table(block["table"]).value == pytest.approx(block["cohen_kappa"], abs=1e-6)


@pytest.mark.shared
@pytest.mark.skipif(not (EXPECTED.is_file() and XSTEST.is_file()), reason="../shared/data/18_xstest is not here")
def test_agreement_of_recorded_annotators() -> None:
    with gzip.open(XSTEST, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))["18/xstest annotator agreement"]
    labels = sorted({row[rater] for row in rows for rater in ("annotation_1", "annotation_2")})
    for model, figures in expected.items():
        pairs = [(row["annotation_1"], row["annotation_2"]) for row in rows if row["model"] == model]
        counts = [[pair.count(label) for label in labels] for pair in pairs]
        found = fleiss(counts)
        assert found.value == pytest.approx(figures["fleiss_kappa"], abs=5.1e-5), model
        assert found.observed == pytest.approx(figures["agree"], abs=5.1e-5), model
