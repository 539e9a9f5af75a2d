"""Signed heads: a log that was cut or written anew no longer holds them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from rounds.records import UserError
from rounds.serve.audit import Audit, Entry
from rounds.serve.audit_head import check, sign
from rounds.serve.audit_sqlite import SQLite


def write_keys(where: Path, kind: type[Ed25519PrivateKey] | type[X25519PrivateKey] = Ed25519PrivateKey) -> Path:
    key = kind.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (where / "head.pem").write_bytes(secret)
    (where / "head.pem").chmod(0o600)
    (where / "head.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return where


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write_keys(tmp_path)


def new_log(file: Path, rows: int) -> Audit:
    audit = Audit(SQLite(file))
    for number in range(rows):
        audit.append(Entry(kind="incident", note=str(number)))
    return audit


def test_a_log_that_grew_holds_its_head(keys: Path) -> None:
    audit = new_log(keys / "a.sqlite", 4)
    file = keys / "head.json"
    file.write_text(sign(audit.head(), keys / "head.pem").model_dump_json(), encoding="utf-8")
    assert check(audit, file, keys / "head.pub") == ""
    audit.append(Entry(kind="incident"))
    assert check(audit, file, keys / "head.pub") == ""
    # The same rows written anew at another time are a whole chain, but not that one.
    again = new_log(keys / "b.sqlite", 4)
    assert again.verify().whole
    assert check(again, file, keys / "head.pub").startswith("row 4 is not the one with which the log ended on ")
    with sqlite3.connect(keys / "a.sqlite") as connection:
        connection.execute("DROP TRIGGER audit_no_removal")
        connection.execute("DELETE FROM audit WHERE sequence > 3")
    connection.close()
    assert audit.verify().whole  # a chain that was cut at its end is whole: only the head tells
    assert check(audit, file, keys / "head.pub").startswith("the log has no row 4, with which it ended on ")
    audit.close()
    again.close()


def test_only_its_key_signs(keys: Path, tmp_path: Path) -> None:
    audit = new_log(keys / "a.sqlite", 2)
    signed = sign(audit.head(), keys / "head.pem")
    file = keys / "head.json"
    other = write_keys(tmp_path / "other") if (tmp_path / "other").mkdir() is None else keys
    file.write_text(signed.model_dump_json(), encoding="utf-8")
    assert check(audit, file, other / "head.pub").endswith(f"is not by the key in {other / 'head.pub'}.")
    for change in ({"signed": "2001-01-01"}, {"signature": "AA=="}, {"signature": "not base64"}):
        file.write_text(signed.model_copy(update=change).model_dump_json(), encoding="utf-8")
        assert "its signature is not by the key" in check(audit, file, keys / "head.pub")
    audit.close()


def test_an_empty_log_can_be_signed(keys: Path) -> None:
    audit = new_log(keys / "a.sqlite", 0)
    file = keys / "head.json"
    file.write_text(sign(audit.head(), keys / "head.pem").model_dump_json(), encoding="utf-8")
    assert check(audit, file, keys / "head.pub") == ""
    audit.close()


def test_keys_that_are_none(keys: Path, tmp_path: Path) -> None:
    audit = new_log(keys / "a.sqlite", 1)
    head = audit.head()
    file = keys / "head.json"
    file.write_text(sign(head, keys / "head.pem").model_dump_json(), encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        sign(head, keys / "none.pem")
    (keys / "head.pub").chmod(0o600)
    with pytest.raises(UserError, match="is not a private key in PEM"):
        sign(head, keys / "head.pub")
    with pytest.raises(UserError, match="is not a public key in PEM"):
        check(audit, file, file)
    with pytest.raises(UserError, match="is not a SignedHead"):
        check(audit, keys / "head.pub", keys / "head.pub")
    (tmp_path / "other").mkdir()
    other = write_keys(tmp_path / "other", X25519PrivateKey)
    with pytest.raises(UserError, match="is not an Ed25519 key"):
        sign(head, other / "head.pem")
    with pytest.raises(UserError, match="is not an Ed25519 public key"):
        check(audit, file, other / "head.pub")
    audit.close()
