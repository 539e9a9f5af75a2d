"""The audit log: who asked what kind of thing when and what came of it, in a chain of hashes that nothing is cut from.

A row holds digests, never a case, a reply or a thought. One thread writes; rows that wait together are committed
together, so that many callers share one flush of the disk. What cannot be written raises `Unaudited`, and then nothing
is shown as finished. Each row's hash covers its fields and the hash of the row before (as RFC 6962's logs do with a
tree; a chain is enough for one writer): a changed, missing or swapped row breaks every later hash. Whoever owns the
database can still write a whole new chain: that is what signed heads, kept elsewhere, are for
(`rounds.serve.audit_head`). Left out on purpose: deleting, and keeping any text (`rounds.serve.store`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import queue
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Literal, Protocol, get_args

from pydantic import Field

from rounds.files import digest_of
from rounds.records import Record

log = logging.getLogger("rounds.serve")

Kind = Literal["request", "result", "refused", "incident", "opened"]
KINDS: tuple[str, ...] = get_args(Kind)

FIRST = "0" * 64
"""What stands before the first row."""

MOST_TOGETHER = 256
"""Rows of one commit."""
PAGE = 2_000
"""Rows read at once."""


class Unaudited(Exception):
    """The audit log cannot be written: nothing may be answered."""


class Entry(Record):
    """What is to be written; the log adds its place, time and hashes."""

    kind: Kind
    request: str = Field(default="", max_length=64)
    """Id that a request row and its result row share."""
    caller: str = Field(default="", max_length=128)
    door: str = Field(default="", max_length=32)
    """"chat", "diagnose", "page", "hook" ..."""
    prompt: str = Field(default="", max_length=64)
    """`digest_for` the request id and the prompt; of a record that was opened, and the patient."""
    reply: str = Field(default="", max_length=64)
    """`digest_for` the request id, the thoughts and the replies."""
    model: str = Field(default="", max_length=128)
    """Digest of the checkpoint."""
    passport: str = Field(default="", max_length=64)
    """Digest of the passport file, '' without one."""
    template: str = Field(default="", max_length=64)
    sampling: str = Field(default="", max_length=1024)
    """JSON of how tokens were drawn; of a schema its digest only."""
    finish: str = Field(default="", max_length=64)
    """Of each answer, with commas: stop, length; else left, refused, failed."""
    note: str = Field(default="", max_length=512)
    """Of an incident or a refusal, in our own or an officer's words; never of a case."""


class Row(Entry):
    """One line of the log."""

    sequence: int
    """1, 2, 3 ... without gaps: this, not the clock, is the order."""
    time: str
    """UTC by this machine's clock, which may jump."""
    previous: str
    """Hash of the row before."""
    hash: str


class Head(Record):
    """Where a chain stands."""

    rows: int
    hash: str
    time: str
    """Of the last row; '' of an empty log."""


class Check(Record):
    """What a whole reading of the chain found."""

    whole: bool
    head: Head
    """Up to the last sound row."""
    fault: str = ""
    """One sentence about the first broken row."""
    unanswered: int = 0
    """Requests without a result: under way now, or cut off when the machine or the server died."""
    backwards: int = 0
    """Rows whose time is before that of the row above them: the clock was put back."""


class Store(Protocol):
    """A place for rows: SQLite or PostgreSQL. Each method may be called from any thread."""

    place: str
    """Path or URL without its password."""

    def append(self, entries: Sequence[Entry]) -> list[Row]:
        """Seal and commit all in one transaction, or none. Raises Unaudited."""
        ...

    def page(self, after: int, most: int) -> list[Row]:
        """Rows whose sequence is above `after`, oldest first. Raises Unaudited when it cannot be read."""
        ...

    def newest(self, most: int) -> list[Row]:
        """The last rows, newest first. Raises Unaudited when it cannot be read."""
        ...

    def close(self) -> None: ...


def digest_for(request: str, *texts: str) -> str:
    """SHA-256 of texts, bound to the id of one request: the same case asked twice cannot be joined in the log."""
    whole = hashlib.sha256(request.encode())
    for text in texts:
        whole.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return whole.hexdigest()


def hash_of(row: Row) -> str:
    """SHA-256 of every field but the hash itself."""
    return digest_of(row.model_dump(exclude={"hash"}, warnings=False))


def seal(entry: Entry, sequence: int, previous: str) -> Row:
    """The row an entry becomes at this place of the chain."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    row = Row(**entry.model_dump(), sequence=sequence, time=now, previous=previous, hash="")
    return row.model_copy(update={"hash": hash_of(row)})


class Audit:
    """The log of one server: rows written in turn by one thread, off the event loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fault = ""
        """Why the last row could not be written; '' when it could."""
        self._queue: queue.SimpleQueue[tuple[Entry, Future[Row]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="rounds-audit", daemon=True)
        self._starting = threading.Lock()
        self._closed = False

    async def request(self, entry: Entry) -> Row:
        """Commit a request row before anything is generated.

        Raises:
            Unaudited: it could not be committed.
        """
        return await self._commit(entry)

    async def result(self, entry: Entry) -> Row:
        """Commit a result row before anything is shown as finished. Raises as `request`."""
        return await self._commit(entry)

    async def refused(self, caller: str, door: str, note: str) -> Row:
        """Commit that somebody was turned away. Raises as `request`."""
        return await self._commit(Entry(kind="refused", caller=caller, door=door, note=note))

    async def opened(self, caller: str, door: str, what: str) -> Row:
        """Commit that somebody looks for a patient, or opens a record, before it is done. Raises as `request`.

        The row holds the digest of `what`, bound to an id of its own as a prompt's is: whoever knows a patient's id can
        tell the rows that opened it.
        """
        request = uuid.uuid4().hex
        digest = digest_for(request, what)
        return await self._commit(Entry(kind="opened", request=request, caller=caller, door=door, prompt=digest))

    async def incident(self, caller: str, note: str, door: str = "") -> Row:
        """Commit something that happened: in an officer's words or ours, never a case's. Raises as `request`."""
        return await self._commit(Entry(kind="incident", caller=caller, door=door, note=note))

    def append(self, entry: Entry) -> Row:
        """Commit one row and wait for it; not for the event loop. Raises as `request`."""
        return self.later(entry).result()

    def later(self, entry: Entry) -> Future[Row]:
        """Hand a row over to be written; the future ends as `request` does."""
        with self._starting:
            if self._closed:
                raise Unaudited("the audit log is closed: the server stops.")
            if self._thread.ident is None:  # with the first row, so that reading needs no thread
                self._thread.start()
            waiting: Future[Row] = Future()
            self._queue.put((entry, waiting))
        return waiting

    def rows(self, newest: int = 100) -> list[Row]:
        """The last rows, newest first; not for the event loop.

        Raises:
            Unaudited: it cannot be read.
        """
        return self.store.newest(newest)

    def every(self) -> Iterator[Row]:
        """All rows, oldest first, page by page. Raises as `rows`."""
        after = 0
        while page := self.store.page(after, PAGE):
            yield from page
            after = max(row.sequence for row in page)

    def verify(self) -> Check:
        """Compute every hash anew; not for the event loop. Raises as `rows`."""
        return verify(self.every())

    def head(self) -> Head:
        """Where the chain stands, unchecked; not for the event loop. Raises as `rows`."""
        last = self.store.newest(1)
        return head_of(last[0] if last else None)

    def close(self) -> None:
        """Write what waits, then let go of the database."""
        with self._starting:
            self._closed = True
            running = self._thread.ident is not None
        if running:
            self._queue.put(None)
            self._thread.join()
        self.store.close()

    async def _commit(self, entry: Entry) -> Row:
        # Shielded: a caller that leaves now still gets its row.
        return await asyncio.shield(asyncio.wrap_future(self.later(entry)))

    def _write(self) -> None:
        while True:
            batch = []
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) == MOST_TOGETHER or self._queue.empty():
                    break
                item = self._queue.get()
            if batch:
                self._commit_together(batch)
            if item is None:
                return

    def _commit_together(self, batch: list[tuple[Entry, Future[Row]]]) -> None:
        try:
            rows = self.store.append([entry for entry, _ in batch])
        except Exception as error:
            known = (
                error if isinstance(error, Unaudited) else Unaudited(f"the audit log broke ({type(error).__name__}).")
            )
            self.fault = str(known)
            log.error("audit: %s", known)
            for _, waiting in batch:
                waiting.set_exception(known)
            return
        self.fault = ""
        for (_, waiting), row in zip(batch, rows, strict=True):
            waiting.set_result(row)


def head_of(last: Row | None) -> Head:
    """The head of a chain that ends with this row."""
    return Head(rows=last.sequence, hash=last.hash, time=last.time) if last else Head(rows=0, hash=FIRST, time="")


def verify(rows: Iterator[Row]) -> Check:
    """Follow a chain from its first row, and stop at the first that does not fit."""
    last: Row | None = None
    open_requests: set[str] = set()
    backwards = 0
    for row in rows:
        fault = _fault(row, last)
        if fault:
            return Check(whole=False, head=head_of(last), fault=fault, unanswered=len(open_requests))
        if row.kind == "request":
            open_requests.add(row.request)
        elif row.kind == "result":
            open_requests.discard(row.request)
        backwards += last is not None and row.time < last.time
        last = row
    return Check(whole=True, head=head_of(last), unanswered=len(open_requests), backwards=backwards)


def _fault(row: Row, last: Row | None) -> str:
    expected = last.sequence + 1 if last else 1
    if row.sequence != expected:
        return f"row {expected} is missing: row {row.sequence} follows {f'row {last.sequence}' if last else 'nothing'}."
    if row.previous != (last.hash if last else FIRST):
        return f"row {row.sequence} does not continue the row before it: one of the two was replaced."
    try:
        same = row.hash == hash_of(row)
    except (TypeError, ValueError):  # something was put there that no row holds
        same = False
    if not same:
        return f"row {row.sequence} was changed after it was written ({row.time}): its hash does not fit its fields."
    return ""
