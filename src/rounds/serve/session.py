"""Browser sessions: a key is typed once, a cookie stands for it until the shift is over.

The cookie is random, HttpOnly and SameSite=Strict; what it means is kept here, as a digest, in memory alone: a restart
ends every session, and so does taking the key out of its file. Who was signed in by the hospital's directory stays so
for the session. Left out on purpose: the page that asks for the key (`rounds.serve.signin`), and remembering anybody
for longer.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from rounds.serve.keys import ANONYMOUS, Caller, Keys

if TYPE_CHECKING:
    from starlette.responses import Response

IDLE_SECONDS = 30 * 60.0
WHOLE_SECONDS = 8 * 60 * 60.0
"""A session ends then, however busy."""
MOST_SESSIONS = 10_000
"""The oldest give way."""

LOOPBACK = ("127.0.0.1", "::1")
FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")


@dataclass(slots=True)
class _Session:
    caller: Caller
    """Who opened it."""
    by_key: bool
    """It ends with the key it was opened with."""
    began: float
    used: float


@dataclass(slots=True)
class Sessions:
    """Who is signed in. Times are seconds of a clock that never jumps."""

    keys: Keys
    secure: bool
    """True where browsers come by HTTPS."""
    _open: dict[str, _Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cookie(self) -> str:
        """Name of the cookie; a browser takes a __Host- one from this host by HTTPS alone."""
        return "__Host-rounds" if self.secure else "rounds"

    def sign_in(self, key: str) -> str | None:
        """A value for the cookie, or None when no such key opens."""
        caller = self.keys.find(key.strip())
        return None if caller is None else self.open(caller, by_key=True)

    def open(self, caller: Caller, by_key: bool = False) -> str:
        """A value for the cookie of somebody who is known."""
        token = secrets.token_urlsafe(32)
        now = time.monotonic()
        with self._lock:
            self._open = {kept: one for kept, one in self._open.items() if _alive(one, now)}
            while len(self._open) >= MOST_SESSIONS:
                self._open.pop(next(iter(self._open)))
            self._open[_digest(token)] = _Session(caller, by_key, now, now)
        return token

    def find(self, token: str) -> Caller | None:
        """Who is signed in with this cookie; using it keeps it from idling out."""
        now = time.monotonic()
        with self._lock:
            found = self._open.get(_digest(token))
            if found is None:
                return None
            if not _alive(found, now):
                del self._open[_digest(token)]
                return None
            found.used = now
        return self.keys.named(found.caller.name) if found.by_key else found.caller

    def sign_out(self, token: str) -> None:
        """End a session; nothing where there is none."""
        with self._lock:
            self._open.pop(_digest(token), None)

    def give(self, response: Response, token: str) -> None:
        """Send the cookie out with an answer."""
        response.set_cookie(
            self.cookie,
            token,
            max_age=int(WHOLE_SECONDS),
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="strict",
        )

    def take(self, response: Response) -> None:
        """Tell the browser to forget the cookie."""
        response.delete_cookie(self.cookie, path="/", secure=self.secure, httponly=True, samesite="strict")


@dataclass(frozen=True, slots=True)
class Callers:
    """Recognises who sends a request: by key, by session, or as the person at this machine."""

    keys: Keys | None
    """None: whoever is on this machine may ask, nobody else."""
    sessions: Sessions | None

    def of(self, scope: Mapping[str, Any]) -> Caller | None:
        """The caller of an ASGI connection, None when nobody is known. A wrong key is nobody, whatever else came."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self.keys is None or self.sessions is None:
            # A proxy on this machine would make everybody the person at the keyboard.
            here = (scope.get("client") or ("",))[0] in LOOPBACK
            return ANONYMOUS if here and not any(name in headers for name in FORWARDED) else None
        given = headers.get(b"authorization")
        if given is not None:
            kind, _, key = given.decode("latin-1").partition(" ")
            return self.keys.find(key.strip()) if kind.lower() == "bearer" else None
        token = cookie_of(headers.get(b"cookie", b"").decode("latin-1"), self.sessions.cookie)
        return self.sessions.find(token) if token else None


def cookie_of(header: str, name: str) -> str:
    """One cookie of a request, '' without it."""
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _alive(session: _Session, now: float) -> bool:
    return now - session.used < IDLE_SECONDS and now - session.began < WHOLE_SECONDS


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
