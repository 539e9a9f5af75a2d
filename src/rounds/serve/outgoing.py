"""The few connections this server makes itself, each to one origin an officer has configured.

No redirect is followed, no proxy of the environment used, nothing unpacked (a small packed body may hide a huge one),
and every answer is bounded in bytes and time. No fault repeats a word of what was sent. Left out on purpose: retries,
and keeping connections open.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rounds.files import read_text
from rounds.records import UserError
from rounds.serve.listen import LOOPBACK

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 3.0
MOST_AT_ONCE = 8
"""Questions under way; each holds a few bodies in memory."""


class OutgoingFault(Exception):
    """What the other server did instead of answering, in a sentence without a word of what it sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    kind: str
    """Media type without parameters, lower case."""
    packed: bool
    """It has a content encoding, and was not unpacked."""
    body: bytes


class Outgoing:
    """Asks one origin."""

    def __init__(self, what: str, base: str, option: str) -> None:
        """`what` names the other server in sentences; `option` says where its base URL was given.

        Raises:
            UserError: not a base URL, or http beyond this machine.
        """
        import httpx

        try:
            url = httpx.URL(base.rstrip("/"))
        except httpx.InvalidURL as error:
            raise UserError(f"{option} '{base}' is not a URL; give one such as https://server.example/base.") from error
        if url.scheme not in ("https", "http") or not url.host or url.query or url.fragment or url.userinfo:
            raise UserError(f"{option} '{base}' is not a base URL; give one such as https://server.example/base.")
        if url.scheme == "http" and url.host not in LOOPBACK:
            raise UserError(f"{option} '{base}' would carry what is secret unencrypted; use https.")
        self.what = what
        self.base = url
        self._under_way = 0
        # The machine's own store of certificates, where a hospital puts those of its own authority.
        self._trust = ssl.create_default_context() if url.scheme == "https" else False

    def at(self, path: str) -> httpx.URL:
        """An address below the base."""
        import httpx

        return httpx.URL(f"{self.base}/{path}")

    def owns(self, url: httpx.URL) -> bool:
        """Whether an address lies on the configured origin."""
        same = (url.scheme, url.host, url.port) == (self.base.scheme, self.base.host, self.base.port)
        return same and not url.userinfo

    @asynccontextmanager
    async def asking(self, seconds: float) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one question, which may take several requests.

        Raises:
            OutgoingFault: it stalls, cannot be reached, or breaks off; too many questions are under way.
        """
        import httpx

        if self._under_way >= MOST_AT_ONCE:
            raise OutgoingFault(f"too many people ask {self.what} at once; try again in a moment.")
        self._under_way += 1
        try:
            waits = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
            async with (
                asyncio.timeout(seconds),
                httpx.AsyncClient(timeout=waits, verify=self._trust, trust_env=False) as client,
            ):
                yield client
        except (TimeoutError, httpx.TimeoutException):
            raise OutgoingFault(f"{self.what} did not answer within {seconds:g} s; try again.") from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise OutgoingFault(f"{self.what} cannot be reached, or broke off; try again later.") from None
        finally:
            self._under_way -= 1

    async def fetch(
        self,
        client: httpx.AsyncClient,
        url: httpx.URL,
        headers: dict[str, str],
        most: int,
        form: dict[str, str] | None = None,
    ) -> Reply:
        """GET, or POST of a form; `most` bytes are read.

        Raises:
            OutgoingFault: it sends more, or the address lies elsewhere.
        """
        if not self.owns(url):
            raise OutgoingFault(f"{self.what} points at another address, which is not asked.")
        sent = {**headers, "accept-encoding": "identity"}
        asked = client.build_request("GET" if form is None else "POST", url, data=form, headers=sent)
        answer = await client.send(asked, stream=True, follow_redirects=False)
        try:
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > most:
                    raise OutgoingFault(f"{self.what} sent more than {most:,} bytes at once; that is too much.")
        finally:
            await answer.aclose()
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        packed = answer.headers.get("content-encoding", "identity") != "identity"
        return Reply(answer.status_code, kind, packed, bytes(body))


def secret_in(file: Path, what: str, fits: Callable[[str], bool] = str.isprintable) -> str:
    """The secret that stands in a file, alone; `what` names it in a sentence.

    Raises:
        UserError: it cannot be read, is none, does not fit, or everybody may read it.
    """
    secret = read_text(file).strip()
    if not secret or not fits(secret):
        raise UserError(f"{file}: is no {what}; put one there, alone.")
    if file.stat().st_mode & 0o007:
        raise UserError(f"{file}: everybody on this machine may read it; chmod 600 {file}.")
    return secret
