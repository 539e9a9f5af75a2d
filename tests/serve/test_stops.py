"""Stop strings, however they fall across pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rounds.records import Delta, Trace
from rounds.serve.stops import place_of, until


def shown(text: str, cuts: list[int], stops: tuple[str, ...]) -> str:
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in cuts)})

    async def pieces() -> AsyncIterator[Delta | Trace]:
        for start, end in pairwise(places):
            yield Delta(reply=text[start:end])
        yield Trace.model_construct(reply=text, finish="stop", thinking="")

    async def read() -> str:
        found = [piece async for piece in until(pieces(), stops)]
        last = found.pop()
        assert isinstance(last, Trace)
        streamed = "".join(piece.reply for piece in found if isinstance(piece, Delta))
        assert last.reply == streamed
        return streamed

    return asyncio.run(read())


@given(
    st.text("abX", max_size=30),
    st.lists(st.integers(0, 40), max_size=6),
    st.lists(st.text("abX", min_size=1, max_size=4), max_size=3),
)
def test_streamed_as_whole(text: str, cuts: list[int], stops: list[str]) -> None:
    place = place_of(text, stops)
    assert shown(text, cuts, tuple(stops)) == (text if place < 0 else text[:place])


def test_a_longer_stop_string_that_began_before_counts_first() -> None:
    assert shown("baXbb", [1, 2, 3, 4], ("aXbb", "Xb")) == "b"
    assert shown("baXba", [1, 2, 3, 4], ("aXbb", "Xb")) == "ba"
    assert shown("baXb", [1, 2, 3, 4], ("aXbb", "Xb")) == "ba"
