"""`rounds grade` from files to files: figures, the sheet read again, a judge at an endpoint, and every fault."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cli.main import main
from rounds.files import read_jsonl, write_jsonl
from rounds.grade.cascade import Ruling
from rounds.grade.consultations import Marked
from rounds.records import Case, Grade


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    cases, answers = tmp_path / "cases.jsonl", tmp_path / "answers.jsonl"
    write_jsonl(
        cases,
        [
            Case(id="a", vignette="v", diagnosis="gout"),
            Case(id="b", vignette="v", diagnosis="bacterial meningitis"),
            Case(id="c", vignette="v", diagnosis="y", options=("x", "y"), right=("B",)),
        ],
    )
    rows = [
        {"case_id": "a", "diagnoses": ["flu", "podagra"]},
        {"case_id": "b", "reply": "<think>hm</think>1. meningitis\n2. brain fever of the moors"},
        {"case_id": "c", "reply": "Answer: B"},
        {"case_id": "d", "diagnoses": ["gout"]},
    ]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return cases, answers


def run(cases: Path, answers: Path, *words: object) -> int:
    return main(["grade", "--cases", str(cases), "--answers", str(answers), *map(str, words)])


def test_text(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*files) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:3] == [
        "3 answers to 3 cases",
        "strict    66.7 %  right: 2; first on the list: 0.0 %",
        "lenient  100.0 %  with 1 near answers, never counted as right",
    ]
    assert "pairs nobody has decided: 1 of 4" in out
    assert "1 answers without a case; 0 cases without an answer" in out


def test_json_and_files(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(*files, "--json", "--out", out) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["answers"], told["right"], told["near"], told["open_pairs"]) == (3, 2, 1, 1)
    assert json.loads((out / "figures.json").read_text(encoding="utf-8")) == told
    assert [one.correct for one in read_jsonl(out / "grades.jsonl", Grade)] == [True, False, True]
    assert sorted(path.name for path in out.iterdir()) == [
        "figures.json",
        "grades.jsonl",
        "sheet.csv",
        "verdicts.jsonl",
    ]


def test_a_filled_sheet_is_read_by_the_next_run_and_kept(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*files, "--out", out) == 0
    sheet = out / "sheet.csv"
    rows = list(csv.DictReader(io.StringIO(sheet.read_text(encoding="utf-8"), newline="")))
    assert [row["answer"] for row in rows] == ["brain fever of the moors"]
    rows[0] |= {"verdict": "yes", "rater": "AB"}
    with sheet.open("w", encoding="utf-8", newline="") as filled:
        writer = csv.DictWriter(filled, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for _ in range(2):
        assert run(*files, "--out", out) == 0
        grade = list(read_jsonl(out / "grades.jsonl", Grade))[1]
        assert (grade.correct, grade.rank, grade.level) == (True, 2, "human")
    other = tmp_path / "other"
    assert run(*files, "--out", other, "--sheet", sheet) == 0
    assert list(read_jsonl(other / "grades.jsonl", Grade))[1].level == "human"


def test_a_judge_counts_once_people_admit_it(
    files: tuple[Path, Path],
    tmp_path: Path,
    serve_chat: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = serve_chat(lambda asked: "Answer: no" if "moon" in asked["messages"][-1]["content"] else "Answer: yes")
    out = tmp_path / "out"
    words = ("--out", out, "--judge", judge.url, "--judge-name", "m")
    for _ in range(2):
        assert run(*files, *words) == 0
        assert list(read_jsonl(out / "grades.jsonl", Grade))[1].correct is False
        assert (
            f"judge m at {judge.url}: no kappa with people over 0 pairs, so it is not admitted (from 0.80 on, lower "
            "end, over 400): its rulings count nowhere; with them the strict figure would be 100.0 %"
        ) in capsys.readouterr().out
        assert len(judge.asked) == 4
    monkeypatch.setattr("rounds.grade.judge.LEAST_PAIRS", 2)
    sheet = out / "sheet.csv"
    with sheet.open("a", encoding="utf-8") as rows:
        rows.write("gout,moon toe,1,no,AB,,k,moon toe\ngout,wine toe,1,yes,AB,,k,wine toe\n")
    assert run(*files, *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["judge_admitted"], told["judge_pairs"], told["judge_kappa_low"], told["by_judge"]) == (True, 2, 1.0, 1)
    assert len(judge.asked) == 12
    assert list(read_jsonl(out / "grades.jsonl", Grade))[1].level == "judge"
    assert [r.level for r in read_jsonl(out / "verdicts.jsonl", Ruling)].count("judge") == 1
    # What the judge said is kept: without it the marks are the same, and another judge is not mixed in.
    assert run(*files, "--out", out) == 0
    assert "so it is admitted and its rulings count" in capsys.readouterr().out
    assert run(*files, *words[:-1], "other") == 2
    sentence = f"these answers were judged by m at {judge.url}; give other at {judge.url} an --out of its own."
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--judge", "http://127.0.0.1:9/v1"], "an endpoint needs the model's name there; give --judge-name."),
        (["--sheet", "no.csv"], "no.csv: cannot be read"),
    ],
)
def test_faults_are_one_sentence(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert run(*files, *words) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


def test_a_file_of_no_cases_and_a_wrong_answer_file(
    tmp_path: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("", encoding="utf-8")
    assert run(empty, files[1]) == 2
    assert "there are 0 cases to grade" in capsys.readouterr().err
    assert run(files[0], empty) == 2
    assert "holds no answers" in capsys.readouterr().err
    assert run(files[0], tmp_path / "none.jsonl") == 2
    assert "cannot be read" in capsys.readouterr().err


def test_records_of_conversations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases, written, answers = (tmp_path / f"{name}.jsonl" for name in ("cases", "written", "answers"))
    told = "Patient: My left knee hurts since a fall. I take ibuprofen."
    write_jsonl(cases, [Case(id="a", vignette=told, diagnosis="", kind="record")])
    record = {"present_illness": ["Left knee pain after a fall."], "medications": ["Ibuprofen."]}
    written.write_text(json.dumps({"case_id": "a", "record": record}) + "\n", encoding="utf-8")
    said = {"present_illness": ["Left knee pain after a fall."], "medications": ["Warfarin."]}
    answers.write_text(json.dumps({"case_id": "a", "record": said}) + "\n", encoding="utf-8")
    words = ["grade", "--cases", str(cases), "--records", str(written), "--answers", str(answers)]
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["all"]["f1"], found["all"]["hallucinated"], found["all"]["omitted"]) == (0.5, 1, 1)
    assert json.loads((tmp_path / "out" / "figures.json").read_text(encoding="utf-8")) == found
    (grade,) = read_jsonl(tmp_path / "out" / "grades.jsonl", Grade)
    assert grade.correct is False
    (marked,) = read_jsonl(tmp_path / "out" / "records.jsonl", Marked)
    assert (marked.scored.hallucinated, marked.scored.omitted) == (("Warfarin.",), ("Ibuprofen.",))
    assert main(words) == 0
    assert "present illness       1     1      1      1.000   1.000  1.000" in capsys.readouterr().out
    for wrong, sentence in (
        (["--sheet", "s.csv"], "records are scored by their words; leave out --judge and --sheet."),
        (["--records", str(tmp_path / "none.jsonl")], "none.jsonl: cannot be read"),
    ):
        assert main([*words, *wrong]) == 2
        assert sentence in capsys.readouterr().err
    answers.write_text('{"case_id": "a", "record": []}\n', encoding="utf-8")
    assert main(words) == 2
    assert "answers.jsonl:1: record is list; write an object of sections." in capsys.readouterr().err
