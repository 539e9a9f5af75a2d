"""How fast a hook is answered: patient-view calls with a prefetch of 100 resources against a real server on loopback.

    python benchmarks/hooks.py RUN|URL [--rate 50] [--seconds 20] [--patients 200]

Starts `rounds serve RUN --unproven` as a process of its own and sends calls at a fixed rate, whether earlier ones were
answered or not; a call's time counts from when it was due, so that a server that stalls cannot hide it. Every record is
a new case for the model behind the hooks, which works all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rounds.serve.hooks_call import SERVICES

SERVICE = SERVICES["rounds-patient-view"]
PATH = f"/cds-services/{SERVICE.id}"
CONNECTIONS = 64
TARGET_MS = 500
PROBLEMS = ("hypertension", "type 2 diabetes", "asthma", "gout", "migraine", "hypothyroidism", "eczema", "anaemia")
TESTS = ("haemoglobin", "leucocytes", "creatinine", "sodium", "potassium", "ferritin", "TSH", "CRP", "glucose", "urea")
COMPLAINTS = ("fever", "cough", "chest pain on breathing in", "breathlessness", "headache", "night sweats", "vomiting")


def record(number: int) -> bytes:
    """The body of one call: a patient, 7 problems, 82 observations, 6 medicines, 4 allergies; 100 resources."""
    draw = random.Random(number)
    subject = {"reference": f"Patient/p{number}"}

    def coded(kind: str, index: int, text: str, **more: Any) -> dict[str, Any]:
        code = {"coding": [{"system": "http://loinc.org", "code": f"{index}-1", "display": text}], "text": text}
        meta = {"versionId": "1", "lastUpdated": "2026-11-20T10:00:00Z"}
        return {"resourceType": kind, "id": f"{kind}{index}", "meta": meta, "code": code, "subject": subject, **more}

    def observation(index: int) -> dict[str, Any]:
        value = {"value": round(draw.uniform(1, 200), 3), "unit": "mmol/L", "system": "http://unitsofmeasure.org"}
        when = f"20{draw.randint(15, 25)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}T08:00:00+01:00"
        name = f"{TESTS[index % len(TESTS)]} in {('blood', 'serum', 'urine')[index % 3]}"
        group = [{"coding": [{"code": "laboratory"}]}]
        return coded(
            "Observation", index, name, status="final", category=group, effectiveDateTime=when, valueQuantity=value
        )

    def medicine(index: int, text: str) -> dict[str, Any]:
        made = coded("MedicationRequest", index, text, status="active", intent="order", authoredOn="2026-03-01")
        return {**made, "medicationCodeableConcept": made.pop("code")}

    def bundle(resources: list[dict[str, Any]]) -> dict[str, Any]:
        entries = [{"fullUrl": f"https://ehr.example/fhir/{one['id']}", "resource": one} for one in resources]
        return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}

    problems = [*draw.sample(COMPLAINTS, 3), *draw.sample(PROBLEMS, 4)]
    patient = {"resourceType": "Patient", "id": f"p{number}", "gender": draw.choice(["female", "male"])}
    prefetch: dict[str, Any] = dict.fromkeys(SERVICE.prefetch)
    prefetch |= {
        "patient": {**patient, "birthDate": f"{draw.randint(1940, 2000)}-05-05"},
        "conditions": bundle([coded("Condition", index, text) for index, text in enumerate(problems)]),
        "observations": bundle([observation(index) for index in range(82)]),
        "medications": bundle([medicine(index, f"medicine {index}") for index in range(6)]),
        "allergies": bundle([coded("AllergyIntolerance", index, f"allergen {index}") for index in range(4)]),
    }
    context = {"userId": "Practitioner/1", "patientId": f"p{number}"}
    call = {"hook": "patient-view", "hookInstance": str(uuid.UUID(int=number)), "context": context}
    return json.dumps({**call, "prefetch": prefetch}).encode()


@dataclass(slots=True)
class Measured:
    """What came back."""

    times: list[float] = field(default_factory=list)
    """Milliseconds from when each call was due."""
    kinds: Counter[str] = field(default_factory=Counter)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def exchange(connection: Connection, host: str, body: bytes) -> tuple[int, Any]:
    """One call over a kept connection: status and JSON of the answer."""
    reader, writer = connection
    lines = (f"POST {PATH} HTTP/1.1", f"host: {host}", "content-type: application/json", f"content-length: {len(body)}")
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(headers.split("content-length:")[1].split("\r\n")[0])
    return int(headers.split()[1]), json.loads(await reader.readexactly(length))


async def load(url: str, bodies: list[bytes], rate: float, seconds: float) -> Measured:
    """Calls at a fixed rate over at most CONNECTIONS connections."""
    host = urlsplit(url).netloc
    name, _, port = host.partition(":")
    idle: asyncio.Queue[Connection | None] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(None)
    measured = Measured()
    began = time.perf_counter() + 0.5

    async def call(number: int) -> None:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await idle.get()
        try:
            connection = connection or await asyncio.open_connection(name, int(port))
            status, answer = await exchange(connection, host, bodies[number % len(bodies)])
            waiting = status == 200 and any("worked out" in card["summary"] for card in answer["cards"])
            measured.kinds["link card" if waiting else "ready card" if status == 200 else f"HTTP {status}"] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            connection = None
            measured.kinds[type(error).__name__] += 1
        measured.times.append(1000 * (time.perf_counter() - due))
        idle.put_nowait(connection)

    await asyncio.gather(*(call(number) for number in range(int(rate * seconds))))
    return measured


def main() -> int:
    """Print the table; 1 when the target was missed or a call was not answered with a card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run to serve, or the http://127.0.0.1:PORT of a server that runs")
    parser.add_argument("--rate", type=float, default=50, help="calls a second (default 50)")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--patients", type=int, default=200, help="different records, sent in turn (default 200)")
    arguments = parser.parse_args()
    bodies = [record(number) for number in range(arguments.patients)]
    server, url = None, arguments.run
    if not url.startswith("http://"):
        command = [sys.executable, "-m", "rounds.cli.main", "serve", url, "--port", "0", "--json", "--unproven"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if server is not None and server.stdout is not None:
            url = json.loads(server.stdout.readline())["url"]
        # Until the first answers are there, so that nothing is imported and no list of names is read while we measure.
        while asyncio.run(load(url, bodies[:2], 2, 1)).kinds["ready card"] < 2:
            time.sleep(1)
        before = os.getloadavg()[0]
        measured = asyncio.run(load(url, bodies, arguments.rate, arguments.seconds))
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    cuts = statistics.quantiles(measured.times, n=100)
    size = statistics.mean(map(len, bodies)) / 1024
    print(f"{platform.machine()}, {os.cpu_count()} cores, load average {before:.1f} before; {size:.0f} KiB a call")
    print(f"{'calls':>6} {'a second':>9} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'longest':>8}  answers")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(measured.kinds.items()))
    print(
        f"{len(measured.times):>6} {arguments.rate:>9.0f} {cuts[49]:>8.0f} {cuts[89]:>8.0f} {cuts[98]:>8.0f} "
        f"{max(measured.times):>8.0f}  {kinds}"
    )
    cards = {"link card", "ready card"}
    return 0 if cuts[98] < TARGET_MS and set(measured.kinds) <= cards else 1


if __name__ == "__main__":
    sys.exit(main())
