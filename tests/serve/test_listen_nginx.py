"""The proxy of docs/serve.md, letter for letter, in a real nginx before a real `rounds serve`."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.cli.main import main
from rounds.serve.audit import Row
from rounds.serve.audit_open import open_audit

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed: the proxy of docs/serve.md was not tried"
)

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"
NAME = "ward.example.org"
FORGED = "203.0.113.9"
ANSWERS = """
import time
from rounds.records import Delta, Trace

class Answers:
    name, model, batch_invariant = "slow", "m", True
    def respond(self, prompts, sampling):
        raise AssertionError("streams only")
    def stream(self, prompt, sampling):
        for _ in range(8 if "ENDLESS" not in prompt.messages[-1].content else 400):
            yield Delta(thinking="hm ")
            time.sleep(0.25)
        yield Delta(reply="1. gout")
        yield Trace(prompt=prompt, model="m", engine="slow", sampling=sampling, thinking="hm", reply="1. gout",
                    finish="stop", thinking_tokens=1, reply_tokens=2)
"""


@dataclass(frozen=True, slots=True)
class Front:
    """A server behind nginx."""

    url: str
    """Of nginx."""
    plain: str
    """Of its port without TLS."""
    home: Path
    trust: ssl.SSLContext
    key: str = ""
    audit: Path = Path()

    @property
    def origin(self) -> str:
        """As browsers know it."""
        return self.url.replace("127.0.0.1", NAME)

    def client(self, key: bool = True, **headers: str) -> httpx.Client:
        """Somebody who calls by the public name."""
        known = {"authorization": f"Bearer {self.key}"} if key else {}
        said = {"host": self.origin.removeprefix("https://"), **known, **headers}
        return httpx.Client(base_url=self.url, verify=self.trust, headers=said, timeout=60)

    def rows(self) -> list[Row]:
        log = open_audit(str(self.audit), existing=True)
        rows = list(log.every())
        log.close()
        return rows


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def documented(changes: dict[str, str]) -> str:
    """The configuration of the page with the paths and ports of a test; each is found there exactly."""
    found = re.search(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, "docs/serve.md shows no nginx configuration"
    text = found[1]
    for old, new in changes.items():
        assert old in text, f"the configuration of docs/serve.md has no '{old}'"
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(behind: str, home: Path, certificate: Callable[[Path], tuple[Path, Path]]) -> Iterator[Front]:
    """nginx as documented before the server at `behind`."""
    assert NGINX is not None
    home.mkdir()
    cert, key = certificate(home)
    port, plain = free(), free()
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "/etc/ssl/ward.pem": str(cert),
        "/etc/ssl/ward.key": str(key),
        "http://127.0.0.1:8000": behind,
    }
    places = "".join(
        f"{name}_temp_path {home}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"daemon off; pid {home}/pid; error_log {home}/error.log notice; events {{}}\n"
        f"http {{ access_log {home}/access.log; {places}\n{documented(changes)} }}\n",
        encoding="utf-8",
    )
    command = [NGINX, "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")]
    subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=60)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            front = Front(
                f"https://127.0.0.1:{port}",
                f"http://127.0.0.1:{plain}",
                home,
                ssl.create_default_context(cafile=str(cert)),
            )
            until = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < until, "nginx did not start"
                    time.sleep(0.05)
            yield front
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, certificate: Any, stand_in: Any) -> Iterator[Front]:
    """The command of the page, behind the proxy of the page."""
    home = tmp_path_factory.mktemp("proxy")
    (home / "lone").mkdir()
    (home / "lone" / "config.json").write_text("{}", encoding="utf-8")
    keys = home / "keys.jsonl"
    assert main(["keys", str(keys), "--new", "ward", "--scopes", "diagnose"]) == 0
    made = subprocess.run(
        [sys.executable, "-m", "rounds.cli.main", "keys", str(keys), "--new", "ward-2", "--scopes", "diagnose"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    stated = ["--keys", str(keys), "--behind-proxy", "--public-name", NAME]
    assert "--behind-proxy --public-name ward.example.org" in PAGE.read_text(encoding="utf-8")
    command = [*stand_in(ANSWERS), "serve", str(home / "lone"), "--unproven", "--port", "0", "--json"]
    with subprocess.Popen([*command, *stated], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            behind = json.loads(process.stdout.readline())["url"]
            with nginx(behind, home / "nginx", certificate) as before:
                yield Front(
                    before.url, before.plain, before.home, before.trust, made.stdout.strip(), home / "audit.sqlite"
                )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(40)


def body(text: str = "a red toe", **more: Any) -> dict[str, Any]:
    return {"model": "lone", "messages": [{"role": "user", "content": text}], **more}


def test_a_stream_comes_piece_by_piece(front: Front) -> None:
    times = []
    with (
        front.client() as client,
        client.stream("POST", "/v1/chat/completions", json=body(stream=True)) as answer,
    ):
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                times.append(time.monotonic())
    assert len(times) > 5
    assert times[-1] - times[0] > 1.0, "the answer takes 2 s: its pieces came together"


def test_who_gets_in(front: Front) -> None:
    with front.client(key=False) as nobody:
        refused = nobody.get("/v1/models")
        forged = nobody.get("/v1/models", headers={"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"})
        assert (refused.status_code, forged.status_code) == (401, 401)
        assert refused.headers.get_list("strict-transport-security") == ["max-age=31536000"]
        assert "nginx/" not in refused.headers.get("server", "")
        assert nobody.get("/health", headers={"host": "other.example.org"}).status_code == 421
        # Only this machine may call a hook without an issuer, and behind a proxy everybody looks like this machine.
        assert nobody.post("/cds-services/rounds-patient-view", json={}).status_code == 401
    with front.client() as known:
        assert known.get("/v1/models").status_code == 200
    sent = httpx.get(f"{front.plain}/passport", headers={"host": NAME})
    assert (sent.status_code, sent.headers["location"]) == (301, f"https://{NAME}/passport")


def test_a_person_signs_in_on_the_page(front: Front) -> None:
    with front.client(key=False, accept="text/html") as browser:
        login = {"data": {"key": front.key, "to": "/"}}
        assert browser.post("/login", **login, headers={"origin": "https://evil.example"}).status_code == 403  # type: ignore[arg-type]
        signed = browser.post("/login", **login, headers={"origin": front.origin})  # type: ignore[arg-type]
        cookie = signed.headers["set-cookie"]
        assert signed.status_code == 303
        assert cookie.startswith("__Host-rounds=")
        assert "; Secure" in cookie
        page = browser.get("/", headers={"cookie": cookie.partition(";")[0]})
        assert page.status_code == 200
        assert "Unproven, not for patients" in page.text


def test_the_log_names_the_key_and_nginx_the_address(front: Front) -> None:
    with front.client(**{"x-forwarded-for": FORGED}) as client:
        answer = client.post("/v1/chat/completions", json=body(stream=True)).text
    hashes = re.findall(r'"audit":\s*"([0-9a-f]{64})"', answer)
    row = next(row for row in front.rows() if row.hash == hashes[-1])
    assert (row.caller, row.kind, row.finish) == ("ward-2", "result", "stop")
    access = (front.home / "access.log").read_text(encoding="utf-8")
    assert "127.0.0.1 - - [" in access
    assert FORGED not in access
    assert FORGED not in str([row.model_dump() for row in front.rows()])


def test_bodies(front: Front) -> None:
    with front.client() as client:
        long = client.post("/v1/chat/completions", json=body("x" * 200_000))
        assert (long.status_code, "60000" in long.text or "60,000" in long.text) == (400, True)
        assert client.post("/v1/chat/completions", content=b"x" * 300_000).status_code == 413
        record = {"content": b'{"x": "' + b"y" * 3_000_000 + b'"}', "headers": {"content-type": "application/json"}}
        assert client.post("/cds-services/rounds-patient-view", **record).status_code == 401  # type: ignore[arg-type]
        assert client.post("/cds-services/rounds-patient-view", content=b"x" * 5_000_000).status_code == 413
    said = (front.home / "error.log").read_text(encoding="utf-8")
    assert "buffered to a temporary file" not in said


def test_somebody_who_leaves_ends_the_request_behind(front: Front) -> None:
    with (
        front.client() as client,
        client.stream("POST", "/v1/chat/completions", json=body("ENDLESS", stream=True)) as answer,
    ):
        first = next(line for line in answer.iter_lines() if line.startswith("data: {"))
    request = json.loads(first[6:])["rounds"]["request"]
    until = time.monotonic() + 30
    while not (left := [row for row in front.rows() if row.request == request and row.kind == "result"]):
        assert time.monotonic() < until, "the request went on behind the proxy"
        time.sleep(0.1)
    assert left[0].finish == "left"


def test_without_keys_a_proxy_makes_nobody_the_person_at_the_keyboard(
    scripted: Any, make_app: Any, serve: Any, tmp_path: Path, certificate: Any
) -> None:
    with serve(make_app(scripted)) as behind, nginx(behind, tmp_path / "nginx", certificate) as front:
        assert httpx.get(f"{behind}/v1/models").status_code == 200
        with front.client(key=False, host="localhost") as client:
            assert client.get("/v1/models").status_code == 401
