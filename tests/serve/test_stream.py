"""The stream of an answer: thoughts as they come, the list only when it is in the log, faults and silence told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rounds.records import Delta, Message, Prompt, Sampling, Trace
from rounds.serve.audit import Audit, Unaudited
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.stream import BEAT, events
from rounds.serve.worker import EngineFailed, Job

pytestmark = pytest.mark.anyio

PROMPT = Prompt(case_id="x", template="t@1", messages=(Message(role="user", content="x"),))


def read(text: str) -> list[tuple[str, Any]]:
    frames = [frame for frame in text.split("\n\n") if frame.startswith("event: ")]
    return [(head.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for head, data in
            (frame.split("\n") for frame in frames)]  # fmt: skip


async def test_of_a_real_request(make_app: Any, client_of: Any, scripted: Any, tmp_path: Path) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    async with client_of(make_app(scripted, audit=audit)) as client:
        response = await client.post("/stream", data={"case": "fever\nand cough"})
        rows = [(row.kind, row.door, row.finish) for row in reversed(audit.rows())]
    assert response.headers["content-type"].startswith("text/event-stream")
    told = read(response.text)
    assert [name for name, _ in told] == ["begun", *["thinking"] * 3, "writing", "answer"]
    assert "".join(data["text"] for name, data in told if name == "thinking").strip() == "Fever fits pneumonia."
    assert "Five diagnoses, likeliest first" in told[-1][1]["html"]
    assert "<html" not in told[-1][1]["html"]
    assert rows == [("request", "page", ""), ("result", "page", "stop")]


async def test_a_fault_in_mid_stream_is_told_and_logged(
    make_app: Any, client_of: Any, scripted: Any, tmp_path: Path
) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    async with client_of(make_app(scripted, audit=audit)) as client:
        response = await client.post("/stream", data={"case": "LATEBREAK secret"})
        await asyncio.sleep(0.2)
        rows = [(row.kind, row.finish) for row in reversed(audit.rows())]
    told = read(response.text)
    assert told[-1] == ("fault", {"sentence": "The engine failed on this request; others go on."})
    assert "answer" not in dict(told)
    assert "secret" not in response.text
    assert rows == [("request", ""), ("result", "failed")]


def job() -> Job:
    return Job(PROMPT, Sampling(), asyncio.get_running_loop())


def trace() -> Trace:
    return Trace(prompt=PROMPT, model="m", engine="e", sampling=Sampling(), thinking="", reply="r", finish="stop",
                 thinking_tokens=0, reply_tokens=1)  # fmt: skip


async def test_silence_is_filled_with_beats() -> None:
    waiting = job()

    async def done(traces: list[Trace]) -> str:
        await asyncio.sleep(0.15)
        return "<p>whole</p>"

    async def later() -> None:
        await asyncio.sleep(0.15)
        for piece in (Delta(thinking="so"), trace(), None):
            waiting.put(piece)

    talking = asyncio.create_task(later())
    written = [text async for text in events(waiting, done, lambda _: None, beat_seconds=0.03)]
    await talking
    thought = next(place for place, text in enumerate(written) if "thinking" in text)
    assert BEAT in written[:thought]  # while the model was silent
    assert BEAT in written[thought:]  # while the answer was read and recorded
    assert read("".join(written))[-1] == ("answer", {"html": "<p>whole</p>"})
    assert waiting.given_up


async def test_what_is_not_recorded_is_not_shown() -> None:
    waiting = job()
    ended: list[BaseException] = []

    async def done(traces: list[Trace]) -> str:
        raise Unaudited("the audit log cannot be written.")

    for piece in (Delta(reply="1. gout"), trace(), None):
        waiting.put(piece)
    written = "".join([text async for text in events(waiting, done, ended.append)])
    assert read(written)[-1] == ("fault", {"sentence": "The audit log cannot be written."})
    assert "gout" not in written
    assert [type(error) for error in ended] == [Unaudited]


async def test_closed_early_gives_the_job_up() -> None:
    waiting = job()
    ended: list[BaseException] = []

    async def done(traces: list[Trace]) -> str:
        return ""

    writing = events(waiting, done, ended.append)
    assert (await anext(writing)).startswith("event: begun")
    await writing.aclose()
    assert waiting.given_up
    assert [type(error) for error in ended] == [GeneratorExit]


async def test_no_whole_answer() -> None:
    waiting = job()
    ended: list[BaseException] = []

    async def done(traces: list[Trace]) -> str:
        return ""

    waiting.put(None)
    written = "".join([text async for text in events(waiting, done, ended.append)])
    assert read(written)[-1][0] == "fault"
    assert [type(error) for error in ended] == [EngineFailed]
