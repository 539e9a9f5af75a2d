"""What other tools send, letter for letter: Inspect (inspect-ai 0.3.285) and lm-evaluation-harness (lm-eval 0.4.13).

The tools themselves run in benchmarks/clients.py.
"""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
THOUGHT = "Sly thoughts of an earlier answer."

INSPECT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Fever and cough for two days. Give five diagnoses."},
        {"role": "assistant", "content": "1. pneumonia", "reasoning_content": THOUGHT},
        {"role": "user", "content": "Given the following critique please improve the answer."},
    ],
    "model": "tiny",
    "max_tokens": 400,
    "stop": ["xyz"],
    "seed": 3,
    "temperature": 0.6,
    "top_p": 0.9,
}
"""The third call of its `self_critique` solver."""
LM_EVAL: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "Fever and cough with rusty sputum for two days. Give five diagnoses."},
        {"role": "assistant", "content": "pneumonia"},
        {"role": "user", "content": "Crushing chest pain and sweating. Give five diagnoses."},
    ],
    "model": "tiny",
    "max_tokens": 400,
    "temperature": 0.0,
    "stop": [],
    "seed": 1234,
}
"""A `generate_until` task with one example and no `until`."""


@pytest.mark.parametrize("body", [INSPECT, LM_EVAL], ids=["inspect", "lm-eval"])
async def test_what_other_tools_send_is_answered(make_app: Any, client_of: Any, scripted: Any, body: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        answer = await client.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == scripted.reply
    sent = [(message.role, message.content) for message in scripted.prompts[0].messages]
    assert sent == [(message["role"], message["content"]) for message in body["messages"]]
    assert THOUGHT not in scripted.prompts[0].model_dump_json()
    assert scripted.samplings[0].seed == body["seed"]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("role", ["system", "user"])
async def test_nobody_but_the_model_has_reasoned(
    make_app: Any, client_of: Any, scripted: Any, field: str, role: str
) -> None:
    messages = [{"role": role, "content": "x", field: THOUGHT}, {"role": "user", "content": "fever"}]
    async with client_of(make_app(scripted)) as client:
        answer = await client.post(CHAT, json={"model": "tiny", "messages": messages})
    assert answer.status_code == 400
    assert "reasoning is the model's own and stands beside an answer only" in answer.json()["error"]["message"]
    assert THOUGHT not in answer.text
    assert scripted.prompts == []
