"""`rounds serve` as a process: served as examined, stopped by a signal, and shut where it must be."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.cli.main import main

Certificate = Callable[[Path], tuple[Path, Path]]
StandIn = Callable[[str], list[str]]

ANSWERS = """
from rounds.records import Trace

class Answers:
    name, model, batch_invariant = "scripted", "m", True
    def respond(self, prompts, sampling):
        for prompt in prompts:
            yield Trace(prompt=prompt, model="m", engine="scripted", sampling=sampling, thinking="t", reply="1. gout",
                        finish="stop", thinking_tokens=1, reply_tokens=2)
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    place = tmp_path / "lone"
    place.mkdir()
    (place / "config.json").write_text("{}", encoding="utf-8")
    return place


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_told_to_stop(checkpoint: Path, sign: signal.Signals, stand_in: StandIn) -> None:
    command = [*stand_in(ANSWERS), "serve", str(checkpoint), "--port", "0", "--unproven", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        assert started["word"] == "unproven"
        assert started["model"] == "lone"
        page = httpx.post(f"{started['url']}/", data={"case": "a red toe"}, timeout=60)
        assert "gout" in page.text
        assert "Unproven, not for patients" in page.text
        process.send_signal(sign)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (out, said) == ("", "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--fhir-token", "t"], "give --fhir with --fhir-token"),
        (["--fhir", "http://h/r4"], "unencrypted; use https"),
        (["--fhir", "https://h/r4", "--fhir-token", "missing"], "missing"),
    ],
)
def test_fhir_servers_that_are_refused(
    checkpoint: Path, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(checkpoint), "--unproven", "--port", "0", *options]) == 2
    assert sentence in capsys.readouterr().err


def test_with_keys_and_tls(
    checkpoint: Path,
    tmp_path: Path,
    certificate: Certificate,
    stand_in: StandIn,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import ssl

    keys = tmp_path / "keys.jsonl"
    assert main(["keys", str(keys), "--new", "ward", "--scopes", "diagnose"]) == 0
    token = capsys.readouterr().out.strip()
    cert, secret = certificate(tmp_path)
    command = [*stand_in(ANSWERS), "serve", str(checkpoint), "--port", "0", "--unproven", "--json"]
    guarded = ["--keys", str(keys), "--tls-cert", str(cert), "--tls-key", str(secret), "--public-name", "ward.example"]
    with subprocess.Popen([*command, *guarded], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            assert url.startswith("https://127.0.0.1:")
            trust = ssl.create_default_context(cafile=str(cert))
            with httpx.Client(base_url=url, verify=trust, timeout=60) as client:
                assert client.get("/v1/models").status_code == 401
                known = client.get("/v1/models", headers={"authorization": f"Bearer {token}"})
                assert known.status_code == 200
                assert known.headers["strict-transport-security"]
                assert client.get("/health", headers={"host": "other.example"}).status_code == 421
                assert client.get("/health", headers={"host": "ward.example"}).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=40)
    assert process.returncode == 0
    assert said == ("", "")
    assert (checkpoint.parent / "audit.sqlite").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "no passport.json stands beside this checkpoint; --unproven opens it"),
        (["--unproven", "--host", "0.0.0.0"], "host '0.0.0.0' is refused"),
        (["--unproven", "--port", "70000"], "port 70000 does not exist"),
        (["--unproven", "--tls-cert", "x"], "TLS needs both halves; give --tls-cert and --tls-key."),
        (["--unproven", "--tls-cert", "x", "--tls-key", "y"], "x, y: cannot be used for TLS (No such file"),
        (["--unproven", "--behind-proxy"], "a server that others reach needs to know them; make keys with rounds keys"),
        (["--unproven", "--public-name", "ward.example"], "a server that others reach needs to know them"),
        (["--unproven", "--keys", "none"], "none: cannot be read"),
        (["--unproven", "--store", "x"], "an encrypted store needs a place and a key; give --store and --store-key."),
        (["--unproven", "--at-once", "0"], "--at-once is 0; give 1 to 1024."),
        (["--unproven", "--audit", "mysql://x"], "is neither a path nor postgresql://"),
        (["--port", "x"], "rounds serve: argument --port: invalid int value: 'x'; see rounds serve --help."),
    ],
)
def test_what_stays_shut(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert main(["serve", str(checkpoint), *options]) == 2
    assert sentence in capsys.readouterr().err


def test_specialists_are_opened_beside_the_model_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rounds.cli import serve
    from rounds.engine import choose
    from rounds.recipe import Examine
    from rounds.serve.specialists import NONE, Specialist, Specialists, Together
    from rounds.serve.standing import Served, Standing

    asked: list[dict[str, Any]] = []

    class Opened:
        name = model = "m"

    def opened(directory: Path, engine: str, threads: int, **more: Any) -> Opened:
        asked.append({"directory": directory, "threads": threads, **more})
        return Opened()

    monkeypatch.setattr(choose, "open_directory", opened)
    standing = Standing(word="demonstration", banner="Demonstration", evidence="synthetic", checkpoint="c" * 64)
    served = Served("mine", tmp_path / "packed", standing, Examine(), tmp_path, tmp_path)
    own = standing.model_copy(update={"adapter": "a" * 64})
    one = Specialist(name="surgery", specialty="surgery", adapter=tmp_path / "adapter", standing=own)
    special = Specialists(tmp_path / "reasoned", (one,), ("mine:neurology is not offered: lost.",))
    assert isinstance(serve._open(served, special, 3, 4), Together)
    shared = {"threads": 3, "at_once": 4, "pipelines": 2}  # two pipelines share the memory for their caches
    assert asked == [
        {"directory": tmp_path / "packed", **shared},
        {"directory": tmp_path / "reasoned", **shared, "adapters": {"surgery": one.adapter}, "bare": False},
    ]
    serve._say(served, special, "http://here", as_json=True)
    told = capsys.readouterr()
    assert json.loads(told.out)["specialists"]["mine:surgery"]["adapter"] == "a" * 64
    assert "mine:neurology is not offered" in told.err
    serve._say(served, special, "http://here", as_json=False)
    assert "mine:surgery answers too. Demonstration." in capsys.readouterr().err
    given = argparse.Namespace(no_specialists=True, shadow=False, unproven=False, public_key=None)
    assert serve._specialists(given, served) == NONE
