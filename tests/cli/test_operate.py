"""`rounds operate`: by its real command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from rounds import files
from rounds.cli.main import main
from rounds.serve.audit import Entry
from rounds.serve.audit_open import open_audit
from rounds.serve.operate_drift import LOG, Seen

Make = Callable[..., Path]
Read = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path, make_run: Make) -> Path:
    return make_run(tmp_path / "mine")


def notes(run: Path) -> list[str]:
    audit = open_audit(str(run), existing=True)
    rows = audit.rows(10)
    audit.close()
    assert {row.kind for row in rows} <= {"incident"}
    return [row.note for row in reversed(rows)]


def test_stop_release_and_start_are_incidents(run: Path, capsys: Read) -> None:
    assert main(["operate", "stop", str(run), "--why", "wrong red flags"]) == 0
    assert capsys.readouterr().out.endswith(": wrong red flags\n")
    assert main(["operate", "status", str(run)]) == 0
    assert capsys.readouterr().out.startswith("stopped 20")
    assert main(["operate", "start", str(run), "--why", "mended"]) == 0
    assert main(["operate", "release", str(run)]) == 0
    assert main(["operate", "incident", str(run), "--why", "a printer failed"]) == 0
    capsys.readouterr()
    assert main(["operate", "status", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stopped"] is None
    assert told["releases"][0]["name"] == told["in_service"]
    kept = notes(run)
    assert kept[:2] == ["stopped: wrong red flags", "started: mended"]
    assert kept[2] == f"released: {told['in_service']}, demonstration"
    assert kept[3] == "incident: a printer failed"
    assert main(["operate", "rollback", str(run), "--why", "worse", "--to", told["in_service"][:4]]) == 0
    assert notes(run)[4] == f"rolled back to {told['in_service']}: worse"


def test_a_model_is_stopped_also_when_the_log_is_broken(run: Path, capsys: Read) -> None:
    (run / "audit.sqlite").write_text("no database, and long enough to be looked at as one", encoding="utf-8")
    assert main(["operate", "stop", str(run), "--why", "x"]) == 2
    said = capsys.readouterr()
    assert "the model is stopped." in said.err
    assert (run / "operation" / "stopped.json").is_file()
    assert main(["operate", "start", str(run), "--why", "x"]) == 2
    assert (run / "operation" / "stopped.json").is_file()


def test_agreement_is_told(run: Path, capsys: Read) -> None:
    one = '{"time": "t", "request": "r", "checkpoint": "c", "passport": "p", "answered": true, "place": 1, "shared": 2'
    files.write_text(run / "operation" / "shadow.jsonl", one + ', "same_first": true}\n' + one + "}\n")
    assert main(["operate", "agreement", str(run)]) == 0
    said = capsys.readouterr().out
    assert "the same first diagnosis: 1 of 2, 50.0 % (9.5 to 90.5)\n" in said
    assert "agreement is not accuracy" in said
    assert main(["operate", "agreement", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["first_among_five"] == 2


def test_drift_is_exit_code_1(run: Path, capsys: Read) -> None:
    assert main(["operate", "drift", str(run)]) == 0
    assert "0 windows of 200 answers: none is full yet, nothing was looked at\n" in capsys.readouterr().out
    random = Random(1)
    # As the exam of this run, then nothing like it.
    like = [Seen(words=7, findings=14.29, language="") for _ in range(200)]
    files.write_jsonl(run / LOG, like)
    assert main(["operate", "drift", str(run)]) == 0
    assert "window 1: nothing shown" in capsys.readouterr().out
    other = [Seen(words=random.randint(80, 300), findings=2.0, language="fi") for _ in range(200)]
    files.write_jsonl(run / LOG, [*like, *other])
    assert main(["operate", "drift", str(run)]) == 1
    assert "window 2: ALARM: words, findings, other language;" in capsys.readouterr().out
    assert main(["operate", "drift", str(run), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["level"] == 0.01


def test_judgements_are_read_from_the_audit_log(run: Path, capsys: Read) -> None:
    audit = open_audit(str(run))
    note = {"kind": "incident", "door": "feedback", "model": files.digest(run / "packed")}
    for number in range(100):
        told = "wrong" if number >= 50 and number % 2 else "right"
        audit.append(Entry.model_validate({**note, "note": f"feedback: {told}"}))
    audit.append(Entry.model_validate({**note, "model": "another", "note": "feedback: wrong"}))
    audit.close()
    assert main(["operate", "drift", str(run)]) == 1
    said = capsys.readouterr().out
    assert "2 windows of 50 judgements\nwindow 1: nothing shown; judged wrong: 0 of 50, exam 0 of 40 (p 1)\n" in said
    assert "window 2: ALARM: judged wrong; judged wrong: 25 of 50, exam 0 of 40" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["stop", "RUN"], "say why with --why"),
        (["start", "RUN", "--why", "x"], "is not stopped"),
        (["rollback", "RUN", "--why", "x"], "no earlier release"),
        (["agreement", "RUN"], "nothing was recorded in shadow yet"),
        (["status", "nowhere"], "nowhere: is not a directory"),
        (["restart", "RUN"], "invalid choice: 'restart'"),
    ],
)
def test_faults_are_sentences(run: Path, capsys: Read, words: list[str], sentence: str) -> None:
    assert main(["operate", *(str(run) if word == "RUN" else word for word in words)]) == 2
    assert sentence in capsys.readouterr().err
