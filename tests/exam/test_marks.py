from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rounds.exam.marks import Mark, from_grades, read_marks
from rounds.files import write_jsonl
from rounds.records import Answer, Grade, UserError


def a_grade(case_id: str, correct: bool | None, sample: int = 0, named: int = 0, flags: int = 0) -> Grade:
    return Grade(
        case_id=case_id,
        sample=sample,
        answer=Answer(case_id=case_id, diagnoses=("a", "b")),
        correct=correct,
        red_flags_named=named,
        red_flags_total=flags,
        groups={"specialty": "surgery"},
    )


def plain(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_plain_lines(tmp_path: Path) -> None:
    rows = [
        {"case_id": "a", "correct": True, "specialty": "surgery", "ward": 3, "night": True, "note": None},
        {"case_id": "b", "correct": False},
        {"case_id": "c", "correct": None},
    ]
    assert read_marks(plain(tmp_path / "m.jsonl", rows)) == [
        Mark("a", True, 1.0, groups={"specialty": "surgery", "ward": "3", "night": "true"}),
        Mark("b", False, 0.0),
        Mark("c", None, None),
    ]


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    rows = [{"case_id": 7, "correct": True}, {"case_id": 8, "correct": False}]
    assert [mark.case_id for mark in read_marks(plain(tmp_path / "m.jsonl", rows))] == ["7", "8"]


def test_byte_order_mark_and_blank_lines_are_let_be(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"case_id": "a", "correct": true}\n\n{"case_id": "b", "correct": false}\n')
    assert [mark.correct for mark in read_marks(path)] == [True, False]


def test_grades(tmp_path: Path) -> None:
    path = tmp_path / "grades.jsonl"
    write_jsonl(path, [a_grade("a", True, named=2, flags=2), a_grade("b", False, named=1, flags=2), a_grade("c", None)])
    marks = read_marks(path)
    assert [(mark.correct, mark.red_flags) for mark in marks] == [(True, True), (False, False), (None, None)]
    assert marks[0].groups == {"specialty": "surgery"}


def test_samples_become_one_mark() -> None:
    right = {"a": (True, True, False), "b": (True, False), "c": (True, None, None), "d": (None, None)}
    grades = [a_grade(name, mark, sample) for name, marks in right.items() for sample, mark in enumerate(marks)]
    marks = {mark.case_id: mark for mark in from_grades(grades)}
    assert (marks["a"].correct, marks["a"].share, marks["a"].samples) == (True, pytest.approx(2 / 3), 3)
    assert (marks["b"].correct, marks["b"].share) == (False, 0.5)  # half is not a majority
    assert (marks["c"].correct, marks["c"].share, marks["c"].samples) == (True, 1.0, 3)
    assert (marks["d"].correct, marks["d"].share) == (None, None)


def test_red_flags_by_majority_of_samples() -> None:
    grades = [a_grade("a", True, sample, named, 2) for sample, named in enumerate((2, 2, 0))]
    assert from_grades(grades)[0].red_flags is True


def test_interleaved_samples_are_found(tmp_path: Path) -> None:
    path = tmp_path / "grades.jsonl"
    write_jsonl(path, [a_grade(name, True, sample) for sample in (0, 1) for name in ("a", "b")])
    assert [(mark.case_id, mark.samples) for mark in read_marks(path)] == [("a", 2), ("b", 2)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"case_id": "b", "corr', "2: is not JSON (Unterminated string starting at); the line may be cut short: make"),
        ('{"case_id": "b", "correct": NaN}', "2: is not JSON (NaN is not a JSON value); the line may be cut short"),
        ('["b", true]', "2: is not a JSON object; expected {'case_id': ..., 'correct': true}."),
        ('{"correct": true}', "2: case_id None is not an id; give each line a case_id of text or a whole number."),
        ('{"case_id": "", "correct": true}', "2: case_id '' is not an id; give each line"),
        ('{"case_id": 1.5, "correct": true}', "2: case_id 1.5 is not an id; give each line"),
        ('{"case_id": true, "correct": true}', "2: case_id True is not an id; give each line"),
        ('{"case_id": 2, "correct": true}', "2: case_id 2 mixes text and numbers; write every id as text."),
        ('{"case_id": "b"}', "2: has no 'correct'; write true, false, or null for what cannot be graded."),
        ('{"case_id": "b", "correct": 1}', "2: correct is 1; write true, false, or null for what cannot be graded."),
        ('{"case_id": "b", "correct": "yes"}', "2: correct is 'yes'; write true, false, or null"),
        ('{"case_id": "a", "correct": true}', "2: case_id 'a' was already on line 1; keep one mark for each case."),
        ("[" * 100_000, "2: is n"),
    ],
)
def test_bad_plain_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"case_id": "a", "correct": true}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(UserError) as raised:
        read_marks(path)
    assert str(raised.value).startswith(f"{path}:{message}")


def test_bad_grades_are_named(tmp_path: Path) -> None:
    path = tmp_path / "grades.jsonl"
    good = a_grade("a", True).model_dump_json()
    path.write_text(f"{good}\n{good.replace('true', '[]', 1)}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r":2: is not a Grade \(field 'correct': .*\); mend that line\."):
        read_marks(path)
    path.write_text(f"{good}\n\n{good}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r":3: case_id 'a', sample 0, was already on line 1; number repeated answers"):
        read_marks(path)


def test_one_sample_twice_is_refused_in_memory() -> None:
    with pytest.raises(UserError, match="case 'a' has sample 0 twice"):
        from_grades([a_grade("a", True), a_grade("a", False)])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_marks(tmp_path / "missing.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no marks; expected one JSON object a line"):
        read_marks(empty)
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"case_id": "é", "correct": true}\n'.encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.jsonl:1: is not UTF-8; save the file as UTF-8"):
        read_marks(latin)
