"""Answers given up: waiting ones are never started, running ones are closed, others are not touched."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import httpx
import pytest

from rounds.records import Message, Prompt, Sampling, Trace
from rounds.serve.worker import Busy, EngineFailed, Worker

pytestmark = pytest.mark.anyio


def prompt(text: str) -> Prompt:
    return Prompt(case_id="x", template="", messages=(Message(role="user", content=text),))


async def eventually(condition: Any, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "never came true"
        await asyncio.sleep(0.005)


async def test_given_up_while_waiting_is_never_started(scripted: Any) -> None:
    worker = Worker(scripted, most_waiting=2)
    worker.submit(prompt("WAIT"), Sampling())
    await eventually(lambda: scripted.prompts)
    gone = worker.submit(prompt("gone"), Sampling())
    kept = worker.submit(prompt("kept"), Sampling())
    with pytest.raises(Busy):
        worker.submit(prompt("one too many"), Sampling())
    gone.give_up()
    assert worker.waiting == 1
    later = worker.submit(prompt("later"), Sampling())  # its place is free at once
    scripted.open_gate.set()
    for job in (kept, later):
        assert isinstance([piece async for piece in job][-1], Trace)
    assert [p.messages[0].content for p in scripted.prompts] == ["WAIT", "kept", "later"]
    worker.stop()


async def test_given_up_while_running_frees_the_engine(scripted: Any) -> None:
    worker = Worker(scripted, most_waiting=2)
    job = worker.submit(prompt("ENDLESS"), Sampling())
    pieces = aiter(job)
    await anext(pieces)
    assert not worker.idle
    job.give_up()
    await eventually(lambda: scripted.closed == 1)
    await eventually(lambda: worker.idle)
    worker.stop()


async def test_stop_ends_everything(scripted: Any) -> None:
    worker = Worker(scripted, most_waiting=2)
    worker.submit(prompt("ENDLESS"), Sampling())
    waiting = worker.submit(prompt("waiting"), Sampling())
    await eventually(lambda: scripted.pieces)
    await asyncio.to_thread(worker.stop)
    assert waiting.given_up
    assert scripted.closed == 1
    with pytest.raises(Busy):
        worker.submit(prompt("after"), Sampling())


async def test_retry_after_follows_the_length_of_the_queue(scripted: Any) -> None:
    worker = Worker(scripted, most_waiting=0, at_once=0)
    with pytest.raises(Busy) as busy:
        worker.submit(prompt("x"), Sampling())
    assert busy.value.retry_after == 1
    worker.stop()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_engine(
    make_app: Any, serve: Any, chat_body: Any, scripted: Any, stream: bool
) -> None:
    """Over a real socket, before the first piece (queued), and in the middle; the next answer is untouched."""
    with serve(make_app(scripted)) as url, httpx.Client(base_url=url, timeout=0.3) as client:
        if stream:
            with client.stream("POST", "/v1/chat/completions", json=chat_body("ENDLESS", stream=True)) as response:
                assert next(response.iter_text()).startswith("data: ")
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/chat/completions", json=chat_body("ENDLESS"))
        deadline = time.monotonic() + 5
        while scripted.closed < 1:
            assert time.monotonic() < deadline, "the engine went on generating for nobody"
            time.sleep(0.01)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=chat_body("WAIT for the gate"))
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=chat_body("queued, then left", stream=stream))
        while httpx.get(f"{url}/health").json()["waiting"]:
            assert time.monotonic() < deadline + 5, "a client that left still waits in the queue"
            time.sleep(0.01)
        scripted.open_gate.set()
        answer = httpx.post(f"{url}/v1/chat/completions", json=chat_body("mine"), timeout=10).json()
    assert answer["choices"][0]["message"]["content"].startswith("1. pneumonia")
    assert [p.messages[0].content for p in scripted.prompts] == ["ENDLESS", "WAIT for the gate", "mine"]


def test_a_hundred_clients_that_leave(make_app: Any, serve: Any, chat_body: Any, scripted: Any) -> None:
    async def leave(client: httpx.AsyncClient, number: int) -> None:
        # A limit on the whole exchange: httpx's own is on each read, and an endless stream meets it for ever.
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05 + 0.01 * (number % 7)):
                content = chat_body(f"ENDLESS {number}", stream=bool(number % 2))
                await client.post("/v1/chat/completions", json=content)

    async def everyone(url: str) -> int:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            await asyncio.gather(*(leave(client, number) for number in range(100)))
            deadline = time.monotonic() + 10
            while (await client.get("/health")).json()["waiting"]:
                assert time.monotonic() < deadline
            response = await client.post("/v1/chat/completions", json=chat_body("mine"))
            return response.status_code

    with serve(make_app(scripted, most_waiting=200)) as url:
        assert asyncio.run(everyone(url)) == 200
    assert scripted.closed == len(scripted.prompts)


async def test_what_piles_up_comes_as_one_piece(scripted: Any) -> None:
    worker = Worker(scripted, most_waiting=1)
    job = worker.submit(prompt("fever"), Sampling())
    await eventually(lambda: scripted.closed == 1)
    await asyncio.sleep(0)
    first, last = [piece async for piece in job.merged()]
    assert (first.thinking, first.reply[:12]) == ("Fever fits pneumonia. ", "1. pneumonia")
    assert isinstance(last, Trace)
    broken = worker.submit(prompt("LATEBREAK"), Sampling())
    with pytest.raises(EngineFailed):
        [piece async for piece in broken.merged()]
    worker.stop()
