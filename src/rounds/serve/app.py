"""The application: every door over one ward, behind the gate.

Left out on purpose: the socket and the server (`rounds.serve.listen`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rounds.knowledge.base import load as load_knowledge
from rounds.records import Responder, Sampling
from rounds.serve.api import add_api
from rounds.serve.audit import Audit
from rounds.serve.diagnose import Desk, add_diagnose
from rounds.serve.faults import add_faults
from rounds.serve.feedback import Keep
from rounds.serve.fhir_server import FhirServer
from rounds.serve.gate import App, Gate
from rounds.serve.hooks import add_hooks
from rounds.serve.jwt import Known
from rounds.serve.keys import Keys
from rounds.serve.logs import note_request
from rounds.serve.metrics import Metrics, Watched, add_metrics
from rounds.serve.oidc import Oidc
from rounds.serve.operate import Operation
from rounds.serve.operate_shadow import Shadow, add_shadow
from rounds.serve.page import add_pages, blank_form
from rounds.serve.patients import add_patients
from rounds.serve.session import Callers, Sessions
from rounds.serve.specialists import Specialist
from rounds.serve.standing import Standing
from rounds.serve.ward import Ward
from rounds.serve.worker import Worker

if TYPE_CHECKING:
    from fastapi import FastAPI

HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

BODY_LIMIT = 256 * 1024
"""Bytes; four times what the longest conversation needs as plain text."""
BODY_SECONDS = 8.0
MOST_WAITING = 8


@dataclass(frozen=True, slots=True)
class Doors:
    """Who may come in, and by which names they call."""

    keys: Keys | None = None
    """None: this machine only, and nobody signs in."""
    hosts: frozenset[str] = HOSTS
    """Host names, without port, by which this server may be called."""
    secure: bool = False
    """True where clients come by HTTPS, which is ended here or at a proxy."""
    issuers: Mapping[str, Known] | None = None
    """Who may send CDS Hooks calls with signed tokens."""
    oidc: Oidc | None = None
    """Where people sign in beside keys."""


def create_app(
    responder: Responder,
    *,
    name: str,
    standing: Standing,
    template: str,
    sampling: Sampling,
    audit: Audit,
    home: Path | None = None,
    operation: Operation | None = None,
    keep: Keep | None = None,
    doors: Doors = Doors(),
    shadow: bool = False,
    most_waiting: int = MOST_WAITING,
    at_once: int = 1,
    body_limit: int = BODY_LIMIT,
    body_seconds: float = BODY_SECONDS,
    log_requests: bool = False,
    fhir: FhirServer | None = None,
    specialists: Sequence[Specialist] = (),
) -> App:
    """The whole ASGI application over one Responder (a `Streams` one is streamed piece by piece).

    `template` writes the page's prompts; `sampling` holds the defaults, and in max_tokens the most, of a request;
    `audit` is closed with the application; `home` is the directory of the run, whose report and passport are shown;
    `keep` puts judgements into the encrypted store; in `shadow` mode answers are compared and never shown; `at_once`
    jobs run side by side, `most_waiting` more may wait; `body_limit` is in bytes, `body_seconds` the time a body may
    take to arrive; of `fhir` a clinician may pick a patient; `specialists` are adapters that `responder` has by name.
    """
    metrics = Metrics()
    sessions = Sessions(doors.keys, doors.secure) if doors.keys is not None else None
    worker = Worker(responder, most_waiting, at_once)
    by_name = {one.name: one for one in specialists}
    ward = Ward(name, worker, standing, template, sampling, audit, sessions, operation, metrics, by_name)
    app = _routes(ward, Desk(ward, home), keep, doors, shadow, fhir)
    gate = Gate(app, doors.hosts, Callers(doors.keys, sessions), body_limit, body_seconds, doors.secure)
    return Watched(gate, metrics, note_request if log_requests else None)


def _routes(ward: Ward, desk: Desk, keep: Keep | None, doors: Doors, shadow: bool, fhir: FhirServer | None) -> FastAPI:
    from fastapi import FastAPI

    behind = Shadow(ward, ward.operation.home, load_knowledge()) if shadow and ward.operation is not None else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(ward.close)
        if behind is not None:
            await behind.settled()

    app = FastAPI(title="Rounds", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    assert ward.metrics is not None
    add_metrics(app, ward, ward.metrics)
    if behind is not None:
        add_shadow(app, behind, desk, doors.oidc, fhir)  # no other door: the answer has no way out
    else:
        add_api(app, ward)
        add_diagnose(app, desk)
        pages = add_pages(app, desk, ward.sessions, keep, fhir is not None, doors.oidc)
        if fhir is not None:
            add_patients(app, ward, pages, fhir, blank_form(pages))
        add_hooks(app, desk, doors.issuers)
    add_faults(app, ward)
    return app
