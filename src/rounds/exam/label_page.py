"""The labelling page on the standard library's server: one rater, this machine only, no script, no request elsewhere.

Every address begins with a key drawn anew at each start, so that neither a page of another origin nor another user of
the machine can read or write; host, origin and fetch site are checked besides. Everything works from the keyboard.
Left out on purpose: several raters in one process, keys that last, and anything that tells a rater what rules found.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from rounds.exam.label import QUESTIONS, Item, Label, Sheet, checked
from rounds.records import UserError

PAGES = Path(__file__).parent / "pages"
STATIC = {"label.css": "text/css; charset=utf-8", "label.svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would then send `Origin: null` with our own form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MOST_BYTES = 16_384
"""Largest form taken."""
MOST_FIELDS = 32
SECONDS = 20.0
"""A connection silent for so long is closed."""


class Desk:
    """One rater at one sheet."""

    def __init__(self, sheet: Sheet, rater: str) -> None:
        self.sheet, self.rater = sheet, checked(rater)
        self.items = sheet.order(rater)
        self.labels = sheet.labels(rater)
        self.key = secrets.token_urlsafe(24)
        self._lock = Lock()

    def save(self, label: Label) -> None:
        """Keep one label, on the disk first.

        Raises:
            UserError: the disk is at fault.
        """
        with self._lock:
            self.sheet.save(self.rater, label)
            self.labels[label.item] = label

    def next_open(self, after: int = 0) -> int | None:
        """Number (from 1) of the next item without a label, wrapping round; None when all have one."""
        numbers = [*range(after + 1, len(self.items) + 1), *range(1, after + 1)]
        return next((number for number in numbers if self.items[number - 1].id not in self.labels), None)


@contextmanager
def serving(desk: Desk, port: int = 0) -> Iterator[tuple[str, ThreadingHTTPServer]]:
    """Bind 127.0.0.1 and give (address of the page, server); call `serve_forever` on it. Port 0 takes a free one.

    Raises:
        UserError: the port is taken or not allowed.
    """
    try:
        server = _Server(("127.0.0.1", port), partial(_Handler, desk))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"port {port} cannot be opened ({reason}); choose another --port.") from error
    with server:
        yield f"http://127.0.0.1:{server.server_address[1]}/{desk.key}/", server


class _Server(ThreadingHTTPServer):
    """A client that hangs up is no fault of ours (the library asks for a subclass)."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """One request (the library asks for a subclass)."""

    server_version, sys_version = "rounds", ""
    timeout = SECONDS

    def __init__(self, desk: Desk, *arguments: Any) -> None:
        self.desk = desk
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: addresses hold the key."""

    def _answer(self, how: Any) -> None:
        try:
            how(self._place())
        except _Refused as refused:
            self._send(refused.status, "text/plain; charset=utf-8", f"{refused}\n".encode())
        except UserError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", f"{error}\n".encode())

    def _place(self) -> str:
        """What stands behind the key."""
        port = self.connection.getsockname()[1]
        if self.headers.get("Host", "") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, "This page answers to 127.0.0.1 and localhost only.")
        key, _, place = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(key.encode("utf-8", "replace"), self.desk.key.encode()):
            raise _Refused(HTTPStatus.NOT_FOUND, "Not found: open the address that rounds label printed.")
        return place.partition("?")[0]

    def _get(self, place: str) -> None:
        if place in STATIC:
            self._send(HTTPStatus.OK, STATIC[place], (PAGES / place).read_bytes())
        elif place == "":
            self._go_on(0)
        elif place == "done":
            self._page(None)
        else:
            self._page(self._number(place))

    def _post(self, place: str) -> None:
        number = self._number(place)
        origin = self.headers.get("Origin")
        fetched = self.headers.get("Sec-Fetch-Site", "same-origin")
        if origin not in (None, f"http://{self.headers['Host']}") or fetched not in ("same-origin", "none"):
            raise _Refused(HTTPStatus.FORBIDDEN, "This page takes no forms from other pages.")
        form = self._form()
        marks = form.get("mark", [])
        if set(form) - {"mark", "cannot_tell"} or set(marks) - set(QUESTIONS) or len(marks) != len(set(marks)):
            raise _Refused(HTTPStatus.BAD_REQUEST, "The form holds what the page did not ask; use the page itself.")
        chosen = tuple(mark for mark in QUESTIONS if mark in marks)
        item = self.desk.items[number - 1]
        self.desk.save(Label(item=item.id, marks=chosen, cannot_tell="cannot_tell" in form))
        self._go_on(number)

    def _number(self, place: str) -> int:
        if not (place.isascii() and place.isdigit() and len(place) < 8 and 1 <= int(place) <= len(self.desk.items)):
            raise _Refused(HTTPStatus.NOT_FOUND, "There is no such item on this sheet.")
        return int(place)

    def _form(self) -> dict[str, list[str]]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "A form says how long it is.")
        if len(length) > 8 or int(length) > MOST_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A form has at most {MOST_BYTES} bytes.")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        try:
            text = self.rfile.read(int(length)).decode("ascii")
            if kind != "application/x-www-form-urlencoded":
                raise ValueError(kind)
            return parse_qs(text, strict_parsing=bool(text), max_num_fields=MOST_FIELDS, errors="strict")
        except ValueError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, "The form cannot be read; use the page itself.") from error

    def _go_on(self, after: int) -> None:
        number = self.desk.next_open(after)
        where = f"/{self.desk.key}/{number if number is not None else 'done'}"
        self._send(HTTPStatus.SEE_OTHER, "text/plain; charset=utf-8", b"", {"Location": where})

    def _page(self, number: int | None) -> None:
        desk = self.desk
        item = desk.items[number - 1] if number is not None else None
        text = _template().render(
            base=f"/{desk.key}",
            rater=desk.rater,
            number=number,
            total=len(desk.items),
            done=len(desk.labels),
            next_open=desk.next_open(number or 0),
            item=item,
            listed=_reply_lines(item),
            label=desk.labels.get(item.id) if item else None,
            questions=QUESTIONS,
        )
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", text.encode("utf-8", "replace"))

    def _send(self, status: HTTPStatus, kind: str, body: bytes, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS, **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _reply_lines(item: Item | None) -> list[str]:
    return [line for line in item.reply.splitlines() if line.strip()] if item else []


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return pages.get_template("label.html.j2")
