"""Bodies for the doors of a server, most of them whole: calls of CDS Hooks with a record, feedback, forms; and damage.

A record is drawn resource by resource, in the shapes that record systems send (values of every kind, contained and
referenced medicines, drafts of orders), or from resources of real exports. What is damaged is the sound value: members
taken away, changed, repeated, moved, nested, and bytes that are no JSON. Everything is drawn from one `Random`, so that
a number tells a case; words and odd values come from outside.
"""

from __future__ import annotations

import copy
import json
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hooks import COMPLAINTS, PROBLEMS, TESTS

from rounds.serve.hooks_call import SERVICES, Service

Json = Any
DAYS = (
    "2026-11-20T08:00:00+01:00",
    "2026-03-01",
    "2024",
    "2019-07",
    "1999-12-31T23:59:59.999Z",
    "2031-01-01",
    "x",
    "0000",
)
STATUSES = (
    "final",
    "active",
    "completed",
    "draft",
    "in-progress",
    "entered-in-error",
    "stopped",
    "amended",
    "cancelled",
)
MEDICINES = ("methotrexate", "warfarin", "levothyroxine", "insulin glargine", "amlodipine", "prednisolone")
GROUPS = ("laboratory", "vital-signs", "exam", "imaging", "social-history", "survey", "procedure")
ODD: tuple[Json, ...] = (
    None,
    "",
    [],
    {},
    True,
    0,
    -1,
    1e308,
    10**17,
    "\u202e<b>",
    "x" * 5000,
    [[]],
    {"a": {}},
    [None],
    "NaN",
)
"""Where a field of another kind is expected."""
FEW = (1, 3)
MOST_PLACES = 20_000
"""A value with more members is large enough."""
KINDS = {
    "conditions": ("Condition",),
    "observations": ("Observation",),
    "medications": ("MedicationRequest", "MedicationStatement", "Medication"),
    "allergies": ("AllergyIntolerance",),
    "reports": ("DiagnosticReport", "Procedure"),
}
"""What lies under a key of the prefetch."""


@dataclass(slots=True)
class Words:
    """What is drawn elsewhere and put in here."""

    texts: Sequence[str]
    values: Sequence[Json]
    resources: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of real exports, by their type."""

    def text(self, draw: random.Random) -> str:
        """Any text."""
        return draw.choice(self.texts)

    def value(self, draw: random.Random) -> Json:
        """Any JSON."""
        return copy.deepcopy(draw.choice(self.values if draw.random() < 0.6 else ODD))


# Records -------------------------------------------------------------------------------------------------------------


def _concept(draw: random.Random, text: str) -> dict[str, Any]:
    coding = {"system": "http://snomed.info/sct", "code": str(draw.randrange(10**8)), "display": f"{text} (disorder)"}
    made: dict[str, Any] = {"coding": [coding]}
    return made | ({"text": text} if draw.random() < 0.7 else {})


def _quantity(draw: random.Random) -> dict[str, Any]:
    value = draw.choice((round(draw.uniform(-5, 500), 3), draw.randrange(1000), 1e-9, 1e15))
    unit = draw.choice(({"unit": "mmol/L", "code": "mmol/L"}, {"code": "mm[Hg]"}, {"unit": "%"}, {}))
    return {"value": value, **unit, **({"comparator": draw.choice(("<", ">=", "~"))} if draw.random() < 0.2 else {})}


def _measured(draw: random.Random) -> dict[str, Any]:
    return draw.choice(
        (
            {"valueQuantity": _quantity(draw)},
            {"valueCodeableConcept": _concept(draw, draw.choice(("positive", "trace")))},
            {"valueString": "raised since Monday"},
            {"valueBoolean": draw.random() < 0.5},
            {"valueInteger": draw.randrange(100)},
            {"valueRatio": {"numerator": _quantity(draw), "denominator": _quantity(draw)}},
            {"valueRange": {"low": _quantity(draw), "high": _quantity(draw)}},
            {"dataAbsentReason": _concept(draw, "unknown")},
        )
    )


def _observation(draw: random.Random) -> dict[str, Any]:
    made = {"code": _concept(draw, draw.choice(TESTS)), "effectiveDateTime": draw.choice(DAYS), **_measured(draw)}
    made["category"] = [{"coding": [{"code": draw.choice(GROUPS)}]}]
    if draw.random() < 0.3:
        made["component"] = [{"code": _concept(draw, "systolic"), **_measured(draw)} for _ in range(2)]
    if draw.random() < 0.3:
        made["interpretation"] = [{"coding": [{"code": draw.choice(("H", "LL", "POS", "?"))}]}]
    return made


def _condition(draw: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {"code": _concept(draw, draw.choice((*PROBLEMS, *COMPLAINTS)))}
    made["clinicalStatus"] = {"coding": [{"code": draw.choice(("active", "resolved", "inactive"))}]}
    made["verificationStatus"] = {"coding": [{"code": draw.choice(("confirmed", "provisional", "refuted"))}]}
    when = draw.choice(("onsetDateTime", "recordedDate", "onsetPeriod", "abatementDateTime"))
    day = draw.choice(DAYS)
    made[when] = {"start": day} if when == "onsetPeriod" else day
    return made | ({"severity": _concept(draw, "Severe")} if draw.random() < 0.2 else {})


def _medication(draw: random.Random) -> dict[str, Any]:
    name = _concept(draw, draw.choice(MEDICINES))
    made: dict[str, Any] = {"authoredOn": draw.choice(DAYS), "intent": "order"}
    if draw.random() < 0.6:
        return made | {"medicationCodeableConcept": name}
    if draw.random() < 0.5:
        inside = {"resourceType": "Medication", "id": "m", "code": name}
        return made | {"contained": [inside], "medicationReference": {"reference": "#m"}}
    return made | {"medicationReference": {"reference": f"Medication/{draw.randrange(4)}", "display": "a medicine"}}


def _allergy(draw: random.Random) -> dict[str, Any]:
    signs = [_concept(draw, "hives"), _concept(draw, "wheeze")]
    return {
        "code": _concept(draw, "penicillin"),
        "reaction": [{"manifestation": signs}],
        "recordedDate": draw.choice(DAYS),
    }


def _report(draw: random.Random) -> dict[str, Any]:
    said = {"conclusion": "No focal lesion.\nSmall effusion on the left."} if draw.random() < 0.6 else {}
    return {"code": _concept(draw, "chest radiograph"), "conclusionCode": [_concept(draw, "effusion")], **said}


def _visit(draw: random.Random) -> dict[str, Any]:
    return {"reasonCode": [_concept(draw, draw.choice(COMPLAINTS))], "period": {"start": draw.choice(DAYS)}}


MAKERS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "Condition": _condition,
    "Observation": _observation,
    "MedicationRequest": _medication,
    "MedicationStatement": _medication,
    "Medication": lambda draw: {"code": _concept(draw, draw.choice(MEDICINES))},
    "AllergyIntolerance": _allergy,
    "DiagnosticReport": _report,
    "Procedure": lambda draw: {"code": _concept(draw, "appendicectomy"), "performedDateTime": draw.choice(DAYS)},
    "Encounter": _visit,
    "ServiceRequest": lambda draw: {"code": _concept(draw, "CT of the chest"), "reasonCode": [_concept(draw, "cough")]},
    "OperationOutcome": lambda draw: {"issue": [{"severity": "error", "code": "not-found"}]},
}


def resource(draw: random.Random, kind: str, patient: str, words: Words) -> dict[str, Any]:
    """One resource of a kind, of this patient."""
    real = words.resources.get(kind)
    if real and draw.random() < 0.5:
        made = copy.deepcopy(draw.choice(real))
    else:
        made = {
            "resourceType": kind,
            "id": str(draw.randrange(4)),
            "status": draw.choice(STATUSES),
            **MAKERS[kind](draw),
        }
    if kind not in ("Medication", "OperationOutcome"):
        made["patient" if kind == "AllergyIntolerance" else "subject"] = {"reference": f"Patient/{patient}"}
    return made


def bundle(draw: random.Random, kinds: Sequence[str], patient: str, words: Words) -> dict[str, Any]:
    """A searchset of up to six resources."""
    listed = [resource(draw, draw.choice(kinds), patient, words) for _ in range(draw.randrange(7))]
    entries = [
        {"fullUrl": f"https://ehr.example/fhir/{one['resourceType']}/{one.get('id')}", "resource": one}
        for one in listed
    ]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}


def call(draw: random.Random, service: Service, words: Words) -> dict[str, Any]:
    """A whole call of a service."""
    patient = f"p{draw.randrange(10**6)}"
    person = {"resourceType": "Patient", "id": patient, "gender": draw.choice(("female", "male", "other"))}
    person["birthDate"] = f"{draw.randint(1925, 2026)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
    if draw.random() < 0.03:
        person["deceasedDateTime"] = "2025-01-01"
    prefetch: dict[str, Any] = dict.fromkeys(service.prefetch)
    prefetch["patient"] = person
    for name, kinds in KINDS.items():
        if draw.random() < 0.85:
            prefetch[name] = bundle(draw, kinds, patient, words)
    context: dict[str, Any] = {"userId": f"Practitioner/{draw.randrange(9)}", "patientId": patient}
    if "encounter" in service.prefetch:
        prefetch["encounter"] = resource(draw, "Encounter", patient, words)
    if service.required:
        context["encounterId"] = "e1"
    if "draftOrders" in service.required:
        context["draftOrders"] = bundle(draw, ("ServiceRequest", "MedicationRequest"), patient, words)
        context["selections"] = [f"ServiceRequest/{number}" for number in range(draw.randrange(3))]
    made = {"hook": service.hook, "hookInstance": str(uuid.UUID(int=draw.getrandbits(128))), "context": context}
    if draw.random() < 0.3:
        made |= {
            "fhirServer": "https://ehr.example/r4",
            "fhirAuthorization": {"access_token": "t", "token_type": "Bearer"},
        }
    return made | {"prefetch": prefetch}


def feedback(draw: random.Random, cards: Sequence[str]) -> dict[str, Any]:
    """Feedback on cards that were given, or on none that was."""

    def one() -> dict[str, Any]:
        given = draw.choice(cards) if cards and draw.random() < 0.8 else str(uuid.UUID(int=draw.getrandbits(128)))
        made = {"card": given, "outcomeTimestamp": f"2026-11-{draw.randint(1, 30):02}T{draw.randrange(24):02}:00:00Z"}
        if draw.random() < 0.5:
            return made | {"outcome": "accepted", "acceptedSuggestions": [{"id": "s"}]}
        code = draw.choice(("wrong", "considered", "other"))
        reason = {"reason": {"code": code, "system": "urn:rounds:override-reasons"}, "userComment": "no"}
        return made | {"outcome": "overridden", "overrideReason": reason}

    return {"feedback": [one() for _ in range(draw.randint(1, 4))]}


# Damage --------------------------------------------------------------------------------------------------------------


def _places(value: Json) -> list[tuple[Json, Any]]:
    """Every member as (its object or list, its key or index)."""
    found: list[tuple[Json, Any]] = []
    left = [value]
    while left:
        one = left.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one))
        found += [(one, key) for key in keys]
        left += [one[key] for key in keys if isinstance(one[key], dict | list)]
    return found


def damaged(draw: random.Random, value: Json, words: Words, times: int) -> Json:
    """The value with so many members changed; the value itself is used up."""
    for _ in range(times):
        places = _places(value) if isinstance(value, dict | list) else []
        if not places:
            return words.value(draw)
        if len(places) > MOST_PLACES:
            break
        holder, key = draw.choice(places)
        other, its = draw.choice(places)
        kind = draw.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[words.text(draw)] = holder.pop(key)
        elif kind == 2 and isinstance(holder, list):
            holder += [copy.deepcopy(holder[key]) for _ in range(draw.choice(FEW if times > 2 else (*FEW, 600)))]
        elif kind == 3:
            holder[key] = copy.deepcopy(other[its])
        elif kind == 4:
            for _ in range(draw.choice(FEW if times > 2 else (*FEW, 60))):
                holder[key] = [holder[key]] if draw.random() < 0.5 else {"resource": holder[key]}
        elif kind == 5:
            holder[key] = words.text(draw)
        else:
            holder[key] = words.value(draw)
    return value


def written(draw: random.Random, value: Json, spoil: float = 0.04) -> bytes:
    """The value as JSON; now and then as what only looks like it."""
    text = json.dumps(value)
    if draw.random() > spoil:
        return text.encode()
    place = draw.randrange(len(text) + 1)
    inside = draw.choice(("NaN", "1e999", "\\ud800", '{"a":1,"a":2}', "9" * 5000, "[" * 3000, "\x00", "}", '"', "-"))
    return draw.choice(
        (
            lambda: (text[:place] + inside + text[place:]).encode(),
            lambda: text[:place].encode(),
            lambda: b"\xef\xbb\xbf" + text.encode(),
            lambda: text.encode("utf-16"),
            lambda: text[:place].encode() + b"\xff\xfe" + text[place:].encode(),
            lambda: b"<Bundle xmlns='http://hl7.org/fhir'/>",
        )
    )()


def hook_body(draw: random.Random, name: str, words: Words) -> bytes:
    """A body for a service: half of them whole, the others damaged in one to twelve places."""
    service = SERVICES.get(name) or draw.choice(list(SERVICES.values()))
    made: Json = call(draw, service, words)
    if draw.random() < 0.5:
        made = damaged(draw, made, words, draw.choice((1, 1, 2, 3, 12)))
    return written(draw, made)
