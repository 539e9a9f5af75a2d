from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.exam import marks as marks_module
from rounds.exam.marks import Mark, from_grades, read_marks, read_table, table_of
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
        ('{"case_id": "b", "correct": Infinity}', "2: is not JSON (Infinity is not a JSON value); the line may be cut"),
        ("case_id,correct", "2: is not JSON (Expecting value); the line may be cut short: make the file anew."),
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
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_marks(tmp_path)
    wide = tmp_path / "wide.jsonl"
    wide.write_bytes('{"case_id": "a", "correct": true}\n'.encode("utf-16"))
    with pytest.raises(UserError, match=r"wide\.jsonl: is not UTF-8 but UTF-16 or no text at all; save the file as"):
        read_marks(wide)
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"case_id": "é", "correct": true}\n'.encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.jsonl:1: is not UTF-8; save the file as UTF-8"):
        read_marks(latin)


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for line in ('{"case_id": "a\\ud83d", "correct": true}', '{"case_id": "a", "correct": true, "ward": "\\udc00"}'):
        path.write_text(line, encoding="utf-8")
        with pytest.raises(UserError, match="half a character; write the file anew as UTF-8"):
            read_marks(path)


def test_a_file_without_line_breaks_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_module, "LONGEST_LINE", 1000)
    path = plain(tmp_path / "m.jsonl", [{"case_id": "a", "correct": True}, {"case_id": "b", "note": "x" * 1000}])
    with pytest.raises(UserError, match=r"m\.jsonl:2: is longer than 1,000 bytes; write one JSON object a line\."):
        read_marks(path)


@pytest.mark.parametrize("sample", [-1, 2**31])
def test_impossible_samples_are_refused(tmp_path: Path, sample: int) -> None:
    path = tmp_path / "grades.jsonl"
    write_jsonl(path, [a_grade("a", True, sample)])
    with pytest.raises(UserError, match=r"grades\.jsonl:1: sample -?\d+ is not a number from 0 on; number them anew\."):
        read_marks(path)


def test_only_the_columns_asked_for_are_kept_and_all_are_known(tmp_path: Path) -> None:
    rows = [{"case_id": "a", "correct": True, "ward": "7"}, {"case_id": "b", "correct": False, "night": True}]
    table = read_table(plain(tmp_path / "m.jsonl", rows), columns=["night"])
    assert [mark.groups for mark in table.marks()] == [{}, {"night": "true"}]
    assert table.known == {"ward", "night"}


def test_tables_share_their_ids(tmp_path: Path) -> None:
    ids: dict[str, int] = {}
    first = read_table(plain(tmp_path / "a.jsonl", [{"case_id": k, "correct": True} for k in (5, 7)]), ids)
    second = read_table(plain(tmp_path / "b.jsonl", [{"case_id": k, "correct": False} for k in (9, 7)]), ids)
    assert first.ids is second.ids
    assert [mark.case_id for mark in second.marks()] == ["9", "7"]
    assert ids == {"5": 0, "7": 1, "9": 2}


marks_lists = st.lists(
    st.builds(
        Mark,
        case_id=st.text(min_size=1, max_size=3),
        correct=st.booleans(),
        share=st.floats(0, 1),
        samples=st.integers(1, 300),
        red_flags=st.none() | st.booleans(),
        groups=st.dictionaries(st.sampled_from(["ward", "age"]), st.text(max_size=2), max_size=2),
    ),
    unique_by=lambda mark: mark.case_id,
    max_size=8,
)


@settings(deadline=None)
@given(marks_lists)
def test_a_table_gives_its_marks_back(marks: list[Mark]) -> None:
    assert table_of(marks, {}).marks() == marks


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.none() | st.booleans()), unique_by=lambda g: g[:2])
)
def test_samples_by_hand(rows: list[tuple[str, int, bool | None]]) -> None:
    found = from_grades(a_grade(name, correct, sample) for name, sample, correct in rows)
    assert [mark.case_id for mark in found] == list(dict.fromkeys(name for name, _, _ in rows))
    for mark in found:
        every = [correct for name, _, correct in rows if name == mark.case_id]
        right = [correct for correct in every if correct is not None]
        assert mark.samples == len(every)
        assert mark.correct == (sum(right) > len(right) / 2 if right else None)
        assert mark.share == (pytest.approx(sum(right) / len(right)) if right else None)


def test_many_lines_take_a_few_bytes_each(tmp_path: Path) -> None:
    count = 40_000
    path = tmp_path / "m.jsonl"
    with path.open("w", encoding="utf-8") as out:
        for k in range(count):
            reply = f"a long reply about case {k} " * 8
            out.write(
                json.dumps({"case_id": f"c{k:06d}", "correct": k % 3 > 0, "ward": str(k % 9), "reply": reply}) + "\n"
            )
    gc.collect()
    tracemalloc.start()
    table = read_table(path, columns=["ward"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == count
    # The file has 270 bytes a line; ids (a text, a number and their place in a dict) are most of what stays.
    assert peak / count < 250
