# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""The page on which a clinician looks for a patient and opens the record as a case, ready to be read over and asked.

Whoever looks, and whoever opens, stands in the audit log before the FHIR server is asked. Plain forms that post: no
name and no id ever stands in an address, and nothing needs JavaScript. Left out on purpose: asking the model at once
(the clinician reads the case first), and keeping anything of a record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rounds.records import UserError
from rounds.serve.audit import Unaudited
from rounds.serve.fhir_server import FhirServer, Matches, Opened
from rounds.serve.keys import Forbidden, Scope, need
from rounds.serve.outgoing import OutgoingFault
from rounds.serve.signin import turned_away
from rounds.serve.typed import fields_of, note_of
from rounds.serve.views import Pages, say_for, sentence, status_of
from rounds.serve.ward import Ward
from rounds.serve.wording import Wording

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import Response
    from starlette.requests import Request

SCOPE: Scope = "records"
FAULTS = (UserError, Unaudited, OutgoingFault)
BAD_GATEWAY = 502


@dataclass(frozen=True, slots=True)
class Looked:
    """What one visit shows."""

    text: str = ""
    """What was looked for."""
    matches: Matches | None = None
    fault: str = ""


Form = Callable[["Request", str, str], "Response"]
"""The page with the form, given the request, a case to start from, and a sentence on where it comes from."""


def add_patients(app: "FastAPI", ward: Ward, pages: Pages, server: FhirServer, form: Form) -> None:
    """Add /patients and what opens one to an application; an opened record lies in the `form`, ready to be asked."""
    from fastapi import Request
    from fastapi.responses import Response

    @app.get("/patients")
    async def blank(request: Request) -> Response:
        try:
            need(request, SCOPE)
        except Forbidden as error:
            return turned_away(pages, request, error)
        return pages.page("patients.html", request, looked=Looked())

    @app.post("/patients")
    async def look(request: Request) -> Response:
        text = ""
        try:
            caller = need(request, SCOPE)
            text = (await _fields(request)).get("find", "").strip()[:200]
            await ward.audit.opened(caller.name, "search", text)
            matches = await server.search(text)
        except Forbidden as error:
            return turned_away(pages, request, error)
        except FAULTS as error:
            return fault(request, error, text)
        return pages.page("patients.html", request, looked=Looked(text, matches))

    @app.post("/patients/open")
    async def open_one(request: Request) -> Response:
        try:
            caller = need(request, SCOPE)
            patient = (await _fields(request)).get("patient", "")[:64]
            await ward.audit.opened(caller.name, "record", f"Patient/{patient}")
            opened = await server.open(patient)
        except Forbidden as error:
            return turned_away(pages, request, error)
        except FAULTS as error:
            return fault(request, error)
        if not opened.chart.clinical:
            told = say_for(request)("patients.nothing")
            return pages.page("patients.html", request, looked=Looked(fault=told))
        return form(request, opened.chart.text, told_of(opened, say_for(request)))

    def fault(request: Request, error: Exception, text: str = "") -> "Response":
        status = BAD_GATEWAY if isinstance(error, OutgoingFault) else status_of(error)[0]
        return pages.page("patients.html", request, status, looked=Looked(text, fault=sentence(error)))


async def _fields(request: "Request") -> dict[str, str]:
    return fields_of(request.headers.get("content-type", ""), await request.body())


def told_of(opened: Opened, say: Wording) -> str:
    """Whose record it is, and what of it is not in the case."""
    who = opened.patient
    born = say("patients.born", born=who.born) if who.born else say("patients.no_birth")
    known = ", ".join(part for part in (who.name or say("patients.no_name"), who.sex, born, *who.numbers) if part)
    parts = [say("patients.record_of", who=known), note_of(opened.chart, say)]
    if opened.chart.deceased:
        parts.append(say("patients.deceased"))
    if opened.cut:
        parts.append(say("patients.cut"))
    return " ".join(parts)
