# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""Figures for Prometheus, and the three questions a service manager asks: alive, ready, how is it.

Labels are our own words from short lists, never a caller's, a client's or a case's; a route counts by its pattern.
https://prometheus.io/docs/practices/naming/. Left out on purpose: tracing, whose spans carry what was asked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from rounds.records import Trace
from rounds.serve.audit import Unaudited
from rounds.serve.keys import need

if TYPE_CHECKING:
    from fastapi import FastAPI

    from rounds.serve.ward import Ward

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

METHODS = frozenset({"GET", "POST", "HEAD"})
FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds; for what should be quick."""
SLOW = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
"""Seconds; for answers of a reasoning model."""


class Metrics:
    """The figures of one application."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("rounds_requests", "HTTP requests.", ["route", "method", "status"], **given)
        self._seconds = Histogram(
            "rounds_request_seconds", "To the end of the answer.", ["route"], buckets=SLOW, **given
        )
        self._answers = Counter(
            "rounds_answers", "Requests to the model by how they ended.", ["door", "finish"], **given
        )
        self._tokens = Counter("rounds_tokens", "Tokens read and written.", ["kind"], **given)
        self._first = Histogram("rounds_first_token_seconds", "To the first token.", buckets=SLOW, **given)
        self._whole = Histogram("rounds_answer_seconds", "To the last token.", buckets=SLOW, **given)
        self._turned_away = Counter("rounds_turned_away", "Before the model was asked.", ["why"], **given)
        self._audit = Histogram("rounds_audit_seconds", "To commit a row of the log.", buckets=FAST, **given)
        self._waiting = Gauge("rounds_waiting", "Requests in the queue.", **given)
        self._running = Gauge("rounds_running", "Requests the engine has.", **given)
        self._standing = Gauge("rounds_standing", "1 for what may be claimed of the model.", ["standing"], **given)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one HTTP request."""
        self._requests.labels(route, method if method in METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answer(self, door: str, traces: Sequence[Trace]) -> None:
        """Count a finished answer."""
        for trace in traces:
            self._answers.labels(door, trace.finish).inc()
            self._tokens.labels("thinking").inc(trace.thinking_tokens)
            self._tokens.labels("reply").inc(trace.reply_tokens)
            if trace.first_token_s is not None:
                self._first.observe(trace.first_token_s)
            if trace.total_s is not None:
                self._whole.observe(trace.total_s)
        if traces:
            self._tokens.labels("prompt").inc(traces[0].prompt_tokens)

    def unfinished(self, door: str, finish: str) -> None:
        """Count a request that ended without an answer."""
        self._answers.labels(door, finish).inc()

    def turned_away(self, why: str) -> None:
        """Count one: busy, unaudited, forbidden, unknown."""
        self._turned_away.labels(why).inc()

    def committed(self, seconds: float) -> None:
        """Count a row of the audit log."""
        self._audit.observe(seconds)

    def watch(self, ward: "Ward") -> None:
        """Read the gauges off a ward."""
        self._waiting.set_function(lambda: ward.worker.waiting)
        self._running.set_function(lambda: ward.worker.running)
        self._standing.labels(ward.standing.word).set(1)


class Watched:
    """ASGI middleware that counts what goes through; says nothing of what was in it."""

    def __init__(self, app: App, metrics: Metrics, note: Callable[[dict[str, Any]], None] | None = None) -> None:
        """`note` is told of each request when it has ended: route, method, status, milliseconds, caller."""
        self._app = app
        self._metrics = metrics
        self._note = note

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection of any ASGI type."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 499  # the client's leaving, where nothing was sent

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            seconds = time.monotonic() - started
            # Set by the router; what no route took is one word, or anybody could fill the memory with paths.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.request(route, scope["method"], status, seconds)
            if self._note is not None:
                caller = scope.get("state", {}).get("caller")
                fields = {"route": route, "status": status, "ms": round(seconds * 1000)}
                self._note({**fields, "caller": caller.name if caller else ""})


def add_metrics(app: "FastAPI", ward: "Ward", metrics: Metrics) -> None:
    """Add /health (alive), /ready and /metrics to an application."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    metrics.watch(ward)

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok", "waiting": ward.worker.waiting, "rounds": ward.label})

    @app.get("/ready")
    async def ready() -> JSONResponse:
        why = await unready(ward)
        return JSONResponse({"ready": not why, "why": why}, 503 if why else 200)

    @app.get("/metrics")
    async def figures(request: Request) -> Response:
        need(request, "audit")
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def unready(ward: "Ward") -> str:
    """Why nobody should be sent here now, '' when nothing stands against it."""
    try:
        ward.check()
        if ward.audit.fault:
            # No request would come to find out that the disk has room again: this row does.
            await ward.audit.incident("rounds", "the audit log can be written again", "ready")
        await asyncio.to_thread(ward.audit.head)
    except Unaudited as error:
        return str(error)
    return ""
