# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""Where a card's link leads: the clinician's answer when it is there, else a page that looks again by itself.

A link is a secret of one card, ends with it, and belongs to whoever opens it first; even so nobody sees it who may not
diagnose. The answer can be had as a FHIR document too. Left out on purpose: a list of cards, and a way from the page
back into the record.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rounds.serve.fhir_document import document_of
from rounds.serve.fhir_json import FHIR, outcome_of
from rounds.serve.hooks_tray import Ticket, Tray
from rounds.serve.keys import Forbidden, need
from rounds.serve.opinion import Opinion
from rounds.serve.page import Shown
from rounds.serve.signin import turned_away
from rounds.serve.views import Pages
from rounds.serve.ward import Ward

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOK_AGAIN = 3
"""Seconds between two looks of a page that waits."""


def add_links(app: "FastAPI", ward: Ward, tray: Tray[Opinion]) -> None:
    """Add /cards to an application.

    Stopped by those responsible, no link shows anything: `Ward.check` raises Unaudited.
    """
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    pages = Pages(ward=ward, signs_in=ward.sessions is not None)

    def opened(token: str, request: Request) -> Ticket[Opinion] | None:
        ticket = tray.open(token, need(request, "diagnose"))
        if ticket is not None:
            ward.check()
        return ticket

    @app.get("/cards/{token}")
    async def follow(token: str, request: Request) -> Response:
        try:
            ticket = opened(token, request)
        except Forbidden as error:
            if error.status == 401 and "again" not in request.query_params:
                # A browser keeps the cookie to itself when it comes from the record system's site; coming from ours,
                # one look later, it sends it.
                return pages.page("card.html", request, ticket=None, refresh=f"0;url={request.url.path}?again=1")
            return turned_away(pages, request, error)
        if ticket is None:
            return pages.page("card.html", request, 404, ticket=None, refresh="")
        waits = ticket.asking.state in ("waiting", "running")
        return pages.page(
            "card.html",
            request,
            ticket=ticket,
            refresh=str(LOOK_AGAIN) if waits else "",
            seconds=LOOK_AGAIN,
            minutes=max(1, round(tray.left(ticket.asking) / 60)),
            read_at=f"{ticket.asking.asked_at:%H:%M}",
            shown=Shown(opinion=ticket.asking.answer),
        )

    @app.get("/cards/{token}/document")
    async def document(token: str, request: Request) -> Response:
        ticket = opened(token, request)
        opinion = ticket.asking.answer if ticket else None
        if ticket is None or opinion is None:
            told = outcome_of("there is no answer here: the link has ended, is another's, or waits.", "not-found")
            return JSONResponse(told, 404, media_type=FHIR)
        chart = ticket.asking.chart
        made = document_of(opinion, patient=chart.patient, sex=chart.sex, at=datetime.now(UTC))
        return JSONResponse(made, media_type=FHIR)
