"""Hosts, origins, sizes and slowness, at the gate and over a real socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
ALMOST = (
    "a@localhost",
    "localhost/..",
    "localhost?",
    "localhost#a",
    "localhost:80:80",
    "localhost:x",
    "localhost:123456",
)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:9", "LOCALHOST", "[::1]:8000"])
async def test_own_hosts(make_app: Any, client_of: Any, scripted: Any, host: str) -> None:
    async with client_of(make_app(scripted)) as client:
        assert (await client.get("/health", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "0.0.0.0", "", "[", "a@b", *ALMOST]
)
async def test_other_hosts_are_refused(make_app: Any, client_of: Any, scripted: Any, host: str) -> None:
    async with client_of(make_app(scripted)) as client:
        for path in ("/health", "/", "/v1/models"):
            response = await client.get(path, headers={"host": host})
            assert response.status_code == 421
            assert "127.0.0.1" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("http://127.0.0.1:3000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
async def test_pages_of_other_origins_are_refused(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any, origin: str, status: int
) -> None:
    async with client_of(make_app(scripted)) as client:
        assert (await client.post("/", data={"case": "x"}, headers={"origin": origin})).status_code == status
        assert (await client.post(CHAT, json=chat_body(), headers={"origin": origin})).status_code == status


async def test_strict_headers_on_every_answer(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        answers = [
            await client.get("/"),
            await client.get("/nothing"),
            await client.get("/health", headers={"host": "evil.example"}),
            await client.post(CHAT, content=b"{", headers={"content-type": "application/json"}),
        ]
        style = await client.get("/static/style.css")
    for answer in answers:
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    assert style.headers.get_list("cache-control") == ["no-cache"]


async def test_body_size(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async def pieces(count: int) -> Any:
        for _ in range(count):
            yield b"x" * 100

    async with client_of(make_app(scripted, body_limit=1000)) as client:
        assert (await client.post(CHAT, json=chat_body("x" * 500))).status_code == 200
        stated = await client.post(CHAT, json=chat_body("x" * 1000))
        chunked = await client.post(CHAT, content=pieces(11), headers={"content-type": "application/json"})
        page = await client.post("/", data={"case": "x" * 1000})
    assert [answer.status_code for answer in (stated, chunked, page)] == [413] * 3
    assert stated.json()["error"]["message"] == "the body is larger than 1000 bytes."
    assert len(scripted.prompts) == 1


def test_large_bodies_over_a_socket(make_app: Any, serve: Any, scripted: Any, exchange: Any) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    json_type = b"Content-Type: application/json\r\n"
    megabyte = b"x" * 2**20
    with serve(make_app(scripted)) as url:
        stated = exchange(url, head + json_type + b"Content-Length: 1048576\r\n\r\n" + megabyte)
        chunk = b"100000\r\n" + megabyte + b"\r\n"
        chunked = exchange(url, head + json_type + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
        wrong = exchange(url, head + json_type + b"Content-Length: -5\r\n\r\n")
        two_lengths = exchange(url, head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx")
        many_headers = exchange(url, head + b"X-Much: " + b"y" * 70_000 + b"\r\n\r\n")
    assert stated.startswith(b"HTTP/1.1 413")
    assert chunked.startswith(b"HTTP/1.1 413")
    for answer in (wrong, two_lengths, many_headers):
        assert answer.startswith(b"HTTP/1.1 4")


@contextmanager
def slow_clients(url: str) -> Iterator[tuple[list[socket.socket], socket.socket]]:
    """Fifty that stop in the middle of a header, and one in the middle of its body."""
    address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
    with ExitStack() as stack:
        half_headers = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(50)]
        for connection in half_headers:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
        half_body = stack.enter_context(socket.create_connection(address, timeout=5))
        half_body.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab")
        yield half_headers, half_body


def test_slow_clients_hinder_nobody(make_app: Any, serve: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    monkeypatch.setattr("rounds.serve.listen.HEADER_SECONDS", 60)
    with serve(make_app(scripted, body_seconds=60)) as url, slow_clients(url):
        # Whoever waited for them would wait a minute.
        assert httpx.get(f"{url}/health", timeout=5).status_code == 200


def test_slow_clients_are_dropped(make_app: Any, serve: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rounds.serve.listen.HEADER_SECONDS", 0.6)
    with serve(make_app(scripted, body_seconds=0.6)) as url, slow_clients(url) as (half_headers, half_body):
        assert half_body.recv(4096).startswith(b"HTTP/1.1 408")
        assert [connection.recv(1) for connection in half_headers] == [b""] * 50


def test_an_answer_may_take_longer_than_any_read_limit(
    make_app: Any, serve: Any, chat_body: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    import httpx

    monkeypatch.setattr("rounds.serve.listen.HEADER_SECONDS", 0.3)
    with serve(make_app(scripted, body_seconds=0.3)) as url:
        threading.Timer(1.5, scripted.open_gate.set).start()
        answer = httpx.post(f"{url}{CHAT}", json=chat_body("WAIT"), timeout=10)
    assert answer.status_code == 200


def test_what_is_under_way_is_finished_before_the_server_stops(
    make_app: Any, serve: Any, chat_body: Any, scripted: Any
) -> None:
    import threading

    import httpx

    answers = []
    with serve(make_app(scripted), drain_seconds=10) as url:
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}{CHAT}", json=chat_body("WAIT"), timeout=20))
        )
        asking.start()
        while not scripted.prompts:
            time.sleep(0.01)
        threading.Timer(0.7, scripted.open_gate.set).start()
    asking.join(10)
    assert [answer.status_code for answer in answers] == [200]


def test_a_server_stops_though_an_answer_does_not_end(make_app: Any, serve: Any, chat_body: Any, scripted: Any) -> None:
    import httpx

    server = serve(make_app(scripted), drain_seconds=0.5)
    url = server.__enter__()
    with httpx.stream("POST", f"{url}{CHAT}", json=chat_body("ENDLESS", stream=True), timeout=20) as response:
        pieces = response.iter_text()
        next(pieces)
        started = time.monotonic()
        server.__exit__(None, None, None)  # told to stop while this client reads on
        assert 0.4 < time.monotonic() - started < 10
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in pieces:
                pass
    assert scripted.closed == 1


async def test_a_client_that_reads_nothing_is_given_up() -> None:
    import asyncio

    from rounds.serve.gate import Gate
    from rounds.serve.session import Callers

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def stuck(message: Any) -> None:
        await asyncio.sleep(30)

    gate = Gate(app, frozenset({"localhost"}), Callers(None, None), 100, 1.0, send_seconds=0.05)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gate(scope, receive, stuck), 5)
