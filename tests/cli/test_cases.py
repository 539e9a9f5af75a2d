"""Importing cases and recorded answers: files are written whole, and what was refused is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rounds.cli.main import main
from rounds.files import read_jsonl
from rounds.records import Case, Grade, Trace


def item(name: str, **change: Any) -> dict[str, Any]:
    both = {
        "question_es": "¿Cuál?",
        "answers_es": ["uno", "dos"],
        "question_en": "Which?",
        "answers_en": ["one", "two"],
    }
    return {"id": name, "category": "medicine", "right": "1", **both, **change}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*words: object) -> int:
    return main(["cases", *map(str, words)])


def test_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.jsonl", item("1"), item("2", has_image=True))
    out = tmp_path / "new" / "cases.jsonl"
    assert run("--from", "head-qa", source, "--out", out, "--split", "tune", "--language", "en") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 1 cases of 4 rows",
        "left out: 1 in other languages",
        f"refused: 2 rows, needs a picture (first at {source}:2)",
    ]
    (case,) = read_jsonl(out, Case)
    assert (case.id, case.split, case.right) == ("1.en", "tune", ("A",))


def test_import_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.jsonl", item("1"), item("2", right="0"))
    assert run("--from", "head-qa", source, "--out", tmp_path / "cases.jsonl", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["cases"], found["refused"]) == (4, 2, {"no right answer is told": 2})


def test_a_section_that_was_dropped_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "For a week the knee of this runner has been warm and swollen and hard to bend at night."
    row = {"id": "1", "correct_diagnosis": "Gout", "demographics": "50 year old", "presentation": told}
    source = write(tmp_path / "in.jsonl", {**row, "physical_history": "Gout in the toe"})
    assert run("--from", "avey", source, "--out", tmp_path / "cases.jsonl") == 0
    line = "without the sections that name the diagnosis: 1 cases (Past history 1)"
    assert capsys.readouterr().out.splitlines()[1] == line


def test_a_broken_row_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.jsonl", item("1"), item("1"))
    out = tmp_path / "out" / "cases.jsonl"
    assert run("--from", "head-qa", source, "--out", out) == 2
    assert f"{source}:2: id '1' was already given at {source}:1" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []


def test_a_right_answer_that_no_reader_accepts_stops_the_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = "A gardener has a ring of small red bumps on the back of the left hand that neither itches nor scales."
    table = tmp_path / "own.csv"
    table.write_text(f"nr,story,name\n1,{story},Granuloma annulare\n2,{story},unknown\n", encoding="utf-8")
    columns = tmp_path / "own.toml"
    columns.write_text('[columns]\nid = "nr"\nvignette = "story"\ndiagnosis = "name"\n', encoding="utf-8")
    out = tmp_path / "cases.jsonl"
    assert run("--from", "table", table, "--columns", columns, "--out", out) == 2
    assert "case '2': no reader accepts its right answer 'unknown'" in capsys.readouterr().err
    assert not out.exists()


def test_a_recipes_own_file_is_held_to_the_readers_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = write(tmp_path / "own.jsonl", {"id": "c1", "vignette": "A hot joint.", "diagnosis": "unknown"})
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        'name = "own"\n[student]\ncheckpoint = "s"\n[teacher]\ncheckpoint = "t"\n'
        f'[cases]\nfile = "{own}"\n[compare]\nmargin = 0.05\nwhy_margin = "one in twenty cases"\n',
        encoding="utf-8",
    )
    assert run(recipe, "--out", tmp_path / "run") == 2
    assert "case 'c1': no reader accepts its right answer 'unknown'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_nothing_that_makes_a_case_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.jsonl", item("1", has_image=True))
    assert run("--from", "head-qa", source, "--out", tmp_path / "cases.jsonl") == 2
    assert "none of 2 rows makes a case: needs a picture (2); nothing was written." in capsys.readouterr().err
    assert not (tmp_path / "cases.jsonl").exists()


def test_recorded_answers_become_a_file_of_grades_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": str(i), "model": model, "gold": "A", "pred": pred}
        for model, letters in (("org/big model", "AB"), ("small", "A"))
        for i, pred in enumerate(letters)
    ]
    source = write(tmp_path / "in.jsonl", *rows)
    assert run("--recorded", "medagents", source, "--out", tmp_path / "grades") == 0
    file = tmp_path / "grades" / "org-big-model.jsonl"
    assert capsys.readouterr().out.splitlines() == [
        f"org/big model: 2 answers, 1 right, 0 not gradable, 0 unreadable, 0 missing that another model has -> {file}",
        "small: 1 answers, 1 right, 0 not gradable, 0 unreadable, 1 missing that another model has "
        f"-> {tmp_path / 'grades' / 'small.jsonl'}",
    ]
    assert [grade.correct for grade in read_jsonl(file, Grade)] == [True, False]
    assert run("--recorded", "medagents", source, "--out", tmp_path / "traces", "--traces", "--json") == 0
    assert json.loads(capsys.readouterr().out)["small"]["missing"] == 1
    assert [trace.reply for trace in read_jsonl(tmp_path / "traces" / "small.jsonl", Trace)] == ["A"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tiny", "--split", "exam"], "--split goes with --from FORMAT."),
        (["tiny", "--items", "x"], "--items goes with --recorded FORMAT."),
        (["--from", "avey", "in.jsonl", "--traces"], "--traces goes with --recorded FORMAT."),
        (["--from", "avey", "in.jsonl"], "--out is missing; name the file to write."),
        (["--recorded", "avey", "in.jsonl"], "--out is missing; name the folder to write."),
        (["--from", "avy", "in.jsonl", "--out", "x"], "format 'avy' is unknown; use one of agentclinic,"),
        (["--from", "table", "in.csv", "--out", "x"], "a table needs --columns MAP.toml"),
    ],
)
def test_faults(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    assert capsys.readouterr().err.startswith(f"rounds: {sentence}")


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{"id": "1", "model": name, "gold": "A", "pred": "A"} for name in ("a b", "a/b")], [], "would share a file"),
        ([{"id": "1", "model": "m", "gold": "A", "pred": None}], ["--traces"], "keeps no words of a model"),
    ],
)
def test_recorded_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]], options: list[str], words: str
) -> None:
    source = write(tmp_path / "in.jsonl", *rows)
    assert run("--recorded", "medagents", source, "--out", tmp_path / "out", *options) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
