"""A patient's record in FHIR R4 becomes a case: a thin reader of the fields a case needs, each line with its sources.

Takes Patient, Condition, Observation, Encounter, MedicationRequest, MedicationStatement, AllergyIntolerance, Procedure,
DiagnosticReport and ServiceRequest, alone or in Bundles (https://hl7.org/fhir/R4). The case has an age and a sex, no
name, no birth date, no identifier and no calendar date; what a colleague wrote into a free text stays as it was
written. Of each kind of observation the newest counts. What was entered in error is left out, what was ruled out is
told as absent. Left out on purpose: XML, validation (`fhir.resources` does that in the tests), following a reference
beyond the one that names a medicine, and everything billing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from rounds.serve.fhir_json import LIMITS, BadFhir, Deadline, Limits
from rounds.serve.fhir_words import (
    LONGEST_CONCLUSION,
    Day,
    age,
    codes,
    concept,
    day,
    dicts,
    first_day,
    interpreted,
    measured,
    plain,
)

LOGICAL_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
SECTIONS = {
    "Seen for": 3,
    "Orders being written": 8,
    "Current problems": 20,
    "Vital signs": 12,
    "Examination": 12,
    "Tests": 24,
    "Reports": 6,
    "Medication": 16,
    "Allergies": 10,
    "Background": 10,
    "Past problems": 12,
    "Past medication": 6,
    "Procedures": 8,
    "Ruled out": 10,
}
"""Lines of a case in their order, with the most entries of each; the newest stay."""

WRONG = "entered-in-error"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the case."""

    text: str
    sources: tuple[str, ...]
    """References such as Observation/17, in the order of the text; never part of the case itself."""


@dataclass(frozen=True, slots=True)
class Chart:
    """What was read of one patient."""

    patient: str
    """Logical id; '' when none was given."""
    years: int | None
    sex: str
    """female, male or ''."""
    lines: tuple[Line, ...]
    deceased: bool
    newest: date | None
    """Day of the newest entry."""
    left_out: Mapping[str, int]
    """Resources that are not in the case, by the reason."""

    @property
    def text(self) -> str:
        """The case as a model is asked."""
        return "\n".join(line.text for line in self.lines)

    @property
    def clinical(self) -> bool:
        """Whether there is more than an age."""
        return len(self.lines) > 1


@dataclass(slots=True)
class _Item:
    section: str
    text: str
    source: str
    when: Day | None
    kind: str = ""
    """Observations of one kind: the newest counts."""


@dataclass(slots=True)
class _Reading:
    """One record on its way."""

    today: date
    limits: Limits
    deadline: Deadline
    patient: dict[str, Any] | None = None
    names: set[str] = field(default_factory=set)
    """References by which the patient is called."""
    medicines: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    items: list[_Item] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    seen: int = 0


def read_chart(given: Any, today: date, limits: Limits = LIMITS, drafts: Any = None) -> Chart:
    """The chart of one patient.

    given: a resource, a Bundle, or a list of either (the values of a prefetch; None is `no data`). drafts: a Bundle of
    orders being written. today: dates are told from this day.

    Raises:
        BadFhir: no resource, more than the limits, two patients, or a record of somebody else inside.
    """
    reading = _Reading(today, limits, Deadline(limits.seconds))
    for one in given if isinstance(given, list) else [given]:
        _gather(one, "", reading, 1)
    if drafts is not None:
        drawn = len(reading.resources)
        _gather(drafts, "", reading, 1)
        for resource, _ in reading.resources[drawn:]:
            resource["status"] = "draft"  # whatever a system calls an order that is not signed yet
    for resource, source in reading.resources:
        reading.deadline.check()
        _same_patient(resource, reading)
        read = READERS.get(resource["resourceType"])
        if read is None:
            reading.left_out["not clinical"] += 1
            continue
        made = read(resource, reading)
        if isinstance(made, str):
            reading.left_out[made] += 1
        else:
            made.source = source
            reading.items.append(made)
    return _chart(reading)


# Gathering: what was sent becomes a flat list ----------------------------------------------------------------------


def _gather(value: Any, full_url: str, reading: _Reading, depth: int) -> None:
    if value is None:
        return
    reading.deadline.check()
    kind = value.get("resourceType") if isinstance(value, dict) else None
    if isinstance(value, dict) and kind is None and isinstance(value.get("resource"), dict):
        value = value["resource"]  # the wrapping of an entry, as drafts of CDS Hooks sent it
        kind = value.get("resourceType")
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Z][A-Za-z]{1,63}", kind):
        raise BadFhir("an entry is not a FHIR resource (it lacks a resourceType); send R4 resources as JSON.")
    if kind == "Bundle":
        _gather_bundle(value, reading, depth)
        return
    reading.seen += 1
    if reading.seen > reading.limits.entries:
        raise BadFhir(f"there are more than {reading.limits.entries} resources; send fewer.", "too-costly", 413)
    logical = value.get("id")
    logical = logical if isinstance(logical, str) and LOGICAL_ID.match(logical) else ""
    source = f"{kind}/{logical}" if logical else f"{kind} {reading.seen}"
    contained = dicts(value.get("contained"))
    if len(contained) > reading.limits.contained:
        raise BadFhir(
            f"a resource contains more than {reading.limits.contained} others; send them apart.", "too-costly"
        )
    if kind == "Medication":
        reading.medicines |= {name: value for name in (source, full_url) if name}
    elif kind == "OperationOutcome":
        reading.left_out["could not be fetched by the client"] += 1
    elif kind == "Patient":
        _patient(value, {source, full_url, f"urn:uuid:{logical}"} - {""}, logical, reading)
    else:
        reading.resources.append((dict(value), source))


def _gather_bundle(bundle: dict[str, Any], reading: _Reading, depth: int) -> None:
    if depth > reading.limits.bundles:
        raise BadFhir(f"bundles are nested more than {reading.limits.bundles} deep; send one.", "too-costly")
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        raise BadFhir("the entry of a Bundle is not a list.")
    if len(entries) > reading.limits.entries:
        raise BadFhir(f"there are more than {reading.limits.entries} resources; send fewer.", "too-costly", 413)
    for entry in entries:
        if not isinstance(entry, dict):
            raise BadFhir("an entry of a Bundle is not an object.")
        if "resource" in entry:
            url = entry.get("fullUrl")
            _gather(entry["resource"], url if isinstance(url, str) else "", reading, depth + 1)


def _patient(patient: dict[str, Any], names: set[str], logical: str, reading: _Reading) -> None:
    if reading.patient is not None and reading.patient.get("id") != patient.get("id"):
        raise BadFhir("there is more than one patient; send one patient's record at a time.", "business-rule")
    reading.patient = patient
    if logical:  # without an id nothing can be told to be another's
        reading.names |= names


def _same_patient(resource: dict[str, Any], reading: _Reading) -> None:
    """Raises:
    BadFhir: the resource belongs to somebody else.
    """
    subject = resource.get("subject", resource.get("patient"))
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if not reading.names or not isinstance(reference, str) or reference in reading.names:
        return
    # An absolute URL ends in Patient/id; a version may follow.
    named = re.search(r"(Patient/[A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$", reference)
    if named is not None and named[1] not in reading.names:
        raise BadFhir("a resource belongs to another patient than the one sent; nothing was read.", "business-rule")


# One reader a resource: an item of the case, or why it is none -----------------------------------------------------


def _condition(resource: dict[str, Any], reading: _Reading) -> _Item | str:
    name = concept(resource.get("code"))
    verified = codes(resource.get("verificationStatus"))
    if WRONG in verified:
        return "entered in error"
    if not name:
        return "without a text"
    when = first_day(resource, "onsetDateTime", "onsetPeriod", "recordedDate")
    if "refuted" in verified:
        return _Item("Ruled out", name, "", when)
    severity = concept(resource.get("severity")).lower()
    text = f"{severity} {name}" if severity in ("mild", "moderate", "severe") else name
    if verified & {"provisional", "differential", "unconfirmed"}:
        text += " (not confirmed)"
    past = codes(resource.get("clinicalStatus")) & {"inactive", "remission", "resolved"}
    return _Item("Past problems" if past or "abatementDateTime" in resource else "Current problems", text, "", when)


def _observation(resource: dict[str, Any], reading: _Reading) -> _Item | str:
    if resource.get("status") not in ("final", "amended", "corrected", "preliminary"):
        return "entered in error" if resource.get("status") == WRONG else "not done"
    name = concept(resource.get("code"))
    parts = [measured(resource)]
    for component in dicts(resource.get("component")):
        said = measured(component)
        parts.append(f"{concept(component.get('code'))} {said}".strip() if said else "")
    value = ", ".join(part for part in parts if part)
    word = interpreted(resource)
    if not name or not (value or word):
        return "without a value"
    text = f"{name} {value} ({word})" if value and word else f"{name} {value or word}"
    group = codes(resource.get("category"))
    section = next((title for code, title in CATEGORIES.items() if code in group), "Tests")
    when = first_day(resource, "effectiveDateTime", "effectivePeriod", "effectiveInstant", "issued")
    return _Item(section, text, "", when, kind=name.casefold())


CATEGORIES = {
    "vital-signs": "Vital signs",
    "exam": "Examination",
    "laboratory": "Tests",
    "imaging": "Tests",
    "social-history": "Background",
    "survey": "Background",
}
"""https://hl7.org/fhir/R4/valueset-observation-category.html"""


def _medication(resource: dict[str, Any], reading: _Reading) -> _Item | str:
    status = resource.get("status")
    if status in (WRONG, "cancelled", "not-taken"):
        return "entered in error" if status == WRONG else "not done"
    name = concept(resource.get("medicationCodeableConcept")) or _medicine(resource, reading)
    if not name:
        return "without a text"
    when = first_day(resource, "authoredOn", "effectiveDateTime", "effectivePeriod", "dateAsserted")
    past = status in ("completed", "stopped")
    section = "Orders being written" if status == "draft" else "Past medication" if past else "Medication"
    return _Item(section, name, "", when, kind=name.casefold())


def _medicine(resource: dict[str, Any], reading: _Reading) -> str:
    """The medicine a medicationReference names: contained, or sent beside; one step, so that no circle can form."""
    pointed = resource.get("medicationReference")
    reference = pointed.get("reference") if isinstance(pointed, dict) else None
    if not isinstance(reference, str):
        return plain(pointed.get("display")) if isinstance(pointed, dict) else ""
    inside = {f"#{one.get('id')}": one for one in dicts(resource.get("contained"))}
    found = inside.get(reference) or reading.medicines.get(reference) or {}
    return concept(found.get("code")) or plain(pointed.get("display") if isinstance(pointed, dict) else None)


def _allergy(resource: dict[str, Any], reading: _Reading) -> _Item | str:
    verified = codes(resource.get("verificationStatus"))
    if verified & {WRONG, "refuted"}:
        return "entered in error"
    name = concept(resource.get("code"))
    if not name:
        return "without a text"
    signs = [
        concept(sign) for reaction in dicts(resource.get("reaction")) for sign in dicts(reaction.get("manifestation"))
    ]
    told = ", ".join(dict.fromkeys(sign for sign in signs if sign))
    return _Item("Allergies", f"{name} ({told})" if told else name, "", first_day(resource, "recordedDate"))


def _procedure(resource: dict[str, Any], reading: _Reading) -> _Item | str:
    status = resource.get("status")
    if status not in ("completed", "in-progress"):
        return "entered in error" if status == WRONG else "not done"
    name = concept(resource.get("code"))
    when = first_day(resource, "performedDateTime", "performedPeriod")
    return _Item("Procedures", name, "", when, kind=name.casefold()) if name else "without a text"


def _report(resource: dict[str, Any], reading: _Reading) -> _Item | str:
    if resource.get("status") in (WRONG, "cancelled"):
        return "entered in error" if resource["status"] == WRONG else "not done"
    name = concept(resource.get("code"))
    found = [concept(one) for one in dicts(resource.get("conclusionCode"))]
    said = plain(resource.get("conclusion"), LONGEST_CONCLUSION) or ", ".join(one for one in found if one)
    if not said:
        return "without a value"  # its results are observations of their own
    when = first_day(resource, "effectiveDateTime", "effectivePeriod", "issued")
    return _Item("Reports", f"{name}: {said}" if name else said, "", when)


def _encounter(resource: dict[str, Any], reading: _Reading) -> _Item | str:
    if resource.get("status") not in ("arrived", "triaged", "in-progress", "onleave", "planned"):
        return "past encounter"
    reasons = [concept(one) for one in dicts(resource.get("reasonCode"))]
    said = ", ".join(dict.fromkeys(reason for reason in reasons if reason))
    return _Item("Seen for", said, "", first_day(resource, "period")) if said else "without a text"


def _order(resource: dict[str, Any], reading: _Reading) -> _Item | str:
    if resource.get("status") != "draft":
        return "not clinical"
    name = concept(resource.get("code"))
    reasons = [concept(one) for one in dicts(resource.get("reasonCode"))]
    why = ", ".join(reason for reason in reasons if reason)
    return _Item("Orders being written", f"{name} for {why}" if why else name, "", None) if name else "without a text"


Reader = Callable[[dict[str, Any], _Reading], _Item | str]

READERS: dict[str, Reader] = {
    "Condition": _condition,
    "Observation": _observation,
    "MedicationRequest": _medication,
    "MedicationStatement": _medication,
    "AllergyIntolerance": _allergy,
    "Procedure": _procedure,
    "DiagnosticReport": _report,
    "Encounter": _encounter,
    "ServiceRequest": _order,
}


# Writing the case ---------------------------------------------------------------------------------------------------


def _chart(reading: _Reading) -> Chart:
    patient = reading.patient or {}
    sex = patient.get("gender")
    sex = sex if sex in ("female", "male") else ""
    born = day(patient.get("birthDate"))
    told = age(born, reading.today) if born else None
    lines = []
    if reading.patient is not None:
        logical = patient.get("id")
        named = isinstance(logical, str) and bool(LOGICAL_ID.match(logical))
        source = f"Patient/{logical}" if named else "Patient"
        lines.append(Line(_who(told, sex), (source,)))
    by_section: dict[str, list[_Item]] = {section: [] for section in SECTIONS}
    for item in _newest_first(reading):
        by_section[item.section].append(item)
    for section, items in by_section.items():
        most = SECTIONS[section]
        reading.left_out["older than what is shown"] += max(0, len(items) - most)
        if kept := items[:most]:
            text = "; ".join(_dated(item, reading.today) for item in kept)
            lines.append(Line(f"{section}: {text}.", tuple(item.source for item in kept)))
    days = [item.when.first for item in reading.items if item.when and item.when.first <= reading.today]
    dead = patient.get("deceasedBoolean") is True or "deceasedDateTime" in patient
    logical = patient.get("id")
    return Chart(
        patient=logical if isinstance(logical, str) and LOGICAL_ID.match(logical) else "",
        years=told[0] if told else None,
        sex=sex,
        lines=tuple(lines),
        deceased=dead,
        newest=max(days, default=None),
        left_out={reason: count for reason, count in sorted(reading.left_out.items()) if count},
    )


def _who(told: tuple[int, str] | None, sex: str) -> str:
    grown = told is None or told[0] >= 18
    noun = {"female": "woman" if grown else "girl", "male": "man" if grown else "boy"}.get(sex, "patient")
    if told is None:
        return f"A {noun} of unknown age."
    article = "An" if re.match(r"8\d?-|11-|18-|8\d\d-", told[1]) else "A"
    return f"{article} {told[1]} {noun}."


def _newest_first(reading: _Reading) -> list[_Item]:
    """Newest first, undated last; of observations and medicines of one kind the newest, of equal lines one."""
    dated = [item for item in reading.items if item.when is None or (item.when.first - reading.today).days <= 1]
    reading.left_out["dated in the future"] += len(reading.items) - len(dated)
    dated.sort(key=lambda item: item.when.first.toordinal() if item.when else 0, reverse=True)
    kept: dict[tuple[str, str], _Item] = {}
    for item in dated:
        if kept.setdefault((item.section, item.kind or item.text.casefold()), item) is not item:
            reading.left_out["older than what is shown"] += 1
    return list(kept.values())


def _dated(item: _Item, today: date) -> str:
    ago = item.when.ago(today) if item.when else ""
    text = item.text.rstrip(".")
    return f"{text} ({ago})" if ago and ago != "today" else text
