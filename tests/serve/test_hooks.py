"""CDS Hooks over HTTP: discovery, calls that never wait, tokens, links and feedback."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from rounds.serve.app import Doors
from rounds.serve.fhir_json import BadFhir
from rounds.serve.hooks_call import SERVICES
from rounds.serve.hooks_feedback import read_feedback
from rounds.serve.jwt import read_issuers
from rounds.serve.keys import Keys, Scope, new_key, write_keys
from rounds.serve.operate import Operation, stop

pytestmark = pytest.mark.anyio

VIEW = "/cds-services/rounds-patient-view"
BASE = "https://cds.example"
ISS = "https://ehr.example"
KEY = ec.generate_private_key(ec.SECP384R1())


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1958-03-02", **more}


def bundle(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources]}


def condition(text: str = "Fever and cough") -> dict[str, Any]:
    return {"resourceType": "Condition", "id": "c1", "code": {"text": text}, "subject": {"reference": "Patient/p1"}}


def call_body(hook: str = "patient-view", problem: str = "Fever and cough", **more: Any) -> dict[str, Any]:
    service = next(one for one in SERVICES.values() if one.hook == hook)
    prefetch: dict[str, Any] = dict.fromkeys(service.prefetch)
    prefetch |= {"patient": patient(), "conditions": bundle(condition(problem))}
    context: dict[str, Any] = {"userId": "Practitioner/7", "patientId": "p1"}
    if hook == "encounter-start":
        context["encounterId"] = "e1"
    if hook == "order-select":
        order = {"resourceType": "ServiceRequest", "id": "s1", "status": "draft", "code": {"text": "Chest X-ray"}}
        context |= {"selections": ["ServiceRequest/s1"], "draftOrders": bundle(order)}
    made = {"hook": hook, "hookInstance": str(uuid.uuid4()), "context": context, "prefetch": prefetch}
    return {**made, **more}


KNOWN = (
    "1. Pulmonary embolism\n2. Heart failure\n3. Aortic dissection\n4. Ischaemic stroke\n5. Acute myocardial infarction"
)
"""Conditions of the knowledge base, so that no test waits for the lexicon of names."""


@pytest.fixture
def scripted(make_scripted: Any) -> Iterator[Any]:
    responder = make_scripted(reply=KNOWN)
    yield responder
    responder.open_gate.set()


@pytest.fixture
def app(make_app: Callable[..., Any], scripted: Any) -> Any:
    return make_app(scripted)


async def ready(client: httpx.AsyncClient, path: str = VIEW, **given: Any) -> dict[str, Any]:
    """The card of a call, asked again until the answer is in it."""
    async with asyncio.timeout(120):
        while True:
            answer = await client.post(path, **given)
            assert answer.status_code == 200, answer.text
            (card,) = answer.json()["cards"]
            if "worked out" not in card["summary"]:
                return dict(card)
            await asyncio.sleep(0.05)


async def test_no_connection_goes_out(
    app: Any, client_of: Any, chat_body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: tried.append(given))
    elsewhere = {"fhirServer": "http://fhir.example/r4", "fhirAuthorization": {"access_token": "t"}}
    async with client_of(app) as client:
        await ready(client, VIEW, json=call_body(**elsewhere))
        for path, body in (("/v1/chat/completions", chat_body()), ("/v1/diagnose", {"case": "Fever and cough"})):
            assert (await client.post(path, json=body)).status_code == 200
        assert (await client.post("/", data={"case": "Fever and cough, see http://fhir.example/1"})).status_code == 200
    assert tried == []


async def test_discovery(app: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        answer = await client.get("/cds-services")
    services = answer.json()["services"]
    assert [one["hook"] for one in services] == ["patient-view", "encounter-start", "order-select"]
    for one in services:
        assert one["id"]
        assert one["description"]
        assert one["prefetch"]["patient"] == "Patient/{{context.patientId}}"


async def test_a_call_never_waits_and_the_link_shows_the_answer(app: Any, scripted: Any, client_of: Any) -> None:
    body = call_body(problem="WAIT for it")
    async with client_of(app) as client:
        first = await client.post(VIEW, json=body)
        (card,) = first.json()["cards"]
        assert card["summary"] == "Demonstration, not for patients: diagnoses are being worked out"
        page = await client.get(card["links"][0]["url"])
        assert page.status_code == 200
        assert '<meta http-equiv="refresh" content="3">' in page.text
        waiting = await client.get(card["links"][0]["url"] + "/document")
        assert waiting.status_code == 404
        again = await client.post(VIEW, json={**body, "hookInstance": str(uuid.uuid4())})
        assert again.json()["cards"][0]["uuid"] == card["uuid"], "the same record is one case and one card"
        scripted.open_gate.set()
        done = await ready(client, VIEW, json=body)
        assert done["uuid"] != card["uuid"]
        assert "Pulmonary embolism" in done["summary"]
        assert len(scripted.prompts) == 1
        for link in (card, done):  # the first link leads to the answer as well
            page = await client.get(link["links"][0]["url"])
            assert "Pulmonary embolism" in page.text
            assert "http-equiv" not in page.text
            document = await client.get(link["links"][0]["url"] + "/document")
            assert document.headers["content-type"] == "application/fhir+json"
            assert document.json()["type"] == "document"
    assert "Current problems: WAIT for it." in scripted.prompts[0].messages[-1].content


async def test_every_service_answers(app: Any, scripted: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        for hook in ("patient-view", "encounter-start", "order-select"):
            card = await ready(client, f"/cds-services/rounds-{hook}", json=call_body(hook))
            assert "Pulmonary embolism" in card["summary"]
    asked = [prompt.messages[-1].content for prompt in scripted.prompts]
    # At the start of an encounter nothing more is known here than when the record was opened: one case, one answer.
    assert len(asked) == 2
    assert "Orders being written: Chest X-ray." in asked[1]


async def test_a_changed_record_is_another_case(app: Any, scripted: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        one = await ready(client, json=call_body(problem="cough"))
        other = await ready(client, json=call_body(problem="cough and fever"))
    assert one["uuid"] != other["uuid"]
    assert len(scripted.prompts) == 2


async def test_the_audit_log_has_a_hook_s_rows(make_app: Any, scripted: Any, client_of: Any, tmp_path: Path) -> None:
    from rounds.serve.audit import Audit
    from rounds.serve.audit_sqlite import SQLite

    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    app = make_app(scripted, audit=audit)
    async with client_of(app) as client:
        await ready(client, json=call_body(problem="a secret of hers"))
    rows = await asyncio.to_thread(audit.rows)
    assert [(row.kind, row.door, row.caller) for row in rows] == [
        ("result", "hook", "local"),
        ("request", "hook", "local"),
    ]
    assert "secret" not in str(rows)


async def test_a_case_that_fails_says_so_on_card_and_page(app: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        for problem in ("TOOLONG", "EARLYBREAK", "HALF"):
            first = (await client.post(VIEW, json=call_body(problem=problem))).json()["cards"][0]
            async with asyncio.timeout(120):
                while "at work" in (page := (await client.get(first["links"][0]["url"])).text):
                    await asyncio.sleep(0.05)
            assert "Not answered" in page
            assert "secret words" not in page


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda body: body.pop(name)


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for name in path[:-1]:
            body = body[name]
        body[path[-1]] = value

    return change


BAD_CALLS: list[tuple[Callable[[dict[str, Any]], Any], int, str]] = [
    (without("hook"), 400, "hook is not 'patient-view'"),
    (put("hook", value="order-sign"), 400, "hook is not 'patient-view'"),
    (without("hookInstance"), 400, "hookInstance is missing"),
    (put("hookInstance", value="Zacharias"), 400, "hookInstance is missing or not a UUID"),
    (without("context"), 400, "context is missing"),
    (put("context", value=["Zacharias"]), 400, "context is missing or not an object"),
    (put("context", "patientId", value="Patient/../Zacharias"), 400, "context.patientId is missing or not"),
    (put("context", "patientId", value="p1\n"), 400, "context.patientId is missing or not"),
    (put("context", "userId", value="Practitioner/7\n"), 400, "context.userId is missing or not"),
    (put("context", "userId", value=7), 400, "context.userId is missing or not"),
    (put("context", "encounterId", value={"a": 1}), 400, "context.encounterId is missing or not"),
    (without("prefetch"), 412, "prefetch lacks patient, conditions"),
    (put("prefetch", value=None), 412, "prefetch lacks patient, conditions"),
    (put("prefetch", value="Zacharias"), 400, "prefetch is not an object"),
    (lambda body: body["prefetch"].pop("allergies"), 412, "prefetch lacks allergies; send each, or null"),
    (put("prefetch", "patient", value=patient(id="p2")), 400, "belongs to another patient"),
    (lambda body: body["context"].update(patientId="p2"), 400, "the prefetched patient is not context.patientId"),
    (put("prefetch", "patient", value="Zacharias"), 400, "lacks a resourceType"),
    (put("prefetch", "conditions", value={"resourceType": "Bundle", "entry": 7}), 400, "is not a list"),
    (put("prefetch", "observations", value=bundle(*[condition()] * 501)), 413, "more than 500 resources"),
]


async def test_bad_calls(app: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        for change, status, sentence in BAD_CALLS:
            body = call_body()
            change(body)
            answer = await client.post(VIEW, json=body)
            assert answer.status_code == status, sentence
            assert answer.headers["content-type"] == "application/fhir+json"
            (issue,) = answer.json()["issue"]
            assert sentence in issue["diagnostics"]
            assert "Zacharias" not in answer.text


BAD_BODIES = [
    (b"", 400),
    (b"[]", 400),
    (b"\xef\xbb\xbf{}", 400),
    ('{"hook": "patient-view"}'.encode("utf-16"), 400),
    (b"<Bundle/>", 415),
    (b'{"hook": NaN}', 400),
    (b'{"hook": 1e999}', 400),
    (b'{"hook": "a", "hook": "b"}', 400),
    (rb'{"hook": "\ud800"}', 400),
    (b"[" * 100_000, 400),
]


async def test_bodies_that_are_no_json_for_fhir(app: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        for path in (VIEW, VIEW + "/feedback"):
            for body, status in BAD_BODIES:
                answer = await client.post(path, content=body, headers={"content-type": "application/json"})
                assert answer.status_code == status, body[:40]
                assert answer.json()["resourceType"] == "OperationOutcome"


async def test_a_record_may_be_larger_than_other_bodies(make_app: Any, scripted: Any, client_of: Any) -> None:
    app = make_app(scripted, body_limit=4096)
    large = call_body()
    large["prefetch"]["observations"] = bundle(*[{**condition(), "note": [{"text": "x" * 500}]}] * 40)
    async with client_of(app) as client:
        assert (await client.post(VIEW, json=large)).status_code == 200
        assert (await client.post("/v1/diagnose", json=large)).status_code == 413
        large["prefetch"]["reports"] = bundle({**condition(), "note": [{"text": "x" * 70_000}]})
        assert (await client.post(VIEW, json=large)).status_code == 413


async def test_unknown_services(app: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        for path in ("/cds-services/other", "/cds-services/other/feedback"):
            assert (await client.post(path, json={})).status_code == 404


NOTHING: list[dict[str, Any]] = [
    {"patient": None, "conditions": None},
    {"patient": patient(), "conditions": bundle()},
    {"patient": patient(deceasedBoolean=True), "conditions": bundle(condition())},
]


async def test_nothing_to_say_is_no_card(app: Any, scripted: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        for prefetch in NOTHING:
            body = call_body()
            body["prefetch"] |= prefetch
            answer = await client.post(VIEW, json=body)
            assert (answer.status_code, answer.json()) == (200, {"cards": []})
    assert scripted.prompts == []


async def test_links_of_nobody(app: Any, client_of: Any) -> None:
    async with client_of(app) as client:
        for token in ("x", "%ED%A0%80", "a" * 43):
            page = await client.get(f"/cards/{token}")
            assert page.status_code == 404
            assert "This link leads nowhere" in page.text
            assert (await client.get(f"/cards/{token}/document")).status_code == 404


def at(minute: int) -> str:
    return f"2026-11-21T10:{minute:02}:00Z"


async def test_feedback_counts_once(app: Any, client_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rounds.serve")
    async with client_of(app) as client:
        card = (await client.post(VIEW, json=call_body())).json()["cards"][0]["uuid"]
        reason = {"reason": {"code": "wrong", "system": "x"}, "userComment": "Zacharias has the flu"}
        told = [
            {"card": card, "outcome": "accepted", "outcomeTimestamp": at(1)},
            {"card": card, "outcome": "overridden", "overrideReason": reason, "outcomeTimestamp": at(2)},
            {"card": card, "outcome": "accepted", "outcomeTimestamp": "2026-11-21T11:01:00+01:00"},
            {"card": str(uuid.uuid4()), "outcome": "accepted", "outcomeTimestamp": at(3)},
        ]
        for _ in range(2):
            answer = await client.post(VIEW + "/feedback", json={"feedback": told})
            assert (answer.status_code, answer.content) == (200, b"")
    said = [record.getMessage() for record in caplog.records if "card " in record.getMessage()]
    assert said == [f"card {card}: accepted", f"card {card}: overridden: wrong"]


BAD_FEEDBACK: list[Any] = [
    None,
    [],
    [{}],
    ["x"],
    [{"card": "x", "outcome": "accepted", "outcomeTimestamp": at(1)}],
    [{"card": str(uuid.uuid4()), "outcome": "liked", "outcomeTimestamp": at(1)}],
    [{"card": str(uuid.uuid4()), "outcome": "accepted", "outcomeTimestamp": "yesterday"}],
    [{"card": str(uuid.uuid4()), "outcome": "accepted"}],
    [{"card": 7, "outcome": "accepted", "outcomeTimestamp": at(1)}],
    [{"card": str(uuid.uuid4()), "outcome": "accepted", "outcomeTimestamp": at(1)}] * 101,
]


def test_bad_feedback() -> None:
    for feedback in BAD_FEEDBACK:
        with pytest.raises(BadFhir, match=r"feedback is not|an item of|outcome is not|card is not a UUID") as caught:
            read_feedback(json.dumps({"feedback": feedback}).encode())
        assert caught.value.status == 400


PEOPLE: dict[str, tuple[Scope, ...]] = {"doctor": ("diagnose",), "nurse": ("diagnose",), "officer": ("audit",)}


def issuers_file(directory: Path) -> Path:
    """A file with one issuer."""
    key = {**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k"}
    issuer = {"iss": ISS, "audience": BASE, "jwks": {"keys": [key]}}
    path = directory / "issuers.json"
    path.write_text(json.dumps({"issuers": [issuer]}), encoding="utf-8")
    return path


@pytest.fixture
def guarded(make_app: Any, scripted: Any, tmp_path: Path) -> Any:
    """An application that knows one issuer."""
    return make_app(scripted, doors=Doors(issuers=read_issuers(issuers_file(tmp_path))))


def bearer(path: str = VIEW, **changed: Any) -> dict[str, str]:
    now = int(time.time())
    claims = {"iss": ISS, "aud": BASE + path, "iat": now, "exp": now + 60, "jti": uuid.uuid4().hex, **changed}
    return {"authorization": f"Bearer {jwt.encode(claims, KEY, 'ES384', headers={'kid': 'k'})}"}


async def test_with_issuers_a_signed_token_is_needed(guarded: Any, client_of: Any) -> None:
    async with client_of(guarded) as client:
        assert (await client.get("/cds-services")).status_code == 200, "discovery is open"
        headers: dict[str, str]
        for headers in (
            {},
            {"authorization": "Bearer rounds-key"},
            {"authorization": "Basic eDp5"},
            bearer(VIEW + "/feedback"),
            bearer(exp=1),
            bearer(iss="https://evil.example"),
        ):
            answer = await client.post(VIEW, json=call_body(), headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["resourceType"] == "OperationOutcome"
        answer = await client.post(VIEW + "/feedback", json={"feedback": []}, headers=bearer())
        assert answer.status_code == 401
        used = bearer()
        good = await client.post(VIEW, json=call_body(), headers=used)
        assert good.status_code == 200
        link = good.json()["cards"][0]["links"][0]["url"]
        assert link.startswith(f"{BASE}/cards/")
        assert (await client.post(VIEW, json=call_body(), headers=used)).status_code == 401, "a token is taken once"
        page = await client.get(link.removeprefix(BASE))
        assert page.status_code == 200


async def test_a_card_s_link_is_for_a_person_who_signed_in(
    make_app: Any, scripted: Any, client_of: Any, tmp_path: Path
) -> None:
    made = {name: new_key(name, scopes) for name, scopes in PEOPLE.items()}
    keys = tmp_path / "keys.json"
    write_keys(keys, [known for _, known in made.values()])
    app = make_app(scripted, doors=Doors(keys=Keys(keys), issuers=read_issuers(issuers_file(tmp_path))))
    async with client_of(app) as client:
        card = (await client.post(VIEW, json=call_body(), headers=bearer())).json()["cards"][0]
        path = card["links"][0]["url"].removeprefix(BASE)
        first = await client.get(path)
        assert f'content="0;url={path}?again=1"' in first.text, "coming from our own site a browser sends its cookie"
        again = await client.get(path + "?again=1")
        assert (again.status_code, again.headers["location"]) == (303, f"/login?to={path}")
        signed_in = await client.post("/login", data={"key": made["doctor"][0], "to": path})
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, path)
        assert (await client.get(path)).status_code == 200
        for name, status in (("nurse", 404), ("officer", 403), ("doctor", 200)):
            headers = {"authorization": f"Bearer {made[name][0]}"}
            assert (await client.get(path, headers=headers)).status_code == status, name
        headers = {"authorization": f"Bearer {made['doctor'][0]}"}
        assert (await client.post(VIEW, json=call_body(), headers=headers)).status_code == 401, "a key is no token"
        for place in ("//evil.example", "/cards/../audit", f"{path}?x=1"):
            led = await client.post("/login", data={"key": made["doctor"][0], "to": place})
            assert led.headers["location"] == "/"


async def test_with_keys_and_without_issuers_hooks_are_closed(
    make_app: Any, scripted: Any, client_of: Any, tmp_path: Path
) -> None:
    key, known = new_key("doctor", ("diagnose",))
    write_keys(tmp_path / "keys.json", [known])
    app = make_app(scripted, doors=Doors(keys=Keys(tmp_path / "keys.json")))
    async with client_of(app) as client:
        answer = await client.post(VIEW, json=call_body(), headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 401
        assert "--cds-issuers" in answer.text
        assert (await client.post(VIEW, json=call_body())).status_code == 401


async def test_a_stopped_model_gives_no_card_not_even_a_ready_one(
    make_app: Any, scripted: Any, client_of: Any, tmp_path: Path
) -> None:
    operation = Operation(tmp_path)
    async with client_of(make_app(scripted, operation=operation)) as client:
        card = await ready(client, json=call_body())
        stop(tmp_path, "wrong doses were named")
        answer = await client.post(VIEW, json=call_body())
        assert (answer.status_code, answer.json()["resourceType"]) == (503, "OperationOutcome")
        assert (await client.get(card["links"][0]["url"])).status_code == 503


async def test_without_issuers_only_this_machine_may_call(make_app: Any, scripted: Any) -> None:
    transport = httpx.ASGITransport(app=make_app(scripted), client=("10.0.0.9", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert (await client.post(VIEW, json=call_body())).status_code == 401
        assert (await client.get("/cards/x")).status_code in (200, 303, 401)
    assert scripted.prompts == []
