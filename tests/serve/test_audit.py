"""The chain: what breaks it, what survives a crash, and that nothing is acknowledged that is not on the disk."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rounds.records import UserError
from rounds.serve.audit import FIRST, Audit, Entry, Row, Unaudited, digest_for, hash_of
from rounds.serve.audit_open import open_audit
from rounds.serve.audit_sqlite import SQLite

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.sqlite"


@pytest.fixture
def audit(file: Path) -> Iterator[Audit]:
    log = Audit(SQLite(file))
    yield log
    log.close()


def filled(audit: Audit, pairs: int) -> list[Row]:
    rows = []
    for number in range(pairs):
        for kind in ("request", "result"):
            rows.append(audit.append(Entry(kind=kind, request=f"r{number}", caller="local", door="chat")))
    return rows


def tamper(file: Path, statement: str) -> None:
    """What an owner of the file can do."""
    connection = sqlite3.connect(file)
    connection.executescript("DROP TRIGGER audit_no_change; DROP TRIGGER audit_no_removal;")
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_rows_continue_each_other(audit: Audit, file: Path) -> None:
    rows = filled(audit, 3)
    assert [row.sequence for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.previous for row in rows] == [FIRST, *(row.hash for row in rows[:-1])]
    assert audit.rows(2) == [rows[5], rows[4]]
    assert audit.verify().model_dump() == {
        "whole": True,
        "head": {"rows": 6, "hash": rows[5].hash, "time": rows[5].time},
        "fault": "",
        "unanswered": 0,
        "backwards": 0,
    }
    assert audit.head() == audit.verify().head
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_empty_log(audit: Audit) -> None:
    assert audit.verify().whole
    assert audit.head().model_dump() == {"rows": 0, "hash": FIRST, "time": ""}


def test_a_chain_goes_on_after_a_restart(file: Path) -> None:
    for _ in range(3):
        log = Audit(SQLite(file))
        filled(log, 1)
        log.close()
    assert Audit(SQLite(file, existing=True)).verify().head.rows == 6


async def test_many_at_once_share_commits(audit: Audit) -> None:
    entries = [Entry(kind="request", request=str(number)) for number in range(300)]
    rows = await asyncio.gather(*(audit.request(entry) for entry in entries))
    assert sorted(row.sequence for row in rows) == list(range(1, 301))
    found = await asyncio.to_thread(audit.verify)
    assert (found.whole, found.unanswered) == (True, 300)


def test_two_processes_keep_one_chain(file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rounds.serve.audit import *; "
        "from rounds.serve.audit_sqlite import SQLite; log = Audit(SQLite(Path(sys.argv[1])))\n"
        "for i in range(40): log.append(Entry(kind='incident', note=str(i)))\n"
        "log.close()"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(file)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    found = Audit(SQLite(file, existing=True)).verify()
    assert (found.whole, found.head.rows) == (True, 80)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit SET caller = 'nobody' WHERE sequence = 3", "row 3 was changed after it was written"),
        ("UPDATE audit SET caller = x'00ff' WHERE sequence = 3", "row 3 was changed after it was written"),
        ("UPDATE audit SET hash = '' WHERE sequence = 3", "row 3 was changed after it was written"),
        ("UPDATE audit SET previous = '' WHERE sequence = 3", "row 3 does not continue the row before it"),
        ("DELETE FROM audit WHERE sequence = 3", "row 3 is missing: row 4 follows row 2."),
        ("DELETE FROM audit WHERE sequence = 1", "row 1 is missing: row 2 follows nothing."),
        ("UPDATE audit SET sequence = 9 WHERE sequence = 4", "row 4 is missing: row 5 follows row 3."),
    ],
)
def test_tampering_is_found(audit: Audit, file: Path, statement: str, fault: str) -> None:
    filled(audit, 3)
    tamper(file, statement)
    found = audit.verify()
    assert not found.whole
    assert found.fault.startswith(fault)


def test_a_changed_row_with_a_new_hash_breaks_the_next(audit: Audit, file: Path) -> None:
    row = filled(audit, 3)[2].model_copy(update={"caller": "nobody"})
    tamper(file, f"UPDATE audit SET caller = 'nobody', hash = '{hash_of(row)}' WHERE sequence = 3")
    assert audit.verify().fault.startswith("row 4 does not continue the row before it")


@pytest.mark.parametrize("statement", ["UPDATE audit SET caller = 'x'", "DELETE FROM audit"])
def test_programs_cannot_change_or_remove(audit: Audit, file: Path, statement: str) -> None:
    filled(audit, 1)
    with sqlite3.connect(file) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()
    assert audit.verify().head.rows == 2


def test_requests_without_a_result_and_a_clock_put_back(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import datetime

    filled(audit, 2)

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2001, 1, 1, tzinfo=tz)

    monkeypatch.setattr("rounds.serve.audit.datetime", Earlier)
    audit.append(Entry(kind="request", request="cut off"))
    found = audit.verify()
    assert (found.whole, found.unanswered, found.backwards) == (True, 1, 1)


def test_digests_bind_a_text_to_its_request() -> None:
    assert digest_for("a", "fever") == digest_for("a", "fever")
    assert len({digest_for("a", "fever"), digest_for("b", "fever"), digest_for("a", "fe", "ver")}) == 3
    assert len(digest_for("a", "\ud800")) == 64


def test_a_log_that_cannot_grow_says_so_and_lives(audit: Audit, file: Path) -> None:
    filled(audit, 1)
    store: Any = audit.store
    pages = store._write.execute("PRAGMA page_count").fetchone()[0]
    store._write.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own full disk
    with pytest.raises(Unaudited, match=r"the audit log cannot be written .*full"):
        [audit.append(Entry(kind="incident", note="x" * 500)) for _ in range(50)]
    rows = audit.head().rows
    assert audit.verify().whole
    store._write.execute("PRAGMA max_page_count = 100000")
    assert audit.append(Entry(kind="incident")).sequence == rows + 1
    assert audit.verify().whole


def test_a_closed_log_takes_nothing(audit: Audit) -> None:
    filled(audit, 1)
    audit.close()
    with pytest.raises(Unaudited, match="closed"):
        audit.append(Entry(kind="incident"))


def test_reading_needs_no_right_to_write(audit: Audit, file: Path) -> None:
    filled(audit, 1)
    audit.close()
    reading = Audit(SQLite(file, existing=True))
    assert reading.verify().head.rows == 2
    with pytest.raises(Unaudited, match="opened for reading"):
        reading.append(Entry(kind="incident"))
    reading.close()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there; give the audit log of a server"):
        open_audit(str(tmp_path / "none.sqlite"), existing=True)
    with pytest.raises(UserError, match="is not there"):
        open_audit(str(tmp_path), existing=True)
    with pytest.raises(UserError, match=r"cannot be opened \(No such file"):
        open_audit(str(tmp_path / "no" / "where.sqlite"))
    (tmp_path / "text").write_text("hello" * 1000, encoding="utf-8")
    with pytest.raises(UserError, match="cannot be used as an audit log"):
        open_audit(str(tmp_path / "text"), existing=True)
    with pytest.raises(UserError, match="is neither a path nor postgresql://"):
        open_audit("mysql://user:secret@host/db")


APPENDING = """
import sys
from pathlib import Path
from rounds.serve.audit import Audit, Entry
from rounds.serve.audit_sqlite import SQLite
log = Audit(SQLite(Path(sys.argv[1])))
while True:
    row = log.append(Entry(kind="incident", note="n"))
    print(row.sequence, row.hash, flush=True)
"""


def test_nothing_acknowledged_is_lost_by_a_kill(file: Path) -> None:
    acknowledged: dict[int, str] = {}
    for strike in range(2):
        command = [sys.executable, "-c", APPENDING, str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for count, line in enumerate(process.stdout):
                if line.endswith("\n"):
                    sequence, known = line.split()
                    acknowledged[int(sequence)] = known
                if count == 3 + 7 * strike:
                    process.send_signal(signal.SIGKILL)
    log = Audit(SQLite(file, existing=True))
    assert log.verify().whole
    held = {row.sequence: row.hash for row in log.every()}
    assert acknowledged
    assert acknowledged.items() <= held.items()


FILLING = """
import resource, sys
from pathlib import Path
from rounds.serve.audit import Audit, Entry, Unaudited
from rounds.serve.audit_sqlite import SQLite
log = Audit(SQLite(Path(sys.argv[1])))
log.append(Entry(kind="incident"))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
try:
    for number in range(2000):
        last = log.append(Entry(kind="incident", note="x" * 400)).sequence
    sys.exit("the disk was never full")
except Unaudited as error:
    print(error)
assert log.fault
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
after = log.append(Entry(kind="incident", note="room again")).sequence
assert not log.fault
assert after == last + 1, (after, last)
log.close()
"""


def test_a_disk_that_fills_up_and_has_room_again(file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILLING, str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the audit log cannot be written (")
    assert Audit(SQLite(file, existing=True)).verify().whole


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(notes=st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_any_text_makes_a_whole_chain(audit: Audit, notes: list[str]) -> None:
    for note in notes:
        try:
            entry = Entry(kind="incident", note=note, caller="ä")
        except ValueError:  # pydantic refuses lone surrogates
            continue
        audit.append(entry)
    assert audit.verify().whole
