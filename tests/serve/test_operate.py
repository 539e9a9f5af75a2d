"""The kill switch stops every door of a server that runs, and whatever hides the switch stops as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.records import UserError
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.operate import LONGEST_WHY, Operation, Stopped, report, start, stop, stopped

pytestmark = pytest.mark.anyio

Make = Callable[..., Any]


def test_the_switch_is_set_once_and_taken_away(tmp_path: Path) -> None:
    running = Operation(tmp_path)
    running.check()
    assert stopped(tmp_path) is None
    made = stop(tmp_path, "wrong\n red flags")
    assert made.why == "wrong red flags"
    assert stopped(tmp_path) == made == stop(tmp_path, "again")
    with pytest.raises(Stopped, match="was stopped by those responsible"):
        running.check()
    start(tmp_path, "mended")
    running.check()
    with pytest.raises(UserError, match="is not stopped"):
        start(tmp_path, "mended")


@pytest.mark.parametrize(("why", "sentence"), [(" \n", "say why with --why"), ("x" * (LONGEST_WHY + 1), "at most")])
def test_a_reason_is_needed(tmp_path: Path, why: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        stop(tmp_path, why)
    assert stopped(tmp_path) is None


def test_a_switch_that_cannot_be_read_is_set(tmp_path: Path) -> None:
    running = Operation(tmp_path)
    (tmp_path / "operation").mkdir()
    (tmp_path / "operation" / "stopped.json").write_bytes(b"\xff")
    with pytest.raises(Stopped):
        running.check()
    found = stopped(tmp_path)
    assert found is not None
    assert "cannot be read" in found.why
    (tmp_path / "operation" / "stopped.json").unlink()
    (tmp_path / "operation").rmdir()
    (tmp_path / "operation").write_text("a file in the way of its directory")
    with pytest.raises(Stopped, match="cannot be read"):
        running.check()


def test_another_release_stops_the_server_of_the_old_one(tmp_path: Path) -> None:
    running = Operation(tmp_path)
    (tmp_path / "served").symlink_to("operation/releases/a")
    with pytest.raises(Stopped, match="must be started anew"):
        running.check()
    Operation(tmp_path).check()


async def test_a_stopped_model_answers_nothing(
    tmp_path: Path, scripted: Any, make_app: Make, client_of: Make, chat_body: Make
) -> None:
    app = make_app(scripted, operation=Operation(tmp_path))
    async with client_of(app) as client:
        assert (await client.post("/v1/chat/completions", json=chat_body())).status_code == 200
        stop(tmp_path, "a reason")
        asked = len(scripted.prompts)
        refused = await client.post("/v1/chat/completions", json=chat_body())
        assert refused.status_code == 503
        assert "was stopped by those responsible for it" in refused.text
        assert len(scripted.prompts) == asked  # the engine saw nothing
        start(tmp_path, "a reason")
        assert (await client.post("/v1/chat/completions", json=chat_body())).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_under_way_is_never_finished(
    tmp_path: Path, scripted: Any, make_app: Make, client_of: Make, chat_body: Make, stream: bool
) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    app = make_app(scripted, operation=Operation(tmp_path), audit=audit)
    async with client_of(app) as client:
        answer = asyncio.ensure_future(client.post("/v1/chat/completions", json=chat_body("WAIT", stream=stream)))
        while not scripted.prompts:
            await asyncio.sleep(0.01)
        stop(tmp_path, "a reason")
        scripted.open_gate.set()
        got = await answer
    assert '"finish_reason":"stop"' not in got.text.replace(" ", "")
    assert got.status_code == 503 or "was stopped" in got.text
    audit.close()  # writes what waits
    assert [(row.kind, row.finish) for row in audit.rows(10)] == [("result", "unaudited"), ("request", "")]


def test_an_incident_is_a_row(tmp_path: Path) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    report(audit, "stopped", "a\nreason")
    (row,) = audit.rows(10)
    assert (row.kind, row.door, row.note) == ("incident", "operate", "stopped: a reason")
    audit.close()
    with pytest.raises(UserError, match=r"stopped is in force, but is not in the audit log"):
        report(audit, "stopped", "again")
