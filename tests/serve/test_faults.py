"""It must hold: every door fuzzed from our own description of it, load, and an overload that is told at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHAT = "/v1/chat/completions"
DOORS = ("POST /v1/chat/completions", "POST /v1/diagnose", "GET /v1/models/{name}", "GET /health")


def described(app: Any, door: str) -> Any:
    """Schemathesis' reading of one operation of our own OpenAPI, which a server in use does not give out."""
    import schemathesis

    method, path = door.split()
    schema = schemathesis.openapi.from_dict(app._app.app.openapi())
    return schema[path][method]


async def answer_to(app: Any, case: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    sent = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
    kept = {name: sent[name] for name in ("method", "url", "params", "json", "data", "headers") if sent.get(name)}
    kept["headers"] = {name: value for name, value in dict(kept.get("headers", {})).items() if name.isascii()}
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.request(**kept)


def fuzz(make_app: Any, make_scripted: Any, door: str, examples: int) -> None:
    app = make_app(make_scripted(), most_waiting=64)
    seen: set[int] = set()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def every(data: Any) -> None:
        case = data.draw(described_once.as_strategy())
        response = asyncio.run(answer_to(app, case))
        seen.add(response.status_code)
        assert response.status_code < 500, response.text

    described_once = described(app, door)
    every()
    assert seen


@pytest.mark.parametrize("door", DOORS)
def test_no_description_of_a_request_is_our_fault(make_app: Any, make_scripted: Any, door: str) -> None:
    pytest.importorskip("schemathesis")
    fuzz(make_app, make_scripted, door, 10)


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_no_description_of_ten_thousand_is_our_fault(make_app: Any, make_scripted: Any, door: str) -> None:
    pytest.importorskip("schemathesis")
    fuzz(make_app, make_scripted, door, 10_000)


def test_streams_side_by_side_and_an_overload_told_at_once(
    make_app: Any, serve: Any, chat_body: Any, scripted: Any
) -> None:
    async def one(client: httpx.AsyncClient, number: int) -> tuple[int, str, float]:
        started = time.monotonic()
        response = await client.post(CHAT, json=chat_body(f"WAIT {number}", stream=True))
        return response.status_code, response.text, time.monotonic() - started

    async def everyone(url: str) -> list[tuple[int, str, float]]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            asking = [asyncio.create_task(one(client, number)) for number in range(24)]
            while len(scripted.prompts) < 8 or (await client.get("/health")).json()["waiting"] < 8:
                await asyncio.sleep(0.02)
            refused = await one(client, 99)
            scripted.open_gate.set()
            return [refused, *await asyncio.gather(*asking)]

    with serve(make_app(scripted, at_once=8, most_waiting=8)) as url:
        refused, *answers = asyncio.run(everyone(url))
    assert refused[0] == 429
    assert refused[2] < 2  # nothing is written, nothing is waited for; the figure of a quiet machine is in benchmarks
    assert sorted(status for status, _, _ in answers) == [200] * 16 + [429] * 8
    assert all("data: [DONE]" in text for status, text, _ in answers if status == 200)


def test_a_request_whose_stream_is_never_read_is_given_up(make_app: Any, chat_body: Any, scripted: Any) -> None:
    """The client leaves between the first piece and the first byte: nobody iterates the stream."""
    import json

    app = make_app(scripted)

    async def leave() -> None:
        body = json.dumps(chat_body("ENDLESS", stream=True)).encode()
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.sleep(30)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise OSError("gone")

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": CHAT,
            "raw_path": CHAT.encode(),
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "root_path": "",
        }
        task = asyncio.create_task(app(scope, receive, send))
        await asyncio.wait({task}, timeout=10)
        assert task.done()
        assert task.exception() is None or isinstance(task.exception(), Exception)
        until = time.monotonic() + 10
        while scripted.closed < 1:
            assert time.monotonic() < until, "the engine went on generating for nobody"
            await asyncio.sleep(0.01)

    asyncio.run(leave())
