"""An opinion as a FHIR R4 document: a Bundle a record system can file, that claims no more than the page does.

Composition, the patient as they were sent (logical id and sex alone), the device that spoke, each diagnosis as a
provisional Condition with its words and, where one is known, an ICD-10 code and where that code comes from, one
RiskAssessment that ranks them without a probability (none was examined), and a Provenance with the digests of model and
passport (https://hl7.org/fhir/R4/documents.html). Left out on purpose: the case, the reasoning, a clinical status (none
of this is established), and writing into anybody's record.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from typing import Any

from rounds.serve.fhir_words import plain
from rounds.serve.opinion import Diagnosis, Opinion

NAMES = uuid.UUID("5e1f1c6e-6d0b-4f0c-9f58-0d6a4f4b7c21")
"""Ids are made of the request's id, so that the same answer is the same document."""
LONGEST = 400
"""Characters of a name or a sentence."""

LOINC = "http://loinc.org"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
CODE_SOURCE = "urn:rounds:fhir:icd10-source"
PASSPORT = "urn:rounds:passport:sha256"
CHECKPOINT = "urn:rounds:checkpoint:sha256"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"

SOURCES = {
    "knowledge base": "the name is one of a condition of the knowledge base, which has this code",
    "WHO title": "the name was matched with WHO's title of this code",
}
NO_PROBABILITY = "no probability was examined"


def document_of(opinion: Opinion, *, patient: str = "", sex: str = "", at: datetime | None = None) -> dict[str, Any]:
    """The document of one opinion, as JSON values.

    patient: logical id in the caller's own system, '' when none was sent; sex: female, male or ''; at: when it was
    made, now by default.
    """
    made = (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    parts = _Parts(opinion)
    device = parts.add("Device", _device(opinion))
    who = parts.add("Patient", {"gender": sex or "unknown"}, patient)
    conditions = [parts.add("Condition", _condition(one, who, device, made)) for one in opinion.diagnoses]
    risk = [parts.add("RiskAssessment", _ranking(opinion, who, device, made))] if conditions else []
    first = parts.make("Composition", _composition(opinion, who, device, made, conditions, risk))
    parts.entries.insert(0, first)
    targets = [first["fullUrl"], *conditions, *risk]
    parts.add("Provenance", _provenance(opinion, targets, device, made))
    return {
        "resourceType": "Bundle",
        "type": "document",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{parts.id_of('Bundle')}"},
        "timestamp": made,
        "entry": parts.entries,
    }


class _Parts:
    """Entries with ids of their own."""

    def __init__(self, opinion: Opinion) -> None:
        self._request = opinion.request
        self.entries: list[dict[str, Any]] = []

    def id_of(self, name: str) -> str:
        return str(uuid.uuid5(NAMES, f"{self._request}/{name}"))

    def make(self, kind: str, fields: dict[str, Any], logical: str = "") -> dict[str, Any]:
        own = self.id_of(f"{kind}/{len(self.entries)}")
        return {"fullUrl": f"urn:uuid:{own}", "resource": {"resourceType": kind, "id": logical or own, **fields}}

    def add(self, kind: str, fields: dict[str, Any], logical: str = "") -> str:
        """The reference of a resource added."""
        made = self.make(kind, fields, logical)
        self.entries.append(made)
        return str(made["fullUrl"])


def _text(text: str) -> str:
    return plain(text, LONGEST) or "unnamed"


def _coded(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _device(opinion: Opinion) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "deviceName": [{"name": _text(opinion.model), "type": "model-name"}],
        "type": {"text": "language model behind Rounds"},
        "note": [{"text": _text(opinion.standing.get("banner", ""))}],
    }
    if checkpoint := opinion.standing.get("checkpoint"):
        fields["version"] = [{"value": checkpoint}]
    return fields


def _condition(one: Diagnosis, who: str, device: str, made: str) -> dict[str, Any]:
    code: dict[str, Any] = {"text": _text(one.name)}
    if one.icd10:
        source = {"url": CODE_SOURCE, "valueString": SOURCES.get(one.icd10_source, "unknown")}
        code["coding"] = [{"extension": [source], "system": ICD10, "code": one.icd10}]
    notes = [f"Place {one.rank} of the model's list; {NO_PROBABILITY}."]
    notes.append(f"ICD-10: {SOURCES[one.icd10_source]}." if one.icd10_source else "No ICD-10 code is known.")
    against = _findings(argument.finding for argument in one.speaks_against)
    if against:
        notes.append(f"Speaks against it: {'; '.join(against)}.")
    fields: dict[str, Any] = {
        "verificationStatus": _coded(f"{TERMINOLOGY}/condition-ver-status", "provisional", "Provisional"),
        "category": [_coded(f"{TERMINOLOGY}/condition-category", "encounter-diagnosis", "Encounter Diagnosis")],
        "code": code,
        "subject": {"reference": who},
        "recordedDate": made,
        "asserter": {"display": "A language model; no clinician has asserted this."},
        "note": [{"text": note} for note in notes],
    }
    if found := _findings(argument.finding for argument in one.speaks_for):
        fields["evidence"] = [{"code": [{"text": finding}]} for finding in found]
    return fields


def _findings(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_text(finding) for finding in found))


def _ranking(opinion: Opinion, who: str, device: str, made: str) -> dict[str, Any]:
    return {
        "status": "preliminary",
        "method": {"text": f"List of a language model, template {opinion.template}"},
        "subject": {"reference": who},
        "occurrenceDateTime": made,
        "performer": {"reference": device},
        "prediction": [
            {
                "outcome": {"text": _text(one.name)},
                "qualitativeRisk": {"text": f"place {one.rank} of {len(opinion.diagnoses)}"},
                "rationale": f"Order of the model's list; {NO_PROBABILITY}.",
            }
            for one in opinion.diagnoses
        ],
    }


def _composition(
    opinion: Opinion, who: str, device: str, made: str, conditions: list[str], risk: list[str]
) -> dict[str, Any]:
    flags = [f"{one.text} (named by the {' and the '.join(one.named_by)})" for one in opinion.red_flags]
    missed = [f"{one.name}: {one.why}" for one in opinion.not_to_miss]
    sections = [_section("What may be claimed of this model", [opinion.standing.get("banner", "")])]
    sections.append(_section("Red flags", [*flags, *([opinion.red_flags_note] if opinion.red_flags_note else [])]))
    if opinion.abstention is not None:
        sections.append(_section("No diagnoses", [opinion.abstention.reason]))
    elif not conditions:
        why = "The model declined to answer." if opinion.refused else "No list of diagnoses could be read."
        sections.append(_section("No diagnoses", [why]))
    else:
        names = [f"{one.rank}. {one.name}" + (f" ({one.icd10})" if one.icd10 else "") for one in opinion.diagnoses]
        sections.append(_section("Diagnoses to consider, likeliest first", names, [*conditions, *risk]))
    if missed:
        sections.append(_section("Not to be missed beside the first", missed))
    if opinion.notes:
        sections.append(_section("Notes", list(opinion.notes)))
    return {
        "status": "preliminary",
        "type": _coded(LOINC, "51848-0", "Evaluation note") | {"text": "Diagnoses to consider, by a language model"},
        "subject": {"reference": who},
        "date": made,
        "author": [{"reference": device}],
        "title": "Diagnoses to consider: a suggestion to a clinician, who decides",
        "section": sections,
    }


def _section(title: str, lines: list[str], entries: Iterable[str] = ()) -> dict[str, Any]:
    told = [_text(line) for line in lines if line] or ["None."]
    items = "".join(f"<li>{escape(line)}</li>" for line in told)
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><ul>{items}</ul></div>'
    section: dict[str, Any] = {"title": title, "text": {"status": "generated", "div": div}}
    if references := [{"reference": entry} for entry in entries]:
        section["entry"] = references
    return section


def _provenance(opinion: Opinion, targets: list[str], device: str, made: str) -> dict[str, Any]:
    named = {PASSPORT: opinion.standing.get("passport"), CHECKPOINT: opinion.standing.get("checkpoint")}
    entities = [
        {"role": "source", "what": {"identifier": {"system": system, "value": value}}}
        for system, value in named.items()
        if value
    ]
    fields: dict[str, Any] = {
        "target": [{"reference": target} for target in targets],
        "recorded": made,
        "activity": {"text": f"Request {opinion.request}"},
        "agent": [
            {
                "type": _coded(f"{TERMINOLOGY}/provenance-participant-type", "author", "Author"),
                "who": {"reference": device},
            }
        ],
    }
    return fields | ({"entity": entities} if entities else {})
