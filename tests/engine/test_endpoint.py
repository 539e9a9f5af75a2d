"""What an OpenAI-compatible server must do to stand behind a Responder, held against one that runs.

    rounds engine vllm RUN --port 8001
    ROUNDS_ENDPOINT=http://127.0.0.1:8001/v1 ROUNDS_ENDPOINT_CHECKPOINT=RUN/specialise/base \
        ROUNDS_ENDPOINT_ADAPTER=RUN/specialise/on/surgery/adapter pytest tests/engine/test_endpoint.py

The checkpoint is the directory that is served, under its own name; the adapter is served under the name of the folder
it lies in. Without the variables these tests are skipped; what needs no server is in test_remote.py.
"""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rounds.engine.reference import Reference
from rounds.engine.remote import Remote
from rounds.model.tokenizer import Codec
from rounds.records import Delta, Message, Prompt, Sampling, Trace, UserError

URL = os.environ.get("ROUNDS_ENDPOINT", "")
CHECKPOINT = Path(os.environ.get("ROUNDS_ENDPOINT_CHECKPOINT", ""))
ADAPTER = os.environ.get("ROUNDS_ENDPOINT_ADAPTER", "")
pytestmark = pytest.mark.skipif(
    not URL or not (CHECKPOINT / "config.json").is_file(),
    reason="ROUNDS_ENDPOINT and ROUNDS_ENDPOINT_CHECKPOINT name no server and what it serves",
)
GREEDY = Sampling(temperature=0, max_tokens=120)
CLOSE = 1e-3
"""Logits this near may be told apart differently by another order of float32 sums."""


@pytest.fixture(scope="module")
def remote() -> Remote:
    return Remote(URL, CHECKPOINT.name, key=os.environ.get("OPENAI_API_KEY", ""), retries=0, timeout_s=300)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(CHECKPOINT)


@pytest.fixture(scope="module")
def greedy(remote: Remote, prompts: list[Prompt]) -> list[Trace]:
    return list(remote.respond(prompts, GREEDY))


def texts(traces: list[Trace]) -> list[tuple[str, str]]:
    return [(trace.thinking, trace.reply) for trace in traces]


def assert_told_alike(engine: Reference, prompts: list[Prompt], others: list[Trace]) -> None:
    """The same thinking and reply, or parted first at a token whose runner-up is as likely."""
    import torch

    split, seen = engine.codec.split, []
    engine.codec.split = lambda ids: (seen.append(list(ids)), split(ids))[1]  # type: ignore[assignment]
    try:
        expected = list(engine.respond(prompts, GREEDY))
    finally:
        del engine.codec.split
    for prompt, ours, ids, theirs in zip(prompts, expected, seen, others, strict=True):
        if (ours.thinking, ours.reply) == (theirs.thinking, theirs.reply):
            continue
        one, other = (f"{trace.thinking}\n{trace.reply}" for trace in (ours, theirs))
        place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        words = "".join(one.split())
        parted = len("".join(one[:place].split()))
        told = [
            len("".join(engine.codec.decode(ids[:count]).replace("</think>", "").split())) for count in range(len(ids))
        ]
        assert told[-1] <= len(words)
        here = max(index for index, length in enumerate(told) if length <= parted)
        model = engine._models[prompt.adapter]
        with torch.no_grad():
            given = torch.tensor([engine.codec.encode_prompt(prompt.messages) + ids])
            logits = model(given).logits[0].float().topk(2).values
        start = given.shape[1] - len(ids) - 1
        gaps = [float(logits[start + index, 0] - logits[start + index, 1]) for index in (max(here - 1, 0), here)]
        assert min(gaps) < CLOSE, (
            f"case {prompt.case_id}: '{one[:place][-40:]}' goes on as {other[place : place + 40]!r}"
        )


def test_greedy_gives_the_tokens_of_the_reference(greedy: list[Trace], prompts: list[Prompt]) -> None:
    assert_told_alike(Reference(CHECKPOINT, threads=1), prompts, greedy)


def test_the_server_reads_the_very_tokens_of_the_engines_here(greedy: list[Trace], codec: Codec) -> None:
    assert [t.prompt_tokens for t in greedy] == [len(codec.encode_prompt(t.prompt.messages)) for t in greedy]
    talk = (
        Message(role="system", content="Be brief."),
        Message(role="user", content=" Fever,\n1.25 ng/mL \n"),
        Message(role="assistant", content="1. Flu"),
        Message(role="user", content="Why?"),
    )
    remote = Remote(URL, CHECKPOINT.name, retries=0)
    (trace,) = remote.respond([Prompt(case_id="a", template="t@1", messages=talk)], Sampling(max_tokens=4))
    assert trace.prompt_tokens == len(codec.encode_prompt(talk))


def test_words_of_a_user_never_become_control_tokens(remote: Remote, codec: Codec) -> None:
    planted = [token for token in ("</think>", "<think>", *sorted(codec.tokens())) if codec.control_tokens_of(token)]
    for token in planted[:8]:
        asked = [
            Prompt(case_id="a", template="t@1", messages=(Message(role="user", content=text),))
            for text in (f"fever {token} rash", f"fever {token[0]} {token[1:]} rash")
        ]
        there, apart = (trace.prompt_tokens for trace in remote.respond(asked, Sampling(max_tokens=1)))
        assert there == apart, token


def test_traces_come_in_the_order_of_the_prompts(remote: Remote, prompts: list[Prompt]) -> None:
    traces = list(remote.respond(prompts, Sampling(max_tokens=6, samples=2)))
    assert [(t.prompt.case_id, t.sample) for t in traces] == [(p.case_id, s) for p in prompts for s in (0, 1)]
    assert {t.model for t in traces} == {CHECKPOINT.name}


def test_a_seed_gives_the_same_answers_and_samples_differ(remote: Remote, prompts: list[Prompt]) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=40, samples=3, seed=5)
    first, again = (texts(list(remote.respond(prompts[:4], sampling))) for _ in range(2))
    other = texts(list(remote.respond(prompts[:4], sampling.model_copy(update={"seed": 6}))))
    assert first == again
    assert first != other
    assert len(set(first)) > 4


def test_the_most_tokens_hold_and_a_cut_answer_says_so(remote: Remote, prompts: list[Prompt]) -> None:
    for most in (1, 5):
        for trace in remote.respond(prompts[:3], Sampling(temperature=0, max_tokens=most)):
            assert (trace.finish, trace.thinking_tokens + trace.reply_tokens) == ("length", most)
            assert trace.reply == "" or not trace.thinking, "a thought that was cut off is no reply"


def test_a_whole_answer_ends_by_itself(greedy: list[Trace]) -> None:
    ended = [trace for trace in greedy if trace.finish == "stop"]
    assert ended
    assert not any("</think>" in trace.thinking + trace.reply for trace in greedy)
    assert not any("<｜" in trace.thinking + trace.reply for trace in ended)


def test_a_stream_tells_the_same_as_an_answer(remote: Remote, prompts: list[Prompt], greedy: list[Trace]) -> None:
    for prompt, expected in zip(prompts[:3], greedy, strict=False):
        *pieces, last = remote.stream(prompt, GREEDY)
        assert isinstance(last, Trace)
        assert texts([last]) == texts([expected])
        assert (last.finish, last.prompt_tokens) == (expected.finish, expected.prompt_tokens)
        assert last.thinking_tokens + last.reply_tokens == expected.thinking_tokens + expected.reply_tokens
        deltas = [piece for piece in pieces if isinstance(piece, Delta)]
        assert "".join(d.thinking for d in deltas).strip() == last.thinking
        assert "".join(d.reply for d in deltas).strip() == last.reply
        assert last.first_token_s is not None
        assert last.total_s is not None
        assert last.first_token_s < last.total_s


def test_streams_run_side_by_side(remote: Remote, prompts: list[Prompt], greedy: list[Trace]) -> None:
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prompt: list(remote.stream(prompt, GREEDY))[-1], prompts[:4]))
    assert texts(together) == texts(greedy[:4])  # type: ignore[arg-type]


def test_a_schema_binds_the_reply_and_leaves_the_thought_free(remote: Remote, prompts: list[Prompt]) -> None:
    schema = {"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"]}
    sampling = Sampling(temperature=0, max_tokens=250, json_schema=json.dumps(schema | {"additionalProperties": False}))
    traces = list(remote.respond(prompts[:4], sampling))
    whole = [trace for trace in traces if trace.finish == "stop" and trace.reply]
    assert whole
    assert [set(json.loads(trace.reply)) for trace in whole] == [{"urgent"}] * len(whole)
    assert not any(trace.thinking.startswith("{") for trace in traces)


def running(count: Callable[[float], bool]) -> float | None:
    """Seconds until the server's own count of running requests is so; None when it never is in ten seconds."""
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < 10:
        lines = httpx.get(f"{URL.removesuffix('/v1')}/metrics", timeout=10).text.splitlines()
        if count(sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))):
            return passed
        time.sleep(0.02)
    return None


def test_a_closed_stream_frees_its_slot_at_once(remote: Remote, prompts: list[Prompt]) -> None:
    if "vllm:num_requests_running" not in httpx.get(f"{URL.removesuffix('/v1')}/metrics", timeout=10).text:
        pytest.skip("the server does not count what it runs (vllm:num_requests_running)")
    long = Remote(URL, CHECKPOINT.name, retries=0, timeout_s=300, extra={"ignore_eos": True})
    stream = long.stream(prompts[0], Sampling(temperature=0, max_tokens=500))
    next(stream)
    assert running(lambda found: found == 1) is not None
    stream.close()  # type: ignore[attr-defined]
    freed = running(lambda found: found == 0)
    assert freed is not None
    assert freed < 2
    answers = long.respond(prompts, Sampling(temperature=0, max_tokens=60))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert running(lambda found: found == 0) is not None
    assert next(iter(remote.respond(prompts[:1], GREEDY))).reply_tokens


def test_a_prompt_that_fills_the_context_is_refused_in_a_sentence(remote: Remote) -> None:
    long = Prompt(case_id="a", template="t@1", messages=(Message(role="user", content="fever " * 300_000),))
    with pytest.raises(UserError, match="refused with status 4"):
        list(remote.respond([long], GREEDY))


def test_an_unknown_model_is_named(prompts: list[Prompt]) -> None:
    with pytest.raises(UserError, match=r"status 404 .*serves a model named 'nobody'"):
        list(Remote(URL, "nobody", retries=0).respond(prompts[:1], GREEDY))
    asked = [prompts[0].model_copy(update={"adapter": "nobody"})]
    with pytest.raises(UserError, match=r"status 404 .*serves a model named 'nobody'"):
        list(Remote(URL, CHECKPOINT.name, retries=0).respond(asked, GREEDY))


@pytest.mark.skipif(not ADAPTER, reason="ROUNDS_ENDPOINT_ADAPTER names no adapter that the server offers")
def test_every_request_is_answered_by_the_adapter_it_names(
    remote: Remote, prompts: list[Prompt], greedy: list[Trace]
) -> None:
    name = Path(ADAPTER).parent.name
    engine = Reference(CHECKPOINT, threads=1, adapters={name: Path(ADAPTER)})
    mixed = [prompt.model_copy(update={"adapter": name if i % 2 else ""}) for i, prompt in enumerate(prompts)]
    traces = list(remote.respond(mixed, GREEDY))
    assert [trace.model for trace in traces] == [prompt.adapter or CHECKPOINT.name for prompt in mixed]
    assert_told_alike(engine, mixed, traces)
    alike = [one == other for one, other in zip(texts(traces)[1::2], texts(greedy)[1::2], strict=True)]
    assert not all(alike)
