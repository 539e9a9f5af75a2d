"""Every door of `rounds serve` fuzzed.

    python benchmarks/doors.py RUN [--cases N] [--seconds S] [--only REGEX] [--server KIND] [--records DIR] [--socket]

Requests are what Schemathesis reads out of our own OpenAPI, which a server in use does not give out, put together at
random with words and values of Hypothesis; where a door reads its body itself (forms, CDS Hooks, feedback), and for
the doors of the model, half of the bodies are whole and the others damaged in some places (`doors_calls.py`). A
server's answers are used too: links of cards, cards to judge, answers to judge, cookies.

Three servers are tried: open to this machine, in shadow mode, and with keys and signed tokens of CDS Hooks. They are
the application itself in this process, with prompts read as the engine reads them (tokens, context, schema) and
replies out of a list, some of them hostile: what a door does with bodies is tested here, not the model. --socket takes
`rounds serve` with its engine instead, the open one, over HTTP.

Prints a line a door. Exit 1 when one answered not at all, or with a 5xx other than 503, which tells that the server
cannot take more or write its log. Left out on purpose: the patients of a FHIR server.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import json
import logging
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpx
from doors_calls import Words, call, damaged, feedback, hook_body, written
from doors_served import Application, application, drawn
from ward import CASES

from rounds.serve.hooks_call import SERVICES
from rounds.serve.listen import SWITCH_SECONDS

POOL = 600
"""Requests that Schemathesis draws for a door; each is sent with other words and damage several times."""
HOST = b"127.0.0.1:8000"
HOSTS = (b"localhost", b"[::1]:8000", b"localhost:port", b"a@localhost", b"localhost/..", b"[::1", b"evil.example", b"")
HEADERS = ("accept", "accept-language", "cookie", "authorization", "if-none-match", "range", "x-request-id", "origin")
ACCEPTED = ("text/html", "application/fhir+json", "*/*", "application/openmetrics-text")
FORM = ("case", "template", "model", "ticket", "verdict", "was", "consent", "key", "to", "d1", "d2", "lang")
FIELDS: dict[str, Sequence[str]] = {
    "template": ("auto", "differential-brief@1", "differential@1", "plain@1"),
    "verdict": ("right", "wrong"),
    "consent": ("yes", ""),
    "to": ("/", "/audit", "/report", "//evil.example"),
    "d1": ("pneumonia", "gout"),
    "d2": ("migraine",),
}
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}}, "required": ["a"]},
    {"type": "array", "items": {"enum": ["x", 1, None]}, "maxItems": 3},
    {"type": "integer", "minimum": -5, "maximum": 1200},
    {"anyOf": [{"const": 1}, {"$ref": "#/$defs/x"}], "$defs": {"x": {"type": "number", "exclusiveMinimum": 0.5}}},
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request."""

    method: str
    target: str
    """Path and query, percent-encoded."""
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Door:
    """One operation, and what Schemathesis drew for it."""

    method: str
    path: str
    pool: list[tuple[str, dict[str, str], Any]]
    """(target, headers, body), the body None where the description has none."""


@dataclass(slots=True)
class Seen:
    """What a server has given out, to come back with."""

    tokens: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    """Of the links of cards."""
    cards: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    calls: deque[tuple[str, bytes]] = field(default_factory=lambda: deque(maxlen=40))
    """Path and body of calls that got a card."""
    tickets: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=200))
    """An answer to judge and its case."""
    cookies: deque[str] = field(default_factory=lambda: deque(maxlen=50))
    whole: Counter[str] = field(default_factory=Counter)

    def learn(self, door: Door, sent: Sent, headers: dict[str, str], body: bytes) -> None:
        """Take from an answer what may be sent later."""
        if door.path == "/cds-services/{name}":
            for card in json.loads(body)["cards"]:
                self.whole["a card"] += 1
                self.whole["diagnoses on it"] += "overrideReasons" in card
                self.cards.append(card["uuid"])
                self.tokens.append(card["links"][0]["url"].rsplit("/", 1)[1])
                self.calls.append((sent.target, sent.body))
        elif door.path in ("/", "/stream") and door.method == "POST":
            text = body.decode()
            for ticket in re.findall(r'name=\\?"ticket\\?" value=\\?"([^"\\]+)', text):
                case = re.search(r'name="case" value="([^"]*)"|<textarea[^>]*name="case"[^>]*>\n?([^<]*)', text)
                found = html.unescape(case[1] or case[2] or "") if case else ""
                self.whole["an answer"] += 1
                self.tickets.append((ticket, found))
        elif "set-cookie" in headers and "Max-Age=0" not in headers["set-cookie"]:
            self.cookies.append(headers["set-cookie"].split(";")[0])


def chosen(draw: random.Random, given: Sequence[Any], other: Any, share: float = 0.8) -> Any:
    """One of those given, or the other where there is none, and now and then all the same."""
    return draw.choice(given) if given and draw.random() < share else other


def target(draw: random.Random, door: Door, base: str, seen: Seen, words: Words) -> str:
    """Where a request goes: mostly to something that is there."""
    path = door.path
    if "{name}" in path:
        names = list(SERVICES) if "cds" in path else ["style.css", "consult.js", "tiny", "run"]
        path = path.replace("{name}", chosen(draw, names, "", 0.85)) if draw.random() < 0.9 else base
    if "{token}" in path:
        known = chosen(draw, seen.tokens, words.text(draw))
        path = path.replace("{token}", quote(known, safe="")) if draw.random() < 0.8 else base
    if draw.random() < 0.15:
        path += "?" + urlencode({words.text(draw): words.text(draw) for _ in range(2)}, errors="ignore")
    elif "?" not in path and draw.random() < 0.1:
        path += draw.choice(("?lang=de", "?to=/audit", "?again=1", "?%ff=%00", "?&&=", "?lang="))
    return path


def around(draw: random.Random, words: Words) -> dict[str, str]:
    """Headers beside those of the description, now and then."""
    found: dict[str, str] = {}
    if draw.random() < 0.25:
        for name in draw.sample(HEADERS, draw.randint(1, 3)):
            text = draw.choice(ACCEPTED) if name == "accept" else words.text(draw)
            found[name] = "".join(sign for sign in text if 32 <= ord(sign) < 127)
    return found


def identity(draw: random.Random, application: Application | None, where: str, seen: Seen) -> dict[str, str]:
    """Who calls, where it matters: mostly somebody who may."""
    if application is None or not application.key or draw.random() < 0.2:
        return {}
    path = urlsplit(where).path
    if path.startswith("/cds-services/"):
        return {"authorization": f"Bearer {application.token(draw, path)}"}
    if seen.cookies and draw.random() < 0.5:
        return {"cookie": draw.choice(seen.cookies)}
    return {"authorization": f"Bearer {application.key}"}


def form(draw: random.Random, application: Application | None, seen: Seen, words: Words) -> bytes:
    """A form of the pages: mostly a case, sometimes as a record, or a judgement of an answer that was given."""
    fields = {name: words.text(draw) for name in draw.sample(FORM, draw.randrange(4))}
    for name in draw.sample(list(FIELDS), draw.randrange(4)):
        fields[name] = draw.choice(FIELDS[name])
    kind = draw.random()
    if kind < 0.4:
        fields["case"] = draw.choice(CASES) + (words.text(draw) if draw.random() < 0.5 else "")
    elif kind < 0.6:
        prefetch = call(draw, draw.choice(list(SERVICES.values())), words)["prefetch"]
        entries = [{"resource": one} for one in prefetch.values() if one]
        record = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        fields["case"] = written(draw, damaged(draw, record, words, draw.choice((0, 0, 1, 3)))).decode(
            "utf-8", "ignore"
        )
    elif seen.tickets:
        fields["ticket"], fields["case"] = draw.choice(seen.tickets)
        fields["verdict"] = draw.choice(("right", "wrong"))
    if application is not None and application.key and draw.random() < 0.4:
        fields["key"] = application.key
    body = urlencode(fields, errors="ignore").encode()
    place = draw.randrange(len(body) + 1)
    return body[:place] + draw.choice((b"%", b"&&", b"\xff", b"%00")) + body[place:] if draw.random() < 0.05 else body


def asked(draw: random.Random, path: str, model: str, base: Any, words: Words) -> bytes:
    """A body that the OpenAPI describes: Schemathesis' own, or a whole one, as it is or damaged."""
    case = draw.choice((*CASES, words.text(draw)))
    if draw.random() < 0.5:
        whole: Any = {"case": case, "diagnoses": ["gout"]} if path == "/v1/shadow" else {"case": case}
        if path == "/v1/chat/completions":
            whole = {"model": model, "messages": [{"role": "user", "content": case}], "stream": draw.random() < 0.5}
            if draw.random() < 0.3:
                schema = {"name": "s", "schema": json.loads(json.dumps(draw.choice(SCHEMAS)))}
                whole["response_format"] = {"type": "json_schema", "json_schema": schema}
        if isinstance(base, dict):
            fitting = {name: value for name, value in base.items() if name not in ("messages", "case", "model")}
            whole |= dict(draw.sample(sorted(fitting.items()), min(len(fitting), draw.randrange(3))))
    else:
        whole = json.loads(json.dumps(base))
        if isinstance(whole, dict) and "model" in whole and draw.random() < 0.8:
            whole["model"] = model
    if draw.random() < 0.4:
        whole = damaged(draw, whole, words, draw.choice((1, 1, 2, 5)))
    return written(draw, whole)


def request(draw: random.Random, door: Door, served: Server, seen: Seen, words: Words) -> Sent:
    """One request to a door."""
    base, described, body = draw.choice(door.pool)
    headers = {"accept": "*/*", **described, **around(draw, words)}
    where, sent, kind = target(draw, door, base, seen, words), b"", "application/json"
    if door.method == "POST":
        if body is not None:
            sent = asked(draw, door.path, served.model, body, words)
        elif draw.random() < 0.03:
            sent = draw.randbytes(draw.randrange(80))
        elif door.path.endswith("/feedback") and door.path.startswith("/cds"):
            told = feedback(draw, seen.cards)
            sent = written(draw, damaged(draw, told, words, draw.choice((0, 0, 1, 2))))
        elif door.path.startswith("/cds"):
            if seen.calls and draw.random() < 0.15:
                where, sent = draw.choice(seen.calls)
            else:
                sent = hook_body(draw, urlsplit(where).path.rsplit("/", 1)[-1], words)
        else:
            sent, kind = form(draw, served.application, seen, words), "application/x-www-form-urlencoded"
        headers["content-type"] = chosen(draw, [kind], draw.choice(("text/plain", "multipart/form-data", "")), 0.97)
    headers |= identity(draw, served.application, where, seen)
    pairs = [(name.lower().encode(), value.encode("latin-1", "ignore")) for name, value in headers.items()]
    host = draw.choice(HOSTS) if draw.random() < 0.02 else served.host
    return Sent(door.method, where, [(b"host", host), *pairs], sent)


# Servers --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Server:
    """What answers."""

    model: str
    host: bytes
    ask: Callable[[Sent], tuple[int, dict[str, str], bytes]]
    """Status (0 for no answer), headers, body."""
    application: Application | None
    """None for a server over a socket."""


@contextmanager
def inside(app: Application) -> Iterator[Server]:
    """The application in this process, as an ASGI server would call it."""
    loop = asyncio.new_event_loop()

    async def exchange(sent: Sent) -> tuple[int, dict[str, str], bytes]:
        path, _, query = sent.target.partition("?")
        status, headers, parts, given = 0, {}, [], False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if given:
                await loop.create_future()  # the client stays
            given = True
            return {"type": "http.request", "body": sent.body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers.update({name.decode(): value.decode("latin-1") for name, value in message["headers"]})
            else:
                parts.append(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": sent.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("ascii", "ignore"),
            "query_string": query.encode("ascii", "ignore"),
            "root_path": "",
            "headers": sent.headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        try:
            async with asyncio.timeout(60):
                await app.app(scope, receive, send)
        except Exception:
            traceback.print_exc()
            return 0, headers, b""
        return status, headers, b"".join(parts)

    try:
        yield Server(app.model, HOST, lambda sent: loop.run_until_complete(exchange(sent)), app)
    finally:
        loop.run_until_complete(app.close())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@contextmanager
def over_socket(run: Path) -> Iterator[Server]:
    """`rounds serve` on a run, with its engine."""
    command = [sys.executable, "-m", "rounds.cli.main", "serve", str(run), "--unproven", "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    client = httpx.Client(base_url=told["url"], timeout=60)

    def ask(sent: Sent) -> tuple[int, dict[str, str], bytes]:
        try:
            answer = client.request(sent.method, sent.target, headers=sent.headers, content=sent.body)
        except httpx.TransportError:
            return 0, {}, b""
        return answer.status_code, dict(answer.headers), answer.content

    try:
        yield Server(told["model"], urlsplit(told["url"]).netloc.encode(), ask, None)
    finally:
        client.close()
        process.terminate()
        process.wait(40)


# Trying ---------------------------------------------------------------------------------------------------------------


def doors_of(described: dict[str, Any], only: str) -> list[Door]:
    """Every operation, the page of the log first: it proves the whole chain, which grows with what others write."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(described)
    found = []
    for path, methods in described["paths"].items():
        for method in methods:
            if not re.search(only, f"{method.upper()} {path}"):
                continue
            operation = schema[path][method.upper()]
            varied = bool("{" in path or described["paths"][path][method].get("requestBody"))
            pool = [_drawn(case) for case in drawn(operation.as_strategy(), POOL if varied else 1)]
            found.append(Door(method.upper(), path, pool))
    return sorted(found, key=lambda door: door.path != "/audit")


def _drawn(case: Any) -> tuple[str, dict[str, str], Any]:
    sent = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
    address = urlsplit(sent["url"])
    query = urlencode(sent.get("params") or {}, doseq=True, errors="ignore")
    headers = {k: v for k, v in dict(sent.get("headers") or {}).items() if k.isascii() and v.isascii()}
    where = quote(address.path, safe="/%") + ("?" + (query or address.query) if query or address.query else "")
    return where, headers, sent.get("json")


def tried(door: Door, served: Server, seen: Seen, words: Words, cases: int, seconds: float) -> tuple[Counter[int], int]:
    """Statuses of the answers of one door, and how many of them are faults."""
    statuses: Counter[int] = Counter()
    faults, until = 0, time.monotonic() + seconds
    for number in range(cases):
        if time.monotonic() > until:
            break
        sent = request(random.Random(f"{door.method} {door.path} {number}"), door, served, seen, words)
        try:
            status, headers, body = served.ask(sent)
        except (httpx.LocalProtocolError, httpx.InvalidURL, UnicodeError, ValueError):
            continue  # what this client cannot send is no case
        statuses[status] += 1
        if not status or (status >= 500 and status != 503):
            faults += 1
            if faults <= 3:
                print(
                    f"{status}: {sent.method} {sent.target[:200]} {sent.headers} {sent.body[:3000]!r}", file=sys.stderr
                )
        elif status in (200, 303):
            seen.learn(door, sent, headers, body)
    return statuses, faults


def table(doors: Sequence[Door], served: Server, words: Words, name: str, given: argparse.Namespace) -> int:
    """A line a door; how many faults there were."""
    seen, faults = Seen(), 0
    for door in doors:  # so that there are cards, answers and rows for the doors that show them
        tried(door, served, seen, words, min(given.cases, 10), given.seconds)
    seen.whole.clear()
    for door in doors:
        began = time.monotonic()
        statuses, wrong = tried(door, served, seen, words, given.cases, given.seconds)
        faults += wrong
        told = ", ".join(f"{status or 'no answer'} {count:,}" for status, count in sorted(statuses.items()))
        whole = "".join(f"; {count:,} with {what}" for what, count in seen.whole.items())
        seen.whole.clear()
        took = f"{time.monotonic() - began:.0f} s"
        print(
            f"{door.method} {door.path}{name:10} {statuses.total():,} cases, {wrong} faults, {took}: {told}{whole}",
            flush=True,
        )
    return faults


def main() -> int:
    """Every door of each server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a copy of a finished run: with --socket its audit log grows")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="the most for a door")
    parser.add_argument("--only", default="", metavar="REGEX", help="doors whose method and path have this")
    parser.add_argument("--server", choices=("open", "shadow", "keys"), help="one of the three")
    parser.add_argument("--records", type=Path, metavar="DIR", help="FHIR exports (*.json, *.json.gz) to draw from too")
    parser.add_argument("--socket", action="store_true", help="the open one, with its engine, over HTTP")
    given = parser.parse_args()
    from doors_served import exported, texts, values

    logging.getLogger("rounds.serve").setLevel(logging.ERROR)  # each refused token is a warning
    sys.setswitchinterval(SWITCH_SECONDS)  # as the server does: the loop and its threads take turns sooner
    words = Words(texts(), values(), exported(given.records) if given.records else {})
    faults = 0
    kinds = ("open",) if given.socket else (given.server,) if given.server else ("open", "shadow", "keys")
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # a log there costs no wait for a disk
    for kind in kinds:
        with tempfile.TemporaryDirectory(dir=memory) as place:
            app = application(given.run, Path(place), kind)
            doors = doors_of(app.described, given.only)
            with over_socket(given.run) if given.socket else inside(app) as served:
                faults += table(doors, served, words, "" if kind == "open" else f" ({kind})", given)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
