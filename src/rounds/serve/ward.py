"""What the API and the page share: the worker, what may be claimed, and how a request waits for its answer.

Left out on purpose: HTTP shapes (`rounds.serve.api`, `rounds.serve.page`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rounds.records import Sampling, Trace
from rounds.serve.standing import Standing
from rounds.serve.worker import EngineFailed, Job, Worker

T = TypeVar("T")


class ClientGone(Exception):
    """Whoever asked has left before the answer."""


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

    @property
    def label(self) -> dict[str, str]:
        """Beside every model, reply and first piece of a stream."""
        standing = self.standing
        return {
            "standing": standing.word,
            "banner": standing.banner,
            "evidence": standing.evidence,
            "checkpoint": standing.checkpoint,
        }


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
