"""FHIR R4 bundles (https://hl7.org/fhir/R4/bundle.html): one case for each condition found at a visit.

The vignette is what the record held at that visit: age and sex, why the patient came, earlier conditions, medicines
begun before, and the newest value of each observation of the last year. Anything of that visit or later that follows
from the diagnosis (its medicines, procedures, claims, reports) is not shown. A record without the complaint makes a
thin vignette: a clinician must look at such cases before they are an exam. Left out on purpose: Claim,
ExplanationOfBenefit and all else that is billing; contained resources; extensions; XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rounds.cases.importers.outcome import Outcome, Section, gives_away, name_and_brackets, sectioned
from rounds.cases.importers.reading import objects
from rounds.records import Case, UserError

NOT_DIAGNOSIS = "the condition is a finding or a history, not a diagnosis"
NOT_CONFIRMED = "the condition is not confirmed"
NO_VISIT = "no visit is told for the condition"
NOTHING_SEEN = "nothing was observed in the year before the visit"
NOT_NAMED = "the condition has no name"
FINDING = re.compile(r"\((?:finding|situation|person|event)\)\s*$|^(?:history|risk) of\b|^no\b", re.IGNORECASE)
KIND_OF_CONCEPT = re.compile(r"\s*\((?:disorder|finding|situation|procedure|morphologic abnormality)\)\s*$")
REFUTED = {"refuted", "entered-in-error", "unconfirmed", "differential", "provisional"}
YEAR = 366
MOST_OBSERVED = 60
READ = {"Patient", "Encounter", "Condition", "Observation", "MedicationRequest", "MedicationStatement"} | {
    "AllergyIntolerance",
    "Medication",
}

Resource = Mapping[str, Any]


@dataclass(slots=True, frozen=True)
class Held:
    """The resources of one bundle, and every name by which they are referred to."""

    resources: Sequence[Resource]
    by_name: Mapping[str, Resource]

    def of(self, kind: str) -> list[Resource]:
        return [one for one in self.resources if one["resourceType"] == kind]

    def named(self, reference: Any) -> Resource | None:
        """What a reference means: `urn:uuid:...`, `Type/id`, or an absolute URL that ends so; None when not here."""
        name = str(_get(reference, "reference") or "")
        return self.by_name.get(name) or self.by_name.get("/".join(name.split("/")[-2:]))


def read(path: Path) -> Iterator[Outcome]:
    """One outcome a condition of every bundle.

    Raises:
        UserError: not a bundle, a resource without type, or a bundle of more or fewer patients than one.
    """
    for where, value in objects(path):
        if value.get("resourceType") != "Bundle":
            raise UserError(f"{where}: is a {value.get('resourceType', 'JSON object')}, not a Bundle; export a Bundle.")
        bundle = _bundle(where, value)
        patients = bundle.of("Patient")
        if len(patients) != 1:
            raise UserError(f"{where}: holds {len(patients)} patients; export one Bundle for each patient.")
        for condition in bundle.of("Condition"):
            yield _outcome(where, bundle, patients[0], condition)


def _bundle(where: str, value: Resource) -> Held:
    resources: list[Resource] = []
    by_name: dict[str, Resource] = {}
    for number, entry in enumerate(_items(value, "entry"), start=1):
        resource = _get(entry, "resource")
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise UserError(f"{where}: entry {number} holds no resource; export the Bundle anew.")
        if resource["resourceType"] in READ:
            resources.append(resource)
            for name in (_get(entry, "fullUrl"), f"{resource['resourceType']}/{resource.get('id')}"):
                if isinstance(name, str):
                    by_name[name] = resource
    return Held(resources, by_name)


def _outcome(where: str, bundle: Held, patient: Resource, condition: Resource) -> Outcome:
    name = f"fhir-{patient.get('id', 'patient')}-{condition.get('id', 'condition')}"
    said = _concept(condition.get("code"))
    visit = bundle.named(condition.get("encounter"))
    when = _day(visit and _get(visit.get("period"), "start")) or _day(condition.get("recordedDate"))
    states = {code for _, code in _codings(condition.get("verificationStatus"))}
    for why, holds in (
        (NOT_NAMED, not said),
        (NOT_DIAGNOSIS, bool(FINDING.search(said))),
        (NOT_CONFIRMED, bool(states & REFUTED)),
        (NO_VISIT, visit is None or when is None),
    ):
        if holds:
            return Outcome(where, name, None, why)
    assert visit is not None
    assert when is not None
    diagnosis, brackets = name_and_brackets(KIND_OF_CONCEPT.sub("", said))
    displays = tuple(KIND_OF_CONCEPT.sub("", text) for text in _displays(condition.get("code")))
    case = Case(
        id=name,
        vignette=" ",
        diagnosis=diagnosis,
        also_called=tuple(dict.fromkeys((*brackets, *(text for text in displays if text != diagnosis)))),
        icd10=next((code for system, code in _codings(condition.get("code")) if "icd-10" in system), ""),
        source="FHIR",
    )
    observed = _observations(bundle, when)
    reasons = [_concept(reason) for reason in _items(visit, "reasonCode")]
    reasons = [text for text in reasons if text and not gives_away(text, (diagnosis, *case.also_called))]
    if not observed and not reasons:
        return Outcome(where, name, case, NOTHING_SEEN)
    sections = [
        Section("Patient", _who(patient, when)),
        Section("Reason for the visit", "; ".join(reasons)),
        Section("Earlier conditions", "; ".join(_earlier(bundle, condition, when))),
        Section("Medicines", "; ".join(_medicines(bundle, when))),
        Section(
            "Allergies", "; ".join(filter(None, (_concept(a.get("code")) for a in bundle.of("AllergyIntolerance"))))
        ),
        *(Section("Observed", line) for line in observed),
    ]
    return sectioned(where, case, sections)


def _who(patient: Resource, when: date) -> str:
    born = _day(patient.get("birthDate"))
    sex = patient.get("gender")
    age = "age not told"
    if born:
        months = (when.year - born.year) * 12 + when.month - born.month - (when.day < born.day)
        age = f"{months // 12} years old" if months >= 24 else f"{max(months, 0)} months old"
    return f"{age}, {sex if sex in ('male', 'female', 'other') else 'sex not told'}"


def _earlier(bundle: Held, condition: Resource, when: date) -> list[str]:
    """Conditions that began before the day of the visit, each once."""
    found = []
    for other in bundle.of("Condition"):
        began = _day(other.get("onsetDateTime")) or _day(other.get("recordedDate"))
        if other is not condition and began and began < when:
            found.append(KIND_OF_CONCEPT.sub("", _concept(other.get("code"))))
    return list(dict.fromkeys(filter(None, found)))


def _medicines(bundle: Held, when: date) -> list[str]:
    """Medicines ordered or taken before the day of the visit, each once."""
    found = []
    for order in [*bundle.of("MedicationRequest"), *bundle.of("MedicationStatement")]:
        began = _day(order.get("authoredOn")) or _day(order.get("effectiveDateTime"))
        if began and began < when:
            medicine = bundle.named(order.get("medicationReference"))
            found.append(
                _concept(order.get("medicationCodeableConcept")) or _concept(medicine and medicine.get("code"))
            )
    return list(dict.fromkeys(filter(None, found)))


def _observations(bundle: Held, when: date) -> list[str]:
    """The newest value of each kind of observation of the year up to the visit, in words, newest first."""
    found: list[tuple[date, str, str]] = []
    for one in bundle.of("Observation"):
        day = _day(one.get("effectiveDateTime")) or _day(_get(one.get("effectivePeriod"), "start"))
        if day and day <= when and (when - day).days <= YEAR:
            days = (when - day).days
            ago = "" if days == 0 else " (the day before)" if days == 1 else f" ({days} days before)"
            found.append((day, _concept(one.get("code")), _observed(one) and _observed(one) + ago))
    newest: dict[str, str] = {}
    for _, code, line in sorted(found, key=lambda one: one[0], reverse=True):
        if line:
            newest.setdefault(code, line)
    return list(newest.values())[:MOST_OBSERVED]


def _observed(observation: Resource) -> str:
    """One observation and its components in words; '' without a value."""
    parts = [observation, *_items(observation, "component")]
    values = [(_concept(part.get("code")), _value(part)) for part in parts if isinstance(part, dict)]
    return ", ".join(f"{what} {value}" for what, value in values if what and value)


def _value(part: Resource) -> str:
    quantity = part.get("valueQuantity")
    if isinstance(quantity, dict) and isinstance(quantity.get("value"), int | float):
        return f"{quantity['value']:.4g} {quantity.get('unit', '')}".strip()
    if isinstance(part.get("valueString"), str):
        return str(part["valueString"])
    if isinstance(part.get("valueBoolean"), bool):
        return "yes" if part["valueBoolean"] else "no"
    return _concept(part.get("valueCodeableConcept"))


def _concept(value: Any) -> str:
    """The words of a CodeableConcept: its text, or the first display."""
    text = _get(value, "text")
    return text.strip() if isinstance(text, str) and text.strip() else next(iter(_displays(value)), "")


def _displays(value: Any) -> list[str]:
    found = [_get(coding, "display") for coding in _items(value, "coding")]
    return [text.strip() for text in found if isinstance(text, str) and text.strip()]


def _codings(value: Any) -> list[tuple[str, str]]:
    """(system, code) of a CodeableConcept."""
    return [(str(_get(c, "system") or "").lower(), str(_get(c, "code") or "")) for c in _items(value, "coding")]


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _items(value: Any, key: str) -> list[Any]:
    inner = _get(value, key)
    return inner if isinstance(inner, list) else []


def _day(value: Any) -> date | None:
    """The day of a FHIR date or dateTime; a year alone is its first day. None when there is none."""
    match = re.match(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?", value) if isinstance(value, str) else None
    try:
        return date(int(match[1]), int(match[2] or 1), int(match[3] or 1)) if match else None
    except ValueError:
        return None
