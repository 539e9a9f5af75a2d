from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.exam.compare import (
    Comparison,
    bootstraps,
    check_rules,
    clustered,
    compare_family,
    compare_marks,
    exit_code,
    frame_of,
    pair,
)
from rounds.exam.marks import Ids, Mark, read_table, table_of
from rounds.exam.words import verdict_sentence
from rounds.records import UserError, Verdict
from rounds.stats import paired

SHARED = Path(__file__).parents[3] / "shared" / "data"
EXPECTED = SHARED / "99_expected_statistics" / "expected.json"


def marks_of(text: str, *, groups: Sequence[dict[str, str]] | None = None, flags: str = "") -> list[Mark]:
    """One mark a letter: r right, w wrong, ? not gradable; flags likewise, - for a case without."""
    right = {"r": True, "w": False, "?": None, "-": None}
    return [
        Mark(
            case_id=f"c{k}",
            correct=right[letter],
            share=None if right[letter] is None else float(right[letter] is True),
            red_flags=right[flags[k]] if flags else None,
            groups=groups[k] if groups else {},
        )
        for k, letter in enumerate(text)
    ]


def table(both: int, before: int, after: int, neither: int) -> tuple[list[Mark], list[Mark]]:
    old = "r" * both + "r" * before + "w" * after + "w" * neither
    new = "r" * both + "w" * before + "r" * after + "w" * neither
    return marks_of(old), marks_of(new)


def judge(both: int, before: int, after: int, neither: int, margin: float = 0.05, alpha: float = 0.01) -> Verdict:
    old, new = table(both, before, after, neither)
    return compare_marks(old, new, names=("old", "new"), margin=margin, alpha=alpha)[0]


def test_seed_study_is_gained() -> None:
    verdict = judge(97, 0, 8, 5)
    assert (verdict.both, verdict.only_before, verdict.only_after, verdict.neither) == (97, 0, 8, 5)
    assert verdict.finding == "gained"
    assert verdict.p_exact == pytest.approx(0.0078125)
    assert verdict.p_holm == pytest.approx(0.0078125)
    assert verdict.difference == pytest.approx(8 / 110)
    assert (verdict.tango.low, verdict.tango.high) == pytest.approx((0.0365, 0.1370), abs=5e-5)


def test_lost_reaches_beyond_the_margin() -> None:
    verdict = judge(97, 8, 0, 5)
    assert (verdict.finding, verdict.inside_margin) == ("lost", False)
    assert exit_code([verdict]) == 1


def test_a_shown_loss_inside_the_margin_is_still_lost() -> None:
    # 40 lost of 10,000 and none gained: far inside a margin of ten points, and non-inferiority is shown.
    verdict = judge(9000, 40, 0, 960, margin=0.10)
    assert verdict.p_noninferior is not None
    assert verdict.p_noninferior < 0.025
    assert (verdict.finding, verdict.inside_margin) == ("lost", True)


def test_gained_comes_before_kept() -> None:
    verdict = judge(60, 0, 30, 10)
    assert verdict.p_noninferior is not None
    assert verdict.p_noninferior < 0.025
    assert verdict.finding == "gained"


def test_kept() -> None:
    verdict = judge(600, 10, 10, 40, margin=0.02)
    assert (verdict.finding, exit_code([verdict])) == ("kept", 0)


def test_not_significant_is_not_kept() -> None:
    verdict = judge(90, 5, 5, 10, margin=0.02)
    assert verdict.p_exact == 1.0
    assert verdict.finding == "too few cases"
    assert verdict.cases_needed == 1784
    assert verdict.minimum_detectable is not None
    assert exit_code([verdict]) == 3


@pytest.mark.parametrize(("both", "neither"), [(1, 0), (0, 1), (5, 0), (0, 5)])
def test_few_concordant_cases_show_nothing(both: int, neither: int) -> None:
    assert judge(both, 0, 0, neither).finding == "too few cases"


def test_many_concordant_cases_are_kept() -> None:
    assert judge(200, 0, 0, 0, margin=0.02).finding == "kept"
    assert judge(0, 0, 0, 200, margin=0.02).finding == "kept"


def test_no_case_graded_for_both_speaks_of_no_disagreement_seen() -> None:
    nobody = judge(1, 0, 0, 0).model_copy(update={"n": 0, "both": 0, "cases_needed": 3140})
    assert verdict_sentence(nobody, 0.05) == (
        "No case was graded for both old and new, so nothing was shown. "
        "About 3,140 cases would decide whatever the two differ on."
    )


def test_pairs_by_id_and_counts_what_is_left_out() -> None:
    old = [Mark("a", True, 1.0), Mark("b", False, 0.0), Mark("c", True, 1.0), Mark("d", None, None)]
    new = [
        Mark("d", True, 1.0),
        Mark("c", False, 0.0),
        Mark("b", True, 1.0),
        Mark("x", True, 1.0),
        Mark("y", None, None),
    ]
    verdict = compare_marks(old, new, names=("old", "new"), margin=0.05, alpha=0.01)[0]
    assert (verdict.n, verdict.only_before, verdict.only_after) == (2, 1, 1)
    assert (verdict.unpaired_before, verdict.unpaired_after, verdict.ungradable) == (1, 2, 1)


def test_all_ungradable_is_too_few() -> None:
    verdict = compare_marks(marks_of("??"), marks_of("rr"), names=("old", "new"), margin=0.05, alpha=0.01)[0]
    assert (verdict.n, verdict.ungradable, verdict.difference, verdict.finding) == (0, 2, 0.0, "too few cases")


def test_red_flags_are_an_arm_of_their_own() -> None:
    old = marks_of("r" * 30, flags="r" * 12 + "-" * 18)
    new = marks_of("r" * 30, flags="w" * 12 + "-" * 18)
    accuracy, flags = compare_marks(old, new, names=("old", "new"), margin=0.2, alpha=0.01)
    assert (accuracy.arm, accuracy.finding) == ("accuracy", "kept")
    assert (flags.arm, flags.n, flags.only_before, flags.finding) == ("red flags", 12, 12, "lost")
    assert exit_code([accuracy, flags]) == 1


def test_red_flags_of_one_side_only_are_not_gradable() -> None:
    old, new = marks_of("rrr", flags="rr-"), marks_of("rrr", flags="r--")
    flags = compare_marks(old, new, names=("old", "new"), margin=0.2, alpha=0.01)[1]
    assert (flags.n, flags.ungradable) == (1, 1)


def test_holm_is_taken_once_over_the_family() -> None:
    old, new = table(97, 0, 8, 5)
    gain = Comparison("old", "new", old, new)
    alone = compare_family([gain], margin=0.05, alpha=0.01)
    assert [verdict.finding for verdict in alone] == ["gained"]
    many = compare_family([gain, Comparison("new", "old", new, old), gain], margin=0.05, alpha=0.01)
    # Two gains and one loss, a family of three: .0078 x 3; the loss is found at its raw p all the same.
    assert [verdict.p_holm for verdict in many] == pytest.approx([0.0234375, 1.0, 0.0234375])
    assert [verdict.finding for verdict in many] == ["kept", "lost", "kept"]


def test_cells_show_an_interval_and_no_finding() -> None:
    groups = [{"specialty": "surgery"}] * 8 + [{"specialty": "neurology"}] * 4 + [{}] * 2
    old, new = marks_of("w" * 8 + "r" * 4 + "rw", groups=groups), marks_of("r" * 8 + "r" * 4 + "rr", groups=groups)
    verdicts = compare_marks(old, new, names=("old", "new"), margin=0.05, alpha=0.01, by=["specialty"])
    cells = verdicts[1:]
    assert [cell.group for cell in cells] == ["specialty=neurology", "specialty=surgery", "specialty=not stated"]
    assert sum(cell.n for cell in cells) == verdicts[0].n == 14
    assert cells[1].p_exact < 0.01
    assert all(cell.finding is None and cell.p_holm is None and cell.p_noninferior is None for cell in cells)
    assert exit_code(cells) == 3


def test_columns_can_be_crossed() -> None:
    groups = [{"specialty": s, "incidence": i} for s in ("a", "b") for i in ("rare", "frequent")]
    marks = marks_of("rrrr", groups=groups)
    verdicts = compare_marks(marks, marks, names=("x", "y"), margin=0.05, alpha=0.01, by=["specialty*incidence"])
    assert [v.group for v in verdicts[1:]] == [
        "specialty*incidence=a / frequent",
        "specialty*incidence=a / rare",
        "specialty*incidence=b / frequent",
        "specialty*incidence=b / rare",
    ]


def test_faults_are_one_sentence() -> None:
    old, new = table(3, 1, 1, 1)

    def fault(before: list[Mark], after: list[Mark], by: Sequence[str] = ()) -> str:
        with pytest.raises(UserError) as raised:
            compare_marks(before, after, names=("old", "new"), margin=0.05, alpha=0.01, by=by)
        return str(raised.value)

    assert fault([*old, old[0]], new) == "case_id 'c0' is marked twice for one model; keep one mark for each case."
    assert fault(old, [Mark("z", True, 1.0)]).startswith("old and new have no case_id in common; compare")
    assert fault(old, new, ["ward"]) == "no case has the column 'ward'; there is none to group by."
    here, there = marks_of("r", groups=[{"ward": "1"}]), marks_of("r", groups=[{"ward": "2"}])
    assert fault(here, there, ["ward"]) == "case 'c0' has ward 1 and 2; give both files the same groups."
    assert fault(here, here, ["wrad"]) == "no case has the column 'wrad'; use one of ward."


@pytest.mark.parametrize(
    ("margin", "alpha", "message"),
    [
        (2.0, 0.01, "margin 2.0 is not a share between 0 and 1; write 0.02 for two points of a hundred."),
        (0.0, 0.01, "margin 0.0 is not a share"),
        (float("nan"), 0.01, "margin nan is not a share"),
        (0.02, 1.0, "alpha 1.0 is not between 0 and 0.5; write 0.01 for one in a hundred."),
    ],
)
def test_rules_are_checked(margin: float, alpha: float, message: str) -> None:
    with pytest.raises(UserError) as raised:
        check_rules(margin, alpha)
    assert str(raised.value).startswith(message)


letters = st.lists(st.sampled_from(["rr", "rw", "wr", "ww", "?r", "w?"]), min_size=1, max_size=60)


@settings(deadline=None)
@given(letters)
def test_swapping_the_models(pairs: list[str]) -> None:
    old, new = marks_of("".join(p[0] for p in pairs)), marks_of("".join(p[1] for p in pairs))
    here = compare_marks(old, new, names=("a", "b"), margin=0.1, alpha=0.05)[0]
    there = compare_marks(new, old, names=("b", "a"), margin=0.1, alpha=0.05)[0]
    assert (here.only_before, here.only_after) == (there.only_after, there.only_before)
    assert (here.difference, here.p_exact) == (-there.difference, there.p_exact)
    assert (here.finding == "lost") == (there.finding == "gained")


@settings(deadline=None)
@given(letters, st.randoms())
def test_order_of_the_rows_does_not_matter(pairs: list[str], luck: object) -> None:
    old, new = marks_of("".join(p[0] for p in pairs)), marks_of("".join(p[1] for p in pairs))
    shuffled = list(new)
    luck.shuffle(shuffled)  # type: ignore[attr-defined]
    here = compare_marks(old, new, names=("a", "b"), margin=0.1, alpha=0.05)
    assert compare_marks(old, shuffled, names=("a", "b"), margin=0.1, alpha=0.05) == here


def test_clusters_are_counted_not_cases() -> None:
    # Four cases of each condition that move together: six gains are one lucky condition and a half.
    groups = [{"condition": f"k{k // 4}"} for k in range(80)]
    old = marks_of("w" * 16 + "r" * 64, groups=groups)
    new = marks_of("r" * 16 + "r" * 64, groups=groups)
    found = clustered(old, new, seed=1, resamples=2000)
    assert found.clusters == 20
    assert found.difference == pytest.approx(0.2)
    assert paired.exact(paired.Pairs(64, 0, 16, 0)) < 0.001
    assert found.p > 0.02
    assert found.interval.low < 0.05
    assert found == clustered(old, new, seed=1, resamples=2000)


def test_a_case_without_the_column_is_its_own_cluster() -> None:
    assert clustered(marks_of("rwrw"), marks_of("rrrw"), seed=1).clusters == 4


def test_samples_count_by_their_mean() -> None:
    old, new = [Mark("a", True, 0.6, samples=5)], [Mark("a", True, 1.0, samples=5)]
    assert clustered(old, new, seed=1).difference == pytest.approx(0.4)


def test_planned_comparisons_that_are_not_here_make_a_gain_harder() -> None:
    old, new = table(97, 0, 8, 5)
    alone = compare_marks(old, new, names=("old", "new"), margin=0.05, alpha=0.01)[0]
    planned = compare_marks(old, new, names=("old", "new"), margin=0.05, alpha=0.01, others=2)
    assert len(planned) == 1
    assert (alone.p_holm, planned[0].p_holm) == pytest.approx((0.0078125, 0.0234375))
    assert (alone.finding, planned[0].finding) == ("gained", "kept")


def test_others_count_each_arm() -> None:
    old, new = marks_of("w" * 12, flags="w" * 12), marks_of("r" * 12, flags="r" * 12)
    verdicts = compare_marks(old, new, names=("old", "new"), margin=0.2, alpha=0.01, others=1)
    # Two arms here and two of the comparison that is not here: the smallest of four.
    assert [verdict.p_holm for verdict in verdicts] == pytest.approx([4 * 2 / 2**12, 4 * 2 / 2**12])


@settings(deadline=None)
@given(letters)
def test_tables_and_lists_of_marks_are_compared_alike(pairs: list[str]) -> None:
    groups = [{"ward": "abc"[k % 3]} if k % 5 else {} for k in range(len(pairs))]
    old, new = marks_of("".join(p[0] for p in pairs), groups=groups), marks_of("".join(p[1] for p in pairs))
    ids: Ids = {}
    rules = {"names": ("a", "b"), "margin": 0.1, "alpha": 0.05, "by": ["ward"] if len(pairs) > 1 else []}
    reference = compare_marks(old, new, **rules)  # type: ignore[arg-type]
    assert compare_marks(table_of(old, ids), table_of(new, ids), **rules) == reference  # type: ignore[arg-type]
    assert compare_marks(table_of(old, {}), table_of(new, {}), **rules) == reference  # type: ignore[arg-type]
    assert compare_marks(old, table_of(new, {"other": 0}), **rules) == reference  # type: ignore[arg-type]


@settings(deadline=None)
@given(letters)
def test_pairs_by_hand(pairs: list[str]) -> None:
    found = pair(frame_of(marks_of("".join(p[0] for p in pairs)), marks_of("".join(p[1] for p in pairs))))
    expected = [pairs.count(cell) for cell in ("rr", "rw", "wr", "ww")]
    assert found.pairs == paired.Pairs(*expected)
    assert found.ungradable == sum("?" in one for one in pairs)


def test_values_that_hold_other_columns_names_stay_apart() -> None:
    groups = [{"ward": "a", "bed": ""}, {"ward": "", "bed": "1"}, {"ward": "a / b", "bed": "2"}]
    marks = marks_of("rrr", groups=groups)
    verdicts = compare_marks(marks, marks, names=("x", "y"), margin=0.05, alpha=0.01, by=["ward", "ward*bed"])
    assert [(v.group, v.n) for v in verdicts[1:]] == [
        ("ward=a", 1),
        ("ward=a / b", 1),
        ("ward=not stated", 1),
        ("ward*bed=a / b / 2", 1),
        ("ward*bed=not stated", 2),
    ]


def test_bootstraps_by_group_bear_the_names_of_the_cells() -> None:
    groups = [{"specialty": ("surgery", "neurology")[k % 2], "condition": f"k{k // 4}"} for k in range(80)]
    old, new = marks_of("rwrrw" * 16, groups=groups), marks_of("rrrwr" * 16, groups=groups)
    found = bootstraps(old, new, by=["specialty"], seed=3, resamples=2000)
    verdicts = compare_marks(old, new, names=("a", "b"), margin=0.05, alpha=0.01, by=["specialty"])
    assert list(found) == [verdict.group for verdict in verdicts]
    for verdict in verdicts:
        drawn = found[verdict.group]
        assert drawn.low < verdict.difference < drawn.high
        assert (drawn.low, drawn.high) == pytest.approx((verdict.tango.low, verdict.tango.high), abs=0.05)
    assert found == bootstraps(old, new, by=["specialty"], seed=3, resamples=2000)
    together = bootstraps(old, new, by=["specialty"], column="condition", seed=3, resamples=2000)
    assert together["specialty=surgery"] != found["specialty=surgery"]


def test_clusters_against_the_margin() -> None:
    groups = [{"condition": f"k{k // 4}"} for k in range(400)]
    old, new = marks_of("r" * 390 + "w" * 10, groups=groups), marks_of("r" * 388 + "w" * 12, groups=groups)
    found = clustered(old, new, seed=1, resamples=500, margin=0.05)
    assert found.p_noninferior is not None
    assert (found.p_noninferior < 0.025) == (found.interval.low > -0.05)
    assert clustered(old, new, seed=1, resamples=500).p_noninferior is None


def test_column_of_no_name_clusters_the_samples_of_a_case() -> None:
    groups = [{"condition": "k"}] * 4
    old, new = marks_of("rwrw", groups=groups), marks_of("rrrw", groups=groups)
    assert clustered(old, new, column="", seed=1).clusters == 4
    assert clustered(old, new, column="condition", seed=1).clusters == 1


@pytest.mark.shared
@pytest.mark.parametrize(
    ("prefix", "file", "correct"),
    [
        ("09/medqa: ", SHARED / "09_medagents_recorded_mcq" / "medqa.answers.jsonl.gz", None),
        # One of these models stores its answers in another order: only pairing by id gives the expected table.
        ("11/medqa (pair by id): ", SHARED / "11_afrimedqa_recorded" / "answers_medqa.jsonl.gz", "correct"),
    ],
)
def test_recorded_answers_give_the_expected_tables(
    tmp_path: Path, prefix: str, file: Path, correct: str | None
) -> None:
    if not (EXPECTED.is_file() and file.is_file()):
        pytest.skip(f"../shared/data/{file.parent.name} is not here")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    checked = 0
    for name, block in json.loads(EXPECTED.read_text(encoding="utf-8")).items():
        if not name.startswith(prefix) or "both_right" not in block:
            continue
        ids: Ids = {}
        tables = []
        for model in reversed(name.removeprefix(prefix).split(" vs ")):
            path = tmp_path / f"{model}.jsonl"
            marks = [
                {"case_id": row["id"], "correct": row[correct] if correct else row["pred"] == row["gold"]}
                for row in rows
                if row["model"] == model
            ]
            path.write_text("".join(json.dumps(mark) + "\n" for mark in marks), encoding="utf-8")
            tables.append(read_table(path, ids))
        # A is named first and is our after; B is before.
        verdict = compare_marks(tables[0], tables[1], names=("B", "A"), margin=0.02, alpha=0.01)[0]
        cells = (verdict.both, verdict.only_after, verdict.only_before, verdict.neither)
        assert cells == tuple(block[key] for key in ("both_right", "only_A_right", "only_B_right", "both_wrong")), name
        assert (verdict.unpaired_before, verdict.unpaired_after) == (block["n_only_B"], block["n_only_A"])
        assert verdict.p_exact == pytest.approx(block["p_exact"], abs=1e-6)
        assert verdict.difference == pytest.approx(block["diff_A_minus_B"], abs=1e-6)
        checked += 1
    assert checked == 3
