"""An answer as server-sent events while it grows (https://html.spec.whatwg.org/multipage/server-sent-events.html).

`thinking` and `writing` tell how far it is; only the thoughts are sent, marked as not recorded, and the list is shown
when the audit log has it (`answer`). A comment every few seconds keeps a slow answer apart from a dead connection. Left
out on purpose: taking a stream up again where it broke; whoever lost it asks again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from rounds.records import Trace, UserError
from rounds.serve.audit import Unaudited
from rounds.serve.views import sentence
from rounds.serve.worker import EngineFailed, Job

T = TypeVar("T")

UNBUFFERED = {"x-accel-buffering": "no"}
"""With every stream, so that a proxy before us hands events on as they come."""
BEAT_SECONDS = 5.0
BEAT = ": still here\n\n"


async def events(
    job: Job,
    done: Callable[[list[Trace]], Awaitable[str]],
    left: Callable[[BaseException], None],
    beat_seconds: float = BEAT_SECONDS,
) -> AsyncIterator[str]:
    """The events of one job; closed early, the job is given up.

    `done` records the answer and gives the page of it; `left` is told what ended it without an answer.
    """
    traces: list[Trace] = []
    writing = False
    try:
        yield event("begun", {})
        async for piece in _beating(aiter(job), beat_seconds):
            if piece is None:
                yield BEAT
            elif isinstance(piece, Trace):
                traces.append(piece)
            elif piece.thinking:
                yield event("thinking", {"text": piece.thinking})
            elif piece.reply and not writing:
                writing = True
                yield event("writing", {})
        if not traces or any(trace.finish == "error" for trace in traces):
            raise EngineFailed("the engine gave no whole answer; try again.")
        # Reading an answer and recording it may take longer than a silence that counts as a lost connection.
        async for page in _beating(_once(done(traces)), beat_seconds):
            yield BEAT if page is None else event("answer", {"html": page})
    except (UserError, EngineFailed, Unaudited) as error:
        left(error)
        yield event("fault", {"sentence": sentence(error)})
    except BaseException as error:  # the reader left, or the server stops
        left(error)
        raise
    finally:
        job.give_up()


def event(name: str, data: dict[str, str]) -> str:
    """One server-sent event; JSON keeps line breaks out of the frame."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def _beating(pieces: AsyncIterator[T], seconds: float) -> AsyncIterator[T | None]:
    """The pieces, and None whenever none came for so long."""
    waiting: asyncio.Task[T | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(_next(pieces))
            await asyncio.wait({waiting}, timeout=seconds)
            if not waiting.done():
                yield None
                continue
            piece = waiting.result()
            waiting = None
            if piece is None:
                return
            yield piece
    finally:
        if waiting is not None:
            waiting.cancel()


async def _next(pieces: AsyncIterator[T]) -> T | None:
    return await anext(pieces, None)


async def _once(value: Awaitable[T]) -> AsyncIterator[T]:
    yield await value
