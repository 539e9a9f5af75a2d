"""Who asks, and what they may: keys with scopes, the caller the gate has recognised, and what a route demands.

A key is 32 random bytes and is shown once; its file holds SHA-256 digests, which suffice for what cannot be guessed (a
slow hash protects passwords, which can). The file is read again when it changes: a removed key stops at once, and so do
the browser sessions opened with it. Left out on purpose: people's roles, which belong to the hospital's own directory.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import stat
import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import Field

from rounds.files import read_jsonl, write_jsonl
from rounds.records import Record, UserError

if TYPE_CHECKING:
    from starlette.requests import Request

log = logging.getLogger("rounds.serve")

Scope = Literal["diagnose", "records", "audit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

LOCAL = "local"
PREFIX = "rounds-"
"""Begins every key, so that a key in the wrong place is found by a search for it."""
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from."""

    name: str
    """Name of the key, or "local" for whoever sits at this machine."""
    scopes: frozenset[str]
    """Of `SCOPES`."""


ANONYMOUS = Caller(LOCAL, frozenset({"diagnose", "records", "audit"}))
"""On 127.0.0.1 without keys: the person at the keyboard owns the files anyway."""


class Forbidden(Exception):
    """The caller may not do this, or nobody is known to call."""

    def __init__(self, scope: str, caller: Caller | None) -> None:
        sentence = "no known key came with this request; send it as 'Authorization: Bearer KEY', or sign in."
        if caller is not None:
            sentence = f"'{caller.name}' lacks the scope '{scope}'; ask for a key that has it."
        super().__init__(sentence)
        self.status = 401 if caller is None else 403
        """HTTP status: 401 when nobody is known to call."""
        self.caller = caller
        self.scope = scope


def caller_of(request: Request) -> Caller | None:
    """Who calls, as the gate found; None when nobody is known."""
    caller: Caller | None = request.scope.get("state", {}).get("caller")
    return caller


def need(request: Request, scope: Scope) -> Caller:
    """The caller, if it has the scope.

    Raises:
        Forbidden: it has not, or nobody is known.
    """
    caller = caller_of(request)
    if caller is None or scope not in caller.scopes:
        raise Forbidden(scope, caller)
    return caller


class Key(Record):
    """One line of a file of keys."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")
    """Stands in the audit log."""
    scopes: tuple[Scope, ...] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the whole key, as hexadecimal digits."""
    until: date | None = None
    """Last day on which it opens, UTC; None for no end."""


class Keys:
    """The keys of one file."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            UserError: missing, faulty, without a key, with a name twice, or writable by others.
        """
        self._path = path
        self._lock = threading.Lock()
        self._seen = _stamp(path)
        self._keys = read_keys(path)
        if not self._keys:
            raise UserError(f"{path}: holds no key; make one with rounds keys {path} --new NAME.")

    def find(self, token: str) -> Caller | None:
        """Whose key this is; takes the same time for every key of the file."""
        digest = digest_of_key(token)
        today = datetime.now(UTC).date()
        found = None
        for key in self._current():
            same = hmac.compare_digest(key.sha256, digest)
            if same and (key.until is None or today <= key.until):
                found = Caller(key.name, frozenset(key.scopes))
        return found

    def named(self, name: str) -> Caller | None:
        """The caller of a key that still opens; for sessions that were opened with it."""
        today = datetime.now(UTC).date()
        for key in self._current():
            if key.name == name and (key.until is None or today <= key.until):
                return Caller(key.name, frozenset(key.scopes))
        return None

    def _current(self) -> tuple[Key, ...]:
        stamp = _stamp(self._path)
        with self._lock:
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._keys = read_keys(self._path)
                except UserError as error:
                    # Half-edited or gone: what is no longer written down must not open.
                    self._keys = ()
                    log.error("keys: %s; no key opens until it is mended", error)
            return self._keys


def digest_of_key(token: str) -> str:
    """What stands in the file for a key."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """The lines of a file of keys.

    Raises:
        UserError: missing, faulty, with a name twice, or writable by others.
    """
    keys = tuple(read_jsonl(path, Key))
    if len({key.name for key in keys}) < len(keys):
        raise UserError(f"{path}: a name stands there twice; give each key its own.")
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(f"{path}: others may write to it; chmod 600 {path}.")
    return keys


def write_keys(path: Path, keys: tuple[Key, ...]) -> None:
    """Replace a file of keys; only its owner may read it.

    Raises:
        UserError: it cannot be written.
    """
    before = os.umask(0o077)
    try:
        write_jsonl(path, keys)
    finally:
        os.umask(before)


def new_key(name: str, scopes: tuple[Scope, ...], until: date | None = None) -> tuple[str, Key]:
    """A fresh key and its line; the key itself is kept nowhere."""
    token = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    return token, Key(name=name, scopes=scopes, sha256=digest_of_key(token), until=until)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever the file is replaced or written."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
