"""Whether the ward holds: load, cancels, slow connections, hostile input, against a real server on loopback.

    python benchmarks/ward.py RUN [TEST ...] [--minutes 30] [--clients 64] [--cancels 1000] [--slow 500]
                              [--answers 64] [--tokens 64] [--threads 2]      (overhead)

Starts `rounds serve RUN --unproven` as a process of its own for each test and prints a row a test: what was done, what
was seen, whether the reach was met. TEST is one or more of start, clients, cancels, slow, hostile, overhead; what a
kill leaves is `ward_kills.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

CHAT = "/v1/chat/completions"
CASES = (
    "A 67-year-old woman has had fever, a cough with rusty sputum and pain on breathing in for two days.",
    "A 54-year-old man has crushing chest pain that spreads to the left arm, with sweating and nausea.",
    "A 31-year-old woman has had a headache on one side with flashing lights and vomiting since the morning.",
    "A 45-year-old man woke at night with a red, hot and swollen big toe. He drinks beer every day.",
)
HOSTILE = (
    b"", b"{", b"null", b"[]", b'{"temperature":NaN}', b'{"max_tokens":1e999}', b"\xff\xfe",
    b'{"model":"m","model":"m"}', b"[" * 60_000, b'{"a":' * 50_000,
    b'{"messages":[{"role":"user","content":"\\ud800"}]}',
    b"9" * 250_000, b'{"messages":' + b"[" * 3_000 + b"]" * 3_000 + b"}",
)  # fmt: skip

TURNS = 3
"""How often served and bare are measured, in turn."""
WARM = 1024
"""Answers before memory is measured."""


def body_of(model: str, number: int) -> dict[str, Any]:
    """A request for one of the cases; each number asks something else."""
    text = f"{CASES[number % len(CASES)]} Patient {number}."
    given = {"model": model, "messages": [{"role": "user", "content": text}], "template": "differential-brief@1"}
    return {**given, "temperature": 0}


@dataclass(slots=True)
class Server:
    """A running `rounds serve`."""

    url: str
    model: str
    process: subprocess.Popen[str]
    audit: Path
    started_s: float
    """Until it said where it listens."""

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def body(self, number: int = 0, **more: Any) -> dict[str, Any]:
        """A request to this server."""
        return {**body_of(self.model, number), **more}


@contextmanager
def served(run: Path, *options: str, audit: Path | None = None) -> Iterator[Server]:
    """A server of its own with an audit log of its own, stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="rounds-ward-") as place:
        log = audit or Path(place) / "audit.sqlite"
        command = [sys.executable, "-m", "rounds.cli.main", "serve", str(run), "--unproven", "--port", "0", "--json"]
        began = time.monotonic()
        process = subprocess.Popen([*command, "--audit", str(log), *options], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the server did not start"
            told = json.loads(line)
            yield Server(told["url"], told["model"], process, log, time.monotonic() - began)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()


def verified(audit: Path) -> str:
    """What `rounds audit verify` says of a log."""
    from rounds.serve.audit_open import open_audit

    log = open_audit(str(audit), existing=True)
    found = log.verify()
    log.close()
    return f"chain {'whole' if found.whole else 'BROKEN: ' + found.fault}, {found.head.rows} rows"


async def stream_once(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    """The text of one streamed answer, '' unless it ended with [DONE]; a status that is not 200 as `status N`.

    A connection that was kept open and is closed before any answer is `status unanswered`: HTTP allows it to a server
    at any time (RFC 9112, 9.3.1), and it happens where this process waits longer for its turn than one is kept open.
    """
    parts, done = [], False
    request = client.build_request("POST", CHAT, json={**body, "stream": True})
    try:
        response = await client.send(request, stream=True)
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return "status unanswered"
    try:
        if response.status_code != 200:
            return f"status {response.status_code}"
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                done = True
            elif line.startswith("data: "):
                for choice in json.loads(line[6:]).get("choices", []):
                    parts.append(choice["delta"].get("content") or "")
    finally:
        await response.aclose()
    return "".join(parts) if done else ""


def start(run: Path, _: argparse.Namespace) -> tuple[str, bool]:
    """From the command to the end of the first answer."""
    began = time.monotonic()
    with served(run) as server:
        answer = httpx.post(f"{server.url}{CHAT}", json=server.body(), timeout=60)
        whole = time.monotonic() - began
        return f"listening after {server.started_s:.1f} s, first answer whole after {whole:.1f} s", (
            answer.status_code == 200 and whole <= 5
        )


def clients(run: Path, arguments: argparse.Namespace) -> tuple[str, bool]:
    """Streaming clients side by side; memory when all is warm against the highest after it.

    Warm is a sixth of the time and at least WARM answers: by then every block of the KV cache's pool has been filled,
    the watch for drift has looked at windows, and the allocator of each thread has met answers of every length.
    """
    seen: Counter[str] = Counter()
    memory: list[tuple[int, int]] = []
    longest = 0.0

    async def one(client: httpx.AsyncClient, server: Server, number: int, until: float) -> None:
        nonlocal longest
        while time.monotonic() < until:
            number += arguments.clients
            began = time.monotonic()
            try:
                text = await stream_once(client, server.body(number))
            except httpx.HTTPError as error:
                text = f"status {type(error).__name__}"
            longest = max(longest, time.monotonic() - began)
            seen[text if text.startswith("status") else "whole" if text else "broken off"] += 1
            if text.startswith("status 429"):
                await asyncio.sleep(0.2 + random.random())

    async def everyone(server: Server) -> None:
        limits = httpx.Limits(max_connections=arguments.clients)
        began = time.monotonic()
        until = began + arguments.minutes * 60
        # A machine that does other work answers late: that is told as the longest answer, not as a fault.
        async with httpx.AsyncClient(base_url=server.url, timeout=600, limits=limits) as client:
            tasks = [asyncio.create_task(one(client, server, number, until)) for number in range(arguments.clients)]
            while time.monotonic() < until:
                await asyncio.sleep(min(5.0, arguments.minutes * 3))
                memory.append((seen["whole"], server.memory()))
                told = f"{time.monotonic() - began:.0f} s: {seen['whole']} whole, {memory[-1][1] >> 20} MB"
                print(told, file=sys.stderr, flush=True)
            await asyncio.gather(*tasks)

    with served(run, "--waiting", str(arguments.clients)) as server:
        asyncio.run(everyone(server))
        log = server.audit
        said = verified(log)
    begun = next((n for n, (whole, _) in enumerate(memory) if whole >= WARM and n >= len(memory) // 6), len(memory) - 1)
    after = [size for _, size in memory[begun:]]
    last, most = (100 * (size / after[0] - 1) for size in (after[-1], max(after)))
    bad = sum(count for word, count in seen.items() if word not in ("whole", "status 429", "status unanswered"))
    words = ", ".join(f"{count} {word}" for word, count in seen.most_common())
    told = f"{arguments.clients} clients, {arguments.minutes:g} min: {words}, the longest {longest:.0f} s; "
    told += (
        f"memory {after[0] >> 20} MB after {memory[begun][0]} answers, {last:+.1f} % at the end, {most:+.1f} % at most"
    )
    return f"{told}; {said}", bad == 0 and most < 2 and len(after) > 1 and "whole" in said


def cancels(run: Path, arguments: argparse.Namespace) -> tuple[str, bool]:
    """Clients that leave anywhere, streamed or not, beside one that stays and must get the same tokens each time."""

    async def leave(client: httpx.AsyncClient, server: Server, number: int) -> None:
        with suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(random.uniform(0.001, 0.6)):
                body = server.body(number)
                await (stream_once(client, body) if number % 2 else client.post(CHAT, json=body))

    async def everyone(server: Server) -> tuple[float, set[str], int]:
        left, texts, answered = arguments.cancels, set(), 0
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:

            async def stay() -> None:
                nonlocal answered
                while left > 0:
                    text = await stream_once(client, server.body())
                    if not text.startswith("status 429"):
                        texts.add(text)
                        answered += 1

            staying = asyncio.create_task(stay())
            while left > 0:
                await asyncio.gather(
                    *(leave(client, server, number) for number in range(left, left - min(32, left), -1))
                )
                left -= 32
            ended = time.monotonic()
            await staying
            while True:
                figures = (await client.get("/metrics")).text.splitlines()
                if "rounds_waiting 0.0" in figures and "rounds_running 0.0" in figures:
                    return time.monotonic() - ended, texts, answered
                await asyncio.sleep(0.02)

    with served(run, "--waiting", "64") as server:
        empty, texts, answered = asyncio.run(everyone(server))
        said = verified(server.audit)
    told = (
        f"{arguments.cancels} left; {answered} answers beside them, {len(texts)} different; empty after {empty:.2f} s"
    )
    return f"{told}; {said}", len(texts) == 1 and "" not in texts and empty <= 1 and "whole" in said


def slow(run: Path, arguments: argparse.Namespace) -> tuple[str, bool]:
    """Connections whose headers or bodies never arrive, beside good requests."""
    half = b"GET /health HTTP/1.1\r\nHost: local"
    body = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body += b"Content-Length: 100\r\n\r\n{"
    with served(run) as server:
        address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        opened = time.monotonic()
        held = [socket.create_connection(address, timeout=20) for _ in range(arguments.slow)]
        for number, connection in enumerate(held):
            connection.sendall(body if number % 2 else half)
        dropped: list[float] = []
        watching = threading.Thread(target=_drops, args=(held, opened, dropped))
        watching.start()
        times = []
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while time.monotonic() - opened < 10:
                began = time.monotonic()
                assert client.get("/v1/models").status_code == 200
                times.append(time.monotonic() - began)
                time.sleep(0.02)
        watching.join()
    p99 = sorted(times)[int(0.99 * len(times))]
    last = max(dropped, default=0.0)
    told = f"{arguments.slow} held: {len(dropped)} dropped, all within {last:.1f} s"
    met = len(dropped) == arguments.slow and last <= 10 and p99 < 1
    return f"{told}; {len(times)} good requests, p99 {p99 * 1000:.0f} ms", met


def _drops(held: list[socket.socket], opened: float, dropped: list[float]) -> None:
    """Note when each connection was ended by the server; give up after 40 s."""
    with selectors.DefaultSelector() as selector:
        for connection in held:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() - opened < 40:
            for key, _ in selector.select(0.2):
                ended = True
                with suppress(OSError):
                    ended = not key.fileobj.recv(4096)  # type: ignore[union-attr]
                if ended:
                    selector.unregister(key.fileobj)
                    dropped.append(time.monotonic() - opened)
    for connection in held:
        connection.close()


def hostile(run: Path, _: argparse.Namespace) -> tuple[str, bool]:
    """Bodies no honest client sends, to every door that takes one."""
    seen: Counter[int] = Counter()
    echoed = 0
    with served(run) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        for path in (CHAT, "/v1/diagnose", "/", "/cds-services/rounds-patient-view"):
            for raw in (*HOSTILE, b"x" * 300_000):
                answer = client.post(path, content=raw, headers={"content-type": "application/json"})
                seen[answer.status_code] += 1
                echoed += len(raw) > 8 and raw[:200].decode("latin-1") in answer.text
        alive = client.get("/health").status_code == 200
    told = f"{seen.total()} bodies: " + ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))
    return f"{told}; {echoed} echoed", alive and not echoed and set(seen) <= {400, 412, 413, 415, 422}


def overhead(run: Path, arguments: argparse.Namespace) -> tuple[str, bool]:
    """Tokens a second of eight streams through the server against eight threads on the bare engine, in turn."""
    lanes, most = 8, arguments.tokens
    options = ("--threads", str(arguments.threads)) if arguments.threads else ()
    losses, told = [], []
    with served(run, *options) as server:
        bare = _bare(run, most)
        bodies = [server.body(number, **({"max_tokens": most} if most else {})) for number in range(arguments.answers)]
        texts = [body["messages"][0]["content"] for body in bodies]
        asyncio.run(_through(server, bodies[:1], 1))
        bare(texts[:1], 1)
        for _ in range(TURNS):
            rates = asyncio.run(_through(server, bodies, lanes)), bare(texts, lanes)
            losses.append(100 * (1 - rates[0] / rates[1]))
            told.append(f"{rates[0]:.1f} of {rates[1]:.1f}")
    lost = statistics.median(losses)
    return f"served {', '.join(told)} tokens/s bare: {lost:.1f} % lost (median), {lanes} streams", lost <= 3


async def _through(server: Server, bodies: Sequence[dict[str, Any]], lanes: int) -> float:
    """Tokens a second of so many clients that stream."""
    waiting, tokens = list(bodies), 0

    async def lane(client: httpx.AsyncClient) -> None:
        nonlocal tokens
        while waiting:
            body = {**waiting.pop(), "stream": True, "stream_options": {"include_usage": True}}
            async with client.stream("POST", CHAT, json=body) as response:
                async for line in response.aiter_lines():
                    if '"usage"' in line:
                        tokens += json.loads(line[6:])["usage"]["completion_tokens"]

    async with httpx.AsyncClient(base_url=server.url, timeout=600) as client:
        began = time.monotonic()
        await asyncio.gather(*(lane(client) for _ in range(lanes)))
        return tokens / (time.monotonic() - began)


def _bare(run: Path, most: int) -> Callable[[Sequence[str], int], float]:
    """Tokens a second of so many threads on an engine of this process."""
    from concurrent.futures import ThreadPoolExecutor

    from rounds.engine.choose import open_responder
    from rounds.records import Sampling, Trace
    from rounds.serve.consult import prompt_for
    from rounds.serve.standing import find

    served_as = find(run, True)
    engine = open_responder(served_as.checkpoint)
    sampling = Sampling(temperature=0, top_p=served_as.examine.top_p, max_tokens=most or served_as.examine.max_tokens)

    def one(text: str) -> int:
        pieces = engine.stream(prompt_for(text, "differential-brief@1"), sampling)
        traces = [piece for piece in pieces if isinstance(piece, Trace)]
        return traces[0].thinking_tokens + traces[0].reply_tokens

    def rate(texts: Sequence[str], lanes: int) -> float:
        began = time.monotonic()
        with ThreadPoolExecutor(lanes) as pool:
            tokens = sum(pool.map(one, texts))
        return tokens / (time.monotonic() - began)

    return rate


TESTS: dict[str, Callable[[Path, argparse.Namespace], tuple[str, bool]]] = {
    "start": start,
    "clients": clients,
    "cancels": cancels,
    "slow": slow,
    "hostile": hostile,
    "overhead": overhead,
}


def main() -> int:
    """0 when every reach was met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("tests", nargs="*", choices=(*TESTS, []), default=[], metavar="TEST")
    parser.add_argument("--minutes", type=float, default=30)
    for name, count in (("clients", 64), ("cancels", 1000), ("slow", 500), ("answers", 64)):
        parser.add_argument(f"--{name}", type=int, default=count)
    for name in ("tokens", "threads"):
        parser.add_argument(f"--{name}", type=int, default=0)
    arguments = parser.parse_args()
    missed = 0
    for name in arguments.tests or TESTS:
        began = time.monotonic()
        told, met = TESTS[name](arguments.run, arguments)
        missed += not met
        print(f"{name:<9} {'met' if met else 'MISSED':<7} {told} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
