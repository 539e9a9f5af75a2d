"""The page that picks a patient: who may, what it shows, what stands in the log, and that no name is anywhere else."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from rounds.serve import logs
from rounds.serve.app import Doors
from rounds.serve.audit import Audit, digest_for
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.fhir_server import FhirServer
from rounds.serve.keys import Keys, new_key, write_keys
from rounds.serve.operate import Operation
from rounds.serve.views import CONTENT_SECURITY

pytestmark = pytest.mark.anyio
ATTACK = "<img src=x onerror=alert(1)>"
CANARY = "Quillfeather"
QUERIES = (
    "Condition?patient=p-1",
    "Observation?patient=p-1&_sort=-date&_count=100",
    "MedicationRequest?patient=p-1&_sort=-authoredon&_count=50",
    "AllergyIntolerance?patient=p-1",
    "DiagnosticReport?patient=p-1&_sort=-date&_count=20",
)


@pytest.fixture
def record(hospital: Any, answer: Any) -> Any:
    subject = {"reference": "Patient/p-1"}
    patient = {
        "resourceType": "Patient", "id": "p-1", "gender": "male", "birthDate": "1950-02-03",
        "name": [{"text": f"{CANARY} {ATTACK}"}], "identifier": [{"value": "MRN-77"}],
    }  # fmt: skip
    fever = {"resourceType": "Condition", "subject": subject, "code": {"text": f"fever {ATTACK}"}}
    hospital.answers["/Patient/_search"] = answer({"resourceType": "Bundle", "entry": [{"resource": patient}]})
    hospital.answers["/Patient/p-1"] = answer(patient)
    for query in QUERIES:
        hospital.answers[f"/{query}"] = answer({"resourceType": "Bundle"})
    hospital.answers["/Condition?patient=p-1"] = answer({"resourceType": "Bundle", "entry": [{"resource": fever}]})
    return hospital


async def test_from_a_name_to_a_case(
    make_app: Any, client_of: Any, scripted: Any, record: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    said = io.StringIO()
    logs.configure(True, said)
    place = tmp_path / "audit.sqlite"
    app = make_app(scripted, fhir=FhirServer(record.url), audit=Audit(SQLite(place)), log_requests=True)
    async with client_of(app) as client:
        home = await client.get("/")
        blank = await client.get("/patients")
        found = await client.post("/patients", data={"find": f"{CANARY} "})
        opened = await client.post("/patients/open", data={"patient": "p-1"})
        case = opened.text.partition("<textarea")[2].partition(">")[2].partition("</textarea>")[0].strip()
        figures = (await client.get("/metrics")).text
        asked = await client.post("/", data={"case": "fever"})
    assert '<a href="/patients">Patients</a>' in home.text
    assert asked.status_code == 200
    for page in (blank, found, opened):
        assert page.status_code == 200
        assert page.headers["content-security-policy"] == CONTENT_SECURITY
        assert page.headers["cache-control"] == "no-store"
        assert "<img" not in page.text
        assert "Demonstration, not for patients" in page.text
    assert "1 found" in found.text
    for shown in (CANARY, "born 1950-02-03", "MRN-77", 'name="patient" value="p-1"'):
        assert shown in found.text
    assert "-year-old man." in case
    assert "Current problems: fever &lt;img" in case
    assert CANARY not in case
    assert f"Record of {CANARY}" in opened.text
    rows = list(Audit(SQLite(place, existing=True)).every())
    assert [(row.kind, row.door, row.caller) for row in rows[:2]] == [
        ("opened", "search", "local"),
        ("opened", "record", "local"),
    ]
    assert rows[0].prompt == digest_for(rows[0].request, CANARY)
    assert rows[1].prompt == digest_for(rows[1].request, "Patient/p-1")
    told = said.getvalue() + caplog.text + figures + place.read_bytes().decode("latin-1")
    assert "/patients/open" in told
    for secret in (CANARY, "p-1", "MRN-77", "1950-02-03", record.url):
        assert secret not in told, secret


async def test_in_shadow_a_record_becomes_the_case_and_no_answer_is_shown(
    make_app: Any, client_of: Any, scripted: Any, record: Any, kept: Any, tmp_path: Path
) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    app = make_app(scripted, fhir=FhirServer(record.url), shadow=True, operation=Operation(tmp_path), audit=audit)
    async with client_of(app) as client:
        assert '<a href="/patients">Patients</a>' in (await client.get("/")).text
        assert "1 found" in (await client.post("/patients", data={"find": CANARY})).text
        opened = await client.post("/patients/open", data={"patient": "p-1"})
        case = opened.text.partition("<textarea")[2].partition(">")[2].partition("</textarea>")[0].strip()
        asked = await client.post("/", data={"case": case, "d1": "heart failure"})
        patient = {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1990-05-01"}
        fever = {"resourceType": "Condition", "subject": {"reference": "Patient/p"}, "code": {"text": "fever"}}
        entries = [{"resource": patient}, {"resource": fever}]
        pasted = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        by_hand = await client.post("/", data={"case": json.dumps(pasted), "d1": "heart failure"})
        await kept(tmp_path, 2)
    assert 'name="d5"' in opened.text
    assert f"Record of {CANARY}" in opened.text
    assert "-year-old man." in case
    for answer in (asked, by_hand):
        assert answer.status_code == 200, answer.text
        assert "Recorded." in answer.text
        assert not any(secret in answer.text for secret in ("embolism", "pleurisy", scripted.thinking))
    assert ["Current problems: fever" in prompt.messages[-1].content for prompt in scripted.prompts] == [True, True]
    doors = [(row.kind, row.door) for row in reversed(audit.rows(20)) if row.kind != "result"]
    assert doors == [("opened", "search"), ("opened", "record"), ("request", "shadow page"), ("request", "shadow page")]
    assert CANARY not in "".join(path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file())


async def test_without_a_server_there_is_no_such_page(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        assert (await client.get("/patients")).status_code == 404
        assert "/patients" not in (await client.get("/")).text


async def test_who_may_open_records(make_app: Any, client_of: Any, scripted: Any, record: Any, tmp_path: Path) -> None:
    made = {scope: new_key(scope, (scope,)) for scope in ("diagnose", "records")}
    write_keys(tmp_path / "keys", tuple(key for _, key in made.values()))
    app = make_app(scripted, fhir=FhirServer(record.url), doors=Doors(Keys(tmp_path / "keys")))
    async with client_of(app) as client:
        for path, data in (("/patients", {"find": "x"}), ("/patients/open", {"patient": "p-1"})):
            lost = await client.post(path, data=data)
            assert (lost.status_code, lost.headers["location"].partition("?")[0]) == (303, "/login")
            barred = await client.post(path, data=data, headers={"authorization": f"Bearer {made['diagnose'][0]}"})
            assert barred.status_code == 403
            assert "lacks the scope &#39;records&#39;" in barred.text
            assert record.asked == []
        let_in = await client.post(
            "/patients", data={"find": "x"}, headers={"authorization": f"Bearer {made['records'][0]}"}
        )
        evil = await client.post("/patients", data={"find": "x"}, headers={"origin": "https://evil.example"})
    assert let_in.status_code == 200
    assert evil.status_code == 403


async def test_a_fault_is_told_on_the_page(
    make_app: Any, client_of: Any, scripted: Any, record: Any, answer: Any
) -> None:
    async with client_of(make_app(scripted, fhir=FhirServer(record.url))) as client:
        record.answers["/Patient/_search"] = answer({"text": CANARY}, 401)
        refused = await client.post("/patients", data={"find": "Miller"})
        record.answers["/Condition?patient=p-1"] = answer({"resourceType": "Bundle"})
        nothing = await client.post("/patients/open", data={"patient": "p-1"})
        empty = await client.post("/patients", data={"find": " "})
        strange = await client.post("/patients", content=b"{}", headers={"content-type": "application/json"})
    assert refused.status_code == 502
    assert "The FHIR server does not let this server in (401)" in refused.text
    assert 'value="Miller"' in refused.text
    assert CANARY not in refused.text
    assert "tells nothing but who the patient is" in nothing.text
    assert (empty.status_code, strange.status_code) == (400, 400)


async def test_nothing_is_opened_that_cannot_be_written_down(
    make_app: Any, client_of: Any, scripted: Any, record: Any, tmp_path: Path
) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    app = make_app(scripted, fhir=FhirServer(record.url), audit=audit)
    audit.close()
    async with client_of(app) as client:
        for path, data in (("/patients", {"find": "x"}), ("/patients/open", {"patient": "p-1"})):
            answered = await client.post(path, data=data)
            assert answered.status_code == 503
            assert "The audit log is closed" in answered.text
    assert record.asked == []
