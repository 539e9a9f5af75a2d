"""Exit 1 when the exam is in the training data, 0 when not, and the pairs are shown."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from rounds.cli import overlap
from rounds.cli.main import main
from rounds.files import write_jsonl
from rounds.records import Case

STORY = (
    "A retired lighthouse keeper has had a dull ache under the left collar bone since he carried two buckets of coal "
    "up the stairs nine days ago, and the thumb on that side has begun to tingle whenever he turns his head."
)
OTHER = (
    "A girl of seven came home from a summer camp by the lake with a ring of red skin behind the knee, and in the week "
    "that followed she was tired and did not want to ride her bicycle to the library with her brother."
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    train, exam = tmp_path / "train.jsonl", tmp_path / "exam.jsonl"
    train.write_text(json.dumps({"id": "row-1", "text": f"{OTHER} {STORY}"}) + "\n", encoding="utf-8")
    write_jsonl(exam, [Case(id="c1", vignette=STORY, diagnosis="Brachial neuritis")])
    return train, exam


def arguments(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    overlap.configure(parser)
    return parser.parse_args([str(word) for word in words])


def test_a_leak_is_shown_and_exits_with_1(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert overlap.run(arguments(*files)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "overlap: 1 of 1 exam items were found in 1 training rows"
    assert lines[1] == "  13-gram: 1"
    assert lines[2].startswith(f"c1 <- {files[0]}:1 (13-gram, 1.00): ")


def test_json_holds_every_pair(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert overlap.run(arguments(*files, "--json", "--show", 0)) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["train_rows"], found["exam_items"], found["found"], found["kinds"]) == (1, 1, 1, {"13-gram": 1})
    (pair,) = found["pairs"]
    assert (pair["held"], pair["other"], pair["rows"], len(pair["shown"].split())) == ("c1", "row-1", 1, 13)


def test_an_honest_exam_exits_with_0(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    files[0].write_text(OTHER, encoding="utf-8")
    honest = files[0].rename(files[0].with_suffix(".txt"))
    assert overlap.run(arguments(honest, files[1])) == 0
    assert capsys.readouterr().out == "no overlap: none of 1 exam items was found in 1 training rows\n"


def test_what_is_not_shown_is_counted(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    overlap.run(arguments(*files, "--show", 0))
    assert capsys.readouterr().out.splitlines()[-1] == "... 1 more; --json shows all"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{train}", "{train}"], "{train}: is given twice; name the training data and then the exam."),
        (["{train}", "{exam}", "--show", "-1"], "--show -1 is below 0; write how many pairs to show."),
        (["{empty}", "{exam}"], "{empty}: holds no rows; expected one JSON object or one text a line."),
        (["{train}", "{empty}"], "the exam holds no items; expected one JSON object a line."),
        (["gone.jsonl", "{exam}"], "gone.jsonl: cannot be read (No such file or directory)"),
    ],
)
def test_faults(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], words: list[str], sentence: str) -> None:
    empty = files[0].with_name("empty.jsonl")
    empty.write_text("", encoding="utf-8")
    places = {"train": files[0], "exam": files[1], "empty": empty}
    assert main(["overlap", *(word.format(**places) for word in words)]) == 2
    assert capsys.readouterr().err.startswith(f"rounds: {sentence.format(**places)}")
