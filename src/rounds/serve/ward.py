"""What every door shares: the worker, the audit log, what may be claimed, and how a request waits for its answer.

A request begins with a place in the queue and a row in the log, in this order, and is concluded with a row of what came
of it before anything is shown as finished. Left out on purpose: HTTP shapes (`rounds.serve.api`, `rounds.serve.page`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from rounds.records import Prompt, Sampling, Trace, UserError
from rounds.serve.audit import Audit, Entry, Unaudited, digest_for
from rounds.serve.keys import Caller
from rounds.serve.metrics import Metrics
from rounds.serve.operate import Operation
from rounds.serve.session import Sessions
from rounds.serve.specialists import Specialist
from rounds.serve.standing import Standing
from rounds.serve.worker import Busy, EngineFailed, Job, Worker

T = TypeVar("T")


class ClientGone(Exception):
    """Whoever asked has left before the answer."""


@dataclass(slots=True)
class Asked:
    """A request that is in the log and on its way through the engine; to be concluded or left, exactly once."""

    job: Job
    request_id: str
    caller: Caller
    door: str
    closed: bool = False
    """Its result row is written, or being written."""
    owner: asyncio.Task[Any] | None = None
    """The task that answers for it; when that ends first, the request is left."""


@dataclass(frozen=True, slots=True)
class Ward:
    """One served model."""

    name: str
    """Model id in the API."""
    worker: Worker
    standing: Standing
    template: str
    """Of the page, and of API requests that ask for it."""
    sampling: Sampling
    """Used where a request does not say otherwise; its max_tokens is also the most a request may ask for."""
    audit: Audit
    sessions: Sessions | None = None
    """Browsers that are signed in; None where nobody needs to."""
    operation: Operation | None = None
    """The kill switch and the watch for drift; None where nothing is kept beside what is served."""
    metrics: Metrics | None = None
    specialists: Mapping[str, Specialist] = field(default_factory=dict)
    """Adapters that may answer instead of the model, by the name a prompt has for them."""

    @property
    def label(self) -> dict[str, str]:
        """Beside every model, reply and first piece of a stream."""
        return self.standing.label

    @property
    def models(self) -> dict[str, str]:
        """Adapter ('' for the model itself) by model id in the API."""
        return {self.model_id(adapter): adapter for adapter in ("", *self.specialists)}

    def model_id(self, adapter: str) -> str:
        """In the API: the model's name, and after a colon the adapter's."""
        return f"{self.name}:{adapter}" if adapter else self.name

    def adapter_of(self, model: str) -> str:
        """The adapter that a model id in the API means; '' is the model itself.

        Raises:
            UserError: nothing here has this id.
        """
        if model not in self.models:
            raise UserError(f"there is no such model here; use one of {', '.join(self.models)}.")
        return self.models[model]

    def standing_of(self, adapter: str) -> Standing:
        """What may be claimed of the model, or of one of its adapters."""
        return self.specialists[adapter].standing if adapter else self.standing

    def sampling_of(self, adapter: str) -> Sampling:
        """The sampling of the exam; the thinking budget was chosen for the model itself alone."""
        return self.sampling.model_copy(update={"thinking_budget": None}) if adapter else self.sampling

    async def begin(self, prompt: Prompt, sampling: Sampling, caller: Caller, door: str) -> Asked:
        """Take a place in the queue, commit the request row, and only then let the engine have the prompt.

        The task that begins a request answers for it, or the last one that is `following` it: when that task ends
        first, the request is left.

        Raises:
            Busy: too many wait already (nothing is written then).
            Unaudited: the row could not be committed, or the model was stopped; the engine saw nothing.
        """
        try:
            self.check()
            job = self.worker.reserve(prompt, sampling)
        except (Busy, Unaudited) as error:
            self.count_refusal("busy" if isinstance(error, Busy) else "unaudited")
            raise
        asked = Asked(job, uuid.uuid4().hex, caller, door)
        started = time.monotonic()
        try:
            await self.audit.request(self._entry(asked, "request", prompt=_digest_of_prompt(asked)))
        except BaseException as error:
            job.give_up()
            if isinstance(error, Unaudited):
                self.count_refusal("unaudited")
            raise
        if self.metrics is not None:
            self.metrics.committed(time.monotonic() - started)
        self._own(asked)
        self.worker.start(job)
        return asked

    async def conclude(self, asked: Asked, traces: Sequence[Trace]) -> str:
        """Commit what came of a request; gives the hash of its row. Nothing is shown as finished before this returns.

        Raises:
            Unaudited: the row could not be committed, or the model was stopped meanwhile.
        """
        self.check()
        asked.closed = True
        texts = [text for trace in traces for text in (trace.thinking, trace.reply)]
        reply = digest_for(asked.request_id, *texts)
        finish = ",".join(trace.finish for trace in traces)
        row = await self.audit.result(self._entry(asked, "result", reply=reply, finish=finish))
        if self.metrics is not None:
            self.metrics.answer(asked.door, traces)
        if self.operation is not None and not asked.job.prompt.adapter:  # its exam is the model's own
            self.operation.note(asked.job.prompt, traces, self.audit)
        return row.hash

    def leave(self, asked: Asked, finish: str) -> None:
        """A request that has no answer: the caller left, the engine refused or failed. Gives the job up.

        Does not wait for its row, as nothing is shown; does nothing for a request that was concluded.
        """
        asked.job.give_up()
        if asked.closed:
            return
        asked.closed = True
        if self.metrics is not None:
            self.metrics.unfinished(asked.door, finish)
        with suppress(Unaudited):
            self.audit.later(self._entry(asked, "result", finish=finish))

    def check(self) -> None:
        """Whether the model may answer at all.

        Raises:
            Unaudited: those responsible have stopped it.
        """
        if self.operation is not None:
            self.operation.check()

    def count_refusal(self, why: str) -> None:
        """Count somebody turned away: busy, unaudited, forbidden, unknown."""
        if self.metrics is not None:
            self.metrics.turned_away(why)

    def close(self) -> None:
        """End the generation, then write what is left to be written; not for the event loop."""
        self.worker.stop()
        if self.operation is not None:
            self.operation.close()
        self.audit.close()

    @asynccontextmanager
    async def following(self, asked: Asked) -> AsyncIterator[None]:
        """What breaks off the block is written into the log as what became of the request."""
        self._own(asked)
        try:
            yield
        except BaseException as error:
            self.leave(asked, ending(error))
            raise

    def _own(self, asked: Asked) -> None:
        task = asyncio.current_task()
        assert task is not None

        def ended(_: asyncio.Task[Any]) -> None:
            if asked.owner is task:
                self.leave(asked, "left")

        if asked.owner is not task:
            asked.owner = task
            task.add_done_callback(ended)

    def _entry(self, asked: Asked, kind: Literal["request", "result"], **more: str) -> Entry:
        sampling = asked.job.sampling.model_dump()
        schema = sampling.pop("json_schema")
        sampling["json_schema"] = hashlib.sha256(schema.encode()).hexdigest() if schema else ""
        standing = self.standing_of(asked.job.prompt.adapter)
        if standing.adapter:
            sampling["adapter"] = standing.adapter
        return Entry(
            kind=kind,
            request=asked.request_id,
            caller=asked.caller.name,
            door=asked.door,
            model=standing.checkpoint,
            passport=standing.passport,
            template=asked.job.prompt.template,
            sampling=json.dumps(sampling),
            **more,
        )


def ending(error: BaseException) -> str:
    """The word for the log."""
    words = {UserError: "refused", EngineFailed: "failed", Unaudited: "unaudited"}
    return next((word for kind, word in words.items() if isinstance(error, kind)), "left")


def _digest_of_prompt(asked: Asked) -> str:
    messages = asked.job.prompt.messages
    return digest_for(asked.request_id, *(text for message in messages for text in (message.role, message.content)))


async def traces_of(job: Job) -> list[Trace]:
    """Every whole trace of a job.

    Raises:
        UserError, EngineFailed: as the job does.
    """
    traces = [piece async for piece in job if isinstance(piece, Trace)]
    if not traces or any(trace.finish == "error" for trace in traces):
        raise EngineFailed("the engine gave no whole answer; try again.")
    return traces


async def unless_gone(receive: Callable[[], Awaitable[Any]], job: Job, work: Awaitable[T]) -> T:
    """The result of `work`, which waits for `job`; the job is given up when the client leaves or the server stops.

    Raises:
        ClientGone: it left.
    """

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waiting = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(left())
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientGone
        return waiting.result()
    except BaseException:
        job.give_up()
        raise
    finally:
        waiting.cancel()
        leaving.cancel()
