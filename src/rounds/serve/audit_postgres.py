"""The audit log in PostgreSQL: the same table and the same chain as in SQLite, by SQLAlchemy.

Appends of several servers take turns by an advisory lock; the database must have synchronous_commit on, which this
asks for in each session. Left out on purpose: making the database, roles and backups. The role that serves needs
INSERT and SELECT only, once another has made the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rounds.records import UserError
from rounds.serve.audit import FIRST, Entry, Row, Unaudited, seal

if TYPE_CHECKING:
    from sqlalchemy import Select

FIELDS = tuple(Row.model_fields)
LOCK = 0x726F756E6473
"""Any number that nobody else locks; the letters of "rounds"."""

APPEND_ONLY = (
    """CREATE OR REPLACE FUNCTION rounds_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$""",
    """CREATE OR REPLACE TRIGGER rounds_audit_no_change BEFORE UPDATE OR DELETE ON rounds_audit
    FOR EACH ROW EXECUTE FUNCTION rounds_audit_is_append_only()""",
    """CREATE OR REPLACE TRIGGER rounds_audit_no_emptying BEFORE TRUNCATE ON rounds_audit
    FOR EACH STATEMENT EXECUTE FUNCTION rounds_audit_is_append_only()""",
)


class PostgreSQL:
    """A `Store` in the table rounds_audit of a database."""

    def __init__(self, url: str, *, existing: bool = False) -> None:
        """Connect, and make the table unless `existing`.

        Raises:
            UserError: SQLAlchemy or psycopg is not installed, or the database cannot be reached or used.
        """
        import sqlalchemy as sql

        self._sql = sql
        address = sql.engine.make_url(url).set(drivername="postgresql+psycopg")
        self.place = address.render_as_string(hide_password=True)
        columns: list[Any] = [
            sql.Column(name, sql.BigInteger, primary_key=True, autoincrement=False)
            if name == "sequence"
            else sql.Column(name, sql.Text, nullable=False)
            for name in FIELDS
        ]
        self._table = sql.Table("rounds_audit", sql.MetaData(), *columns)
        options = {"connect_timeout": 5, "options": "-c synchronous_commit=on -c statement_timeout=10000"}
        try:
            self._engine = sql.create_engine(address, pool_pre_ping=True, connect_args=options)
            if not existing:
                self._make()
            self.newest(1)
        except ModuleNotFoundError as error:
            raise UserError(
                f'an audit log in PostgreSQL needs {error.name}; pip install "rounds[postgresql]".'
            ) from error
        except (sql.exc.SQLAlchemyError, Unaudited) as error:
            self.close()
            raise UserError(f"{self.place}: cannot be used as an audit log ({_kind(error)}); check it.") from error

    def append(self, entries: Sequence[Entry]) -> list[Row]:
        """Commit all or none. Raises Unaudited."""
        sql, table = self._sql, self._table
        try:
            with self._engine.begin() as connection:
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(LOCK)))
                newest = sql.select(table.c.sequence, table.c.hash).order_by(table.c.sequence.desc()).limit(1)
                last = connection.execute(newest).first()
                sequence, previous = (last.sequence, last.hash) if last else (0, FIRST)
                rows = []
                for entry in entries:
                    rows.append(seal(entry, sequence + 1, previous))
                    sequence, previous = rows[-1].sequence, rows[-1].hash
                connection.execute(sql.insert(table), [row.model_dump() for row in rows])
        except sql.exc.SQLAlchemyError as error:
            raise Unaudited(f"the audit log cannot be written ({_kind(error)}).") from error
        return rows

    def page(self, after: int, most: int) -> list[Row]:
        """Oldest first. Raises Unaudited."""
        column = self._table.c.sequence
        return self._read(self._sql.select(self._table).where(column > after).order_by(column).limit(most))

    def newest(self, most: int) -> list[Row]:
        """Newest first. Raises Unaudited."""
        return self._read(self._sql.select(self._table).order_by(self._table.c.sequence.desc()).limit(most))

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def _make(self) -> None:
        # Two servers that start together must not both make it.
        with self._engine.begin() as connection:
            connection.execute(self._sql.select(self._sql.func.pg_advisory_xact_lock(LOCK)))
            if not self._sql.inspect(connection).has_table(self._table.name):
                self._table.create(connection)
                for statement in APPEND_ONLY:
                    connection.execute(self._sql.text(statement))

    def _read(self, question: Select[Any]) -> list[Row]:
        try:
            with self._engine.connect() as connection:
                found = connection.execute(question).mappings().all()
        except self._sql.exc.SQLAlchemyError as error:
            raise Unaudited(f"the audit log cannot be read ({_kind(error)}).") from error
        return [Row.model_construct(**{name: row[name] for name in FIELDS}) for row in found]


def _kind(error: Exception) -> str:
    """What went wrong without the statement, whose values are a request's."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0][:200]}" if str(cause) else type(cause).__name__
