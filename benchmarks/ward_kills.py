"""Whether the audit log holds what clients were told, when the server is killed while it answers.

    python benchmarks/ward_kills.py RUN [--kills 1000] [--keep DIR] [--seconds 400] [--every 5]

Each kill -9 meets a server of its own that `ward_nest.py` forked, as a start from nothing costs seconds; all write one
log after another. What was acknowledged is kept in kills.jsonl beside it, a line a kill: with --keep a later call goes
on where this one ended. A kill costs about a second of one core; --every leaves the machine to others between
two. Prints what was found; exit 0 when every kill was done and nothing was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from ward import CHAT, body_of

PATIENCE = 600
"""Seconds for a first answer: this may run below other work."""


@dataclass(frozen=True, slots=True)
class Server:
    """A forked `rounds serve`."""

    url: str
    model: str
    pid: int


def main() -> int:
    """0 when all kills are done and the log holds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where kills are kept, to go on with them later")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no kill is begun after so many")
    parser.add_argument("--every", type=float, default=0, metavar="SECONDS", help="begin no two within so many")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rounds-ward-") as place:
        home = arguments.keep or Path(place)
        home.mkdir(parents=True, exist_ok=True)
        strike(arguments.run, home, arguments.kills, arguments.seconds, arguments.every)
        told, met = found(home, arguments.kills)
    print(f"kills     {'met' if met else 'MISSED':<7} {told}", flush=True)
    return 0 if met else 1


def strike(run: Path, home: Path, kills: int, seconds: float, every: float) -> None:
    """Kill so many servers, those of earlier calls counted."""
    kept, until = home / "kills.jsonl", time.monotonic() + seconds
    command = [sys.executable, str(Path(__file__).with_name("ward_nest.py"))]
    with (
        kept.open("a", encoding="utf-8") as out,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nest,
    ):
        for number in range(len(lines_of(kept)), kills):
            began = time.monotonic()
            if began > until:
                break
            given = asyncio.run(one(hatched(nest, run, home / "audit.sqlite"), number))
            assert given, f"nothing was acknowledged within {PATIENCE} s"
            out.write(json.dumps(sorted(given)) + "\n")
            out.flush()
            print(f"{number + 1} of {kills}: {len(given)} acknowledged", file=sys.stderr, flush=True)
            time.sleep(max(0.0, began + every - time.monotonic()))
        assert nest.stdin is not None
        nest.stdin.close()


def lines_of(path: Path) -> list[list[str]]:
    """What each kill's clients were given."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def found(home: Path, kills: int) -> tuple[str, bool]:
    """What the log holds of it, and whether that is all and whole."""
    from rounds.serve.audit_open import open_audit

    struck = lines_of(home / "kills.jsonl")
    acknowledged = {one for line in struck for one in line}
    log = open_audit(str(home / "audit.sqlite"), existing=True)
    lost = acknowledged - {row.hash for row in log.every()}
    check = log.verify()
    log.close()
    told = f"{len(struck)} kills, {check.unanswered} requests cut off by them; {len(acknowledged)} acknowledged, "
    told += f"{len(lost)} lost; chain {'whole' if check.whole else 'BROKEN: ' + check.fault}, {check.head.rows} rows"
    held = check.whole and not lost and all(struck) and check.unanswered >= len(struck)
    return told, held and len(struck) >= kills


def hatched(nest: subprocess.Popen[str], run: Path, audit: Path) -> Server:
    """A new server of the nest."""
    assert nest.stdin is not None
    assert nest.stdout is not None
    command = ["serve", str(run), "--unproven", "--port", "0", "--json", "--audit", str(audit)]
    nest.stdin.write(json.dumps(command) + "\n")
    nest.stdin.flush()
    born, told = (json.loads(nest.stdout.readline() or "{}") for _ in range(2))
    assert told, "the server did not start"
    return Server(told["url"], told["model"], born["pid"])


def _dead(pid: int) -> None:
    """Wait until a killed process is gone."""
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            time.sleep(0.005)


async def one(server: Server, kill: int) -> set[str]:
    """Ask with four clients, streamed at every other kill, and kill a moment after the first answer is acknowledged."""
    acknowledged: set[str] = set()

    async def whole(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
        answer = await client.post(CHAT, json=body)
        acknowledged.add(answer.json()["rounds"]["audit"])

    async def streamed(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
        async with client.stream("POST", CHAT, json={**body, "stream": True}) as response:
            async for line in response.aiter_lines():
                said = json.loads(line[6:])["rounds"] if line.startswith("data: {") else {}
                if said.get("audited"):
                    acknowledged.add(said["audit"])

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        with suppress(httpx.HTTPError):
            while True:
                await (streamed if kill % 2 else whole)(client, body_of(server.model, number))
                number += 4

    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        asking = [asyncio.create_task(ask(client, number)) for number in range(4 * kill, 4 * kill + 4)]
        until = time.monotonic() + PATIENCE
        while not acknowledged and time.monotonic() < until:
            await asyncio.sleep(0.01)
        await asyncio.sleep(random.uniform(0, 0.3))
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.gather(*asking, return_exceptions=True)
    _dead(server.pid)
    return acknowledged


if __name__ == "__main__":
    sys.exit(main())
