"""Where hooks leave their questions: a hook never waits, so its case is answered behind it, once for equal records.

A case is known by the digest of patient, record, template, model and engine: the same record opened twice is one case,
one changed value makes another. One case at a time goes through the ward's queue, so that hooks leave room for people
who wait before a screen; the newest goes first, as somebody looks at that record now. A full tray drops the oldest,
answered or not, so a hook is never turned away. Everything here expires and nothing is written to the disk; the audit
log has its rows. Left out on purpose: keeping answers over a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar

from rounds.records import UserError
from rounds.serve.audit import Unaudited
from rounds.serve.fhir import Chart
from rounds.serve.keys import Caller
from rounds.serve.worker import Busy, EngineFailed

log = logging.getLogger("rounds.serve")

A = TypeVar("A")

MOST_CASES = 256
SECONDS = 1800.0
"""A card, its link and its answer are good for half an hour: a record changes."""


@dataclass(slots=True, eq=False)
class Asking(Generic[A]):
    """One case on the tray."""

    key: str
    text: str = field(repr=False)
    chart: Chart = field(repr=False)
    caller: Caller
    expires: float
    asked_at: datetime
    state: Literal["waiting", "running", "ready", "failed"] = "waiting"
    answer: A | None = field(default=None, repr=False)
    fault: str = ""
    """One sentence, for a case that failed."""


@dataclass(slots=True, eq=False)
class Ticket(Generic[A]):
    """One card given to one caller: its id and the secret of its link."""

    card: str
    token: str = field(repr=False)
    asking: Asking[A]
    caller: str
    by_token: bool
    """The caller was a system with a signed token; who opens its link is a person with a key or a session."""
    opened_by: str = ""


class Tray(Generic[A]):
    """The cases of one server; to be used on its event loop."""

    def __init__(
        self,
        answer: Callable[[str, Caller], Awaitable[A]],
        *,
        most: int = MOST_CASES,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer = answer
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._cases: dict[str, Asking[A]] = {}
        self._tickets: dict[tuple[str, str, bool], Ticket[A]] = {}
        self._by_case: dict[str, list[tuple[str, str, bool]]] = {}
        self._links: dict[bytes, Ticket[A]] = {}
        self._runner: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._cases)

    def ask(self, key: str, chart: Chart, caller: Caller) -> Asking[A]:
        """The case of this key; a new one is answered as soon as its turn comes. One that failed is asked anew."""
        self._expire()
        known = self._cases.get(key)
        if known is not None and known.state != "failed":
            return known
        if known is not None:
            self._drop(key)
        self._make_room()
        now = datetime.now(UTC)
        asking: Asking[A] = Asking(key, chart.text, chart, caller, self._clock() + self._seconds, now)
        self._cases[key] = asking
        if self._runner is None or self._runner.done():
            self._runner = asyncio.get_running_loop().create_task(self._work())
        return asking

    def ticket(self, asking: Asking[A], caller: Caller, by_token: bool) -> Ticket[A]:
        """The card of a case for a caller: the same one until the answer is there, then a new one."""
        name = (asking.key, caller.name, asking.state == "ready")
        known = self._tickets.get(name)
        if known is not None:
            return known
        made = Ticket(str(uuid.uuid4()), secrets.token_urlsafe(32), asking, caller.name, by_token)
        self._tickets[name] = made
        self._by_case.setdefault(asking.key, []).append(name)
        self._links[_fingerprint(made.token)] = made
        return made

    def open(self, token: str, caller: Caller) -> Ticket[A] | None:
        """What a link leads to; None for an unknown, expired or somebody else's link, without saying which.

        The link of a system's card belongs to the person who opens it first.
        """
        self._expire()
        ticket = self._links.get(_fingerprint(token))
        if ticket is None or "diagnose" not in caller.scopes:
            return None
        if not ticket.by_token:
            return ticket if caller.name == ticket.caller else None
        ticket.opened_by = ticket.opened_by or caller.name
        return ticket if ticket.opened_by == caller.name else None

    def left(self, asking: Asking[A]) -> float:
        """Seconds until a case expires."""
        return max(0.0, asking.expires - self._clock())

    def _make_room(self) -> None:
        if len(self._cases) >= self._most:
            # Not one that waits before one that is answered: where all older ones are answered, that is the record
            # somebody has just opened.
            idle = (key for key, asking in self._cases.items() if asking.state != "running")
            self._drop(next(idle, None) or next(iter(self._cases)))

    def _expire(self) -> None:
        now = self._clock()
        # In the order they were made, which is that in which they expire.
        for key, asking in list(self._cases.items()):
            if asking.expires > now:
                return
            self._drop(key)

    def _drop(self, key: str) -> None:
        for name in self._by_case.pop(key, []):
            ticket = self._tickets.pop(name)
            del self._links[_fingerprint(ticket.token)]
        del self._cases[key]

    async def _work(self) -> None:
        while True:
            self._expire()
            asking = next((one for one in reversed(self._cases.values()) if one.state == "waiting"), None)
            if asking is None:
                return
            asking.state = "running"
            try:
                asking.answer = await self._answer(asking.text, asking.caller)
                asking.state = "ready"
            except Busy as busy:
                asking.state = "waiting"
                await asyncio.sleep(busy.retry_after)
            except (UserError, EngineFailed, Unaudited) as error:
                asking.state, asking.fault = "failed", str(error)
            except Exception as error:
                # The type only: a message may hold words of the case.
                log.error("a hook's case failed: %s", type(error).__name__)
                asking.state, asking.fault = "failed", "the answer failed; type the case into the page instead."


def _fingerprint(token: str) -> bytes:
    """What a token is looked up by, so that the time of a look-up tells nothing of the token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
