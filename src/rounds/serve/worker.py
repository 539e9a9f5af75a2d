"""Threads that generate, a bounded queue before them, and answers that can be given up.

The event loop never waits for the engine: a job's pieces come back over a queue. A job given up while it waits is
never started; one given up while it runs has its iterator closed before the next piece, which frees the engine's slot.
Left out on purpose: batching (threads that stream side by side share the engine's own batch), priorities, and retries.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from rounds.records import Delta, Prompt, Responder, Sampling, Trace, UserError

log = logging.getLogger("rounds.serve")

NICE = 10
"""Of the threads that generate; the event loop has 0."""
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
    _pending: list[Delta | Trace | Exception | None] = field(default_factory=list)
    """Handed over by the thread, not yet seen by the loop."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    ready: bool = False
    """False while its place is only reserved."""

    @property
    def given_up(self) -> bool:
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Nobody waits for the rest. May be called from any thread, and more than once."""
        self._given_up.set()

    def put(self, event: Delta | Trace | Exception | None) -> None:
        """Hand over a piece, a fault, or None for the end; called by the worker's thread.

        The loop is woken once for all that piles up before it comes: each waking costs this thread its turn.
        """
        with self._lock:
            self._pending.append(event)
            if len(self._pending) > 1:
                return
        try:
            self._loop.call_soon_threadsafe(self._take)
        except RuntimeError:  # the loop is closed: the server has gone
            self.give_up()

    def _take(self) -> None:
        with self._lock:
            events, self._pending = self._pending, []
        for event in events:
            self._events.put_nowait(event)

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

    async def merged(self) -> AsyncIterator[Delta | Trace]:
        """As iterating, but what has piled up while the last piece was sent comes as one. Raises likewise."""
        held: Delta | None = None
        while True:
            if held is not None and self._events.empty():
                yield held
                held = None
                continue
            event = await self._events.get()
            if isinstance(event, Delta):
                before = held or Delta()
                held = Delta(
                    thinking=before.thinking + event.thinking,
                    reply=before.reply + event.reply,
                    tokens=before.tokens + event.tokens,
                )
                continue
            if held is not None:
                yield held
                held = None
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event


def step_back() -> None:
    """Let this thread yield to others, and with it those it starts, such as an engine's: Linux has a nice a thread.

    So an engine may have every core, and the loop that answers a hook still comes first.
    """
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


class Worker:
    """Answers jobs in the order of their places, so many side by side as the engine takes, each in a thread."""

    def __init__(self, responder: Responder, most_waiting: int, at_once: int = 1) -> None:
        self._responder = responder
        # Streaming is optional (records.Streams): without it an answer comes in one piece.
        self._stream: Stream | None = getattr(responder, "stream", None)
        self._most_waiting = most_waiting
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._stopping = False
        self._changed = threading.Condition()
        self._last_seconds = 1.0
        self._threads = [
            threading.Thread(target=self._work, name=f"rounds-generation-{lane}", daemon=True)
            for lane in range(at_once)
        ]

    @property
    def waiting(self) -> int:
        """Jobs not yet begun that somebody still waits for."""
        with self._changed:
            return sum(not job.given_up for job in self._waiting)

    @property
    def running(self) -> int:
        """Jobs the engine has now."""
        with self._changed:
            return len(self._running)

    @property
    def idle(self) -> bool:
        with self._changed:
            return not self._running and not self._waiting

    def submit(self, prompt: Prompt, sampling: Sampling) -> Job:
        """`reserve` and `start` in one."""
        job = self.reserve(prompt, sampling)
        self.start(job)
        return job

    def reserve(self, prompt: Prompt, sampling: Sampling) -> Job:
        """A place in the queue that is not begun before `start`; to be called on the event loop that reads the job.

        Raises:
            Busy: too many wait already.
        """
        job = Job(prompt, sampling, asyncio.get_running_loop())
        with self._changed:
            self._waiting = deque(job for job in self._waiting if not job.given_up)
            # A free lane takes the head of the queue in a moment: it does not count as waiting.
            free = len(self._threads) - len(self._running)
            if self._stopping or len(self._waiting) >= self._most_waiting + free:
                ahead = (len(self._waiting) + 1) / max(1, len(self._threads))
                raise Busy(min(60, max(1, math.ceil(ahead * self._last_seconds))))
            self._waiting.append(job)
        return job

    def start(self, job: Job) -> None:
        """Let the engine have it when its turn comes."""
        with self._changed:
            job.ready = True
            for thread in self._threads:
                if thread.ident is None:  # with the first job, so that an unused application leaves no thread
                    thread.start()
            self._changed.notify()

    def stop(self, seconds: float = 5.0) -> None:
        """Give up every job and wait for the threads, at most so long (an engine may not stop between two pieces)."""
        with self._changed:
            self._stopping = True
            for job in [*self._waiting, *self._running]:
                job.give_up()
            self._changed.notify_all()
        until = time.monotonic() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    def _next(self) -> Job | None:
        """The first job in the queue that may begin; places of given-up ones are freed on the way."""
        while self._waiting and self._waiting[0].given_up:
            self._waiting.popleft()
        for place, job in enumerate(self._waiting):
            if job.ready:
                del self._waiting[place]
                return job
        return None

    def _work(self) -> None:
        step_back()
        while True:
            with self._changed:
                while (job := self._next()) is None and not self._stopping:
                    self._changed.wait()
                if job is None or self._stopping:
                    return
                self._running.add(job)
            started = time.monotonic()
            self._answer(job)
            with self._changed:
                self._running.discard(job)
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
