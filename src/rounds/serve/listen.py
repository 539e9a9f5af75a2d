"""The socket, TLS, and the server that runs an application until it is told to stop.

This machine alone, unless there are keys and TLS, or keys and a proxy that ends TLS. Left out on purpose: several
worker processes (one model, one engine), HTTP/2 (a proxy speaks it to browsers), and reloading certificates.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rounds.records import UserError
from rounds.serve.gate import App

LOOPBACK = ("127.0.0.1", "::1", "localhost")

DRAIN_SECONDS = 30.0
HEADER_SECONDS = 5.0
BACKLOG = 1024
"""Connections that wait to be taken."""
SWITCH_SECONDS = 0.0005
MOST_FILES = 65_536
"""Open files asked for, as far as the machine allows: each connection is one."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate chain and its key, PEM files."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Fail before a model is loaded.

        Raises:
            UserError: they cannot be read, or do not belong together.
        """
        import ssl

        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.certificate, self.key, password=lambda: ""
            )
        except OSError as error:  # ssl.SSLError is one
            why = error.strerror or "not PEM, or the key is of another certificate or locked"
            raise UserError(f"{self.certificate}, {self.key}: cannot be used for TLS ({why}); check both.") from error


def bind(host: str, port: int, guarded: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one. `guarded`: there are keys, and TLS here or at a stated proxy.

    Raises:
        UserError: a host other machines could reach though nothing guards it, an impossible port, or one in use.
    """
    if host not in LOOPBACK and not guarded:
        raise UserError(
            f"host '{host}' is refused: without keys and TLS this server is for this machine only; "
            "use 127.0.0.1, and an SSH tunnel to reach it from elsewhere, or give --keys, and with it --tls-cert and "
            "--tls-key or --behind-proxy."
        )
    if not 0 <= port <= 65535:
        raise UserError(f"port {port} does not exist; use one from 1024 to 65535, or 0 for any free one.")
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError as error:
            raise UserError(f"host '{host}' is not an address; give one of this machine's, or 0.0.0.0.") from error
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use; choose another with --port, or 0 for any free one.") from error
        raise UserError(f"port {port} cannot be bound ({error.strerror}); choose another with --port.") from error
    return listening


def url_of(listening: socket.socket, tls: bool = False) -> str:
    """Where a bound socket is reached."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def serve_until_stopped(
    app: App,
    listening: socket.socket,
    stop: Callable[[], Awaitable[None]] | None = None,
    drain_seconds: float = DRAIN_SECONDS,
    tls: Tls | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM (or `stop` returns), then finish what is under way, at most so long.

    Takes over the socket.
    """
    import logging

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.backlog = BACKLOG
    config.errorlog = logging.getLogger("rounds.serve.http")
    config.loglevel = "WARNING"
    config.include_server_header = False
    # Ends connections whose headers do not arrive, and idle ones. Not `read_timeout`: it would also end a connection
    # on which the engine takes longer than that to answer.
    config.keep_alive_timeout = HEADER_SECONDS
    config.ssl_handshake_timeout = HEADER_SECONDS
    config.graceful_timeout = drain_seconds
    config.alpn_protocols = ["http/1.1"]
    if tls is not None:
        config.certfile, config.keyfile = str(tls.certificate), str(tls.key)
    _many_files()
    # Threads of the engine and the loop that sends share one interpreter: a piece must not wait 5 ms for its turn.
    sys.setswitchinterval(SWITCH_SECONDS)
    # hypercorn raises CancelledError when it had to end connections after the drain.
    with suppress(asyncio.CancelledError):
        asyncio.run(serve(app, config, shutdown_trigger=stop))  # type: ignore[arg-type]


def _many_files() -> None:
    try:
        import resource
    except ImportError:  # no such limit on this system
        return
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(MOST_FILES, most)
    if least != resource.RLIM_INFINITY and least < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
