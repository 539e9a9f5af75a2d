"""The document of an opinion, validated with the R4B models of fhir.resources, and what it does not claim."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rounds.serve.fhir_document import CODE_SOURCE, document_of
from rounds.serve.findings import Argument
from rounds.serve.opinion import Abstention, Diagnosis, NotToMiss, Opinion, RedFlag

AT = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)
HOSTILE = '<script>alert("x")</script>\u0000 & ]]>'


def argument(text: str) -> Argument:
    return Argument(finding=text, voices=("model",))


def diagnosis(rank: int, name: str, icd10: str = "", source: Any = "") -> Diagnosis:
    return Diagnosis(
        rank=rank,
        name=name,
        icd10=icd10,
        icd10_source=source,
        condition="",
        speaks_for=(argument("fever"), argument("cough")) if rank == 1 else (),
        speaks_against=(argument("no crackles"),) if rank == 1 else (),
        argued=None,
    )


def opinion(**more: Any) -> Opinion:
    given: dict[str, Any] = {
        "request": "ab" * 16,
        "case": "A 68-year-old woman with a secret.",
        "model": "tiny",
        "standing": {"banner": "Demonstration, not for patients", "checkpoint": "cd" * 32, "passport": "ef" * 32},
        "template": "differential-brief@1",
        "template_examined": True,
        "answer_form": "five",
        "language": "en",
        "red_flags": (RedFlag(text="low oxygen", named_by=("model",), in_case=True),),
        "diagnoses": (
            diagnosis(1, "pneumonia", "J18.9", "knowledge base"),
            diagnosis(2, "pulmonary embolism", "I26.9", "WHO title"),
            diagnosis(3, HOSTILE),
        ),
        "not_to_miss": (NotToMiss(name="sepsis", icd10="A41.9", beside="pneumonia", why="it kills & hides"),),
        "reasoning": "private thoughts",
    }
    return Opinion(**{**given, **more})


def resources(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in document["entry"] if one["resource"]["resourceType"] == kind]


def validate(document: dict[str, Any]) -> None:
    from fhir.resources.R4B.bundle import Bundle

    Bundle.model_validate_json(json.dumps(document))


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [one for inner in value.values() for one in references(inner)]
    return [one for inner in value for one in references(inner)] if isinstance(value, list) else []


CASES = {
    "five": opinion(),
    "abstention": opinion(
        diagnoses=(), red_flags=(), abstention=Abstention(by="rule", kind="age", reason="No case of this age.")
    ),
    "refused": opinion(diagnoses=(), refused=True),
    "unreadable": opinion(diagnoses=(), unreadable=True, red_flags_note="The model named none; no all-clear."),
    "bare": opinion(standing={}, not_to_miss=(), red_flags=(), notes=("cut off",)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_documents_are_valid(name: str) -> None:
    document = document_of(CASES[name], patient="p1", sex="female", at=AT)
    validate(document)
    assert document["type"] == "document"
    assert document["entry"][0]["resource"]["resourceType"] == "Composition"
    urls = [one["fullUrl"] for one in document["entry"]]
    assert len(set(urls)) == len(urls)
    assert set(references(document)) <= set(urls), "every reference leads to a resource of the document"


def test_what_is_told() -> None:
    document = document_of(opinion(), patient="p1", sex="female", at=AT)
    first, second, third = resources(document, "Condition")
    assert first["verificationStatus"]["coding"][0]["code"] == "provisional"
    assert "clinicalStatus" not in first
    assert first["code"]["text"] == "pneumonia"
    assert first["code"]["coding"][0]["code"] == "J18.9"
    assert first["code"]["coding"][0]["extension"][0]["url"] == CODE_SOURCE
    assert "WHO's title" in second["code"]["coding"][0]["extension"][0]["valueString"]
    assert "coding" not in third["code"]
    assert [one["code"][0]["text"] for one in first["evidence"]] == ["fever", "cough"]
    assert "Speaks against it: no crackles." in [note["text"] for note in first["note"]]
    (risk,) = resources(document, "RiskAssessment")
    assert risk["prediction"][0]["qualitativeRisk"]["text"] == "place 1 of 3"
    assert not any("probabilityDecimal" in one for one in risk["prediction"])
    (patient,) = resources(document, "Patient")
    assert patient == {"resourceType": "Patient", "id": "p1", "gender": "female"}
    (provenance,) = resources(document, "Provenance")
    assert [one["what"]["identifier"]["value"] for one in provenance["entity"]] == ["ef" * 32, "cd" * 32]
    assert len(provenance["target"]) == 5


def test_what_is_not_told() -> None:
    document = document_of(opinion(), at=AT)
    text = json.dumps(document)
    for kept in ("private thoughts", "secret", "\\u0000"):
        assert kept not in text
    divs = " ".join(one["text"]["div"] for one in resources(document, "Composition")[0]["section"])
    assert "&lt;script&gt;" in divs
    assert "<script" not in divs


def test_abstention_has_no_condition_and_says_why() -> None:
    document = document_of(CASES["abstention"], at=AT)
    assert not resources(document, "Condition")
    assert not resources(document, "RiskAssessment")
    sections = {one["title"]: one["text"]["div"] for one in resources(document, "Composition")[0]["section"]}
    assert "No case of this age." in sections["No diagnoses"]
    assert "Demonstration, not for patients" in sections["What may be claimed of this model"]


def test_the_same_answer_is_the_same_document() -> None:
    assert document_of(opinion(), at=AT) == document_of(opinion(), at=AT)
    assert document_of(opinion(), at=AT) != document_of(opinion(request="cd" * 16), at=AT)


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_diagnose_gives_a_document_to_who_accepts_one(make_app: Any, make_scripted: Any, client_of: Any) -> None:
    asked = {"case": "A 70-year-old man with fever and cough, whose secret is kept."}
    answering = make_scripted(reply="1. Pulmonary embolism\n2. Heart failure")
    async with client_of(make_app(answering)) as client:
        answer = await client.post("/v1/diagnose", json=asked, headers={"accept": "application/fhir+json"})
        plain = await client.post("/v1/diagnose", json=asked)
    assert answer.headers["content-type"] == "application/fhir+json"
    document = answer.json()
    validate(document)
    assert [one["code"]["text"] for one in resources(document, "Condition")] == ["Pulmonary embolism", "Heart failure"]
    assert "secret" not in answer.text
    assert plain.json()["diagnoses"][0]["name"] == "Pulmonary embolism"
