# No `from __future__ import annotations` here: FastAPI reads the annotations of handlers defined inside a function.
"""The application and the socket: routes behind the gate, and the server that runs them until it is told to stop.

Binds to this machine only; keys and TLS come before anything else may be bound. Left out on purpose: several worker
processes (one model, one engine), and access logs, which would tell who asked and when.
"""

import asyncio
import errno
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from rounds.records import Responder, Sampling, UserError
from rounds.serve.api import add_api, error_body
from rounds.serve.gate import App, Gate
from rounds.serve.page import add_page
from rounds.serve.standing import Standing
from rounds.serve.ward import Ward
from rounds.serve.worker import Worker

if TYPE_CHECKING:
    from fastapi import FastAPI

HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
LOOPBACK = ("127.0.0.1", "::1", "localhost")

BODY_LIMIT = 256 * 1024
"""Bytes; four times what the longest conversation needs as plain text."""
BODY_SECONDS = 10.0
MOST_WAITING = 8
DRAIN_SECONDS = 30.0
HEADER_SECONDS = 5.0


def create_app(
    responder: Responder,
    *,
    name: str,
    standing: Standing,
    template: str,
    sampling: Sampling,
    most_waiting: int = MOST_WAITING,
    body_limit: int = BODY_LIMIT,
    body_seconds: float = BODY_SECONDS,
) -> App:
    """The whole ASGI application over one Responder (a `Streams` one is streamed piece by piece).

    `template` writes the page's prompts; `sampling` holds the defaults, and in max_tokens the most, of a request;
    `body_limit` is in bytes, `body_seconds` the time a body may take to arrive.
    """
    from fastapi import FastAPI

    ward = Ward(name, Worker(responder, most_waiting), standing, template, sampling)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(ward.worker.stop)

    app = FastAPI(title="Rounds", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    add_api(app, ward)
    add_page(app, ward)
    _add_faults(app)
    return Gate(app, HOSTS, body_limit, body_seconds)


def _add_faults(app: "FastAPI") -> None:
    """Faults in OpenAI's shape; FastAPI's own repeat the input, which is a patient's, and break on NaN."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(error_body(400, _first_fault(error.errors())), 400)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        sentences = {400: "the body is not valid JSON.", 404: "there is nothing here.", 405: "not with this method."}
        sentence = sentences.get(error.status_code, "refused.")
        return JSONResponse(error_body(error.status_code, sentence), error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(error_body(500, "the server failed on this request; others go on."), 500)


def _first_fault(faults: Any) -> str:
    """One sentence without the input. Names of fields are the client's own words too: only likely ones are repeated."""
    first = next(iter(faults))
    if first["type"] == "json_invalid":
        return "the body is not valid JSON."
    names = [str(part) for part in first["loc"] if part != "body"]
    plain = takewhile(lambda part: re.fullmatch(r"[a-z0-9_]{1,32}", part), names)
    place = "".join(f"{part}." for part in plain).removesuffix(".")
    place = place and f"{place}: "
    if first["type"] == "extra_forbidden":
        return f"{place}this field is not known here; leave it out."
    return f"{place}{first['msg'].removeprefix('Value error, ')}."


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on this machine; port 0 takes a free one.

    Raises:
        UserError: a host other machines could reach, an impossible port, or one in use.
    """
    if host not in LOOPBACK:
        raise UserError(
            f"host '{host}' is refused: without keys and TLS this server is for this machine only; "
            "use 127.0.0.1, and an SSH tunnel to reach it from elsewhere."
        )
    if not 0 <= port <= 65535:
        raise UserError(f"port {port} does not exist; use one from 1024 to 65535, or 0 for any free one.")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(100)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use; choose another with --port, or 0 for any free one.") from error
        raise UserError(f"port {port} cannot be bound ({error.strerror}); choose another with --port.") from error
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a bound socket is reached."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_until_stopped(
    app: App,
    listening: socket.socket,
    stop: Callable[[], Awaitable[None]] | None = None,
    drain_seconds: float = DRAIN_SECONDS,
) -> None:
    """Serve until SIGINT or SIGTERM (or `stop` returns), then finish what is under way, at most so long.

    Takes over the socket.
    """
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.loglevel = "WARNING"
    config.include_server_header = False
    # Ends connections whose headers do not arrive, and idle ones. Not `read_timeout`: it would also end a connection
    # on which the engine takes longer than that to answer.
    config.keep_alive_timeout = HEADER_SECONDS
    config.graceful_timeout = drain_seconds
    # hypercorn raises CancelledError when it had to end connections after the drain.
    with suppress(asyncio.CancelledError):
        asyncio.run(serve(app, config, shutdown_trigger=stop))  # type: ignore[arg-type]
