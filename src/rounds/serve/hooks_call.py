"""A CDS Hooks 2.0 call read and checked: services, their prefetch templates, and the chart of the patient in a call.

Field names and status codes follow https://cds-hooks.hl7.org/2.0/. The data comes with the call or not at all: this
server never connects to a fhirServer, and forgets the fhirAuthorization it is sent. Left out on purpose: suggestions
and system actions (the model writes no orders), order-sign, and extensions.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any

from rounds.serve.fhir import LOGICAL_ID, Chart, read_chart
from rounds.serve.fhir_json import LIMITS, BadFhir, Limits, read_strict

USER = re.compile(r"[A-Za-z]{1,64}/[A-Za-z0-9\-.]{1,64}\Z")
MOST_SELECTIONS = 100

RECORD = {
    "patient": "Patient/{{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}",
    "observations": "Observation?patient={{context.patientId}}&_sort=-date&_count=100",
    "medications": "MedicationRequest?patient={{context.patientId}}&_sort=-authoredon&_count=50",
    "allergies": "AllergyIntolerance?patient={{context.patientId}}",
    "reports": "DiagnosticReport?patient={{context.patientId}}&_sort=-date&_count=20",
}
ENCOUNTER = {"encounter": "Encounter/{{context.encounterId}}"}


@dataclass(frozen=True, slots=True)
class Service:
    """One CDS service."""

    id: str
    hook: str
    title: str
    description: str
    prefetch: Mapping[str, str]
    required: tuple[str, ...]
    """Of the context, beside userId and patientId."""

    def described(self) -> dict[str, Any]:
        """As discovery shows it."""
        return {
            "hook": self.hook,
            "title": self.title,
            "description": self.description,
            "id": self.id,
            "prefetch": dict(self.prefetch),
            "usageRequirements": "All prefetch templates must be answered, with null where there is no data: "
            "this service does not call a FHIR server.",
        }


def _services() -> dict[str, Service]:
    what = "Five diagnoses to consider and the red flags of {}, from a local model; a clinician decides."
    listed = (
        Service(
            "rounds-patient-view",
            "patient-view",
            "Rounds: diagnoses to consider",
            what.format("the record that is opened"),
            MappingProxyType(RECORD),
            (),
        ),
        Service(
            "rounds-encounter-start",
            "encounter-start",
            "Rounds: diagnoses to consider at the start",
            what.format("the record as an encounter begins"),
            MappingProxyType(RECORD | ENCOUNTER),
            ("encounterId",),
        ),
        Service(
            "rounds-order-select",
            "order-select",
            "Rounds: diagnoses to consider while ordering",
            what.format("the record, with the orders being written"),
            MappingProxyType(RECORD),
            ("selections", "draftOrders"),
        ),
    )
    return {service.id: service for service in listed}


SERVICES: Mapping[str, Service] = MappingProxyType(_services())


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a service, read."""

    service: Service
    instance: str
    """UUID of this firing of the hook."""
    patient: str
    user: str = field(repr=False)
    chart: Chart = field(repr=False)


def read_call(body: bytes, service: Service, today: date, limits: Limits = LIMITS) -> Call:
    """Read the body of a call; not for the event loop.

    Raises:
        BadFhir: 400 for anything a call must have, 412 for prefetch that is missing, 413 for too much.
    """
    asked = read_strict(body, limits)
    if not isinstance(asked, dict):
        raise BadFhir("the body is not a JSON object.")
    if asked.get("hook") != service.hook:
        raise BadFhir(f"hook is not '{service.hook}', which this service answers.")
    instance = _uuid(asked.get("hookInstance"), "hookInstance")
    context = asked.get("context")
    if not isinstance(context, dict):
        raise BadFhir("context is missing or not an object.", "required")
    patient = _matching(context, "patientId", LOGICAL_ID)
    user = _matching(context, "userId", USER)
    for name in service.required:
        if name not in context:
            raise BadFhir(f"context.{name} is missing; the hook {service.hook} has it.", "required")
    if context.get("encounterId") is not None:
        _matching(context, "encounterId", LOGICAL_ID)
    chart = read_chart(_prefetched(asked, service), today, limits, _drafts(context, service))
    if chart.patient and chart.patient != patient:
        raise BadFhir("the prefetched patient is not context.patientId; nothing was read.", "business-rule")
    return Call(service, instance, patient, user, chart)


def _prefetched(asked: dict[str, Any], service: Service) -> list[Any]:
    prefetch = asked.get("prefetch")
    prefetch = {} if prefetch is None else prefetch
    if not isinstance(prefetch, dict):
        raise BadFhir("prefetch is not an object.")
    missing = [name for name in service.prefetch if name not in prefetch]
    if missing:
        sentence = f"prefetch lacks {', '.join(missing)}; send each, or null where there is no data."
        raise BadFhir(sentence, "required", 412)
    return [prefetch[name] for name in service.prefetch]


def _drafts(context: dict[str, Any], service: Service) -> Any:
    if "draftOrders" not in service.required:
        return None
    selections = context["selections"]
    if not isinstance(selections, list) or len(selections) > MOST_SELECTIONS:
        raise BadFhir(f"context.selections is not a list of at most {MOST_SELECTIONS} references.")
    drafts = context["draftOrders"]
    if not isinstance(drafts, dict) or drafts.get("resourceType") != "Bundle":
        raise BadFhir("context.draftOrders is not a Bundle.")
    return drafts


def _matching(context: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = context.get(name)
    if not isinstance(value, str) or not pattern.match(value):
        raise BadFhir(f"context.{name} is missing or not what FHIR calls one.", "required")
    return value


def _uuid(value: Any, name: str) -> str:
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise BadFhir(f"{name} is missing or not a UUID.", "required") from None
