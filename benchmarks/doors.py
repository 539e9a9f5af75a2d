"""Every door of `rounds serve` fuzzed over a real socket: `python benchmarks/doors.py RUN [--cases N] [--seconds S]`.

Requests come from Schemathesis' reading of our own OpenAPI, which a server in use does not give out; where a door
reads its body itself (forms, CDS Hooks, feedback), bodies are valid ones with fields left out, changed and added. The
server is started on RUN (a copy: its audit log grows), once as it is and once in shadow mode. A door is tried until N
cases or S seconds, whichever comes first; the doors that ask the model are slow. Prints a line a door; exit 1 when one
answered not at all, or with a 5xx other than 503, which tells that the server cannot take more or write its log. Left
out on purpose: chat and diagnose, which `make soak` gives 10,000 cases each, and the patients of a FHIR server.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from rounds.records import Sampling
from rounds.serve.app import create_app
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.operate import Operation
from rounds.serve.standing import DEMONSTRATION, Standing

ELSEWHERE = ("/v1/chat/completions", "/v1/diagnose")
TEXT = st.text(max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
HEADERS = ("accept", "accept-language", "cookie", "authorization", "if-none-match", "range", "x-request-id", "origin")
PRINTED = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
AROUND = st.fixed_dictionaries(
    {"headers": st.dictionaries(st.sampled_from(HEADERS), PRINTED, max_size=3)},
    optional={"params": st.dictionaries(TEXT, TEXT, max_size=3)},
)
FORM = ("case", "template", "ticket", "verdict", "was", "consent", "key", "to", "d1", "d2", "find", "patient", "lang")
PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1960-01-01"}
CALL: dict[str, Any] = {
    "hook": "patient-view",
    "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
    "context": {"userId": "Practitioner/1", "patientId": "p1", "selections": [], "draftOrders": {}},
    "prefetch": {"patient": PATIENT, "conditions": {"resourceType": "Bundle", "type": "searchset", "entry": []}},
    "fhirServer": "http://fhir.example/r4",
    "fhirAuthorization": {"access_token": "t"},
    "extension": {},
}
JUDGED: dict[str, Any] = {
    "card": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
    "outcome": "overridden",
    "overrideReason": {"reason": {"code": "wrong", "system": "s"}, "userComment": "no"},
    "outcomeTimestamp": "2026-01-01T00:00:00Z",
}


class Enough(KeyboardInterrupt):
    """A door's time is over; Hypothesis lets this kind pass at once."""


def changed(value: Any) -> st.SearchStrategy[Any]:
    """The value with some members left out, changed or added, at any depth."""
    if isinstance(value, dict):
        fields = {name: changed(inner) for name, inner in value.items()}
        whole = st.fixed_dictionaries({}, optional=fields)
        added = st.builds(lambda one, more: {**one, **more}, whole, st.dictionaries(TEXT, JSON, max_size=2))
        return st.fixed_dictionaries(fields) | whole | added | JSON
    return st.just(value) | JSON


def bodies(path: str) -> st.SearchStrategy[dict[str, Any]]:
    """What is sent to a door that reads its body itself, as arguments of httpx."""
    fields = st.dictionaries(st.sampled_from(FORM) | TEXT, TEXT, max_size=6)
    filled = fields.map(lambda given: {"case": "Fever and cough.", "d1": "flu", **given})
    form = (fields | filled).map(lambda given: {"data": given})
    raw = st.binary(max_size=80).map(lambda data: {"content": data})
    if path.startswith("/cds-services") and path.endswith("/feedback"):
        told = changed({"feedback": [JUDGED]}) | st.lists(changed(JUDGED), max_size=3).map(
            lambda rows: {"feedback": rows}
        )
        return told.map(lambda value: {"json": value}) | raw
    if path.startswith("/cds-services"):
        return changed(CALL).map(lambda value: {"json": value}) | raw
    return form | raw | JSON.map(lambda value: {"json": value})


def operations(shadow: bool, place: Path) -> list[tuple[str, str, Any]]:
    """(method, path, Schemathesis' operation) of every door but those of `ELSEWHERE`."""
    app: Any = create_app(
        None,  # type: ignore[arg-type]  # only the description is asked for
        name="m",
        standing=Standing(word="demonstration", banner=DEMONSTRATION, evidence="synthetic", checkpoint="ab" * 32),
        template="differential-brief@1",
        sampling=Sampling(max_tokens=400),
        audit=Audit(SQLite(place / f"{shadow}.sqlite")),
        operation=Operation(place),
        shadow=shadow,
    )
    described = app._app.app.openapi()
    schema = schemathesis.openapi.from_dict(described)
    return [
        (method.upper(), path, schema[path][method.upper()])
        for path, doors in described["paths"].items()
        for method in doors
        if path not in ELSEWHERE
    ]


@contextmanager
def served(run: Path, *options: str) -> Iterator[str]:
    """`rounds serve` on a run, and its address."""
    command = [
        sys.executable,
        "-m",
        "rounds.cli.main",
        "serve",
        str(run),
        "--unproven",
        "--port",
        "0",
        "--json",
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.wait(30)


def tried(client: httpx.Client, door: tuple[str, str, Any], cases: int, seconds: float) -> Counter[int]:
    """Statuses of the answers of one door; 0 where none came."""
    method, path, operation = door
    described = operation.body if method == "POST" else None
    own = bodies(path) if method == "POST" and not described else st.just({})
    names = st.sampled_from(
        ["rounds-patient-view", "rounds-encounter-start", "rounds-order-select", "style.css", "tiny"]
    )
    seen: Counter[int] = Counter()
    until = time.monotonic() + seconds

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(1)
    @given(st.data())
    def every(data: Any) -> None:
        if time.monotonic() > until:
            raise Enough
        case = data.draw(operation.as_strategy())
        sent = case.as_transport_kwargs(base_url=str(client.base_url))
        given = {name: sent[name] for name in ("method", "url", "params", "json", "data", "headers") if sent.get(name)}
        given["headers"] = {k: v for k, v in dict(given.get("headers", {})).items() if k.isascii() and v.isascii()}
        if "{" in path and data.draw(st.booleans()):
            given["url"] = path.replace("{name}", data.draw(names)).replace("{token}", "t")
        more = data.draw(AROUND)
        more["headers"] = {**given["headers"], **more["headers"]}
        try:
            seen[client.request(**{**given, **more, **data.draw(own)}).status_code] += 1
        except (httpx.LocalProtocolError, httpx.InvalidURL, UnicodeError, ValueError):
            return  # what cannot be sent is no case
        except httpx.TransportError:
            seen[0] += 1

    with suppress(Enough):
        every()
    return seen


def main() -> int:
    """Both servers, every door."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a copy of a finished run")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="a door")
    given = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as place:
        for shadow in (False, True):
            doors = operations(shadow, Path(place))
            with served(given.run, *["--shadow"] * shadow) as url, httpx.Client(base_url=url, timeout=60) as client:
                for door in doors:
                    seen = tried(client, door, given.cases, given.seconds)
                    wrong = sum(
                        count for status, count in seen.items() if not status or (status >= 500 and status != 503)
                    )
                    faults += wrong
                    told = ", ".join(f"{status or 'no answer'} {count:,}" for status, count in sorted(seen.items()))
                    name = f"{door[0]} {door[1]}{' (shadow)' if shadow else ''}"
                    print(f"{name:48}{seen.total():>8,} cases, {wrong} faults: {told}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
