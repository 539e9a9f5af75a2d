# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""The clinician's page: a case in, an opinion out; whole without JavaScript, streamed with it.

What the model writes is text to the template engine and stays text (autoescape); script, style and icon are own files,
so that the strict content security policy holds. Nothing typed is kept. Left out on purpose: judgements
(`rounds.serve.judging`), report, passport and audit log (`rounds.serve.shelf`), history, and charts.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rounds.records import Trace, UserError
from rounds.serve.audit import Unaudited
from rounds.serve.diagnose import Chosen, Desk, decline, finish, kinds
from rounds.serve.feedback import Keep, Tickets
from rounds.serve.judging import add_judging
from rounds.serve.keys import Caller, Forbidden, need
from rounds.serve.oidc import Oidc
from rounds.serve.opinion import Opinion
from rounds.serve.patients import Form
from rounds.serve.session import Sessions
from rounds.serve.shelf import add_shelf, add_static
from rounds.serve.signin import add_signin, turned_away
from rounds.serve.stream import UNBUFFERED, events
from rounds.serve.typed import case_of, fields_of
from rounds.serve.views import Pages, say_for, sentence, status_of, told
from rounds.serve.ward import ending, traces_of, unless_gone
from rounds.serve.wording import Wording
from rounds.serve.worker import Busy, EngineFailed

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

FILES = {
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "consult.js": "text/javascript; charset=utf-8",
}
"""Every file the pages load, with its type."""

FAULTS = (UserError, Busy, EngineFailed, Unaudited, Forbidden)
"""What a person is told in a sentence."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one visit shows."""

    case: str = ""
    template: str = ""
    model: str = ""
    from_fhir: str = ""
    fault: str = ""
    opinion: Opinion | None = None
    feedback: str = ""
    """Ticket for a judgement, '' where there is nothing to judge."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form asks for, read."""

    shown: Shown
    chosen: Chosen
    say: Wording
    caller: Caller

    def answered(self, opinion: Opinion, tickets: Tickets) -> Shown:
        """What is shown when the opinion is there."""
        return replace(self.shown, opinion=opinion, feedback=tickets.of(opinion))


def add_pages(
    app: "FastAPI",
    desk: Desk,
    sessions: Sessions | None = None,
    keep: Keep | None = None,
    finds_patients: bool = False,
    oidc: Oidc | None = None,
) -> Pages:
    """Add every page of the clinician to an application.

    `sessions` are signed in to by key, or at the issuer of `oidc`; without them whoever the gate knows is let in.
    `keep` puts judgements with their case into the encrypted store; without it they are only counted. `finds_patients`:
    every page leads to /patients, which is added elsewhere (`rounds.serve.patients`). Gives the templates.
    """
    tickets = Tickets()
    pages = Pages(
        ward=desk.ward,
        kinds=kinds(desk.ward.template),
        examined=desk.examined,
        signs_in=sessions is not None,
        keeps_cases=keep is not None,
        finds_patients=finds_patients,
    )
    add_consult(app, desk, pages, tickets)
    add_stream(app, desk, pages, tickets)
    add_judging(app, desk, pages, tickets, keep)
    add_shelf(app, desk, pages)
    add_signin(app, pages, sessions, oidc)
    return pages


def blank_form(pages: Pages) -> Form:
    """The page with a case to start from, not asked yet."""

    def form(request: "Request", case: str, from_fhir: str) -> "Response":
        return pages.page("consult.html", request, shown=Shown(case=case, from_fhir=from_fhir))

    return form


def add_consult(app: "FastAPI", desk: Desk, pages: Pages, tickets: Tickets) -> None:
    """Add the page where a case is typed, and its files."""
    from fastapi import Request
    from fastapi.responses import HTMLResponse, Response

    add_static(app, FILES)

    def fault(request: Request, shown: Shown, error: Exception) -> HTMLResponse:
        status, headers = status_of(error)
        return pages.page("consult.html", request, status, headers, shown=replace(shown, fault=told(request, error)))

    @app.get("/")
    async def blank(request: Request) -> Response:
        try:
            need(request, "diagnose")
        except Forbidden as error:
            return turned_away(pages, request, error)
        return pages.page("consult.html", request, shown=Shown())

    @app.post("/")
    async def consult(request: Request) -> Response:
        shown = Shown()
        try:
            fields = fields_of(request.headers.get("content-type", ""), await request.body())
            shown = _typed(fields)
            wanted = await _wanted(desk, request, fields)
            shown = wanted.shown
            opinion = await _opinion(desk, wanted, request)
        except FAULTS as error:
            return fault(request, shown, error)
        return pages.page("consult.html", request, shown=wanted.answered(opinion, tickets))


def add_stream(app: "FastAPI", desk: Desk, pages: Pages, tickets: Tickets) -> None:
    """Add POST /stream: the same form, answered with what lies inside the page's <main>, as events where it grows."""
    from fastapi import Request
    from fastapi.responses import HTMLResponse, Response, StreamingResponse

    @app.post("/stream")
    async def stream(request: Request) -> Response:
        try:
            fields = fields_of(request.headers.get("content-type", ""), await request.body())
            wanted = await _wanted(desk, request, fields)
            why = await asyncio.to_thread(desk.abstention, wanted.chosen, wanted.say)
            if why is not None:
                opinion = await decline(desk, wanted.chosen, why, wanted.caller, "page", wanted.say)
                return HTMLResponse(inner(request, wanted, opinion))
            sampling = desk.ward.sampling_of(wanted.chosen.adapter)
            begun = await desk.ward.begin(wanted.chosen.prompt, sampling, wanted.caller, "page")
        except FAULTS as error:
            status, headers = status_of(error)
            return Response(sentence(error), status, headers, media_type="text/plain; charset=utf-8")

        async def done(traces: list[Trace]) -> str:
            return inner(request, wanted, await finish(desk, wanted.chosen, begun, traces, wanted.say))

        def left(error: BaseException) -> None:
            desk.ward.leave(begun, ending(error))

        return StreamingResponse(events(begun.job, done, left), media_type="text/event-stream", headers=UNBUFFERED)

    def inner(request: Request, wanted: Wanted, opinion: Opinion) -> str:
        return pages.text("consult_main.html", request, shown=wanted.answered(opinion, tickets))


def _typed(fields: dict[str, str]) -> Shown:
    return Shown(
        case=fields.get("case", ""), template=fields.get("template", "")[:64], model=fields.get("model", "")[:256]
    )


async def _wanted(desk: Desk, request: "Request", fields: dict[str, str]) -> Wanted:
    """Who asks, and what for.

    Raises:
        Forbidden: nobody known, or without the scope.
        UserError: no case, too long, no such record, no such template.
    """
    caller, shown, say = need(request, "diagnose"), _typed(fields), say_for(request)
    typed = await asyncio.to_thread(case_of, fields, say)
    chosen = await asyncio.to_thread(desk.choose, typed.case, shown.template or None, shown.model or None)
    return Wanted(replace(shown, case=typed.case, from_fhir=typed.from_fhir), chosen, say, caller)


async def _opinion(desk: Desk, wanted: Wanted, request: "Request") -> Opinion:
    why = await asyncio.to_thread(desk.abstention, wanted.chosen, wanted.say)
    if why is not None:
        return await decline(desk, wanted.chosen, why, wanted.caller, "page", wanted.say)
    sampling = desk.ward.sampling_of(wanted.chosen.adapter)
    begun = await desk.ward.begin(wanted.chosen.prompt, sampling, wanted.caller, "page")
    async with desk.ward.following(begun):
        traces = await unless_gone(request.receive, begun.job, traces_of(begun.job))
        return await finish(desk, wanted.chosen, begun, traces, wanted.say)
