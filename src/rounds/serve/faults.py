# No `from __future__ import annotations` here: FastAPI reads the annotations of handlers defined inside a function.
"""Every fault as one sentence in OpenAI's shape, without a word of what was sent.

FastAPI's own handlers repeat the input, which is a patient's, and break on NaN. Left out on purpose: pages of their own
for faults; a page asks with `Accept: text/html` and is led to where it can sign in.
"""

import re
import time
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from rounds.records import UserError
from rounds.serve.audit import Entry, Unaudited
from rounds.serve.keys import Forbidden
from rounds.serve.ward import ClientGone, Ward
from rounds.serve.worker import Busy, EngineFailed

if TYPE_CHECKING:
    from fastapi import FastAPI

SIGN_IN = "/login"
REFUSAL_SECONDS = 1.0
"""At most one row a second of the audit log tells of somebody turned away: the log must not be filled from outside."""


def status_of(error: Exception) -> int:
    """The HTTP status of what may end a request."""
    if isinstance(error, Forbidden):
        return error.status
    words = {UserError: 400, Busy: 429, Unaudited: 503}
    return next((status for kind, status in words.items() if isinstance(error, kind)), 500)


def wait_of(error: Exception) -> dict[str, str]:
    """The header that says when to come again, for a full queue."""
    return {"retry-after": str(error.retry_after)} if isinstance(error, Busy) else {}


def error_body(status: int, sentence: str) -> dict[str, Any]:
    """A fault in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": status}}


def add_faults(app: "FastAPI", ward: Ward) -> None:
    """Add the handlers to an application."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, RedirectResponse, Response
    from starlette.exceptions import HTTPException

    refusals = _Refusals(ward)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(error_body(400, first_fault(error.errors())), 400)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        sentences = {400: "the body is not valid JSON.", 404: "there is nothing here.", 405: "not with this method."}
        sentence = sentences.get(error.status_code, "refused.")
        return JSONResponse(error_body(error.status_code, sentence), error.status_code, headers=error.headers)

    @app.exception_handler(Forbidden)
    async def forbidden(request: Request, error: Forbidden) -> Response:
        refusals.note(error)
        if error.status == 401 and ward.sessions is not None and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(SIGN_IN, 303)
        headers = {"www-authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse(error_body(error.status, str(error)), error.status, headers=headers)

    @app.exception_handler(Unaudited)
    async def unaudited(_: Request, error: Unaudited) -> JSONResponse:
        return JSONResponse(error_body(503, str(error)), 503, headers={"retry-after": "5"})

    async def ended(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(error_body(status_of(error), str(error)), status_of(error), headers=wait_of(error))

    for kind in (UserError, Busy, EngineFailed):
        app.add_exception_handler(kind, ended)

    @app.exception_handler(ClientGone)
    async def gone(_: Request, error: ClientGone) -> Response:
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(error_body(500, "the server failed on this request; others go on."), 500)


class _Refusals:
    """Counts who was turned away, and tells the audit log of it now and then."""

    def __init__(self, ward: Ward) -> None:
        self._ward = ward
        self._told = 0.0
        self._untold = 0

    def note(self, error: Forbidden) -> None:
        who = error.caller.name if error.caller else ""
        self._ward.count_refusal("forbidden" if error.caller else "unknown")
        self._untold += 1
        now = time.monotonic()
        if now - self._told < REFUSAL_SECONDS:
            return
        note = f"{error.status}, scope {error.scope}; {self._untold} such requests since the last row"
        try:
            self._ward.audit.later(Entry(kind="refused", caller=who, door="gate", note=note))
        except Unaudited:
            return
        self._told, self._untold = now, 0


def first_fault(faults: Any) -> str:
    """One sentence without the input. Names of fields are the client's own words too: only likely ones are repeated."""
    first = next(iter(faults))
    if first["type"] == "json_invalid":
        return "the body is not valid JSON."
    names = [str(part) for part in first["loc"] if part != "body"]
    plain = takewhile(lambda part: re.fullmatch(r"[a-z0-9_]{1,32}", part), names)
    place = "".join(f"{part}." for part in plain).removesuffix(".")
    place = place and f"{place}: "
    if first["type"] == "extra_forbidden":
        return f"{place}this field is not known here; leave it out."
    return f"{place}{first['msg'].removeprefix('Value error, ')}."
