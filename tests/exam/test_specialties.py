"""The matrix: a cell a specialty, one family for all, and red flags as one arm."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.exam.specialties import Matrix, matrix, separate_sentences, write_page
from rounds.records import Answer, Grade, UserError

N = 200


def grades(right: dict[str, int], flags: int = N) -> list[Grade]:
    """`right` of N cases of each specialty right, the first ones; of all, the first `flags` named their red flag."""
    return [
        Grade(
            case_id=f"{name}-{n}",
            answer=Answer(case_id=f"{name}-{n}", diagnoses=("gout",)),
            correct=n < count,
            red_flags_total=1,
            red_flags_named=int(n < flags),
            groups={"specialty": name},
        )
        for name, count in right.items()
        for n in range(N)
    ]


START = grades({"surgery": 100, "neurology": 150, "": 10})
ROWS = matrix(
    START,
    {
        "surgery": grades({"surgery": 140, "neurology": 149, "": 0}),
        "neurology": grades({"surgery": 60, "neurology": 150, "": 10}, flags=150),
    },
    margin=0.05,
    alpha=0.01,
)


def test_each_cell_has_the_finding_of_its_specialty() -> None:
    found = {row.trained_on: {name: v.finding for name, v in row.cells.items()} for row in ROWS}
    assert found == {
        "surgery": {"neurology": "kept", "surgery": "gained"},
        "neurology": {"neurology": "kept", "surgery": "lost"},
    }
    assert [(v.n, v.group) for v in ROWS[0].cells.values()] == [(N, "specialty=neurology"), (N, "specialty=surgery")]
    assert ROWS[0].own.difference == pytest.approx(0.2)


def test_red_flags_are_one_arm_over_all() -> None:
    assert [(v.arm, v.n) for v in ROWS[0].over_all] == [("accuracy", 3 * N), ("red flags", 3 * N)]
    assert [v.finding for row in ROWS for v in row.arms] == ["kept", "lost"]


def test_a_gain_is_adjusted_over_the_whole_matrix() -> None:
    own = ROWS[0].own
    assert own.p_holm is not None
    assert own.p_holm == pytest.approx(8 * own.p_exact)  # eight verdicts: two cells, two arms, two rows


def test_the_sentence_says_home_and_away() -> None:
    assert ROWS[0].sentence == "surgery: gained at home (+20.0); neurology kept (−0.5); red flags over all kept (0.0)."


def test_cases_without_a_specialty_make_no_matrix() -> None:
    with pytest.raises(UserError, match="no exam case has a specialty"):
        matrix(grades({"": 10}), {}, margin=0.05, alpha=0.01)


def a_matrix() -> Matrix:
    return Matrix(
        start="<start>", margin=0.05, alpha=0.01, evidence="synthetic", cases={"neurology": N, "surgery": N}, rows=ROWS,
        separate={
            "specialty": "surgery", "cases": 9, "same_text": 8, "same_five": 9, "right_merged": 5, "right_beside": 5,
            "seconds_merged": 0.1, "seconds_beside": 0.2, "bytes_merged": 9000, "bytes_adapter": 1000,
        },
    )  # fmt: skip


def test_the_exit_code_is_the_worst_cell() -> None:
    assert a_matrix().code == 1
    assert a_matrix().model_copy(update={"rows": ROWS[:1]}).code == 0


def test_the_page_is_static_and_escaped(tmp_path: Path) -> None:
    write_page(a_matrix(), "Specialists", tmp_path / "s.html")
    text = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert 'style="' not in text
    assert "&lt;start&gt;" in text
    assert text.count('class="pill gained"') == 1
    assert text.count('class="pill lost"') == 2
    assert "9,000 bytes a specialty merged, 1,000 for the adapter alone" in text


def test_nothing_measured_is_no_sentence() -> None:
    assert separate_sentences({}) == ()
