"""`rounds budget` from the command line; what it measures is tested in tests/chain/test_budget.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.cli.budget import lines
from rounds.cli.main import main
from rounds.exam.curve import cut_curve
from rounds.records import Answer, Grade


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["."], "is no run, so --cases and --margin and --out must be given"),
        ([".", "--exam"], "--exam needs a run and its own cases"),
        ([".", "--shorten"], "--shorten needs a run and its own cases"),
        ([".", "--per-condition", "3"], "--per-condition 3 needs a run"),
        (["http://127.0.0.1:9/v1", "--cases", "x", "--margin", "0.05"], "is no run, so --out must be given"),
    ],
)
def test_faults_are_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["budget", *words]) == 2
    heard = capsys.readouterr().err
    assert sentence in heard
    assert heard.count("\n") == 1


@pytest.mark.parametrize("more", [["--exam"], ["--margin", "0.02"]])
def test_shortening_has_rules_of_its_own(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.toml").write_text("")
    assert main(["budget", str(tmp_path), "--shorten", *more]) == 2
    assert f"{' '.join(more)} is not for --shorten" in capsys.readouterr().err


def test_the_table_has_a_line_a_budget() -> None:
    grades = [
        Grade(case_id=f"c{n}", answer=Answer(case_id=f"c{n}"), correct=n % 2 == 0, thinking_tokens=20 + n)
        for n in range(40)
    ]
    said = lines(cut_curve("m", grades, (10, 90), margin=0.1, alpha=0.01), Path("out"))
    assert said[0] == "m: 40 cases of the recorded split, margin 10 points"
    assert [line.split()[0] for line in said[2:5]] == ["10", "90", "no"]
    assert "lost (accuracy, -50.0)" in said[2]
    assert said[-1] == "written: out/budget.json, out/budget.html"
