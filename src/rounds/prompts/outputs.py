"""What a template's answer looks like: one record an answer, and its JSON schema for engines that can enforce one.

The field `answer` of a template names one of `OUTPUTS`; `text` is free text. Left out on purpose: reading replies that
are not JSON (`rounds.prompts.reader`, `rounds.prompts.choices`).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal

from pydantic import Field, ValidationError

from rounds.prompts.reader import after_thinking
from rounds.records import Record

FREE = "text"
"""The answer without a schema."""


class Candidate(Record):
    """One diagnosis with what speaks for and against it."""

    diagnosis: str
    supports: list[str]
    against: list[str]


class Differential(Record):
    """Five diagnoses, likeliest first, and the red flags of the case."""

    diagnoses: list[Candidate] = Field(min_length=5, max_length=5)
    red_flags: list[str]


class Chosen(Record):
    """Letters of the options chosen."""

    why: str
    answer: list[str] = Field(min_length=1)


class Verdict(Record):
    """Yes, no or maybe from an abstract."""

    why: str
    answer: Literal["yes", "no", "maybe"]


class Number(Record):
    """A value with its unit; a date has the unit `date`."""

    working: str
    answer: float | str
    unit: str


class Measure(Record):
    """One treatment."""

    what: str
    dose: str
    why: str


class Plan(Record):
    """A treatment plan."""

    now: list[str]
    first_line: list[Measure]
    alternatives: list[Measure]
    avoid: list[str]
    monitoring: list[str]


class Reading(Record):
    """One result and what it means."""

    test: str
    result: str
    meaning: str


class Tests(Record):
    """Results interpreted."""

    critical: list[str]
    readings: list[Reading]
    pattern: str
    causes: list[str]
    next: list[str]


class Interaction(Record):
    """Two or more medicines that should not simply stand side by side."""

    medicines: list[str]
    effect: str
    severity: Literal["contraindicated", "major", "moderate", "minor"]
    action: str


class Medication(Record):
    """Medicines checked against each other and against the patient."""

    interactions: list[Interaction]
    patient: list[str]
    """Contraindications and doses that do not suit this patient."""
    monitoring: list[str]


class Triage(Record):
    """How soon, and where."""

    urgency: Literal["emergency", "urgent", "routine", "self-care"]
    red_flags: list[str]
    why: str


class Consultation(Record):
    """What was said in a consultation, one statement an entry, nothing that was not said."""

    complaint: list[str]
    present_illness: list[str]
    review_of_systems: list[str]
    past_history: list[str]
    operations: list[str]
    medications: list[str]
    allergies: list[str]
    family_and_social: list[str]
    gynaecology: list[str]
    immunisations: list[str]
    examination: list[str]
    results: list[str]
    procedures: list[str]
    assessment: list[str]
    plan: list[str]
    course: list[str]
    """What happened in the emergency department or on the ward."""


class Handover(Record):
    """I-PASS: illness severity, patient summary, actions, situation awareness, questions of the receiver."""

    severity: Literal["stable", "watcher", "unstable"]
    summary: str
    actions: list[str]
    situation: list[str]
    questions: list[str]


OUTPUTS: dict[str, type[Record]] = {
    "five": Differential,
    "choice": Chosen,
    "verdict": Verdict,
    "number": Number,
    "plan": Plan,
    "tests": Tests,
    "medication": Medication,
    "triage": Triage,
    "record": Consultation,
    "handover": Handover,
}
"""Answer to the record a JSON reply must be."""


@cache
def schema_of(answer: str) -> str:
    """JSON schema of an answer as one line: no titles, no references, so that every engine's grammar takes it."""
    return json.dumps(_plain(OUTPUTS[answer].model_json_schema(), {}), ensure_ascii=False)


def read_output(reply: str, answer: str) -> Record | None:
    """The record in a reply, None where there is none that fits; nothing is repaired, nothing is raised."""
    text = after_thinking(reply)
    start, end = text.find("{"), text.rfind("}")
    try:
        return OUTPUTS[answer].model_validate_json(text[start : end + 1]) if 0 <= start < end else None
    except ValidationError:
        return None


def _plain(node: Any, defined: dict[str, Any]) -> Any:
    """The schema with its definitions put where they are referred to, without titles and docstrings."""
    if isinstance(node, list):
        return [_plain(item, defined) for item in node]
    if not isinstance(node, dict):
        return node
    defined = node.get("$defs", defined)
    if "$ref" in node:
        return _plain(defined[node["$ref"].rpartition("/")[2]], defined)
    named = {name: _plain(value, defined) for name, value in node.get("properties", {}).items()}
    kept = {k: _plain(v, defined) for k, v in node.items() if k not in ("title", "description", "$defs", "properties")}
    return kept | ({"properties": named} if named else {})
