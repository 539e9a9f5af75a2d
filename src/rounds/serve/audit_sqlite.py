"""The audit log in one SQLite file: write-ahead log, every commit flushed to the disk, and no row changed or deleted.

https://www.sqlite.org/pragma.html#pragma_synchronous (FULL in WAL mode flushes at each commit) and
https://www.sqlite.org/wal.html. Triggers stop programs, not an owner of the file: that is what the chain and its
signed heads are for. Left out on purpose: network file systems, on which SQLite's locks do not hold.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rounds.records import UserError
from rounds.serve.audit import FIRST, Entry, Row, Unaudited, seal

FIELDS = tuple(Row.model_fields)
COLUMNS = ", ".join(f'"{name}"' for name in FIELDS)

TABLE = f"""
CREATE TABLE IF NOT EXISTS audit (
    {", ".join(f'"{name}" TEXT NOT NULL' for name in FIELDS if name != "sequence")},
    "sequence" INTEGER PRIMARY KEY
);
CREATE TRIGGER IF NOT EXISTS audit_no_change BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_no_removal BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""

BUSY_SECONDS = 5.0
CACHE_KB = 256
"""Of pages a connection keeps: rows are appended, so it needs the last ones, and the default fills 2 MB first."""


class SQLite:
    """A `Store` in a file; several processes may share it, each append takes the write lock first."""

    def __init__(self, path: Path, *, existing: bool = False) -> None:
        """Open the file, or make it readable by its owner alone; `existing` refuses to make one.

        Raises:
            UserError: it cannot be opened or made, or is no audit log.
        """
        self.place = str(path)
        self._path = path
        self._lock = threading.Lock()
        self._write: sqlite3.Connection | None = None
        if existing and not path.is_file():
            raise UserError(f"{path}: is not there; give the audit log of a server (RUN_DIR/audit.sqlite).")
        try:
            if not existing:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
                self._write = self._connect()
                self._write.execute("PRAGMA journal_mode=WAL")
                self._write.executescript(TABLE)
            self.newest(1)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be opened ({error.strerror}); choose another place with --audit."
            ) from error
        except (sqlite3.Error, Unaudited) as error:
            self.close()
            raise UserError(f"{path}: cannot be used as an audit log ({error}); choose another place.") from error

    def append(self, entries: Sequence[Entry]) -> list[Row]:
        """Commit all or none. Raises Unaudited."""
        with self._lock:
            if self._write is None:
                raise Unaudited("the audit log was opened for reading.")
            try:
                self._write.execute("BEGIN IMMEDIATE")
                rows = list(self._sealed(self._write, entries))
                marks = ", ".join("?" * len(FIELDS))
                values = [tuple(row.model_dump().values()) for row in rows]
                self._write.executemany(f"INSERT INTO audit ({COLUMNS}) VALUES ({marks})", values)
                self._write.execute("COMMIT")
            except sqlite3.Error as error:
                with suppress(sqlite3.Error):
                    self._write.execute("ROLLBACK")
                raise Unaudited(f"the audit log cannot be written ({error}).") from error
        return rows

    def page(self, after: int, most: int) -> list[Row]:
        """Oldest first. Raises Unaudited."""
        return self._read('WHERE "sequence" > ? ORDER BY "sequence" LIMIT ?', (after, most))

    def newest(self, most: int) -> list[Row]:
        """Newest first. Raises Unaudited."""
        return self._read('ORDER BY "sequence" DESC LIMIT ?', (most,))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._write is not None:
                self._write.close()
                self._write = None

    def _sealed(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> Iterator[Row]:
        last = connection.execute('SELECT "sequence", "hash" FROM audit ORDER BY "sequence" DESC LIMIT 1').fetchone()
        sequence, previous = last or (0, FIRST)
        for entry in entries:
            row = seal(entry, sequence + 1, previous)
            yield row
            sequence, previous = row.sequence, row.hash

    def _connect(self, mode: str = "mode=rw") -> sqlite3.Connection:
        where = f"{self._path.resolve().as_uri()}?{mode}"
        connection = sqlite3.connect(where, BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KB}")
        return connection

    def _read(self, rest: str, values: tuple[int, ...]) -> list[Row]:
        try:
            with self._reading() as connection:
                found = connection.execute(f"SELECT {COLUMNS} FROM audit {rest}", values).fetchall()
        except sqlite3.Error as error:
            raise Unaudited(f"the audit log cannot be read ({error}).") from error
        return [Row.model_construct(**dict(zip(FIELDS, row, strict=True))) for row in found]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        # A log taken along on a read-only medium has no file for locks and needs none.
        still = (
            not os.access(self._path.parent, os.W_OK) and not self._path.with_name(f"{self._path.name}-wal").exists()
        )
        connection = self._connect("immutable=1" if still else "mode=ro")
        try:
            yield connection
        finally:
            connection.close()
