import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.engine.remote import Remote, _Cutter, parse_thinking
from rounds.model.tokenizer import Codec
from rounds.records import Delta, Message, Prompt, Sampling, Trace, UserError


class Server(ThreadingHTTPServer):
    """A small OpenAI-compatible server; `failures` are statuses given before it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict] = []
        self.failures: list[int] = []
        self.message: dict = {"content": "<think>\nfever\n</think>\n1. Flu"}
        self.usage: dict | None = {"completion_tokens": 10}
        self.finish = "stop"
        self.raw: bytes | None = None
        self.pause = 0.0
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append({**body, "key": self.headers.get("Authorization"), "path": self.path})
            failure = self.server.failures.pop(0) if self.server.failures else None
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        time.sleep(self.server.pause)
        try:
            if failure:
                self.send(failure, json.dumps({"error": {"message": "not now"}}).encode(), {"Retry-After": "0"})
            elif self.server.raw is not None:
                self.send(200, self.server.raw)
            elif body.get("stream"):
                self.stream()
            else:
                self.send(200, json.dumps(self.completion()).encode())
        finally:
            with self.server.lock:
                self.server.now -= 1

    def completion(self) -> dict:
        choice = {"index": 0, "finish_reason": self.server.finish, "message": self.server.message}
        return {"choices": [choice], "usage": self.server.usage}

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        events: list[dict] = []
        for key, text in self.server.message.items():
            events += [{"choices": [{"delta": {key: text[i : i + 3]}}]} for i in range(0, len(text), 3)]
        events.append({"choices": [{"delta": {}, "finish_reason": self.server.finish}]})
        events.append({"choices": [], "usage": self.server.usage})
        for event in events:
            self.wfile.write(f": ping\n\ndata: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests keep stderr quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def asked(*names: str) -> list[Prompt]:
    return [Prompt(case_id=n, template="t@1", messages=(Message(role="user", content=f"Case {n}"),)) for n in names]


def test_a_schema_is_sent_for_the_grammar(server: Server) -> None:
    list(Remote(server.url, "m").respond(asked("a"), Sampling(json_schema='{"type": "object"}')))
    sent = server.asked[0]["response_format"]
    assert sent == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
    }
    server.asked.clear()
    list(Remote(server.url, "m").respond(asked("a"), Sampling()))
    assert "response_format" not in server.asked[0]


def test_answers_come_in_order_with_seeds_and_counts(server: Server) -> None:
    server.pause = 0.01
    remote = Remote(server.url, "m", key="k", concurrency=3)
    traces = list(remote.respond(asked(*"abcdefgh"), Sampling(samples=2, max_tokens=50)))
    assert [(t.prompt.case_id, t.sample) for t in traces] == [(c, s) for c in "abcdefgh" for s in (0, 1)]
    assert {(t.thinking, t.reply, t.finish, t.model) for t in traces} == {("fever", "1. Flu", "stop", "m")}
    assert all(t.thinking_tokens + t.reply_tokens == 10 and (t.total_s or 0) > 0 for t in traces)
    assert len({body["seed"] for body in server.asked}) == 16
    assert {body["key"] for body in server.asked} == {"Bearer k"}
    assert {body["path"] for body in server.asked} == {"/v1/chat/completions"}
    assert 1 < server.most <= 3
    first = {body["seed"] for body in server.asked}
    server.asked.clear()
    list(remote.respond(asked(*"abcdefgh"), Sampling(samples=2, max_tokens=50)))
    assert {body["seed"] for body in server.asked} == first


def test_no_system_message_is_added(server: Server) -> None:
    list(Remote(server.url, "m").respond(asked("a"), Sampling(temperature=0.6)))
    body = server.asked[0]
    assert body["messages"] == [{"role": "user", "content": "Case a"}]
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("m", 0.6, 0.95, 2048)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_separate_reasoning_is_taken_and_its_tokens_counted(server: Server, field: str) -> None:
    server.message = {field: "because", "content": "Flu"}
    server.usage = {"prompt_tokens": 31, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}}
    trace = next(iter(Remote(server.url, "m").respond(asked("a"), Sampling())))
    assert trace.prompt_tokens == 31
    assert (trace.thinking, trace.reply, trace.thinking_tokens, trace.reply_tokens) == ("because", "Flu", 7, 2)


def test_a_cut_answer_says_so(server: Server) -> None:
    server.message, server.finish, server.usage = {"content": "still thinking"}, "length", None
    plain = next(iter(Remote(server.url, "m").respond(asked("a"), Sampling())))
    opened = next(iter(Remote(server.url, "m", opened=True).respond(asked("a"), Sampling())))
    assert (plain.thinking, plain.reply, plain.finish) == ("", "still thinking", "length")
    assert (opened.thinking, opened.reply, opened.thinking_tokens) == ("still thinking", "", 0)


def test_failures_that_pass_are_asked_again(server: Server) -> None:
    server.failures = [429, 503, 500]
    trace = next(iter(Remote(server.url, "m").respond(asked("a"), Sampling())))
    assert trace.reply == "1. Flu"
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, r"status 401 \(not now\); set the key"),
        (404, "serves a model named 'm'"),
        (400, r"status 400 \(not now\); see the server's log"),
    ],
)
def test_refusals_are_not_asked_again(server: Server, status: int, sentence: str) -> None:
    server.failures = [status]
    with pytest.raises(UserError, match=sentence):
        list(Remote(server.url, "m").respond(asked("a"), Sampling()))
    assert len(server.asked) == 1


def test_an_adapter_is_asked_for_as_a_model_of_its_own_and_named_where_the_server_lacks_it(server: Server) -> None:
    prompts = [
        prompt.model_copy(update={"adapter": name})
        for prompt, name in zip(asked("a", "b"), ("surgery", ""), strict=True)
    ]
    traces = list(Remote(server.url, "m", concurrency=1).respond(prompts, Sampling()))
    assert [body["model"] for body in server.asked] == ["surgery", "m"] == [trace.model for trace in traces]
    server.failures = [404]
    with pytest.raises(UserError, match="serves a model named 'surgery'"):
        list(Remote(server.url, "m").respond(prompts[:1], Sampling()))


def test_a_server_that_keeps_failing_is_named(server: Server) -> None:
    server.failures = [503] * 9
    with pytest.raises(UserError, match="refused with status 503"):
        list(Remote(server.url, "m", retries=2).respond(asked("a"), Sampling()))
    assert len(server.asked) == 3


def test_a_slow_server_is_named(server: Server) -> None:
    server.pause = 0.5
    with pytest.raises(UserError, match="cannot be reached"):
        list(Remote(server.url, "m", timeout_s=0.05, retries=0).respond(asked("a"), Sampling()))


def test_an_absent_server_is_named() -> None:
    for read in (Remote.respond, lambda remote, prompts, sampling: remote.stream(prompts[0], sampling)):
        with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/v1: cannot be reached .*; start the server"):
            list(read(Remote("http://127.0.0.1:9/v1", "m", retries=0), asked("a"), Sampling()))


@pytest.mark.parametrize(
    ("raw", "sentence"), [(b"<html>", "answered no JSON"), (b'{"choices": []}', "without choices")]
)
def test_nonsense_is_named(server: Server, raw: bytes, sentence: str) -> None:
    server.raw = raw
    with pytest.raises(UserError, match=sentence):
        list(Remote(server.url, "m").respond(asked("a"), Sampling()))


def test_what_an_endpoint_cannot_do_is_named(server: Server) -> None:
    with pytest.raises(UserError, match="thinking budget of 5 tokens cannot be asked of an endpoint"):
        list(Remote(server.url, "m").respond(asked("a"), Sampling(thinking_budget=5)))
    with pytest.raises(UserError, match="log probabilities cannot be asked of an endpoint"):
        list(Remote(server.url, "m").respond(asked("a"), Sampling(logprobs=True)))
    with pytest.raises(UserError, match="endpoint 'localhost' is not a URL"):
        Remote("localhost", "m")


@pytest.mark.parametrize(
    "message", [{"content": "<think>\nfever\n</think>\n1. Flu"}, {"reasoning_content": "fever", "content": "1. Flu"}]
)
def test_a_stream_gives_pieces_then_the_trace(server: Server, message: dict) -> None:
    server.message = message
    *pieces, last = Remote(server.url, "m").stream(asked("a")[0], Sampling())
    assert isinstance(last, Trace)
    assert (last.thinking, last.reply, last.thinking_tokens + last.reply_tokens) == ("fever", "1. Flu", 10)
    deltas = [piece for piece in pieces if isinstance(piece, Delta)]
    assert "".join(d.thinking for d in deltas).strip() == "fever"
    assert "".join(d.reply for d in deltas).strip() == "1. Flu"
    assert len(deltas) > 3
    assert server.asked[0]["stream"] is True


@pytest.mark.parametrize(
    "message",
    [
        {"content": "<think>fever</think>, or not?</think>1. Flu"},
        {"content": "fever</think>, or not?</think>1. Flu"},
        {"reasoning_content": "fever", "content": ", or not?</think>1. Flu"},
    ],
)
def test_the_last_marker_ends_the_thought_wherever_the_server_cuts(server: Server, message: dict) -> None:
    server.message = message
    (whole,) = Remote(server.url, "m").respond(asked("a"), Sampling())
    *pieces, last = Remote(server.url, "m").stream(asked("a")[0], Sampling())
    assert isinstance(last, Trace)
    for trace in (whole, last):
        assert (trace.thinking, trace.reply) == ("fever, or not?", "1. Flu")
    assert not any("</think>" in piece.thinking + piece.reply for piece in pieces if isinstance(piece, Delta))


def test_a_model_here_and_behind_an_endpoint_is_cut_alike(qwen: Path) -> None:
    codec = Codec.load(qwen)
    for text in ("a</think>b</think>c", "a</think>b", "<think>a</think>b</think>", "a b</think></think>c"):
        first, *others = (codec.encode_text(piece) for piece in text.split("</think>"))
        ids = first + [i for other in others for i in (codec.end_think_id, *other)]
        parts = codec.split([*ids, codec.eos_ids[0]])
        thinking, reply = parse_thinking(text)
        assert (parts.thinking, parts.reply) == (thinking.strip(), reply.strip())


def test_a_stream_that_breaks_off_is_named(server: Server) -> None:
    server.raw = b'data: {"error": {"message": "out of memory"}}\n\n'
    with pytest.raises(UserError, match=r"broke off the stream \(out of memory\)"):
        list(Remote(server.url, "m").stream(asked("a")[0], Sampling()))


def test_closing_early_stops_asking(server: Server) -> None:
    server.pause = 0.02
    answers = Remote(server.url, "m", concurrency=2).respond(asked(*map(str, range(100))), Sampling())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert len(server.asked) < 20


@given(text=st.text(alphabet="<>/think \nab", max_size=60), size=st.integers(1, 7), opened=st.booleans())
def test_streamed_cuts_agree_with_the_whole_text(text: str, size: int, opened: bool) -> None:
    whole = ("<think>" if opened else "") + "x" + text
    cutter = _Cutter(opened=False)
    deltas = [d for i in range(0, len(whole), size) for d in cutter.take(whole[i : i + size])] + cutter.rest()
    thinking, reply = "".join(d.thinking for d in deltas), "".join(d.reply for d in deltas)
    first, _, rest = whole.removeprefix("<think>").partition("</think>")
    rest = rest.replace("</think>", "")
    assert (thinking, reply) == ((first, rest) if opened else ("", first + rest))
    if opened and whole.count("</think>") < 2:
        assert (thinking, reply) == parse_thinking(whole)


def test_inline_markers() -> None:
    assert parse_thinking("<think>a</think>b") == ("a", "b")
    assert parse_thinking("a</think>b</think>c") == ("ab", "c")
    assert parse_thinking("<think>a</think></think>") == ("a", "")
    assert parse_thinking("<think>a") == ("a", "")
    assert parse_thinking("a") == ("", "a")
    assert parse_thinking("a", opened=True) == ("a", "")
