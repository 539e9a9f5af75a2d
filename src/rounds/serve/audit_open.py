"""Which audit log a name means: a file, a run that holds one, or a PostgreSQL database.

Left out on purpose: other databases, whose durability was not tested.
"""

from __future__ import annotations

from pathlib import Path

from rounds.records import UserError
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite

FILE = "audit.sqlite"
"""Beside what is served."""
URLS = ("postgresql://", "postgresql+psycopg://")


def open_audit(place: str, *, existing: bool = False) -> Audit:
    """The log at a path, in a run directory, or at a URL; `existing` only reads what is there.

    Raises:
        UserError: nothing there, or it cannot be used.
    """
    if place.startswith(URLS):
        from rounds.serve.audit_postgres import PostgreSQL

        return Audit(PostgreSQL(place, existing=existing))
    if "://" in place:
        raise UserError(
            f"audit log '{place.split('://')[0]}://…' is neither a path nor postgresql://; give one of them."
        )
    path = Path(place)
    return Audit(SQLite(path / FILE if path.is_dir() else path, existing=existing))
