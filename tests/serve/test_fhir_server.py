"""A patient is picked from a real, small FHIR server; whatever else it does becomes one sentence without its words."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from rounds.records import UserError
from rounds.serve import fhir_server, outgoing
from rounds.serve.fhir_server import FhirServer
from rounds.serve.outgoing import OutgoingFault

SHARED = Path(__file__).parents[3] / "shared" / "data" / "28_fhir_synthea_r4"
CANARY = "Zebediah Quillfeather"
KINDS = {
    "Condition?patient=p-1": "Condition",
    "Observation?patient=p-1&_sort=-date&_count=100": "Observation",
    "MedicationRequest?patient=p-1&_sort=-authoredon&_count=50": "MedicationRequest",
    "AllergyIntolerance?patient=p-1": "AllergyIntolerance",
    "DiagnosticReport?patient=p-1&_sort=-date&_count=20": "DiagnosticReport",
}
PATIENT = {
    "resourceType": "Patient",
    "id": "p-1",
    "gender": "female",
    "birthDate": "1950-02-03",
    "name": [{"use": "nickname", "text": "Zeb"}, {"use": "official", "given": ["Zebediah"], "family": "Quillfeather"}],
    "identifier": [{"system": "urn:h", "value": "MRN-77"}, {"value": 7}, {}],
}
DATES = ("effectiveDateTime", "authoredOn", "issued")
"""By which records are sorted."""
ANGINA = {"code": {"text": "chest pain on effort"}, "clinicalStatus": {"coding": [{"code": "active"}]}}
PULSE = {"status": "final", "code": {"text": "heart rate"}, "valueQuantity": {"value": 118, "unit": "/min"}}
ASPIRIN = {"status": "active", "medicationCodeableConcept": {"text": "aspirin 100 mg"}}


def of(kind: str, **fields: Any) -> dict[str, Any]:
    return {"resourceType": kind, "subject": {"reference": "Patient/p-1"}, **fields}


def bundle(*resources: Any, then: str = "") -> dict[str, Any]:
    link = [{"relation": "self", "url": "http://elsewhere.example/"}, {"relation": "next", "url": then}]
    entries = [{"resource": one} for one in resources]
    return {"resourceType": "Bundle", "type": "searchset", "link": link[: 2 if then else 1], "entry": entries}


@pytest.fixture
def record(hospital: Any, answer: Any) -> Any:
    """A hospital with one patient."""
    held = {"Condition": [of("Condition", **ANGINA)], "Observation": [of("Observation", **PULSE)]}
    held["MedicationRequest"] = [of("MedicationRequest", **ASPIRIN)]
    hospital.answers["/r4/Patient/p-1"] = answer(PATIENT)
    hospital.answers["/r4/Patient/_search"] = answer(bundle(PATIENT, {"resourceType": "OperationOutcome"}))
    for query, kind in KINDS.items():
        hospital.answers[f"/r4/{query}"] = answer(bundle(*held.get(kind, [])))
    return hospital


def opened(hospital: Any, patient: str = "p-1") -> Any:
    return asyncio.run(FhirServer(f"{hospital.url}/r4/").open(patient))


def test_a_patient_is_found_by_name_or_number(record: Any) -> None:
    server = FhirServer(f"{record.url}/r4")
    for text in ("  Quill  feather, Z|$\\", "MRN-77", "urn:h|MRN-77"):
        found = asyncio.run(server.search(text))
        (one,) = found.patients
        assert (one.id, one.name, one.born, one.sex) == ("p-1", CANARY, "1950-02-03", "female")
        assert one.numbers == ("MRN-77",)
        assert not found.more
    asked = [parse_qs(body) for _, _, body in record.asked]
    assert [dict(one) for one in asked] == [
        {"name": ["Quill feather\\, Z\\|\\$\\\\"], "_count": ["20"]},
        {"identifier": ["MRN-77"], "_count": ["20"]},
        {"identifier": ["urn:h|MRN-77"], "_count": ["20"]},
    ]
    assert {(method, path) for method, path, _ in record.asked} == {("POST", "/r4/Patient/_search")}


def test_a_long_list_says_that_there_are_more(record: Any, answer: Any) -> None:
    many = [{**PATIENT, "id": f"p{number}"} for number in range(25)]
    server = FhirServer(f"{record.url}/r4")
    record.answers["/r4/Patient/_search"] = answer(bundle(*many))
    found = asyncio.run(server.search("q"))
    assert (len(found.patients), found.more) == (20, True)
    record.answers["/r4/Patient/_search"] = answer(bundle(*many[:3], then=f"{record.url}/r4?page=2"))
    found = asyncio.run(server.search("q"))
    assert (len(found.patients), found.more) == (3, True)
    record.answers["/r4/Patient/_search"] = answer(bundle())
    assert asyncio.run(server.search("q")).patients == ()


def test_a_record_becomes_a_case_without_a_name(record: Any) -> None:
    found = opened(record)
    assert found.patient.name == CANARY
    assert not found.cut
    assert found.chart.years is not None
    assert found.chart.text == (
        f"A {found.chart.years}-year-old woman.\nCurrent problems: chest pain on effort.\n"
        "Vital signs: heart rate 118 /min.\nMedication: aspirin 100 mg."
    ).replace("Vital signs", "Tests")
    assert len(record.asked) == 6
    assert all(head["accept-encoding"] == "identity" for head in record.heads)
    assert all("authorization" not in head for head in record.heads)


def test_pages_are_read_to_the_end_on_the_same_origin_only(record: Any, answer: Any) -> None:
    first, rest = "/r4/Condition?patient=p-1", "/r4?_getpages=x"
    record.answers[first] = answer(bundle(of("Condition", **ANGINA), then="../r4?_getpages=x"))
    record.answers[rest] = answer(bundle(of("Condition", code={"text": "night sweats"})))
    newest = "/r4/Observation?patient=p-1&_sort=-date&_count=100"
    record.answers[newest] = answer(bundle(of("Observation", **PULSE), then=f"{record.url}/r4?older"))
    found = opened(record)
    assert "night sweats" in found.chart.text
    assert found.cut
    assert "/r4?older" not in [path for _, path, _ in record.asked]


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:1/r4?x",
        "https://127.0.0.1/r4?x",
        "//elsewhere.example/r4",
        "http://u:p@127.0.0.1:PORT/r4",
        "file:///etc/passwd",
        "http://127.0.0.1:PORT@elsewhere.example/",
        "http://127.0.0.1:PORT\\@elsewhere.example/",
        "http://[",
        "http://a\nb/",
    ],
)
def test_no_other_address_is_ever_asked(record: Any, answer: Any, place: str) -> None:
    there = place.replace("PORT", record.url.rpartition(":")[2])
    record.answers["/r4/Condition?patient=p-1"] = answer(bundle(then=there))
    with pytest.raises(OutgoingFault, match=r"lies at another address|cannot be reached"):
        opened(record)
    assert [path for _, path, _ in record.asked] == ["/r4/Patient/p-1", "/r4/Condition?patient=p-1"]


def test_a_redirect_is_not_followed(record: Any, answer: Any) -> None:
    record.answers["/r4/Patient/p-1"] = answer(b"", 302, location=f"{record.url}/r4/Patient/p-2")
    with pytest.raises(OutgoingFault, match="answered with status 302"):
        opened(record)
    assert len(record.asked) == 1


def test_what_a_server_may_do_instead(record: Any, answer: Any) -> None:
    nested: Any = bundle(bundle(of("Condition", code={"text": CANARY})))
    deep = json.dumps(bundle()).replace("[]", "[" * 3000 + "]" * 3000).encode()
    place = "/r4/Condition?patient=p-1"
    other = {**of("Condition", **ANGINA), "subject": {"reference": "Patient/p-2"}}
    for given, sentence in (
        (answer(f"<html>{CANARY}".encode(), kind="text/html"), "sent something else than plain FHIR as JSON"),
        (answer(f"<html>{CANARY}".encode()), "looks like XML"),
        (answer(b"\x1f\x8b", content_encoding="gzip"), "sent something else than plain FHIR"),
        (answer({"text": CANARY}, 401), r"does not let this server in \(401\); its token has to be renewed"),
        (answer({"text": CANARY}, 403), r"\(403\)"),
        (answer({"text": CANARY}, 503), "answered with status 503; try again later"),
        (answer({"text": CANARY}, 404), r"does not have this \(404\)"),
        (answer({"resourceType": CANARY}), "something else than a Bundle"),
        (answer([CANARY]), "something else than a Bundle"),
        (answer(b'{"a": NaN}'), "cannot be read: the body is not"),
        (answer(b'{"a": 1, "a": 2}'), "has the same key twice"),
        (answer(deep), "nested more than 40 deep"),
        (answer(b'"' + b"x" * (5 << 20) + b'"'), "sent more than 4,194,304 bytes"),
        (answer(bundle(*[of("Condition", code={"text": CANARY})] * 501)), "more than 500 resources"),
        (answer(nested), "bundles are nested more than 1 deep"),
        (answer(bundle(other)), "belongs to another patient"),
        (answer(bundle({**PATIENT, "id": "p-2"})), "more than one patient"),
        (answer(bundle(then="?patient=p-1")), "more than 10 pages of one kind"),
    ):
        record.answers[place] = given
        with pytest.raises(OutgoingFault, match=sentence) as told:
            opened(record)
        assert CANARY.split()[0] not in str(told.value)
        assert "Quillfeather" not in str(told.value)
    record.answers[place] = answer(bundle())
    record.answers["/r4/Patient/p-1"] = answer({**PATIENT, "id": "p-2"})
    with pytest.raises(OutgoingFault, match="another patient than the one asked for"):
        opened(record)


def test_a_server_that_stalls_holds_up_nobody(record: Any, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fhir_server, "RECORD_SECONDS", 0.3)
    slow = answer(PATIENT)
    slow.after = 0.8
    record.answers["/r4/Patient/p-1"] = slow

    async def beside() -> tuple[BaseException, float]:
        asked = asyncio.create_task(FhirServer(f"{record.url}/r4").open("p-1"))
        longest = last = 0.0
        last = time.monotonic()
        while not asked.done():
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        error = asked.exception()
        assert error is not None
        return error, longest

    error, longest = asyncio.run(beside())
    assert isinstance(error, OutgoingFault)
    assert str(error) == "the FHIR server did not answer within 0.3 s; try again."
    assert longest < 0.25  # the loop went on


def test_no_server_there_and_too_many_at_once(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutgoingFault, match="cannot be reached"):
        asyncio.run(FhirServer("http://127.0.0.1:1/r4").open("p-1"))
    monkeypatch.setattr(outgoing, "MOST_AT_ONCE", 0)
    with pytest.raises(OutgoingFault, match="too many people ask the FHIR server"):
        opened(record)


@pytest.mark.parametrize("patient", ["", "..", "a/b", "p-1\n", "p 1", "x" * 65, "p?_id=1", "%2e"])
def test_what_is_no_id_is_not_asked_for(record: Any, patient: str) -> None:
    with pytest.raises(UserError, match="not the id of a patient"):
        opened(record, patient)
    assert record.asked == []


@pytest.mark.parametrize("text", ["", "  \n", "x" * 101])
def test_what_is_no_search_is_not_asked_for(record: Any, text: str) -> None:
    with pytest.raises(UserError, match="give a name or an identifier of 1 to 100 characters"):
        asyncio.run(FhirServer(f"{record.url}/r4").search(text))
    assert record.asked == []


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("fhir.example", "is not a base URL"),
        ("ftp://fhir.example", "is not a base URL"),
        ("https://u:p@fhir.example", "is not a base URL"),
        ("https://fhir.example/?x=1", "is not a base URL"),
        ("https://fhir.example:port", "is not a URL"),
        ("http://fhir.example/r4", "unencrypted; use https"),
    ],
)
def test_addresses_that_are_refused(base: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        FhirServer(base)


def test_a_token_is_read_anew_each_time(record: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n", encoding="ascii")
    token.chmod(0o600)
    server = FhirServer(f"{record.url}/r4", token)
    asyncio.run(server.search("q"))
    token.write_text("second", encoding="ascii")
    asyncio.run(server.search("q"))
    assert [head["authorization"] for head in record.heads] == ["Bearer first", "Bearer second"]
    token.write_text("", encoding="ascii")
    with pytest.raises(OutgoingFault, match="the token for the FHIR server cannot be used; ask those who run"):
        asyncio.run(server.search("q"))
    assert len(record.heads) == 2
    for text in ("", "two words", "a\nb", "é"):
        token.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="is no bearer token"):
            FhirServer(f"{record.url}/r4", token)
    token.write_text("first", encoding="ascii")
    token.chmod(0o604)
    with pytest.raises(UserError, match="everybody on this machine may read it; chmod 600"):
        FhirServer(f"{record.url}/r4", token)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data/28_fhir_synthea_r4")
def test_synthea_records_over_http(hospital: Any, answer: Any) -> None:
    """Whole records behind a server that pages by ten unless told otherwise, and sorts when asked."""
    paths = sorted(SHARED.glob("*.json.gz"))
    assert paths
    for path in paths:
        resources = [entry["resource"] for entry in json.loads(gzip.decompress(path.read_bytes()))["entry"]]
        person = next(one for one in resources if one["resourceType"] == "Patient")

        def page(kind: str, query: str, held: Any = resources) -> Any:
            asked = {name: values[0] for name, values in parse_qs(query).items()}
            found = [one for one in held if one["resourceType"] == kind]
            if "_sort" in asked:
                found.sort(key=lambda one: next((one[at] for at in DATES if at in one), ""), reverse=True)
            begin, size = int(asked.get("_begin", 0)), int(asked.get("_count", 10))
            then = urlencode(asked | {"_begin": begin + size})
            return answer(bundle(*found[begin : begin + size], then=f"/{kind}?{then}" if found[begin + size :] else ""))

        hospital.answers[f"/Patient/{person['id']}"] = answer(person)
        for kind in set(KINDS.values()):
            hospital.answers[f"/{kind}"] = partial(page, kind)
        found = asyncio.run(FhirServer(hospital.url).open(person["id"]))
        assert found.patient.born == person["birthDate"]
        assert found.chart.sex == person["gender"]
        texts = {one["code"]["text"] for one in resources if one["resourceType"] == "Condition"}
        told = {source for line in found.chart.lines for source in line.sources if source.startswith("Condition/")}
        assert len(told) == len(texts), path.name
        assert found.cut == (sum(one["resourceType"] == "Observation" for one in resources) > 100)
        for secret in (person["id"], person["birthDate"], person["name"][0]["family"]):
            assert secret not in found.chart.text, path.name
