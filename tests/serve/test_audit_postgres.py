"""The same log in a real PostgreSQL, started here from the package of the system."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rounds.records import UserError
from rounds.serve.audit import Audit, Entry, Unaudited
from rounds.serve.audit_open import open_audit

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def _account() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL does not run as root and there is no account 'postgres'")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if not SERVERS:
        pytest.skip("PostgreSQL is not installed (/usr/lib/postgresql/*/bin/postgres): its audit log was not tested")
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    programs, account = SERVERS[-1].parent, _account()
    home = Path(tempfile.mkdtemp(prefix="rounds-postgres-"))
    if account:
        shutil.chown(home, account)
    as_user: dict[str, Any] = {"user": account} if account else {}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": home, **as_user}
    made = [str(programs / "initdb"), "-D", str(home / "data"), "-U", "rounds", "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, timeout=120, **quiet)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # fsync stays as it is by default: the log counts on it.
    command = [str(programs / "postgres"), "-D", str(home / "data"), "-p", str(port), "-k", str(home)]
    process = subprocess.Popen([*command, "-c", "listen_addresses=127.0.0.1"], **quiet)
    try:
        yield f"postgresql://rounds@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # its word for "now, whoever is connected"
        process.wait(30)
        shutil.rmtree(home)


def ready(url: str) -> Audit:
    """The log once the server answers."""
    until = time.monotonic() + 30
    while True:
        try:
            return open_audit(url)
        except UserError:
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.2)


def execute(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def test_the_same_chain(server: str) -> None:
    import psycopg

    audit, second = ready(server), ready(server)
    for number in range(5):
        audit.append(Entry(kind="request", request=str(number), caller="ward 3", note="ä\n"))
        second.append(Entry(kind="result", request=str(number)))
    found = audit.verify()
    assert (found.whole, found.head.rows, found.unanswered) == (True, 10, 0)
    assert [row.sequence for row in audit.rows(2)] == [10, 9]
    for statement in ("UPDATE rounds_audit SET caller = 'x'", "DELETE FROM rounds_audit", "TRUNCATE rounds_audit"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            execute(server, statement)
    execute(
        server, "ALTER TABLE rounds_audit DISABLE TRIGGER USER; UPDATE rounds_audit SET caller='x' WHERE sequence=4"
    )
    reading = open_audit(server, existing=True)
    assert reading.verify().fault.startswith("row 4 was changed after it was written")
    execute(server, "DROP TABLE rounds_audit")
    with pytest.raises(Unaudited, match="cannot be written"):
        audit.append(Entry(kind="incident"))
    with pytest.raises(Unaudited, match="cannot be read"):
        audit.rows()
    with pytest.raises(UserError, match="cannot be used as an audit log"):
        open_audit(server, existing=True)
    for log in (audit, second, reading):
        log.close()


def test_an_unreachable_server_keeps_its_password() -> None:
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    with pytest.raises(UserError, match="cannot be used as an audit log") as refused:
        open_audit("postgresql://rounds:secretword@127.0.0.1:1/none")
    assert "secretword" not in str(refused.value)
