"""Whatever JSON comes in, it is answered or refused: never our fault."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["model", "messages", "max_tokens", "temperature", "top_p", "seed", "n", "stream", "stream_options", "template"]
)
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]) | JSON, "content": JSON})


@cache
def _same_app(make_app: Any, make_scripted: Any) -> Any:
    return make_app(make_scripted())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(FIELDS | st.text(max_size=8), JSON | st.lists(TURN, max_size=3), max_size=5))
def test_no_json_is_our_fault(
    make_app: Any, client_of: Any, chat_body: Any, make_scripted: Any, change: dict[str, Any]
) -> None:
    async def send() -> httpx.Response:
        async with client_of(_same_app(make_app, make_scripted)) as client:
            raw = json.dumps(chat_body() | change)
            return await client.post("/v1/chat/completions", content=raw, headers={"content-type": "application/json"})

    response = asyncio.run(send())
    assert response.status_code in (200, 400, 404), response.text
