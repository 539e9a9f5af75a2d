"""`rounds passport`: by its real command line, with its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rounds.cli.main import main
from rounds.files import digest

Make = Callable[..., Path]
Read = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path, make_run: Make) -> Path:
    return make_run(tmp_path / "mine")


def test_a_key_signs_and_verifies(run: Path, tmp_path: Path, capsys: Read) -> None:
    key = str(tmp_path / "hospital")
    assert main(["passport", "key", key]) == 0
    assert main(["passport", "sign", str(run), "--key", key]) == 0
    capsys.readouterr()
    assert main(["passport", "verify", str(run), "--public-key", f"{key}.pub"]) == 0
    said = capsys.readouterr().out
    assert "8 digests hold\nsignature: valid\n" in said
    assert f"passport {digest(run / 'passport.json')}\n" in said


def test_a_fault_is_exit_code_1_and_is_not_signed(run: Path, tmp_path: Path, capsys: Read) -> None:
    key = str(tmp_path / "hospital")
    assert main(["passport", "key", key, "--json"]) == 0
    (run / "packed" / "config.json").write_text("{}", encoding="utf-8")
    assert main(["passport", "verify", str(run)]) == 1
    assert "fault: packed/ was changed: its digest is not the one named.\n" in capsys.readouterr().out
    assert main(["passport", "verify", str(run), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["whole"] is False
    assert main(["passport", "sign", str(run), "--key", key]) == 1
    assert not (run / "passport.sig").exists()
    assert main(["passport", "renew", str(run)]) == 1


def test_show_tells_it_all(run: Path, capsys: Read) -> None:
    assert main(["passport", "show", str(run)]) == 0
    said = capsys.readouterr().out
    assert said.isascii()
    assert "packed against base (accuracy): kept, +1.0 points (-1.0 to +2.0), 100 cases, smallest loss seen 5.0" in said
    assert "packed, reasoning drift: 4 of 40 (kappa 0.9)" in said
    assert "safety: not measured" in said
    assert main(["passport", "show", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["margin"] == 0.02


def test_renew_takes_in_what_was_measured_since(run: Path, capsys: Read) -> None:
    (run / "budget.json").write_text('{"tokens": 128}', encoding="utf-8")
    assert main(["passport", "verify", str(run)]) == 1
    assert main(["passport", "renew", str(run)]) == 0
    assert main(["passport", "verify", str(run)]) == 0
    capsys.readouterr()
    assert main(["passport", "show", str(run)]) == 0
    assert "budget: tokens\n" in capsys.readouterr().out


def test_page(run: Path, tmp_path: Path, capsys: Read) -> None:
    assert main(["passport", "page", str(run / "packed")]) == 0
    assert capsys.readouterr().out == f"{run / 'passport.html'}\n"
    assert main(["passport", "page", str(run), "--html", str(tmp_path / "a.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"html": str(tmp_path / "a.html"), "whole": True}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sign", "RUN"], "sign needs --key FILE"),
        (["sign", "RUN", "--key", "nothing"], "nothing: cannot be read"),
        (["verify", "nowhere"], "nowhere: has no passport.json"),
        (["verify", "RUN", "--public-key", "nothing"], "nothing: cannot be read"),
        (["stamp", "RUN"], "argument ACTION: invalid choice: 'stamp'"),
    ],
)
def test_faults_are_sentences(run: Path, capsys: Read, words: list[str], sentence: str) -> None:
    assert main(["passport", *(str(run) if word == "RUN" else word for word in words)]) == 2
    assert sentence in capsys.readouterr().err
