"""A random tiny model under a schema, on every engine of this machine."""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from rounds.engine import openvino as room
from rounds.engine.export import exported
from rounds.engine.openvino import OpenVINO, Settings
from rounds.engine.reference import Reference
from rounds.engine.schema import size_of
from rounds.model.tokenizer import Codec
from rounds.records import Delta, Prompt, Sampling, Streams, Trace, UserError

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "urgency": {"enum": ["emergency", "urgent", "routine"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 119},
        "note": {"type": "string", "minLength": 2, "maxLength": 5},
        "doses": {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 2.5},
            "minItems": 3,
            "maxItems": 3,
        },
        "sure": {"type": ["boolean", "null"]},
    },
    "required": ["urgency", "age", "note", "doses"],
    "additionalProperties": False,
}
ASKED = Sampling(temperature=1.0, max_tokens=140, thinking_budget=12, json_schema=json.dumps(SCHEMA))


@pytest.fixture(scope="module", params=["openvino", "transformers"])
def engine(request: pytest.FixtureRequest, qwen: Path) -> Streams:
    if request.param == "openvino":
        return OpenVINO(exported(qwen), model="m", settings=Settings(kv_cache="f32", threads=1))
    pytest.importorskip("llguidance", reason="the reference engine needs llguidance for a JSON schema")
    return Reference(qwen, model="m", threads=1)


def obeys(trace: Trace) -> bool:
    return trace.finish == "stop" and bool(jsonschema_rs.is_valid(SCHEMA, json.loads(trace.reply)))


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_every_reply_obeys_the_schema_and_thinking_stays_free(
    engine: Streams, prompts: list[Prompt], temperature: float
) -> None:
    asked = ASKED.model_copy(update={"temperature": temperature})
    traces = list(engine.respond(prompts, asked))
    free = list(engine.respond(prompts, asked.model_copy(update={"json_schema": ""})))
    assert all(obeys(trace) for trace in traces), [trace.reply for trace in traces]
    # Without a schema a model may think on after its budget closed the thought, and close it again.
    assert all(b.thinking.startswith(a.thinking) for a, b in zip(traces, free, strict=True))
    assert sum(a.thinking == b.thinking for a, b in zip(traces, free, strict=True)) > len(traces) / 2
    assert any(trace.thinking for trace in traces)
    assert len({trace.reply for trace in traces}) > 3


def test_an_end_inside_the_thoughts_is_followed_by_the_reply(qwen: Path, prompts: list[Prompt]) -> None:
    asked = ASKED.model_copy(update={"temperature": 0, "thinking_budget": None})
    first = next(iter(OpenVINO(exported(qwen), settings=Settings(threads=1)).respond(prompts[:1], Sampling(
        temperature=0, max_tokens=4))))  # fmt: skip
    ends = Codec.load(qwen)
    end = ends.encode_text(first.thinking)[-1]
    ends.eos_ids = (*ends.eos_ids, end)
    engines: list[Streams] = [OpenVINO(exported(qwen), codec=ends, settings=Settings(kv_cache="f32", threads=1))]
    if "llguidance" in sys.modules:
        engines.append(Reference(qwen, codec=ends, threads=1))
    for engine in engines:
        trace = next(iter(engine.respond(prompts[:1], asked)))
        assert trace.thinking_tokens <= 5
        assert obeys(trace), trace.reply


def test_a_reply_cut_off_by_the_limit_says_so(engine: Streams, prompts: list[Prompt]) -> None:
    trace = next(iter(engine.respond(prompts[:1], ASKED.model_copy(update={"max_tokens": 20}))))
    assert trace.finish == "length"
    assert '{"urgency": "'.startswith(trace.reply) or '{"urgency":"'.startswith(trace.reply)
    assert trace.reply


def test_a_stream_under_a_schema_tells_the_same(engine: Streams, prompts: list[Prompt]) -> None:
    *pieces, last = engine.stream(prompts[1], ASKED)
    assert isinstance(last, Trace)
    assert obeys(last)
    assert "".join(piece.reply for piece in pieces if isinstance(piece, Delta)).strip() == last.reply
    assert last.reply == next(iter(engine.respond(prompts[1:2], ASKED))).reply


def test_answers_under_different_schemas_run_side_by_side(engine: Streams, prompts: list[Prompt]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    schemas = ["", json.dumps(SCHEMA), '{"enum": ["yes", "no"]}', '{"type": "boolean"}']
    asked = [ASKED.model_copy(update={"json_schema": schema}) for schema in schemas]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: list(engine.stream(prompts[0], one))[-1], asked))
    alone = [list(engine.stream(prompts[0], one))[-1] for one in asked]
    assert [trace.reply for trace in together] == [trace.reply for trace in alone]  # type: ignore[union-attr]
    assert together[2].reply in ('"yes"', '"no"')  # type: ignore[union-attr]
    assert together[3].reply in ("true", "false")  # type: ignore[union-attr]


def test_no_control_token_comes_from_a_ruled_reply(qwen: Path, prompts: list[Prompt]) -> None:
    codec = Codec.load(qwen)
    seen: list[list[int]] = []
    split = codec.split
    codec.split = lambda ids: (seen.append(list(ids)), split(ids))[1]  # type: ignore[method-assign, func-returns-value]
    engine = OpenVINO(exported(qwen), codec=codec, settings=Settings(threads=1))
    schema = json.dumps({"type": "string", "minLength": 30, "maxLength": 40})
    list(engine.respond(prompts, Sampling(temperature=2, top_p=1, thinking_budget=0, json_schema=schema)))
    replies = [ids[ids.index(codec.end_think_id) + 1 : -1] for ids in seen]  # type: ignore[arg-type]
    assert len(replies) == len(prompts)
    assert not {token for ids in replies for token in ids} & codec.control_ids


def test_a_schema_that_cannot_be_enforced_is_named_and_the_engine_goes_on(
    engine: Streams, prompts: list[Prompt]
) -> None:
    with pytest.raises(UserError, match="'pattern' is not enforced here"):
        list(engine.respond(prompts[:1], Sampling(json_schema='{"type": "string", "pattern": "a"}')))
    assert len(list(engine.respond(prompts[:1], ASKED))) == 1


def test_different_schemas_cannot_fill_the_memory(
    qwen: Path, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [size_of(json.dumps({"enum": [f"ward {number}"]})) for number in range(3)]
    monkeypatch.setattr(room, "COMPILED", sum(sizes) - 1)
    engine = OpenVINO(exported(qwen), settings=Settings(threads=1))

    def reply(number: int) -> str:
        asked = ASKED.model_copy(update={"json_schema": json.dumps({"enum": [f"ward {number}"]})})
        return next(iter(engine.respond(prompts[:1], asked))).reply

    first = [reply(0), reply(1)]
    assert first == ['"ward 0"', '"ward 1"']
    with pytest.raises(UserError, match="2 different ones so far, and has no room for another"):
        reply(2)
    assert [reply(1), reply(0)] == first[::-1]


def test_without_llguidance_the_reference_engine_says_what_to_install(
    qwen: Path, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UserError, match="needs llguidance; pip install llguidance"):
        list(Reference(qwen, threads=1).respond(prompts[:1], ASKED))


def test_a_vocabulary_without_bytes_is_named(
    qwen: Path, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Codec, "token_bytes", lambda self: None)
    engine = OpenVINO(exported(qwen), settings=Settings(threads=1))
    with pytest.raises(UserError, match="needs a byte-level vocabulary"):
        list(engine.respond(prompts[:1], ASKED))
    assert len(list(engine.respond(prompts[:1], Sampling(max_tokens=3)))) == 1
