"""The API over ASGI: shapes, bounds, refusals; and with the official client over a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.serve.audit import Audit, Entry, Row, Unaudited, digest_for
from rounds.serve.audit_sqlite import SQLite

FIVE = "1. pneumonia\n2. pulmonary embolism\n3. heart failure\n4. pleurisy\n5. lung abscess\nRed flags: low oxygen"
CHAT = "/v1/chat/completions"
CANARY = "Zebediah Quillfeather"

pytestmark = pytest.mark.anyio


async def ask(client: httpx.AsyncClient, content: Any) -> httpx.Response:
    return await client.post(CHAT, json=content)


def events(text: str) -> list[Any]:
    """Contents of server-sent events; the last must be [DONE]."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_whole_answer(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await ask(client, chat_body(temperature=0.3, top_p=0.5, seed=9, max_tokens=44))
    assert response.status_code == 200
    answer = response.json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "tiny"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": FIVE, "reasoning_content": "Fever fits pneumonia."},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert answer["usage"]["prompt_tokens"] == 23
    assert answer["usage"]["total_tokens"] == 23 + 18
    assert answer["usage"]["completion_tokens"] == 18
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 7}
    assert answer["rounds"]["standing"] == "demonstration"
    assert answer["rounds"]["banner"] == "Demonstration, not for patients"
    sampling = scripted.samplings[0]
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.max_tokens) == (0.3, 0.5, 9, 44)
    assert scripted.prompts[0].messages[0].content == "fever and cough"


async def test_defaults_are_the_served_ones(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    from rounds.records import Sampling

    own = Sampling(temperature=0, top_p=0.9, max_tokens=77, seed=3)
    async with client_of(make_app(scripted, sampling=own)) as client:
        assert (await ask(client, chat_body())).status_code == 200
        over = await ask(client, chat_body(max_tokens=78))
    assert scripted.samplings == [own]
    assert over.status_code == 400
    assert over.json()["error"]["message"] == "max_tokens is 78; this server gives at most 77."


async def test_streamed_answer(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await ask(client, chat_body(stream=True, stream_options={"include_usage": True}))
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events(response.text)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert chunks[0]["rounds"]["banner"] == "Demonstration, not for patients"
    # Pieces that pile up while one is sent come together.
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Fever fits pneumonia. "
    assert "".join(delta.get("content", "") for delta in deltas) == FIVE
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:-1]] == ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 23 + 18
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_a_responder_that_does_not_stream(make_app: Any, client_of: Any, chat_body: Any, whole: Any) -> None:
    async with client_of(make_app(whole)) as client:
        plain = (await ask(client, chat_body())).json()
        chunks = events((await ask(client, chat_body(stream=True))).text)
    assert plain["choices"][0]["message"]["content"] == FIVE
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Fever fits pneumonia.", "content": FIVE},
        {},
    ]


async def test_several_samples(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        plain = (await ask(client, chat_body(n=3))).json()
        chunks = events((await ask(client, chat_body(n=2, stream=True))).text)
    assert [choice["index"] for choice in plain["choices"]] == [0, 1, 2]
    assert plain["usage"]["completion_tokens"] == 54
    assert plain["usage"]["prompt_tokens"] == 23  # one prompt, three answers
    texts = dict.fromkeys(range(2), "")
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["delta"].get("content", "")
    assert texts == {0: FIVE, 1: FIVE}


async def test_a_case_may_go_through_a_template(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        assert (await ask(client, chat_body(template="differential-brief@1"))).status_code == 200
        unknown = await ask(client, chat_body(template="nonsense@1"))
        path = await ask(client, chat_body(template="../differential@1"))
    assert scripted.prompts[0].messages[0].content == "fever and cough\nFive diagnoses?"
    assert scripted.prompts[0].template == "differential-brief@1"
    assert unknown.status_code == 400
    assert "template 'nonsense@1' does not exist" in unknown.json()["error"]["message"]
    assert path.status_code == 400


async def test_history_loses_its_reasoning(make_app: Any, client_of: Any, scripted: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "<think>sly thoughts</think>\nplain", "refusal": None, "tool_calls": None},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "no opening </think> after<think>cut off thoughts"},
        {"role": "user", "content": "user may write <think> as text"},
    ]
    async with client_of(make_app(scripted)) as client:
        response = await ask(client, {"model": "tiny", "messages": messages})
    assert response.status_code == 200
    assert [(m.role, m.content) for m in scripted.prompts[0].messages] == [
        ("system", "Be brief."),
        ("user", "one\ntwo"),
        ("assistant", "plain"),
        ("user", "and?"),
        ("assistant", "after"),
        ("user", "user may write <think> as text"),
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"messages": []}, "messages: Tuple should have at least 1 item"),
        (
            {"messages": [{"role": "user", "content": CANARY, "reasoning_content": CANARY}]},
            "messages.0: reasoning is the model's own and stands beside an answer only; leave it out",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": CANARY}]},
            "the last message must be the user's; an answer cannot be begun for the model",
        ),
        ({"messages": [{"role": "tool", "content": CANARY}]}, "messages.0.role: Input should be"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "text": CANARY}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": CANARY * 4000}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x" * 31_000}] * 2}, "the messages have more than 60000 characters"),
        ({"messages": [{"role": "user", "content": "x"}] * 65}, "messages: Tuple should have at most 64 items"),
        ({"messages": [{"role": "user", "content": "x"}] * 2, "template": "a@1"}, "a template takes one message"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": 10**30}, "max_tokens: Input should be less than or equal to 131072"),
        ({"max_tokens": 1.5}, "max_tokens: Input should be a valid integer"),
        ({"max_completion_tokens": -1}, "max_completion_tokens: Input should be greater"),
        ({"temperature": 2.1}, "temperature: Input should be less than or equal to 2"),
        ({"temperature": CANARY}, "temperature: Input should be a valid number"),
        ({"top_p": 0}, "top_p: Input should be greater than 0"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"n": 9}, "n: Input should be less than or equal to 8"),
        ({"logprobs": True, "top_logprobs": 3}, "top_logprobs must be 0; only the drawn token's"),
        ({"logprobs": True, "stop": "x"}, "logprobs and stop cannot be asked for together"),
        ({"stop": [CANARY] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"thinking_budget": -1}, "thinking_budget: Input should be greater than or equal to 0"),
        ({"response_format": {"type": "json_object"}}, "response_format.type: Input should be"),
        ({"response_format": {"type": "json_schema"}}, "response_format: type json_schema needs the field json_schema"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {CANARY: "x" * 17_000}},
                }
            },
            "response_format: the schema has more than 16384 characters",
        ),
        ({"tools": []}, "tools: this field is not known here; leave it out."),
        ({"chat_template": "{{ 1 }}"}, "chat_template: this field is not known here; leave it out."),
        ({f"{CANARY} has fever": 1}, "this field is not known here; leave it out."),
    ],
)
async def test_what_is_refused_gets_one_sentence_without_its_words(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any, change: dict[str, Any], sentence: str
) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await ask(client, chat_body(CANARY) | change)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["message"].startswith(sentence)
    assert error["type"] == "invalid_request_error"
    assert CANARY not in response.text
    assert scripted.prompts == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
        b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"max_tokens":Infinity}',
        b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"max_tokens":' + b"9" * 5000 + b"}",
        b'{"model":"tiny","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"tiny","messages":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"model":"tiny","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"\xff\xfe{",
        b'{"model":"tiny","model":"tiny","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"tiny","messages":[{"role":"user","content":"x","content":"y"}]}',
        b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",'
        b'"json_schema":{"name":"a","schema":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}}}",
    ],
    ids=range(16),
)
async def test_hostile_json_is_a_400(make_app: Any, client_of: Any, scripted: Any, raw: bytes) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await client.post(CHAT, content=raw, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_that_is_not_json_is_refused(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await client.post(CHAT, content=json.dumps(chat_body()), headers={"content-type": "text/plain"})
    assert response.status_code == 400
    assert scripted.prompts == []


async def test_models_and_health(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        models = (await client.get("/v1/models")).json()
        one = (await client.get("/v1/models/tiny")).json()
        none = await client.get("/v1/models/other")
        other = await ask(client, chat_body() | {"model": "gpt-9"})
        health = (await client.get("/health")).json()
        nothing = await client.get("/v1/nothing")
        method = await client.delete("/v1/models")
    assert [model["id"] for model in models["data"]] == ["tiny"]
    assert one == models["data"][0]
    assert one["rounds"]["checkpoint"] == "ab" * 32
    assert (none.status_code, other.status_code) == (404, 404)
    assert other.json()["error"]["message"] == "the model served here is 'tiny'."
    assert health["status"] == "ok"
    assert health["rounds"]["standing"] == "demonstration"
    assert (nothing.status_code, method.status_code) == (404, 405)
    assert nothing.json()["error"]["message"] == "there is nothing here."


@pytest.mark.parametrize("stream", [False, True])
async def test_stop_strings_end_the_reply(
    make_app: Any, client_of: Any, chat_body: Any, make_scripted: Any, stream: bool
) -> None:
    scripted = make_scripted(thinking="think STOP here", reply="one two STOP three")
    async with client_of(make_app(scripted)) as client:
        response = await ask(client, chat_body("CUT short", stop=["STOP", "never"], stream=stream))
        plain = await ask(client, chat_body(stop="absent", stream=stream))
    assert response.status_code == plain.status_code == 200
    if stream:
        parts = [chunk["choices"][0] for chunk in events(response.text)]
        assert "".join(part["delta"].get("content", "") for part in parts) == "one two "
        assert "".join(part["delta"].get("reasoning_content", "") for part in parts) == "think STOP here "
        assert parts[-1]["finish_reason"] == "stop"
        whole = [chunk["choices"][0]["delta"].get("content", "") for chunk in events(plain.text)]
        assert "".join(whole) == "one two STOP three"
    else:
        assert response.json()["choices"][0]["message"]["content"] == "one two "
        assert response.json()["choices"][0]["finish_reason"] == "stop"
        assert plain.json()["choices"][0]["message"]["content"] == "one two STOP three"


async def test_budget_and_schema_reach_the_engine(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    from rounds.records import Sampling

    schema = {"type": "object"}
    shape = {"type": "json_schema", "json_schema": {"name": "five", "schema": schema, "strict": True}}
    async with client_of(make_app(scripted, sampling=Sampling(max_tokens=99, thinking_budget=40))) as client:
        assert (await ask(client, chat_body(thinking_budget=7, response_format=shape))).status_code == 200
        assert (await ask(client, chat_body(response_format={"type": "text"}))).status_code == 200
        over = await ask(client, chat_body(thinking_budget=41))
    assert [one.thinking_budget for one in scripted.samplings] == [7, 40]
    assert [one.json_schema for one in scripted.samplings] == [json.dumps(schema), ""]
    assert over.json()["error"]["message"] == "thinking_budget is 41; this server gives at most 40."


@pytest.mark.parametrize("streaming", [False, True])
async def test_log_probabilities_come_beside_the_tokens_of_the_reply(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any, streaming: bool
) -> None:
    from rounds.records import Delta, Token

    tokens = (Token(text="\ufffd", raw=(0xE2, 0x82), logprob=-0.5), Token(text="ok", raw=(111, 107), logprob=-1.25))

    class Told(type(scripted)):  # type: ignore[misc]
        def _trace(self, prompt: Any, sampling: Any, sample: int) -> Any:
            return super()._trace(prompt, sampling, sample).model_copy(update={"logprobs": tokens})

        def stream(self, prompt: Any, sampling: Any) -> Any:
            yield Delta(thinking="so ")
            yield Delta(reply="€", tokens=tokens[:1])
            yield Delta(reply="ok", tokens=tokens[1:])
            yield self._trace(prompt, sampling, 0)

    async with client_of(make_app(Told())) as client:
        response = await ask(client, chat_body(logprobs=True, stream=streaming))
        plain = await ask(client, chat_body())
    if streaming:
        parts = [chunk["choices"][0] for chunk in events(response.text) if chunk["choices"]]
        content = [one for part in parts for one in part.get("logprobs", {"content": []})["content"]]
    else:
        content = response.json()["choices"][0]["logprobs"]["content"]
    assert [(one["token"], one["logprob"], one["bytes"], one["top_logprobs"]) for one in content] == [
        ("\ufffd", -0.5, [0xE2, 0x82], []),
        ("ok", -1.25, [111, 107], []),
    ]
    assert plain.json()["choices"][0]["logprobs"] is None


async def test_text_is_unaudited_until_its_row_is_written(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any, tmp_path: Path
) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    async with client_of(make_app(scripted, audit=audit)) as client:
        whole = (await ask(client, chat_body(CANARY))).json()["rounds"]
        chunks = events((await ask(client, chat_body(CANARY, stream=True))).text)
        gone = await ask(client, chat_body(f"EARLYBREAK {CANARY}"))
    audit.close()  # the row of a request that failed is not waited for
    rows = list(audit.every())
    assert gone.status_code == 500
    assert [row.kind for row in rows] == ["request", "result"] * 3
    assert [row.finish for row in rows] == ["", "stop", "", "stop", "", "failed"]
    assert rows[0].request == rows[1].request == whole["request"]
    assert (whole["audited"], whole["audit"]) == (True, rows[1].hash)
    assert rows[1].reply == digest_for(whole["request"], "Fever fits pneumonia.", FIVE)
    assert rows[0].prompt == digest_for(whole["request"], "user", CANARY)
    marks = [chunk["rounds"]["audited"] for chunk in chunks]
    assert marks == [False] * (len(chunks) - 1) + [True]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1]["rounds"]["audit"] == rows[3].hash
    assert audit.verify().whole
    assert CANARY not in (tmp_path / "audit.sqlite").read_bytes().decode("latin-1")


class Failing:
    """A log whose disk is full from the row of this number on."""

    def __init__(self, path: Path, last: int) -> None:
        self.sound = SQLite(path)
        self.place, self.last = "here", last
        self.page, self.newest, self.close = self.sound.page, self.sound.newest, self.sound.close

    def append(self, entries: Sequence[Entry]) -> list[Row]:
        if any(row.sequence >= self.last for row in self.sound.newest(1)) or self.last == 0:
            raise Unaudited("the audit log cannot be written (database or disk is full).")
        return self.sound.append(entries)


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_is_finished_without_its_row(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any, tmp_path: Path, stream: bool
) -> None:
    for last in (0, 1):  # no request row; no result row
        audit = Audit(Failing(tmp_path / f"{last}.sqlite", last))
        scripted.prompts.clear()
        async with client_of(make_app(scripted, audit=audit)) as client:
            response = await ask(client, chat_body(CANARY, stream=stream))
            ready = await client.get("/ready")
            alive = await client.get("/health")
        assert len(scripted.prompts) == last
        assert (ready.status_code, alive.status_code) == (503, 200)
        assert "cannot be written" in ready.json()["why"]
        if stream and last:
            assert "[DONE]" not in response.text
            assert '"finish_reason": "stop"' not in response.text
            assert '"code": 503' in response.text
        else:
            assert response.status_code == 503
            assert FIVE.split("\n")[0] not in response.text


@pytest.mark.parametrize("stream", [False, True])
async def test_engine_faults(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    async with client_of(make_app(scripted)) as client:
        long = await ask(client, chat_body("TOOLONG"))
        broken = await ask(client, chat_body(f"EARLYBREAK {CANARY}", n=2, stream=stream))
        late = await ask(client, chat_body(f"LATEBREAK {CANARY}", stream=stream))
        half = await ask(client, chat_body(f"HALF {CANARY}", stream=stream))
        fine = await ask(client, chat_body())
    assert long.status_code == 400
    assert long.json()["error"]["message"] == "the prompt has 900 tokens; at most 640 fit, shorten it."
    assert broken.status_code == 500
    assert broken.json()["error"]["type"] == "server_error"
    for response in (late, half):
        assert response.status_code == (200 if stream else 500)
        assert '"type": "server_error"' in response.text.replace('":"', '": "')
        assert "[DONE]" not in response.text
    assert fine.status_code == 200
    assert "RuntimeError" in caplog.text
    assert CANARY not in caplog.text + broken.text + late.text + half.text


async def test_too_many_waiting_is_a_429(make_app: Any, client_of: Any, chat_body: Any, scripted: Any) -> None:
    app = make_app(scripted, most_waiting=2)
    async with client_of(app, timeout=30) as client:
        running = asyncio.create_task(ask(client, chat_body("WAIT")))
        while not scripted.prompts:
            await asyncio.sleep(0.005)
        queued = [asyncio.create_task(ask(client, chat_body(f"queued {i}"))) for i in range(2)]
        while (await client.get("/health")).json()["waiting"] < 2:
            await asyncio.sleep(0.005)
        refused = await ask(client, chat_body())
        scripted.open_gate.set()
        answered = await asyncio.gather(running, *queued)
        again = await ask(client, chat_body())
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert [response.status_code for response in [*answered, again]] == [200] * 4
    assert [prompt.messages[0].content for prompt in scripted.prompts[1:3]] == ["queued 0", "queued 1"]


def test_the_official_client(make_app: Any, serve: Any, scripted: Any) -> None:
    import openai

    messages: Any = [{"role": "user", "content": "fever and cough"}]
    with serve(make_app(scripted)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        whole = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=64)
        message = whole.choices[0].message
        assert message.content == FIVE
        assert message.model_extra == {"reasoning_content": "Fever fits pneumonia."}
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 18
        thoughts, words = "", ""
        with client.chat.completions.create(
            model="tiny", messages=messages, stream=True, stream_options={"include_usage": True}
        ) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    thoughts += (choice.delta.model_extra or {}).get("reasoning_content", "")
                    words += choice.delta.content or ""
        assert (thoughts, words) == ("Fever fits pneumonia. ", FIVE)
        # A client that echoes the whole message back sends its reasoning too, which goes no further.
        echo: Any = [*messages, message.model_dump(), *messages]
        assert echo[1]["reasoning_content"] == "Fever fits pneumonia."
        assert client.chat.completions.create(model="tiny", messages=echo).choices[0].message.content == FIVE
        cut = client.chat.completions.create(
            model="tiny", messages=messages, stop=["2."], seed=7, n=2, extra_body={"thinking_budget": 9}
        )
        assert [choice.message.content for choice in cut.choices] == ["1. pneumonia\n"] * 2
        assert (scripted.samplings[-1].seed, scripted.samplings[-1].thinking_budget) == (7, 9)
        with pytest.raises(openai.BadRequestError, match="top_logprobs"):
            client.chat.completions.create(model="tiny", messages=messages, logprobs=True, top_logprobs=2)
        with pytest.raises(openai.NotFoundError, match="'tiny'"):
            client.chat.completions.create(model="gpt-9", messages=messages)
