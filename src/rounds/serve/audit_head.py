"""Signed heads: what a chain of rows ended with on one day, kept where nobody who can write the log can write.

Ed25519 with the keys of `rounds.serve.signing` (`rounds passport key` makes them). A log that still holds the signed
row, and whose chain is whole, is the log of that day and what came after. Left out on purpose: a time stamp by a third
party (RFC 3161), which any such service can put on the file.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

from rounds.files import read_json
from rounds.records import Record
from rounds.serve.audit import Audit, Head
from rounds.serve.signing import private_key, public_key


class SignedHead(Record):
    """A head, when it was signed, and the signature over both."""

    head: Head
    signed: str
    """UTC."""
    signature: str
    """Base64 of 64 bytes."""


def sign(head: Head, key: Path) -> SignedHead:
    """Sign a head with a private key.

    Raises:
        UserError: the key cannot be read, or is none.
    """
    signed = datetime.now(UTC).isoformat(timespec="seconds")
    signature = private_key(key).sign(_content(head, signed))
    return SignedHead(head=head, signed=signed, signature=base64.b64encode(signature).decode())


def check(audit: Audit, file: Path, public: Path) -> str:
    """What is wrong between a log and a signed head of it, one sentence; '' when the log still holds that head.

    The chain itself is another question (`Audit.verify`).

    Raises:
        UserError: the head or the key cannot be read.
        Unaudited: the log cannot be read.
    """
    from cryptography.exceptions import InvalidSignature

    signed = read_json(file, SignedHead)
    try:
        public_key(public).verify(
            base64.b64decode(signed.signature, validate=True), _content(signed.head, signed.signed)
        )
    except (InvalidSignature, ValueError):
        return f"{file}: its signature is not by the key in {public}."
    rows = signed.head.rows
    if rows == 0:
        return ""
    found = audit.store.page(rows - 1, 1)
    if not found or found[0].sequence != rows:
        return f"the log has no row {rows}, with which it ended on {signed.signed}: rows were cut off."
    if found[0].hash != signed.head.hash:
        return f"row {rows} is not the one with which the log ended on {signed.signed}: it was written anew."
    return ""


def _content(head: Head, signed: str) -> bytes:
    return json.dumps({"rounds audit head": head.model_dump(), "signed": signed}, sort_keys=True).encode()
