"""Stop strings: the reply ends before the first of them, whole or streamed.

They are looked for in the reply alone: what the model thinks is not cut. Left out on purpose: ending the generation
there, which would leave the tokens uncounted; a request that wants fewer says so with max_tokens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from rounds.records import Delta, Trace


def place_of(text: str, stops: Sequence[str]) -> int:
    """Where the first stop string begins, -1 without one."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, default=-1)


def cut(trace: Trace, stops: Sequence[str]) -> Trace:
    """The trace with its reply ended before a stop string."""
    place = place_of(trace.reply, stops)
    if place < 0 or trace.finish == "error":
        return trace
    return trace.model_copy(update={"reply": trace.reply[:place], "finish": "stop"})


async def until(pieces: AsyncIterator[Delta | Trace], stops: Sequence[str]) -> AsyncIterator[Delta | Trace]:
    """The pieces of an answer without what comes after a stop string, however it falls across pieces."""
    held, ended = "", False
    async for piece in pieces:
        if isinstance(piece, Trace):
            place = place_of(held, stops)
            rest = held if place < 0 else held[:place]
            if rest and not ended:
                yield Delta(reply=rest)
            held, ended = "", False
            yield cut(piece, stops)
        elif not piece.reply or not stops:
            yield piece
        elif not ended:
            held += piece.reply
            place = place_of(held, stops)
            begun = len(held) - _begun(held, stops)
            ended = 0 <= place <= begun  # else a longer one may have begun before it
            shown = place if ended else begun
            if shown:
                yield Delta(thinking=piece.thinking, reply=held[:shown])
            held = "" if ended else held[shown:]


def _begun(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of a text that may be the beginning of a stop string."""
    longest = max(map(len, stops)) - 1
    return next(
        (size for size in range(min(longest, len(text)), 0, -1) if any(s.startswith(text[-size:]) for s in stops)), 0
    )
