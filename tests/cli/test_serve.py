"""`rounds serve` as a process: served as examined, stopped by a signal, and shut where it must be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from rounds.cli.main import main

STAND_IN = """
import sys, types
from rounds.records import Trace

class Scripted:
    name, model, batch_invariant = "scripted", "m", True
    def respond(self, prompts, sampling):
        for prompt in prompts:
            yield Trace(prompt=prompt, model="m", engine="scripted", sampling=sampling, thinking="t", reply="1. gout",
                        finish="stop", thinking_tokens=1, reply_tokens=2)

choose = types.ModuleType("rounds.engine.choose")
choose.open_responder = lambda model, engine, threads=0: Scripted()
import rounds.engine
rounds.engine.choose = choose
sys.modules["rounds.engine.choose"] = choose
from rounds.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    place = tmp_path / "lone"
    place.mkdir()
    (place / "config.json").write_text("{}", encoding="utf-8")
    return place


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_told_to_stop(checkpoint: Path, sign: signal.Signals) -> None:
    command = [sys.executable, "-c", STAND_IN, "serve", str(checkpoint), "--port", "0", "--unproven", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        assert started["word"] == "unproven"
        assert started["model"] == "lone"
        page = httpx.post(f"{started['url']}/", data={"case": "a red toe"}, timeout=20)
        assert "<li>gout</li>" in page.text
        assert "Unproven, not for patients" in page.text
        process.send_signal(sign)
        out, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert (out, said) == ("", "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "no passport.json stands beside this checkpoint; --unproven opens it"),
        (["--unproven", "--host", "0.0.0.0"], "host '0.0.0.0' is refused"),
        (["--unproven", "--port", "70000"], "port 70000 does not exist"),
        (["--port", "x"], "rounds serve: argument --port: invalid int value: 'x'; see rounds serve --help."),
    ],
)
def test_what_stays_shut(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert main(["serve", str(checkpoint), *options]) == 2
    assert sentence in capsys.readouterr().err
