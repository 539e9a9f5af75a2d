"""What every engine in this process must do alike."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rounds import files
from rounds.engine.choose import open_directory
from rounds.engine.export import exported
from rounds.engine.openvino import OpenVINO, Settings
from rounds.engine.reference import Reference
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec, Parts
from rounds.records import Delta, Prompt, Sampling, Streams, Trace, UserError

GREEDY = Sampling(temperature=0, max_tokens=40)


class Recording(Codec):
    """Keeps the ids of every finished answer."""

    seen: list[list[int]]

    def split(self, ids):  # noqa: ANN001, ANN201
        self.__dict__.setdefault("seen", []).append(list(ids))
        return super().split(ids)


@pytest.fixture(scope="session", params=["openvino", "transformers"])
def engine(request: pytest.FixtureRequest, qwen: Path) -> Streams:
    if request.param == "openvino":
        return OpenVINO(exported(qwen), model="m", settings=Settings(kv_cache="f32", threads=1))
    return Reference(qwen, model="m", threads=1)


def told(traces: list[Trace]) -> list[tuple[str, int, str, str]]:
    return [(t.prompt.case_id, t.sample, t.thinking, t.reply) for t in traces]


def test_traces_come_in_the_order_of_the_prompts(engine: Streams, prompts: list[Prompt]) -> None:
    traces = list(engine.respond(prompts, Sampling(max_tokens=8, samples=2)))
    assert [(t.prompt.case_id, t.sample) for t in traces] == [(p.case_id, s) for p in prompts for s in (0, 1)]
    assert all(t.model == "m" for t in traces)
    codec = engine.codec  # type: ignore[attr-defined]
    assert [t.prompt_tokens for t in traces] == [len(codec.encode_prompt(t.prompt.messages)) for t in traces]
    assert all(t.total_s is not None and t.first_token_s is not None and t.first_token_s <= t.total_s for t in traces)


def test_a_seed_gives_the_same_answers_and_samples_differ(engine: Streams, prompts: list[Prompt]) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=20, samples=3, seed=5)
    first, again = (list(engine.respond(prompts, sampling)) for _ in range(2))
    other = list(engine.respond(prompts, sampling.model_copy(update={"seed": 6})))
    assert told(first) == told(again)
    assert told(first) != told(other)
    assert len({t.thinking + t.reply for t in first[:3]}) == 3


def test_an_answer_does_not_depend_on_what_else_is_asked(engine: Streams, prompts: list[Prompt]) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=20, seed=5)
    together = list(engine.respond(prompts, sampling))
    assert told(list(engine.respond(prompts[4:6], sampling))) == told(together[4:6])


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_the_thinking_budget_is_kept_and_the_reply_follows(engine: Streams, prompts: list[Prompt], budget: int) -> None:
    sampling = GREEDY.model_copy(update={"thinking_budget": budget})
    traces = list(engine.respond(prompts, sampling))
    assert all(t.thinking_tokens <= budget for t in traces)
    assert any(t.reply_tokens > 20 for t in traces)
    assert all(t.thinking_tokens + t.reply_tokens + 1 <= sampling.max_tokens for t in traces)


def test_max_tokens_holds_with_a_budget_that_leaves_no_room(engine: Streams, prompts: list[Prompt]) -> None:
    traces = list(engine.respond(prompts[:2], Sampling(temperature=0, max_tokens=3, thinking_budget=2)))
    assert [t.finish for t in traces] == ["length", "length"]
    assert all(t.thinking_tokens + t.reply_tokens <= 4 for t in traces)


def test_a_stream_tells_the_same_as_an_answer(engine: Streams, prompts: list[Prompt]) -> None:
    sampling = GREEDY.model_copy(update={"thinking_budget": 9})
    *pieces, last = engine.stream(prompts[0], sampling)
    expected = next(iter(engine.respond(prompts[:1], sampling)))
    assert isinstance(last, Trace)
    assert told([last]) == told([expected])
    deltas = [piece for piece in pieces if isinstance(piece, Delta)]
    assert len(deltas) == len(pieces) > 3
    assert "".join(d.thinking for d in deltas).strip() == last.thinking
    assert "".join(d.reply for d in deltas).strip() == last.reply


def test_log_probabilities_are_those_of_the_model(engine: Streams, qwen: Path, prompts: list[Prompt]) -> None:
    """Within 1e-3 of a forward pass in torch over the whole answer, at a temperature that is not the model's."""
    import torch

    sampling = Sampling(temperature=1.5, top_p=0.9, max_tokens=40, thinking_budget=9, logprobs=True)
    seen: list[list[int]] = []
    codec = engine.codec  # type: ignore[attr-defined]
    split = codec.split
    codec.split = lambda ids: (seen.append(list(ids)), split(ids))[1]
    try:
        traces = list(engine.respond(prompts[:4], sampling))
    finally:
        del codec.split
    model = checkpoint.load(qwen)
    for prompt, trace, ids in zip(prompts, traces, seen, strict=False):
        start = len(codec.encode_prompt(prompt.messages))
        with torch.no_grad():
            logits = model(torch.tensor([codec.encode_prompt(prompt.messages) + ids])).logits[0].float()
        chances = logits.log_softmax(-1)
        drawn = [place for place in range(codec.reply_from(ids), len(ids)) if ids[place] not in codec.eos_ids]
        drawn = drawn[1:] if trace.thinking_tokens == 9 else drawn  # the line break after a forced marker is not drawn
        expected = [float(chances[start + place - 1, ids[place]]) for place in drawn]
        assert [token.logprob for token in trace.logprobs] == pytest.approx(expected, abs=1e-3)
        joined = b"".join(bytes(token.raw) for token in trace.logprobs).decode(errors="replace")
        assert joined.strip() == trace.reply
    *pieces, last = engine.stream(prompts[0], sampling)
    assert isinstance(last, Trace)
    assert tuple(one for piece in pieces if isinstance(piece, Delta) for one in piece.tokens) == last.logprobs
    assert [token.text for token in last.logprobs] == [token.text for token in traces[0].logprobs]
    assert not next(iter(engine.respond(prompts[:1], GREEDY))).logprobs


def test_a_closed_stream_leaves_the_engine_free(engine: Streams, prompts: list[Prompt]) -> None:
    stream = engine.stream(prompts[0], GREEDY)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    answers = engine.respond(prompts, GREEDY)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    if isinstance(engine, OpenVINO):
        assert not engine._pipes[""].has_non_finished_requests()
    assert len(list(engine.respond(prompts[:1], GREEDY))) == 1


def test_streams_run_side_by_side(engine: Streams, prompts: list[Prompt]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    alone = [list(engine.stream(prompt, GREEDY))[-1] for prompt in prompts[:4]]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prompt: list(engine.stream(prompt, GREEDY))[-1], prompts[:4]))
    assert told(together) == told(alone)  # type: ignore[arg-type]


def test_the_end_token_stops_an_answer(qwen: Path, prompts: list[Prompt]) -> None:
    codec = Recording.load(qwen)
    list(Reference(qwen, codec=codec, threads=1).respond(prompts[:1], GREEDY))
    ends = Codec.load(qwen)
    ends.eos_ids = (codec.seen[0][5], *ends.eos_ids)
    for engine in (
        Reference(qwen, codec=ends, threads=1),
        OpenVINO(exported(qwen), codec=ends, settings=Settings(kv_cache="f32", threads=1)),
    ):
        trace = next(iter(engine.respond(prompts[:1], GREEDY)))
        assert trace.finish == "stop"
        assert trace.reply_tokens <= 5


@pytest.mark.parametrize("structure", ["qwen", "llama", "deepseek"])
def test_the_reference_gives_the_tokens_of_generate(
    structure: str, request: pytest.FixtureRequest, prompts: list[Prompt]
) -> None:
    import torch

    directory = request.getfixturevalue(structure)
    codec = Recording.load(directory)
    list(Reference(directory, codec=codec, threads=1, batch=5).respond(prompts, GREEDY))
    model = checkpoint.load(directory)
    for prompt, ids in zip(prompts, codec.seen, strict=True):
        given = torch.tensor([codec.encode_prompt(prompt.messages)])
        expected = model.generate(
            given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=40, pad_token_id=codec.pad_id
        )
        assert_same_up_to_ties(model, given[0].tolist(), expected[0, given.shape[1] :].tolist(), ids)


@pytest.mark.parametrize("structure", ["qwen", "llama"])
def test_openvino_f32_gives_the_tokens_of_transformers(
    structure: str, request: pytest.FixtureRequest, prompts: list[Prompt]
) -> None:
    directory: Path = request.getfixturevalue(structure)
    seen = []
    make: list[Callable[[Codec], Streams]] = [
        lambda codec: Reference(directory, codec=codec, threads=1),
        lambda codec: OpenVINO(exported(directory), codec=codec, settings=Settings(kv_cache="f32", threads=1)),
    ]
    for engine in make:
        codec = Recording.load(directory)
        list(engine(codec).respond(prompts, GREEDY))
        seen.append(codec.seen)
    model = checkpoint.load(directory)
    for prompt, expected, ids in zip(prompts, *seen, strict=True):
        assert_same_up_to_ties(model, codec.encode_prompt(prompt.messages), expected, ids)


def assert_same_up_to_ties(model, prompt: list[int], expected: list[int], ids: list[int]) -> None:  # noqa: ANN001
    """Equal, or parted first where the two tokens' logits lie within 1e-4."""
    import torch

    if expected == ids:
        return
    place = next(i for i, (a, b) in enumerate(zip(expected, ids, strict=False)) if a != b)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + expected[:place]])).logits[0, -1]
    assert abs(float(logits[expected[place]] - logits[ids[place]])) < 1e-4


@pytest.fixture(scope="module", params=["openvino", "transformers"])
def specialists(request: pytest.FixtureRequest, qwen: Path, adapted: Path) -> Streams:
    """One engine over the checkpoint with both adapters."""
    folders = {"first": adapted / "first", "second": adapted / "second"}
    return open_directory(qwen, request.param, threads=1, adapters=folders)


def naming(prompts: list[Prompt], *names: str) -> list[Prompt]:
    """The prompts, each naming the next of the adapters in turn."""
    return [prompt.model_copy(update={"adapter": names[i % len(names)]}) for i, prompt in enumerate(prompts)]


@pytest.fixture(scope="module")
def expected(qwen: Path, adapted: Path, prompts: list[Prompt]) -> dict[str, list[tuple[str, int, str, str]]]:
    """What the checkpoint alone answers, and with each adapter merged into its weights."""
    places = {"": qwen, "first": adapted / "merged-first", "second": adapted / "merged-second"}
    return {name: told(list(Reference(place, threads=1).respond(prompts, GREEDY))) for name, place in places.items()}


def test_every_request_is_answered_by_the_adapter_it_names(
    specialists: Streams, prompts: list[Prompt], expected: dict[str, list[tuple[str, int, str, str]]], adapted: Path
) -> None:
    """Mixed in one call, greedy and float32: the tokens of the merged checkpoint, and the base's own unchanged."""
    assert not any(a[2:] == b[2:] for a, b in zip(expected["first"], expected["second"], strict=True))
    names = ("", "first", "second", "first")
    traces = list(specialists.respond(naming(prompts, *names), GREEDY))
    assert told(traces) == [expected[names[i % 4]][i] for i in range(len(prompts))]
    digests = {"": "", **{name: files.digest(adapted / name) for name in ("first", "second")}}
    assert [trace.adapter for trace in traces] == [digests[trace.prompt.adapter] for trace in traces]
    assert {trace.model for trace in traces} == {specialists.model}


def test_an_adapter_streams_budgets_and_samples_as_the_model_does(specialists: Streams, prompts: list[Prompt]) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=20, thinking_budget=7, seed=3)
    (prompt,) = naming(prompts[:1], "second")
    *pieces, last = specialists.stream(prompt, sampling)
    assert isinstance(last, Trace)
    assert told([last]) == told(list(specialists.respond([prompt], sampling)))
    assert "".join(p.thinking for p in pieces if isinstance(p, Delta)).strip() == last.thinking
    assert last.thinking_tokens <= 7
    assert last.adapter
    other = next(iter(specialists.respond(prompts[:1], sampling)))
    assert (other.thinking, other.reply) != (last.thinking, last.reply)


def test_a_schema_holds_for_an_adapter_too(specialists: Streams, prompts: list[Prompt]) -> None:
    schema = {"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"]}
    sampling = Sampling(temperature=0, max_tokens=80, thinking_budget=3, json_schema=json.dumps(schema))
    traces = list(specialists.respond(naming(prompts[:3], "", "first", "second"), sampling))
    assert [set(json.loads(trace.reply)) for trace in traces] == [{"urgent"}] * 3


def test_closed_streams_of_adapters_leave_the_engine_free(
    specialists: Streams, prompts: list[Prompt], expected: dict[str, list[tuple[str, int, str, str]]]
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for name in ("", "first"):
        stream = specialists.stream(*naming(prompts[:1], name), GREEDY)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    answers = specialists.respond(naming(prompts, "first", "second"), GREEDY)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    if isinstance(specialists, OpenVINO):
        assert not any(pipe.has_non_finished_requests() for pipe in specialists._pipes.values())
    asked = naming(prompts[:4], "", "first", "second", "first")
    with ThreadPoolExecutor(4) as pool:
        together = [list(pieces)[-1] for pieces in pool.map(lambda p: list(specialists.stream(p, GREEDY)), asked)]
    assert told(together) == [expected[p.adapter][i] for i, p in enumerate(asked)]  # type: ignore[arg-type]


def test_an_unknown_adapter_is_named_before_anything_is_answered(
    specialists: Streams, engine: Streams, prompts: list[Prompt]
) -> None:
    asked = naming(prompts[:2], "", "third")
    with pytest.raises(UserError, match="there is no adapter 'third' here; use one of first, second"):
        list(specialists.respond(asked, GREEDY))
    with pytest.raises(UserError, match="there is no adapter 'third' here; this model has none, leave it out"):
        list(engine.stream(asked[1], GREEDY))


def test_parts_are_what_split_says(qwen: Path) -> None:
    codec = Recording.load(qwen)
    assert codec.split(codec.encode_completion("a", "b")) == Parts("a", "b", 2, 2)
