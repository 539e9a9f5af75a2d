"""The gate every request passes before the application sees it (pure ASGI).

It lets in known hosts only (a page elsewhere cannot reach us by DNS rebinding), own forms only, and whole bodies of
bounded size that arrive in time; it tells the application who calls, and sends every answer out with strict headers.
What a caller may do is each route's own matter (`rounds.serve.keys.need`). Left out on purpose: TLS, which the server
or a proxy ends.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from rounds.files import refuse_constant
from rounds.serve.session import Callers

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: browsers would then send `Origin: null` with our own form.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""On every answer: nothing is framed, sniffed, stored, or loaded from elsewhere."""

HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::\d{1,5})?\Z", re.ASCII)

STRICT_PATHS = ("/v1/",)
"""Where bodies are JSON and nothing else."""

HTTPS = ((b"strict-transport-security", b"max-age=31536000"),)

RECORDS = "/cds-services/"
RECORD_FACTOR = 16
"""A call there brings a whole record, which may be so many times as large as other bodies."""
DRAIN_FACTOR = 16
"""A body too large is read and dropped up to so many times the limit, so that its sender can read our answer."""


class _Refused(Exception):
    """Not let in."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Gate:
    """ASGI middleware; one per application."""

    app: App
    hosts: frozenset[str]
    """Host names (without port) by which this server may be called."""
    callers: Callers
    body_limit: int
    """Bytes."""
    body_seconds: float
    """Within which a whole body must have arrived. The server's own read timeout cannot be used for this: it would
    also end a connection on which we take longer to answer."""
    secure: bool = False
    """True where clients come by HTTPS."""
    send_seconds: float = 30.0
    """A client that reads nothing for so long is given up."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection of any ASGI type."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", [])}
                extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given]
                message["headers"] = [*message.get("headers", []), *extra, *(HTTPS if self.secure else ())]
            async with asyncio.timeout(self.send_seconds):
                await send(message)

        try:
            self._check_headers(scope)
            body = await self._body(scope, receive)
        except _Refused as refused:
            await _answer(strict, refused.status, str(refused))
            return
        if body is not None and scope["path"].startswith(STRICT_PATHS):
            fault = json_fault(body)
            if fault:
                await _answer(strict, 400, fault)
                return
        if body is not None:
            scope.setdefault("state", {})["caller"] = self.callers.of(scope)
            await self.app(scope, _replay(body, receive), strict)

    def _check_headers(self, scope: Message) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if _hostname(host) not in self.hosts:
            raise _Refused(421, f"this server answers to {' and '.join(sorted(self.hosts))} only.")
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and origin.partition("://")[2] != host:
            raise _Refused(403, "this server takes no requests from pages of other origins.")

    async def _body(self, scope: Message, receive: Receive) -> bytes | None:
        """The whole body; None when the client has gone."""
        limit = self.body_limit * (RECORD_FACTOR if scope["path"].startswith(RECORDS) else 1)
        lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        too_large = any(not value.isdigit() or int(value[:20]) > limit for value in lengths)
        body = bytearray()
        seen = 0
        try:
            async with asyncio.timeout(self.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    seen += len(message.get("body", b""))
                    too_large = too_large or seen > limit
                    if too_large:
                        body.clear()
                    else:
                        body += message.get("body", b"")
                    if not message.get("more_body", False) or seen > DRAIN_FACTOR * self.body_limit + limit:
                        break
        except TimeoutError:
            raise _Refused(408, f"the body did not arrive within {self.body_seconds:g} s.") from None
        if too_large:
            raise _Refused(413, f"the body is larger than {limit} bytes.")
        return bytes(body)


def json_fault(body: bytes) -> str:
    """What no honest client sends though Python's reader takes it: a field twice, NaN, infinities; '' when sound.

    Whatever else is wrong with it is told by the route that reads it.
    """
    try:
        json.loads(body, object_pairs_hook=_each_once, parse_constant=refuse_constant)
    except _Twice:
        return "a field stands in it twice; send each once."
    except (ValueError, RecursionError):
        return "the body is not valid JSON." if body else ""
    return ""


class _Twice(Exception):
    """A field stands in an object twice."""


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise _Twice


def _hostname(host: str) -> str | None:
    """The name of a Host header (RFC 9110, 7.2), None where it is more or less than a name and a port."""
    found = HOST.match(host)
    return found[1].strip("[]").lower() if found else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body read already, then what comes after it (the disconnect)."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _answer(send: Send, status: int, sentence: str) -> None:
    content = json.dumps({"error": {"message": sentence, "type": "invalid_request_error", "code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
