# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""The page that asks for a key, and what a person sees who may not go further.

Where an issuer is configured, the page leads to the hospital's own sign-in and takes back who comes from there. Left
out on purpose: keys and sessions themselves (`rounds.serve.keys`, `rounds.serve.session`), and tokens
(`rounds.serve.oidc`).
"""

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from rounds.records import UserError
from rounds.serve.keys import Forbidden
from rounds.serve.oidc import CALLBACK, PENDING_SECONDS, NotLetIn, Oidc
from rounds.serve.outgoing import OutgoingFault
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


def add_signin(app: "FastAPI", pages: Pages, sessions: Sessions | None, oidc: Oidc | None = None) -> None:
    """Add /login and /logout to an application; without sessions there is nothing to sign in to."""
    from fastapi import Request
    from fastapi.responses import RedirectResponse, Response

    @app.get("/login")
    async def login(request: Request) -> Response:
        if sessions is None:
            return RedirectResponse("/", 303)
        to = _place(request.query_params.get("to", ""))
        return pages.page("login.html", request, to=to, wrong=False, fault="", by_account=oidc is not None)

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
            return pages.page("login.html", request, 401, to=to, wrong=True, fault="", by_account=oidc is not None)
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

    if sessions is not None and oidc is not None:
        add_account(app, pages, sessions, oidc)


def add_account(app: "FastAPI", pages: Pages, sessions: Sessions, oidc: Oidc) -> None:
    """Add the way to the issuer and back."""
    from fastapi import Request
    from fastapi.responses import RedirectResponse, Response

    # Not strict, as the session's is: a browser that comes back from the issuer's site would keep a strict one back.
    cookie = f"{sessions.cookie}-oidc"

    def refused(request: Request, status: int, error: Exception) -> Response:
        said = sentence(error)
        return pages.page("login.html", request, status, to=PLACES[0], wrong=False, fault=said, by_account=True)

    @app.get("/login/oidc")
    async def begin(request: Request) -> Response:
        try:
            begun = await oidc.begin(_place(request.query_params.get("to", "")))
        except OutgoingFault as error:
            return refused(request, 502, error)
        response = RedirectResponse(begun.address, 303)
        response.set_cookie(
            cookie,
            begun.state,
            max_age=int(PENDING_SECONDS),
            path="/",
            secure=sessions.secure,
            httponly=True,
            samesite="lax",
        )
        return response

    @app.get(CALLBACK)
    async def back(request: Request) -> Response:
        try:
            brought = cookie_of(request.headers.get("cookie", ""), cookie)
            signed = await oidc.finish(request.query_params, brought)
        except NotLetIn as error:
            return refused(request, 401, error)
        except OutgoingFault as error:
            return refused(request, 502, error)
        # A page of ours, not a redirect: after one the browser would still keep the strict cookie of the session back.
        response = pages.page("signed.html", request, to=signed.to)
        sessions.give(response, sessions.open(signed.caller))
        response.delete_cookie(cookie, path="/", secure=sessions.secure, httponly=True, samesite="lax")
        return response


def _place(to: str) -> str:
    return to if to in PLACES or CARD.fullmatch(to) else PLACES[0]
