"""A hospital's signature: Ed25519 keys in PEM files, and a detached signature over the very bytes of a document.

There is no canonical form to disagree about: what lies on the disk is what is signed (RFC 8032, pure Ed25519), and
the signature file is its 64 raw bytes, so that any other tool can check it, for one

    openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in passport.json -sigfile passport.sig

Left out on purpose: key stores, certificates and passwords: whoever has those signs with openssl.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from rounds import files
from rounds.records import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX = ".sig"
PUBLIC = ".pub"
LARGEST = 16_384
"""Bytes of a key file."""


def signature_of(document: Path) -> Path:
    """Where the signature of a document lies: passport.json, passport.sig."""
    return document.with_suffix(SUFFIX)


def make_key(path: Path) -> str:
    """Make a private key (PKCS 8, mode 0600) and its public half beside it; gives the fingerprint.

    Raises:
        UserError: a file is in the way, or the place cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(path.name + PUBLIC)
    for one in (path, public):
        if one.exists():
            raise UserError(f"{one}: is there already, and a key is never overwritten; choose another name.")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for one, content, mode in ((path, secret, 0o600), (public, shown, 0o644)):
        try:
            files.create(one, content, mode)
        except OSError as error:
            raise files.unwritable(one, error) from error
    return fingerprint(key.public_key())


def sign(document: Path, key: Path) -> str:
    """Write the signature of a document beside it; gives the fingerprint of the key.

    Raises:
        UserError: the key cannot be used, or document or signature cannot be read or written.
    """
    private = private_key(key)
    files.write_bytes(signature_of(document), private.sign(_bytes_of(document)))
    return fingerprint(private.public_key())


def fault_of(document: Path, public: Path) -> str:
    """What is wrong with the signature of a document, in one sentence; '' when it is this key's.

    Raises:
        UserError: the public key or the document cannot be read.
    """
    from cryptography.exceptions import InvalidSignature

    key = public_key(public)
    signature = signature_of(document)
    if not signature.is_file():
        return f"{signature.name} is missing: nobody has signed {document.name}"
    try:
        key.verify(_bytes_of(signature), _bytes_of(document))
    except InvalidSignature:
        return f"{signature.name} is not the signature of this {document.name} by the key {fingerprint(key)[:16]}"
    return ""


def private_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file.

    Raises:
        UserError: unreadable, readable by others, encrypted, or no Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _bytes_of(path, LARGEST)
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path}: may be read by others than its owner; chmod 600 it, and consider making a new key.")
    try:
        key = load_pem_private_key(content, None)
    except TypeError as error:
        raise UserError(f"{path}: is locked by a password; unlock it, or sign with openssl pkeyutl.") from error
    except ValueError as error:
        raise UserError(f"{path}: is not a private key in PEM; make one with rounds passport key.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: is not an Ed25519 key; make one with rounds passport key.")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises:
        UserError: unreadable, or no Ed25519 public key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_bytes_of(path, LARGEST))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path}: is not a public key in PEM; give the file that ends in {PUBLIC}.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{path}: is not an Ed25519 public key; give the file that ends in {PUBLIC}.")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of a public key, as `openssl pkey -pubin -in KEY.pub -outform DER | sha256sum` tells it."""
    from cryptography.hazmat.primitives import serialization

    shape = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, shape)).hexdigest()


def _bytes_of(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as content:
            return content.read(most)
    except OSError as error:
        raise files.unreadable(path, error) from error
