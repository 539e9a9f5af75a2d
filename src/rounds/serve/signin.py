# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""The page that asks for a key, and what a person sees who may not go further.

Left out on purpose: keys and sessions themselves (`rounds.serve.keys`, `rounds.serve.session`), and the hospital's own
sign-in, which redirects past this page.
"""

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from rounds.records import UserError
from rounds.serve.keys import Forbidden
from rounds.serve.session import Sessions, cookie_of
from rounds.serve.typed import fields_of
from rounds.serve.views import Pages, sentence

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import Response
    from starlette.requests import Request

PLACES = ("/", "/patients", "/report", "/passport", "/audit")
"""Where a sign-in may lead; anything else leads to the first."""
CARD = re.compile(r"/cards/[A-Za-z0-9_-]{43}")
"""Or to the answer behind a card (`rounds.serve.hooks_links`)."""


def turned_away(pages: Pages, request: "Request", error: Forbidden) -> "Response":
    """Nobody known is asked to sign in; somebody known is told which scope the page needs."""
    from fastapi.responses import RedirectResponse

    if error.status == 401:
        return RedirectResponse(f"/login?to={quote(request.url.path)}", 303)
    return pages.page("said.html", request, error.status, said=sentence(error), alarming=True)


def add_signin(app: "FastAPI", pages: Pages, sessions: Sessions | None) -> None:
    """Add /login and /logout to an application; without sessions there is nothing to sign in to."""
    from fastapi import Request
    from fastapi.responses import RedirectResponse, Response

    @app.get("/login")
    async def login(request: Request) -> Response:
        if sessions is None:
            return RedirectResponse("/", 303)
        return pages.page("login.html", request, to=_place(request.query_params.get("to", "")), wrong=False)

    @app.post("/login")
    async def sign_in(request: Request) -> Response:
        if sessions is None:
            return RedirectResponse("/", 303)
        try:
            fields = fields_of(request.headers.get("content-type", ""), await request.body())
        except UserError:
            fields = {}
        to = _place(fields.get("to", ""))
        token = await asyncio.to_thread(sessions.sign_in, fields.get("key", "")[:256])
        if token is None:
            return pages.page("login.html", request, 401, to=to, wrong=True)
        response = RedirectResponse(to, 303)
        sessions.give(response, token)
        return response

    @app.post("/logout")
    async def sign_out(request: Request) -> Response:
        response = RedirectResponse("/login", 303)
        if sessions is not None:
            sessions.sign_out(cookie_of(request.headers.get("cookie", ""), sessions.cookie))
            sessions.take(response)
        return response


def _place(to: str) -> str:
    return to if to in PLACES or CARD.fullmatch(to) else PLACES[0]
