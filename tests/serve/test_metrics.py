"""Metrics, logs and the canary: figures go out, words of a case do not."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from rounds.serve import logs
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
CANARY = "Zebediah Quillfeather"


@pytest.fixture
def lines() -> Any:
    """What goes to stderr, and the loggers as they were afterwards."""
    kept = {
        name: (
            logger := logging.getLogger(name),
            list(logger.handlers),
            logger.propagate,
            logger.level,
            list(logger.filters),
        )
        for name in ("rounds", "asyncio")
    }
    out = io.StringIO()
    logs.configure(requests=True, stream=out)
    yield out
    for logger, handlers, propagate, level, filters in kept.values():
        logger.handlers, logger.propagate, logger.filters = handlers, propagate, filters
        logger.setLevel(level)


async def test_no_word_of_a_case_leaves(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any, tmp_path: Path, lines: io.StringIO
) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    said: list[str] = []
    async with client_of(make_app(scripted, audit=audit, log_requests=True)) as client:
        for text in (CANARY, f"EARLYBREAK {CANARY}", f"LATEBREAK {CANARY}", f"HALF {CANARY}", f"TOOLONG {CANARY}"):
            for stream in (False, True):
                await client.post(CHAT, json=chat_body(text, stream=stream))
        for text in (CANARY, f"LATEBREAK {CANARY}"):
            await client.post("/v1/diagnose", json={"case": text})
            await client.post("/", data={"case": text})
        for body in ({CANARY: CANARY}, chat_body(CANARY, temperature=CANARY), [CANARY], {"case": {CANARY: 1}}):
            for path in (CHAT, "/v1/diagnose"):
                said.append((await client.post(path, json=body)).text)
        said.append((await client.get(f"/{CANARY}?q={CANARY}", headers={"user-agent": CANARY})).text)
        said.append((await client.get(f"/v1/models/{CANARY}")).text)
        said.append((await client.post(CHAT, content=CANARY, headers={"content-type": CANARY})).text)
        figures = (await client.get("/metrics")).text
        missing = (await client.get("/nothing/here")).status_code
    audit.close()
    assert missing == 404
    log = lines.getvalue()
    assert '"route": "/v1/chat/completions"' in log
    for line in log.splitlines():
        json.loads(line)
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir()).decode("latin-1")
    for where, text in {"log": log, "metrics": figures, "faults": "".join(said), "disk": on_disk}.items():
        for word in ("Zebediah", "Quillfeather", "zebediah"):
            assert word not in text, where


async def test_figures(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        await client.post(CHAT, json=chat_body())
        await client.post(CHAT, json=chat_body(n=2))
        await client.post(CHAT, json=chat_body("EARLYBREAK"))
        for path in ("/a", "/b", "/c"):
            await client.get(path)
        figures = (await client.get("/metrics")).text
        ready = await client.get("/ready")
    for line in (
        'rounds_requests_total{method="POST",route="/v1/chat/completions",status="200"} 2.0',
        'rounds_requests_total{method="GET",route="none",status="404"} 3.0',
        'rounds_answers_total{door="chat",finish="stop"} 3.0',
        'rounds_answers_total{door="chat",finish="failed"} 1.0',
        'rounds_tokens_total{kind="thinking"} 21.0',
        "rounds_waiting 0.0",
        'rounds_standing{standing="demonstration"} 1.0',
    ):
        assert line in figures.splitlines(), line
    assert "rounds_audit_seconds_count 3.0" in figures
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "why": ""})


async def test_a_full_queue_is_counted(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted, most_waiting=0, at_once=0)) as client:
        assert (await client.post(CHAT, json=chat_body())).status_code == 429
        assert 'rounds_turned_away_total{why="busy"} 1.0' in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("born 1958-03-04, seen 3.4.2026 and 12/31/99", "born [date], seen [date] and [date]"),
        ("write to a.b@ward.example now", "write to [e-mail] now"),
        ("record 4711 0815 42 of ward 12", "record [number] of ward 12"),
        ("call +49 30 1234-5678 or 030 1234567", "call [telephone] or [telephone]"),
        ("3 of 110 cases, port 8000, status 503", "3 of 110 cases, port 8000, status 503"),
    ],
)
def test_scrubbing(text: str, kept: str) -> None:
    assert logs.scrub(text) == kept


def test_an_exception_is_told_by_its_place_alone(lines: io.StringIO) -> None:
    try:
        raise ValueError(f"bad input: {CANARY}")
    except ValueError:
        logging.getLogger("rounds.serve.http").exception("Error in ASGI Framework")
    line = json.loads(lines.getvalue())
    assert line["error"] == "ValueError"
    assert line["message"] == "Error in ASGI Framework"
    assert line["at"][0].rpartition(":")[0].endswith("test_metrics")
    assert CANARY not in lines.getvalue()
