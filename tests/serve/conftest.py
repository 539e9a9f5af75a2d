"""A scripted Responder: the HTTP semantics are under test here, not a model's wisdom."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from rounds.records import Delta, Prompt, Sampling, Trace, UserError
from rounds.serve.app import create_app
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.listen import bind, serve_until_stopped, url_of
from rounds.serve.operate_shadow import LOG
from rounds.serve.standing import DEMONSTRATION, Standing

FIVE = "1. pneumonia\n2. pulmonary embolism\n3. heart failure\n4. pleurisy\n5. lung abscess\nRed flags: low oxygen"
STANDING = Standing(word="demonstration", banner=DEMONSTRATION, evidence="synthetic", checkpoint="ab" * 32)

AUDITS = TemporaryDirectory(prefix="rounds-audit-")
NUMBERS = count()


class Scripted:
    """Streams a fixed answer in pieces; words in the case make it wait, break or complain."""

    name = "scripted"
    model = "ab" * 32
    batch_invariant = True

    def __init__(self, thinking: str = "Fever fits pneumonia.", reply: str = FIVE) -> None:
        self.thinking = thinking
        self.reply = reply
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []
        self.open_gate = threading.Event()
        """Answers to a case with WAIT in it go on when this is set."""
        self.closed = 0
        """Streams that ended, whole or not."""
        self.pieces = 0

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        for prompt in prompts:
            self._look(prompt, sampling)
            for sample in range(sampling.samples):
                yield self._trace(prompt, sampling, sample)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta | Trace]:
        try:
            self._look(prompt, sampling)
            case = prompt.messages[-1].content
            for word in self.thinking.split(" "):
                yield Delta(thinking=f"{word} ")
            while "ENDLESS" in case:
                self.pieces += 1
                self.open_gate.wait(0.005)
                yield Delta(reply="on and ")
            if "LATEBREAK" in case:
                raise RuntimeError(f"secret words: {case}")
            yield Delta(reply=self.reply)
            yield self._trace(prompt, sampling, 0)
        finally:
            self.closed += 1

    def _look(self, prompt: Prompt, sampling: Sampling) -> None:
        self.prompts.append(prompt)
        self.samplings.append(sampling)
        case = prompt.messages[-1].content
        if "WAIT" in case:
            assert self.open_gate.wait(30), "nobody opened the gate"
        if "TOOLONG" in case:
            raise UserError("the prompt has 900 tokens; at most 640 fit, shorten it.")
        if "EARLYBREAK" in case:
            raise RuntimeError(f"secret words: {case}")

    def _trace(self, prompt: Prompt, sampling: Sampling, sample: int) -> Trace:
        case = prompt.messages[-1].content
        return Trace(
            prompt=prompt,
            model=self.model,
            engine="scripted",
            sampling=sampling,
            sample=sample,
            thinking=self.thinking,
            reply=self.reply,
            finish="error" if "HALF" in case else "length" if "CUT" in case else "stop",
            thinking_tokens=7,
            reply_tokens=11,
            prompt_tokens=23,
            total_s=0.25,
        )


class Whole:
    """The same without streaming."""

    name, model, batch_invariant = Scripted.name, Scripted.model, True

    def __init__(self) -> None:
        self.scripted = Scripted()

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        return self.scripted.respond(prompts, sampling)


def application(responder: Any, **settings: Any) -> Any:
    """The application with the settings of a test; its audit log goes to a directory that outlives no test run."""
    given = {"standing": STANDING, "template": "differential-brief@1", "sampling": Sampling(max_tokens=500)}
    if "audit" not in settings:
        settings["audit"] = Audit(SQLite(Path(AUDITS.name) / f"{next(NUMBERS)}.sqlite"))
    return create_app(responder, **{"name": "tiny", **given, **settings})


async def agreements(home: Path, count: int = 1) -> list[dict[str, Any]]:
    """What shadow mode kept, when so many comparisons are there: it answers after it has said *recorded*."""
    for _ in range(500):
        lines = (home / LOG).read_text(encoding="utf-8").splitlines() if (home / LOG).is_file() else []
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        await asyncio.sleep(0.02)
    raise AssertionError("nothing was kept")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    responder = Scripted()
    yield responder
    responder.open_gate.set()


@pytest.fixture
def make_scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def whole() -> Whole:
    return Whole()


@pytest.fixture
def kept() -> Callable[..., Any]:
    return agreements


@pytest.fixture
def make_app() -> Callable[..., Any]:
    return application


@pytest.fixture
def client_of() -> Callable[..., httpx.AsyncClient]:
    """A client that talks to an application without a socket."""

    def client(app: Any, **settings: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, **{"base_url": "http://127.0.0.1:8000", **settings})

    return client


@contextmanager
def serving(app: Any, drain_seconds: float = 2.0) -> Iterator[str]:
    """The application behind a real server on a free port of this machine; gives its URL."""
    listening = bind("127.0.0.1", 0)
    url = url_of(listening)
    stopped = threading.Event()

    async def stop() -> None:
        while not stopped.is_set():
            await asyncio.sleep(0.02)

    thread = threading.Thread(target=serve_until_stopped, args=(app, listening, stop, drain_seconds))
    thread.start()
    try:
        yield url
    finally:
        stopped.set()
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def serve() -> Any:
    return serving


def body(text: str = "fever and cough", **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def chat_body() -> Callable[..., dict[str, Any]]:
    return body


def raw_exchange(url: str, data: bytes, seconds: float = 8.0) -> bytes:
    """What a server says to raw bytes until it closes; the socket is not half-closed by us."""
    host, port = url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        while received := connection.recv(65536):
            answer += received
    return answer


@pytest.fixture
def exchange() -> Callable[..., bytes]:
    return raw_exchange


class Answer:
    """What a stand-in for a hospital's server answers: a status, headers and bytes; a value becomes JSON."""

    def __init__(self, value: Any, status: int = 200, kind: str = "application/fhir+json", **headers: str) -> None:
        self.body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.status = status
        self.headers = {"content-type": kind, **{name.replace("_", "-"): text for name, text in headers.items()}}
        self.after = 0.0
        """Seconds before it is sent."""


class Hospital:
    """A real HTTP server on this machine; a test puts what lies where."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[str], Answer]] = {}
        """By path with query, or path alone; a function is given the body of the request, or else the query."""
        self.asked: list[tuple[str, str, str]] = []
        """Method, path with query, and body of every request."""
        self.heads: list[dict[str, str]] = []
        hospital = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                hospital.asked.append((self.command, self.path, body))
                hospital.heads.append({name.lower(): value for name, value in self.headers.items()})
                place, _, query = self.path.partition("?")
                missing = Answer({"resourceType": "OperationOutcome"}, 404)
                found = hospital.answers.get(self.path) or hospital.answers.get(place, missing)
                found = found if isinstance(found, Answer) else found(body or query)
                time.sleep(found.after)
                try:
                    self.send_response(found.status)
                    for name, value in {**found.headers, "content-length": str(len(found.body))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(found.body)
                except OSError:  # whoever asked has left
                    pass

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    started = Hospital()
    yield started
    started.close()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer
