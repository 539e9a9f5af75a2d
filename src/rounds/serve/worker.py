"""One thread that generates, a bounded queue before it, and answers that can be given up.

The event loop never waits for the engine: a job's pieces come back over a queue. A job given up while it waits is
never started; one given up while it runs has its iterator closed before the next piece, which frees the engine's slot.
Left out on purpose: batching several jobs (a later matter of the engine), priorities, and retries.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field

from rounds.records import Delta, Prompt, Responder, Sampling, Trace, UserError

log = logging.getLogger("rounds.serve")

Stream = Callable[[Prompt, Sampling], Iterator[Delta | Trace]]


class Busy(Exception):
    """Too many wait already."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests are waiting; try again in {retry_after} s.")
        self.retry_after = retry_after
        """Whole seconds."""


class EngineFailed(Exception):
    """The engine broke on this request; the next ones go on. Says nothing of the prompt."""


@dataclass(slots=True, eq=False)
class Job:
    """One prompt on its way; iterate it for its pieces, then the Trace of each sample."""

    prompt: Prompt
    sampling: Sampling
    _loop: asyncio.AbstractEventLoop
    _events: asyncio.Queue[Delta | Trace | Exception | None] = field(default_factory=asyncio.Queue)
    _given_up: threading.Event = field(default_factory=threading.Event)

    @property
    def given_up(self) -> bool:
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Nobody waits for the rest. May be called from any thread, and more than once."""
        self._given_up.set()

    def put(self, event: Delta | Trace | Exception | None) -> None:
        """Hand over a piece, a fault, or None for the end; called by the worker's thread."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # the loop is closed: the server has gone
            self.give_up()

    async def __aiter__(self) -> AsyncIterator[Delta | Trace]:
        """Yield what was generated.

        Raises:
            UserError: the engine cannot take this prompt.
            EngineFailed: it broke.
        """
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event


class Worker:
    """Answers jobs one after the other in a thread of its own."""

    def __init__(self, responder: Responder, most_waiting: int) -> None:
        self._responder = responder
        # Streaming is optional (records.Streams): without it an answer comes in one piece.
        self._stream: Stream | None = getattr(responder, "stream", None)
        self._most_waiting = most_waiting
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._last_seconds = 1.0
        self._thread = threading.Thread(target=self._work, name="rounds-generation", daemon=True)

    @property
    def waiting(self) -> int:
        """Jobs not yet begun that somebody still waits for."""
        with self._changed:
            return sum(not job.given_up for job in self._waiting)

    @property
    def idle(self) -> bool:
        with self._changed:
            return self._running is None and not self._waiting

    def submit(self, prompt: Prompt, sampling: Sampling) -> Job:
        """Queue a prompt; to be called on the event loop that will read the job.

        Raises:
            Busy: too many wait already.
        """
        job = Job(prompt, sampling, asyncio.get_running_loop())
        with self._changed:
            self._waiting = deque(job for job in self._waiting if not job.given_up)
            if self._stopping or len(self._waiting) >= self._most_waiting:
                ahead = len(self._waiting) + 1
                raise Busy(min(60, max(1, math.ceil(ahead * self._last_seconds))))
            self._waiting.append(job)
            if self._thread.ident is None:  # with the first job, so that an unused application leaves no thread
                self._thread.start()
            self._changed.notify()
        return job

    def stop(self, seconds: float = 5.0) -> None:
        """Give up every job and wait for the thread, at most so long (an engine may not stop between two pieces)."""
        with self._changed:
            self._stopping = True
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                job.give_up()
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                job = self._running = self._waiting.popleft()
            started = time.monotonic()
            self._answer(job)
            if not job.given_up:
                self._last_seconds = time.monotonic() - started

    def _answer(self, job: Job) -> None:
        pieces = self._pieces(job)
        try:
            while not job.given_up and (piece := next(pieces, None)) is not None:
                job.put(piece)
            pieces.close()
            job.put(None)
        except UserError as error:
            job.put(error)
        except Exception as error:
            # The type only: a message or a traceback may hold words of the case.
            log.error("generation failed: %s", type(error).__name__)
            job.put(EngineFailed("the engine failed on this request; others go on."))

    def _pieces(self, job: Job) -> Generator[Delta | Trace, None, None]:
        if self._stream is not None and job.sampling.samples == 1:
            yield from self._stream(job.prompt, job.sampling)
        else:
            yield from self._responder.respond([job.prompt], job.sampling)
