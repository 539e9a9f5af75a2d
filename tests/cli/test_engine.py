"""`rounds engine` from the command line; the commands themselves are tested in tests/chain/test_launch.py."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rounds.cli.main import main


def test_the_command_is_printed_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "vllm", "one-gpu", "--print"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert " vllm serve deepseek-ai/DeepSeek-R1-Distill-Qwen-7B " in line
    assert main(["engine", "vllm", "one-gpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["endpoint"] == "http://127.0.0.1:8001/v1"
    assert shlex.join(found["command"]) in line


def test_the_program_takes_the_place_of_the_command(tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text('#!/bin/sh\necho "$@"\necho "usage stats off: $VLLM_NO_USAGE_STATS"\nexit 7\n', encoding="utf-8")
    program.chmod(0o755)
    command = [sys.executable, "-m", "rounds.cli.main", "engine", "vllm", "one-gpu", "--streams", "3"]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 7
    assert done.stdout.startswith("serve deepseek-ai/DeepSeek-R1-Distill-Qwen-7B --host 127.0.0.1 --port 8001 ")
    assert "--max-num-seqs 3" in done.stdout
    assert "usage stats off: 1" in done.stdout


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--streams", "0", "greater than or equal to 1"),
        ("--tensor-parallel", "0", "greater than or equal to 1"),
        ("--port", "70000", "less than or equal to 65535"),
    ],
)
def test_faults_are_one_sentence(capsys: pytest.CaptureFixture[str], option: str, value: str, said: str) -> None:
    assert main(["engine", "vllm", "one-gpu", option, value]) == 2
    assert capsys.readouterr().err == f"rounds: {option} {value} is out of range; input should be {said}.\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["surgery"], "--adapter 'surgery' is no NAME=DIR; give one such as surgery=runs/ward/surgery/adapter."),
        (["=a"], "--adapter '=a' is no NAME=DIR; give one such as surgery=runs/ward/surgery/adapter."),
        (["a=b", "a=c"], "--adapter 'a' is given twice; give each a name of its own."),
    ],
)
def test_an_adapter_has_a_name_of_its_own(capsys: pytest.CaptureFixture[str], given: list[str], said: str) -> None:
    options = [word for text in given for word in ("--adapter", text)]
    assert main(["engine", "vllm", "one-gpu", *options]) == 2
    assert capsys.readouterr().err == f"rounds: {said}\n"


def test_a_program_that_is_not_installed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["engine", "vllm", "one-gpu"]) == 2
    assert capsys.readouterr().err.startswith(
        "rounds: vllm is not on PATH; install it in an environment of its own (pip install vllm; "
    )
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert main(["engine", "llama", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(
        "rounds: llama-server is not on PATH; build it from https://github.com/ggml"
    )
