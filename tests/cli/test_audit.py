"""`rounds audit`: verify, show and head, with their exit codes."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from rounds.cli.main import main
from rounds.serve.audit import Audit, Entry
from rounds.serve.audit_sqlite import SQLite


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    for number in range(2):
        request = f"r{number}"
        audit.append(Entry(kind="request", request=request, caller="ward-3", door="page", template="differential@2"))
        audit.append(Entry(kind="result", request=request, caller="ward-3", door="page", finish="stop"))
    audit.append(Entry(kind="request", request="r9", caller="ward-3", door="chat"))
    audit.close()
    return tmp_path


def break_row(run: Path, sequence: int) -> None:
    with sqlite3.connect(run / "audit.sqlite") as connection:
        connection.execute("DROP TRIGGER audit_no_change")
        connection.execute("UPDATE audit SET caller = 'x' WHERE sequence = ?", (sequence,))
    connection.close()


def test_a_whole_log(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(run_directory)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("whole: 5 rows, head ")
    assert said[1].startswith("1 requests have no result")
    assert main(["audit", "verify", str(run_directory / "audit.sqlite"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["head"]["rows"] == 5
    assert main(["audit", "show", str(run_directory), "--newest", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["4", "5"]
    assert lines[0].endswith("result    page      ward-3            stop")
    assert main(["audit", "show", str(run_directory), "--newest", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sequence"] == 5


def test_a_broken_log(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_row(run_directory, 3)
    assert main(["audit", "verify", str(run_directory)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("broken: row 3 was changed after it was written")
    assert said.endswith("sound up to row 2\n")
    assert main(["audit", "verify", str(run_directory), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["whole"] is False
    assert main(["audit", "head", str(run_directory)]) == 2
    assert "the chain is broken and is not signed: row 3" in capsys.readouterr().err


def test_a_signed_head(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    secret, public = run_directory / "head.pem", run_directory / "head.pub"
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    secret.chmod(0o600)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert main(["audit", "head", str(run_directory)]) == 0
    assert capsys.readouterr().out.startswith("5 rows, head ")
    assert main(["audit", "head", str(run_directory), "--key", str(secret)]) == 0
    signed = run_directory / "head.json"
    signed.write_text(capsys.readouterr().out, encoding="utf-8")
    against = ["--head", str(signed), "--public", str(public)]
    assert main(["audit", "verify", str(run_directory), *against]) == 0
    assert f"holds the signed head of {signed}" in capsys.readouterr().out
    with sqlite3.connect(run_directory / "audit.sqlite") as connection:
        connection.execute("DROP TRIGGER audit_no_removal")
        connection.execute("DELETE FROM audit WHERE sequence = 5")
    connection.close()
    assert main(["audit", "verify", str(run_directory)]) == 0
    assert main(["audit", "verify", str(run_directory), *against]) == 1
    assert "broken: the log has no row 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["verify", "{}", "--head", "x"], "give both --head and --public"),
        (["show", "{}", "--newest", "0"], "--newest is 0; give 1 to 100000."),
        (["verify", "{}/none"], "is not there; give the audit log of a server"),
        (["forget", "{}"], "argument what: invalid choice: 'forget'"),
    ],
)
def test_what_is_refused(
    run_directory: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["audit", *(word.format(run_directory) for word in words)]) == 2
    assert sentence in capsys.readouterr().err
