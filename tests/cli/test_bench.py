"""`rounds bench` from the command line; what it measures is tested in tests/chain/test_bench.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rounds.chain import bench as room
from rounds.chain.bench import Settings
from rounds.chain.bench_result import Bench, EngineFigures, Row, cells
from rounds.chain.bench_worker import Told
from rounds.cli.main import main


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--endpoint", "llama"], "--endpoint 'llama' is no NAME=URL; give one such as llama=http://127.0.0.1:8080/v1."),
        (
            ["--endpoint", "a=http://127.0.0.1:1/v1", "--endpoint", "a=http://127.0.0.1:2/v1"],
            "--endpoint 'a' is given twice; give each a name of its own.",
        ),
        (["--repeats", "2"], "--repeats 2 is below 3; fewer show no spread."),
        (["--new", "1"], "--new 1 is below 2; the first token of an answer is not decoding."),
        (["--streams", "1,1"], "--streams '1,1' is no list of different whole numbers; give one such as 1,8."),
        (["--prompts", "0"], "--prompts '0' is no list of different whole numbers; give one such as 1,8."),
        (["--timeout", "0"], "--threads and --timeout must be above 0; leave them out for what the machine has."),
        (["--threads", "-1"], "--threads and --timeout must be above 0; leave them out for what the machine has."),
        (["--engine", "gpt"], "engine 'gpt' is not known; use one of openvino-int4, openvino-int4-dynamic, "
         "openvino-int4-everything, openvino-bf16, transformers-bf16, or none."),
    ],
)  # fmt: skip
def test_faults_are_one_sentence(capsys: pytest.CaptureFixture[str], words: list[str], sentence: str) -> None:
    assert main(["bench", "tiny", *words]) == 2
    assert capsys.readouterr().err == f"rounds: {sentence}\n"


def test_an_unknown_shape_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "3b"]) == 2
    assert capsys.readouterr().err.startswith("rounds: shape '3b' is not known; use one of 1.5b, 7b, 8b, ")


def test_the_result_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Settings, Path | None]] = []

    def measured(given: Settings, place: Path | None) -> Bench:
        """Rows by hand: the processes are started in tests/chain/test_bench.py."""
        asked.append((given, place))
        told = Told(
            **{"prompt_tokens": 9, "tokens": 4, "seconds": 2.0, "first_token_s": 0.5, "decode_tokens_s": 2.0},
            **{"peak_bytes": 1000, "anonymous_bytes": 500, "files_bytes": 500},
        )
        rows = [Row(engine="e", repeat=n, prompt=9, streams=1, joules=None, told=told) for n in range(3)]
        engines = {"e": EngineFigures(load_s=1.0)}
        return Bench(
            **{"shape": "tiny", "structure": "qwen2", "weights": 1, "machine": "m", "threads": 1, "date": "d"},
            **{"versions": {}, "new_tokens": 4, "repeats": 3, "against": "e", "bandwidth": (1e9,), "rows": tuple(rows)},
            **{"making_peak_bytes": None, "engines": engines, "cells": cells(rows, engines, [1e9], "e", 4)},
        )

    monkeypatch.setattr(room, "bench", measured)
    words = ["bench", "tiny", "--prompts", "9", "--streams", "1, 2", "--new", "4", "--plain", "--out", str(tmp_path)]
    assert main(words) == 0
    page = capsys.readouterr().out
    assert page.startswith("# rounds bench tiny\n")
    assert (tmp_path / "bench.md").read_text(encoding="utf-8") == page
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    given, place = asked[0]
    assert (given.prompts, given.streams, given.ignore_eos, place) == ((9,), (1, 2), False, tmp_path / "models")
