"""Files of records: counts by section, intervals, what is left out, every fault in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rounds.grade.consultations import (
    Written,
    as_grades,
    as_lines,
    figures,
    grade_records,
    read_written,
    said_of,
    wanted_of,
)
from rounds.grade.given import Given
from rounds.prompts.outputs import Consultation
from rounds.records import Case, UserError

SHARED = Path(__file__).parents[3] / "shared" / "data"
DIALOGUE = "Patient: My left knee hurts since a fall. No fever. I take ibuprofen 400, and I smoke."
CASES = [Case(id=name, vignette=DIALOGUE, diagnosis="", kind="record", specialty="surgery") for name in "abc"]
GOLD = {"present_illness": ("Left knee pain after a fall.",), "medications": ("Ibuprofen 400 mg.",)}
WRITTEN = {name: Written(case_id=name, record=GOLD) for name in "abc"}
WHOLE = dict.fromkeys(Consultation.model_fields, ()) | GOLD


def given(case_id: str, reply: object, sample: int = 0) -> Given:
    return Given(case_id, sample, None, reply if isinstance(reply, str) else json.dumps(reply))


def test_figures_by_section_and_what_is_left_out() -> None:
    wrong = {"present_illness": ["Left knee pain after a fall."], "medications": ["Ibuprofen 800 mg.", "Smokes."]}
    answers = [given("a", WHOLE), given("b", wrong), given("b", "Hm.", 1), given("z", WHOLE)]
    found = grade_records(CASES, WRITTEN, answers)
    told = figures(found)
    assert (told["records"], told["fits"], told["unreadable"]) == (3, 1, 1)
    assert (told["without_case"], told["without_answer"]) == (1, 1)
    medications = told["sections"]["medications"]
    assert {key: medications[key] for key in ("wanted", "said", "right", "hallucinated", "unasked", "omitted")} == {
        "wanted": 3, "said": 3, "right": 1, "hallucinated": 1, "unasked": 1, "omitted": 2,
    }  # fmt: skip
    assert (medications["precision"], medications["recall"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert told["all"]["f1"] == pytest.approx(2 * 3 / (5 + 6))
    # Two conversations, of which one has two records.
    assert 0 <= told["all"]["f1_low"] < told["all"]["f1"] < told["all"]["f1_high"] <= 1
    assert list(told["sections"]) == ["present_illness", "medications"]
    assert found.marked[1].scored.hallucinated == ("Ibuprofen 800 mg.",)
    lines = as_lines(told)
    assert lines[0].split() == [
        "section", "wanted", "said", "right", "precision", "recall", "F1", "misplaced", "unasked", "hallucinated",
        "omitted",
    ]  # fmt: skip
    assert lines[2].split() == ["medications", "3", "3", "1", "0.333", "0.333", "0.333", "0", "1", "1", "2"]
    grades = as_grades(found, CASES)
    assert [(one.case_id, one.sample, one.correct, one.answer.unreadable) for one in grades] == [
        ("a", 0, True, False),
        ("b", 0, False, False),
        ("b", 1, False, True),
    ]
    assert grades[0].groups["specialty"] == "surgery"


def test_nothing_said_has_no_precision() -> None:
    told = figures(grade_records(CASES, WRITTEN, [given("a", "Hm.")]))
    assert (told["all"]["precision"], told["all"]["recall"], told["all"]["precision_low"]) == (None, 0.0, None)
    assert as_lines(told)[-3].startswith("recall 0.000 (")


def test_replies_are_read_in_their_forms() -> None:
    assert said_of(f"<think>so</think>```json\n{json.dumps(WHOLE)}\n```")["medications"] == ["Ibuprofen 400 mg."]  # type: ignore[index]
    assert said_of('{"Chief complaint": "cough", "plan": ["rest"], "mood": "good", "medications": 3}') == {
        "complaint": ["cough"], "assessment": ["rest"], "medications": [],
    }  # fmt: skip
    assert said_of("CHIEF COMPLAINT\nCough.\n") == {"complaint": ["Cough."]}
    for unreadable in ("", "Hm.", '{"mood": "good"}', "[1, 2]", "{" * 50_000 + "}"):
        assert said_of(unreadable) is None


def test_notes_of_reference_and_headings_that_are_unknown() -> None:
    note = Written(case_id="a", note="MEDICATIONS\nIbuprofen 400 mg.\nBIRTH HISTORY\nAt term.\n")
    assert wanted_of(note) == {"medications": ["Ibuprofen 400 mg."]}
    found = grade_records(CASES[:1], {"a": note}, [given("a", WHOLE)])
    assert found.unknown == ("BIRTH HISTORY",)
    assert as_lines(figures(found))[-1] == "not scored, under unknown headings: BIRTH HISTORY"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "holds no records; give one JSON object a line with case_id and record or note."),
        ([{"case_id": "a", "note": "CC\nx y"}] * 2, "the record of case 'a' stands there twice; keep one."),
        ([{"case_id": "a"}], "the record of case 'a' needs 'record' with entries by section or 'note' with headings"),
        ([{"case_id": "a", "record": {"mood": ["good"]}}], "has a section 'mood'; use complaint, present_illness,"),
        ([{"case_id": "a", "record": {"complaint": []}}], "says nothing under a known heading; write headings on"),
        ([{"case_id": "a", "note": "Just text."}], "says nothing under a known heading; write headings on lines of"),
        ([{"case_id": "a", "record": "text"}], "records.jsonl:1: is not a Written (field 'record'"),
    ],
)
def test_faults_of_the_records_are_one_sentence(tmp_path: Path, rows: list[object], sentence: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(UserError) as raised:
        read_written(path)
    assert sentence in str(raised.value)


def test_two_files_without_a_case_in_common() -> None:
    with pytest.raises(UserError, match=r"^none of 1 cases has a record of reference; give both files the same case"):
        grade_records([CASES[0].model_copy(update={"id": "q"})], WRITTEN, [])


@pytest.mark.shared
def test_real_notes_against_themselves() -> None:
    path = SHARED / "21_aci_bench" / "valid.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    visits = json.loads(path.read_text(encoding="utf-8"))["data"]
    cases = [Case(id=f"v{n}", vignette=visit["src"], diagnosis="") for n, visit in enumerate(visits)]
    written = {f"v{n}": Written(case_id=f"v{n}", note=visit["tgt"]) for n, visit in enumerate(visits)}
    found = figures(grade_records(cases, written, [given(f"v{n}", visit["tgt"]) for n, visit in enumerate(visits)]))
    assert (found["all"]["f1"], found["all"]["hallucinated"], found["records"]) == (1.0, 0, len(visits))
    assert "assessment" in found["sections"]
