"""A record becomes what was known at the visit: nothing that follows from the diagnosis, nothing of the bill."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rounds.cases.importers import fhir
from rounds.records import UserError

Write = Callable[..., Path]


def concept(text: str, system: str = "http://snomed.info/sct", code: str = "1") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": text}], "text": text}


def entry(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"fullUrl": f"urn:uuid:{name}", "resource": {"resourceType": kind, "id": name, **fields}}


def bundle() -> dict[str, Any]:
    first, visit = {"reference": "Encounter/v1"}, {"reference": "urn:uuid:v2"}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            entry("p", "Patient", gender="female", birthDate="1980-05-02"),
            entry("v1", "Encounter", period={"start": "2015-01-01T10:00:00+00:00"}),
            entry("v2", "Encounter", period={"start": "2020-03-04T10:00:00+00:00"}, reasonCode=[concept("Flank pain")]),
            entry(
                "c",
                "Condition",
                code=concept("Kidney stone (disorder)", "http://hl7.org/fhir/sid/icd-10", "N20.0"),
                encounter=visit,
                onsetDateTime="2020-03-04",
            ),
            entry("old", "Condition", code=concept("Gout"), encounter=first, onsetDateTime="2015"),
            entry("bmi", "Condition", code=concept("Obesity (finding)"), encounter=visit, onsetDateTime="2020-03-04"),
            entry("m1", "MedicationRequest", medicationCodeableConcept=concept("Allopurinol"), authoredOn="2015-02-01"),
            entry("m2", "MedicationRequest", medicationCodeableConcept=concept("Tamsulosin"), authoredOn="2020-03-04"),
            entry("o1", "Observation", code=concept("Creatinine"), encounter=visit, effectiveDateTime="2020-03-04",
                  valueQuantity={"value": 1.23456, "unit": "mg/dL"}),
            entry("o2", "Observation", code=concept("Creatinine"), effectiveDateTime="2020-03-03",
                  valueQuantity={"value": 9, "unit": "mg/dL"}),
            entry("o3", "Observation", code=concept("Blood pressure"), effectiveDateTime="2020-03-03", component=[
                {"code": concept("Systolic"), "valueQuantity": {"value": 120, "unit": "mmHg"}},
                {"code": concept("Diastolic"), "valueQuantity": {"value": 80, "unit": "mmHg"}},
            ]),
            entry("o4", "Observation", code=concept("Weight"), effectiveDateTime="2001-01-01", valueString="light"),
            entry("o5", "Observation", code=concept("Smoker"), effectiveDateTime="2020-01-04", valueBoolean=False),
            entry("o6", "Observation", code=concept("Ultrasound"), effectiveDateTime="2020-03-04",
                  valueString="a kidney stone of 4 mm"),
            entry("x", "Claim", diagnosis="Kidney stone"),
            entry("y", "ExplanationOfBenefit", text="Kidney stone"),
            entry("z", "AllergyIntolerance", code=concept("Penicillin")),
        ],
    }  # fmt: skip


def test_a_condition_of_a_visit_is_a_case(document: Write) -> None:
    found = {one.id: one for one in fhir.read(document(bundle()))}
    one = found["fhir-p-c"]
    assert one.case is not None
    assert one.case.vignette.splitlines() == [
        "Patient: 39 years old, female",
        "Reason for the visit: Flank pain",
        "Earlier conditions: Gout",
        "Medicines: Allopurinol",
        "Allergies: Penicillin",
        "Observed: Creatinine 1.235 mg/dL",
        "Observed: Systolic 120 mmHg, Diastolic 80 mmHg (the day before)",
        "Observed: Smoker no (60 days before)",
    ]
    assert (one.case.diagnosis, one.case.icd10, one.dropped) == ("Kidney stone", "N20.0", ("Observed",))
    assert found["fhir-p-bmi"].refused == fhir.NOT_DIAGNOSIS
    assert found["fhir-p-old"].refused == fhir.NOTHING_SEEN


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"code": {}}, fhir.NOT_NAMED),
        ({"encounter": {"reference": "urn:uuid:gone"}}, fhir.NO_VISIT),
        ({"verificationStatus": concept("Refuted", code="refuted")}, fhir.NOT_CONFIRMED),
    ],
)
def test_refusals(document: Write, change: dict[str, Any], why: str) -> None:
    value = bundle()
    value["entry"][3]["resource"].update(change)
    assert next(one for one in fhir.read(document(value)) if one.id == "fhir-p-c").refused == why


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.update(resourceType="Patient"), "is a Patient, not a Bundle"),
        (lambda value: value["entry"].pop(0), "holds 0 patients"),
        (lambda value: value["entry"].append({"resource": {"id": "x"}}), "entry 18 holds no resource"),
    ],
)
def test_faults(document: Write, change: Callable[[dict[str, Any]], Any], words: str) -> None:
    value = bundle()
    change(value)
    with pytest.raises(UserError, match=words):
        list(fhir.read(document(value)))


junk: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({})
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.integers(0, 16), st.data())
def test_any_field_may_hold_junk(document: Write, place: int, data: st.DataObject) -> None:
    value = copy.deepcopy(bundle())
    resource = value["entry"][place]["resource"]
    field = data.draw(st.sampled_from(sorted(set(resource) - {"resourceType"})))
    resource[field] = data.draw(junk)
    found = list(fhir.read(document(value)))
    assert all(one.case is not None or one.refused for one in found)
