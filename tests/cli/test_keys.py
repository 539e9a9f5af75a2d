"""`rounds keys`: a key is shown once, listed without itself, and taken out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rounds.cli.main import main
from rounds.serve.keys import Keys


def test_a_life_of_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.jsonl"
    assert main(["keys", str(file), "--new", "ward-3", "--scopes", "diagnose", "audit", "--until", "2199-12-31"]) == 0
    token = capsys.readouterr().out.strip()
    assert len(token) == len("rounds-") + 43
    assert token not in file.read_text(encoding="utf-8")
    assert main(["keys", str(file), "--new", "emr", "--json"]) == 0
    other = json.loads(capsys.readouterr().out)
    caller = Keys(file).find(token)
    assert caller is not None
    assert (caller.name, caller.scopes) == ("ward-3", {"diagnose", "audit"})
    assert main(["keys", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == ["ward-3", "diagnose,audit", "until", "2199-12-31"]
    assert token not in said
    assert main(["keys", str(file), "--json"]) == 0
    assert "sha256" not in capsys.readouterr().out
    assert main(["keys", str(file), "--remove", "ward-3"]) == 0
    assert Keys(file).find(token) is None
    assert Keys(file).find(other["key"]) is not None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "cannot be read"),
        (["--new", "two words"], "'two words' is no name for a key"),
        (["--new", "a", "--remove", "b"], "one thing at a time"),
        (["--new", "a", "--scopes", "everything"], "invalid choice: 'everything'"),
        (["--new", "a", "--until", "soon"], "argument --until"),
    ],
)
def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str) -> None:
    assert main(["keys", str(tmp_path / "none"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_names_are_single(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "keys")
    assert main(["keys", file, "--new", "a"]) == 0
    assert main(["keys", file, "--new", "a"]) == 2
    assert "has a key 'a' already" in capsys.readouterr().err
    assert main(["keys", file, "--remove", "b"]) == 2
    assert "has no key 'b'" in capsys.readouterr().err
