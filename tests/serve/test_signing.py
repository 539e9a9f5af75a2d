"""Keys and signatures: kept from others, checked by any tool, and no forgery taken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rounds.records import UserError
from rounds.serve.signing import fault_of, fingerprint, make_key, private_key, public_key, sign, signature_of


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    make_key(tmp_path / "hospital")
    document = tmp_path / "passport.json"
    document.write_text('{"proven": false}', encoding="utf-8")
    sign(document, tmp_path / "hospital")
    return document


def test_a_key_is_its_owners_alone_and_signs(signed: Path) -> None:
    key = signed.with_name("hospital")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(signature_of(signed).read_bytes()) == 64
    assert fault_of(signed, signed.with_name("hospital.pub")) == ""
    assert fingerprint(private_key(key).public_key()) == fingerprint(public_key(signed.with_name("hospital.pub")))


def test_one_changed_byte_is_seen(signed: Path) -> None:
    signed.write_text('{"proven": true }', encoding="utf-8")
    fault = fault_of(signed, signed.with_name("hospital.pub"))
    assert fault.startswith("passport.sig is not the signature of this passport.json by the key ")


def test_another_key_and_a_short_or_missing_signature_are_seen(signed: Path) -> None:
    make_key(signed.with_name("other"))
    assert "is not the signature" in fault_of(signed, signed.with_name("other.pub"))
    signature_of(signed).write_bytes(b"short")
    assert "is not the signature" in fault_of(signed, signed.with_name("hospital.pub"))
    signature_of(signed).unlink()
    assert "nobody has signed" in fault_of(signed, signed.with_name("hospital.pub"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: no second tool checks")
def test_openssl_says_the_same(signed: Path) -> None:
    public = signed.with_name("hospital.pub")
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin", "-in", str(signed)]
    command += ["-sigfile", str(signature_of(signed))]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    told = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", str(public), "-outform", "DER"], capture_output=True, check=True
    )
    import hashlib

    assert hashlib.sha256(told.stdout).hexdigest() == fingerprint(public_key(public))
    signed.write_text("changed", encoding="utf-8")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_a_key_is_never_overwritten(signed: Path) -> None:
    with pytest.raises(UserError, match="a key is never overwritten"):
        make_key(signed.with_name("hospital"))


def test_a_key_that_others_may_read_is_refused(signed: Path) -> None:
    signed.with_name("hospital").chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        private_key(signed.with_name("hospital"))


def other_keys(place: Path) -> None:
    """A locked Ed25519 key and an elliptic one, with their public halves."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    shape = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    locked = Ed25519PrivateKey.generate().private_bytes(*shape, serialization.BestAvailableEncryption(b"word"))
    (place / "locked").write_bytes(locked)
    curve = generate_private_key(SECP256R1())
    (place / "curve").write_bytes(curve.private_bytes(*shape, serialization.NoEncryption()))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (place / "curve.pub").write_bytes(curve.public_key().public_bytes(serialization.Encoding.PEM, form))
    (place / "text").write_text("no key")
    for one in ("locked", "curve", "text"):
        (place / one).chmod(0o600)


def test_what_is_no_such_key_is_a_sentence(tmp_path: Path) -> None:
    other_keys(tmp_path)
    for name, sentence in (
        ("locked", "is locked by a password"),
        ("curve", "is not an Ed25519 key"),
        ("text", "is not a private key in PEM"),
        ("nothing", "cannot be read"),
    ):
        with pytest.raises(UserError, match=sentence):
            private_key(tmp_path / name)
    for name, sentence in (
        ("curve.pub", "is not an Ed25519 public key"),
        ("text", "is not a public key in PEM"),
        ("nothing", "cannot be read"),
    ):
        with pytest.raises(UserError, match=sentence):
            public_key(tmp_path / name)


def test_a_place_that_cannot_be_written_is_told(signed: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        make_key(tmp_path / "no" / "place" / "key")
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    document = lonely / "passport.json"
    document.write_text("{}")
    (lonely / "passport.sig").mkdir()
    (lonely / "passport.sig" / "in the way").touch()
    with pytest.raises(UserError, match="cannot be written"):
        sign(document, signed.with_name("hospital"))
    assert [path.name for path in lonely.iterdir() if path.name.endswith("partial")] == []
