# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""CDS Hooks 2.0 (https://cds-hooks.hl7.org/2.0/): discovery, three services, and feedback on their cards.

A call is read off the event loop and answered at once: with the card of an answer that is there, or with a card that
says where it will be. The model works behind it, through the ward's queue and audit log like any other request. With
issuers configured each call needs their signed token; without any only this machine may call. Left out on purpose:
CORS (an EHR's server calls, not its pages), and every connection from here to anywhere.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from rounds.files import digest_of
from rounds.serve.audit import Unaudited
from rounds.serve.diagnose import Desk, decline, finish
from rounds.serve.fhir_json import FHIR, LIMITS, BadFhir, outcome_of
from rounds.serve.hooks_call import SERVICES, Call, Service, read_call
from rounds.serve.hooks_cards import card_of, utc_in
from rounds.serve.hooks_feedback import Ledger, read_feedback
from rounds.serve.hooks_links import add_links
from rounds.serve.hooks_tray import Ticket, Tray
from rounds.serve.jwt import BadToken, Known, Verifier
from rounds.serve.keys import LOCAL, Caller, need
from rounds.serve.opinion import Opinion
from rounds.serve.ward import Ward, traces_of

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import Response
    from starlette.requests import Request

T = TypeVar("T")

log = logging.getLogger("rounds.serve")

DOOR = "hook"
READERS = 2
"""Threads that read calls."""
MOST_READING = 64
"""Calls read or waiting to be; more are turned away for a second."""


class TooMany(Exception):
    """More calls than can be read in time."""


FAULTS = (BadToken, BadFhir, TooMany, Unaudited)
"""What a call is told in an OperationOutcome."""
WHY = {BadToken: "unknown", TooMany: "busy"}
"""Words of the metrics."""


@dataclass(slots=True)
class Hooks:
    """What the routes share."""

    clinic: Desk
    verifier: Verifier | None
    """None: no issuers, and only this machine may call."""
    tray: Tray[Opinion]
    ledger: Ledger = field(default_factory=Ledger)
    readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(READERS, "rounds-fhir"))
    reading: int = 0

    async def caller(self, request: "Request") -> tuple[Caller, str, bool]:
        """Who calls, the base URL they use, and whether they came with a signed token.

        Raises:
            BadToken: no good token where one is needed; or not from this machine where none can be checked.
            Forbidden: as `need`.
        """
        if self.verifier is None:
            caller = need(request, "diagnose")
            if caller.name != LOCAL:
                raise BadToken("no issuer is configured here (--cds-issuers), so only this machine may call.")
            return caller, f"{request.url.scheme}://{request.url.netloc}", False
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        claims = await self._off(self.verifier.check, token, request.url.path)
        return Caller(claims.iss, frozenset({"diagnose"})), claims.audience, True

    async def read(self, body: bytes, service: Service) -> Call:
        """A call, read in a thread with a time limit.

        Raises:
            BadFhir, TooMany.
        """
        today = datetime.now(UTC).date()
        return await self._off(read_call, body, service, today)

    async def _off(self, work: Callable[..., T], *given: Any) -> T:
        """In a thread of the readers'. Reading itself ends at its own limit; this one ends waiting for a thread."""
        if self.reading >= MOST_READING:
            raise TooMany
        self.reading += 1
        try:
            async with asyncio.timeout(2 * LIMITS.seconds):
                return await asyncio.get_running_loop().run_in_executor(self.readers, work, *given)
        except TimeoutError:
            raise TooMany from None
        finally:
            self.reading -= 1

    def key(self, call: Call) -> str:
        """Digest of all an answer depends on; the engine is one for the life of a server."""
        ward = self.clinic.ward
        asked = [call.patient, call.chart.text, ward.template, ward.standing.checkpoint, ward.sampling.model_dump()]
        return digest_of(asked)

    def card(self, ticket: Ticket[Opinion], base: str) -> dict[str, Any]:
        """The card of a ticket, for a caller who reaches us at this URL."""
        ward = self.clinic.ward
        return card_of(ticket, ward.standing, ward.name, base, utc_in(self.tray.left(ticket.asking)))


async def _answer(clinic: Desk, text: str, caller: Caller) -> Opinion:
    """As POST /v1/diagnose, for nobody who waits."""
    chosen = await asyncio.to_thread(clinic.choose, text, None)
    why = await asyncio.to_thread(clinic.abstention, chosen)
    if why is not None:
        return await decline(clinic, chosen, why, caller, DOOR)
    begun = await clinic.ward.begin(chosen.prompt, clinic.ward.sampling, caller, DOOR)
    async with clinic.ward.following(begun):
        return await finish(clinic, chosen, begun, await traces_of(begun.job))


def add_hooks(app: "FastAPI", clinic: Desk, issuers: Mapping[str, Known] | None = None) -> Hooks:
    """Add /cds-services and /cards to an application. issuers: who may call with signed tokens; none for this machine
    only."""

    async def answer(text: str, caller: Caller) -> Opinion:
        return await _answer(clinic, text, caller)

    hooks = Hooks(clinic, Verifier(issuers) if issuers else None, Tray(answer))
    _add_services(app, hooks)
    add_links(app, clinic.ward, hooks.tray)
    return hooks


def _add_services(app: "FastAPI", hooks: Hooks) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    discovery = {"services": [service.described() for service in SERVICES.values()]}

    @app.get("/cds-services")
    async def discover() -> JSONResponse:
        return JSONResponse(discovery)

    @app.post("/cds-services/{name}")
    async def call(name: str, request: Request) -> Response:
        service = SERVICES.get(name)
        if service is None:
            return _fault(404, "there is no such service; GET /cds-services lists them.", "not-found")
        try:
            caller, base, by_token = await hooks.caller(request)
            asked = await hooks.read(await request.body(), service)
            hooks.clinic.ward.check()  # stopped by those responsible, no card goes out, nor one that is ready
        except FAULTS as error:
            return _told(error, hooks.clinic.ward)
        if asked.chart.deceased or not asked.chart.clinical:
            return JSONResponse({"cards": []})  # nothing to think about, or nobody to help
        asking = hooks.tray.ask(hooks.key(asked), asked.chart, caller)
        ticket = hooks.tray.ticket(asking, caller, by_token)
        hooks.ledger.give(ticket.card, caller.name)
        return JSONResponse({"cards": [hooks.card(ticket, base)]})

    @app.post("/cds-services/{name}/feedback")
    async def feedback(name: str, request: Request) -> Response:
        if name not in SERVICES:
            return _fault(404, "there is no such service; GET /cds-services lists them.", "not-found")
        try:
            caller, _, _ = await hooks.caller(request)
            hooks.ledger.add(read_feedback(await request.body()), caller.name)
        except FAULTS as error:
            return _told(error, hooks.clinic.ward)
        return Response(status_code=200)


def _told(error: Exception, ward: Ward) -> "Response":
    if not isinstance(error, BadFhir):
        ward.count_refusal(WHY.get(type(error), "unaudited"))
    if isinstance(error, BadFhir):
        return _fault(error.status, str(error), error.code)
    if isinstance(error, BadToken):
        # The sentence says which check failed and nothing of the token.
        log.warning("a hook's call was not let in: %s", error)
        return _fault(401, str(error), "login", {"www-authenticate": "Bearer"})
    if isinstance(error, Unaudited):
        return _fault(503, str(error), "transient", {"retry-after": "5"})
    return _fault(429, "too many calls at once; try again in 1 s.", "throttled", {"retry-after": "1"})


def _fault(status: int, sentence: str, code: str, headers: dict[str, str] | None = None) -> "Response":
    from fastapi.responses import JSONResponse

    return JSONResponse(outcome_of(sentence, code), status, headers=headers, media_type=FHIR)
