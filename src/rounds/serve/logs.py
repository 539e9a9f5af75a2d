"""Logs as one line of JSON each on stderr, made so that no case can get into them.

An exception is told by its type and the lines of code it passed, never by its message, which may repeat what was
asked; what remains is scrubbed of dates, numbers as long as a record's, telephone numbers and addresses of e-mail. The
scrub is the second fence: the first is that nothing here is ever given a case. Left out on purpose: files and their
rotation (journald or the service manager keeps stderr), and finding names, which patterns cannot do.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

SCRUBBED = (
    ("[e-mail]", re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+\.\w+")),
    ("[date]", re.compile(r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})\b")),
    (
        "[telephone]",
        re.compile(r"(?:\+|\b00)\d[\d ()/.-]{6,}\d|\b0\d{1,5}[ /-]\d[\d -]{3,}\d\b|\(\d{2,5}\) ?\d[\d -]{4,}\d"),
    ),
    ("[number]", re.compile(r"\d(?:[ -]?\d){5,}")),
)
"""Word put in the place of what a pattern finds, in this order."""

FIELDS = ("route", "status", "ms", "caller")
"""What a line may carry beside its message."""


def scrub(text: str) -> str:
    """A text without what could tell a person: dates, long numbers, telephone numbers, e-mail addresses."""
    for word, pattern in SCRUBBED:
        text = pattern.sub(word, text)
    return text


class Lines(logging.Formatter):
    """One line of JSON a record (the library asks for a subclass)."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, scrubbed message, and of an exception its type and lines of code."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name,
            "message": scrub(record.getMessage()),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["at"] = places(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False)


def places(passed: TracebackType | None) -> list[str]:
    """module:line of what an exception passed through, the innermost last; at most twelve."""
    return [f"{frame.f_globals.get('__name__', '?')}:{line}" for frame, line in traceback.walk_tb(passed)][-12:]


def configure(requests: bool, stream: TextIO | None = None) -> logging.Logger:
    """Send our own and the server's log lines to stderr; a line for every request only when asked for.

    Gives the logger that the HTTP server writes to.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines())
    ours = logging.getLogger("rounds")
    ours.handlers = [handler]
    ours.propagate = False
    ours.setLevel(logging.INFO if requests else logging.WARNING)
    # asyncio's own complaints name objects by their repr, which may hold what they were given.
    asyncio_logger = logging.getLogger("asyncio")
    asyncio_logger.handlers = [handler]
    asyncio_logger.propagate = False
    asyncio_logger.addFilter(_without_repr)
    # It warns of every piece sent to a client that has left: whoever leaves often could fill the disk with it.
    asyncio_logger.setLevel(logging.ERROR)
    # Its lines hold addresses, and addresses the ids of patients.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    server = logging.getLogger("rounds.serve.http")
    server.setLevel(logging.WARNING)
    return server


def _without_repr(record: logging.LogRecord) -> bool:
    record.msg, record.args = str(record.msg).split("\n", 1)[0][:200], ()
    return True


def note_request(fields: dict[str, Any]) -> None:
    """A line for one request; the route is its pattern, never the path that was asked."""
    logging.getLogger("rounds.serve").info("request", extra=fields)
