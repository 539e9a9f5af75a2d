"""Keys and sessions: who is let in, for how long, and that no route forgets to ask."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rounds.records import UserError
from rounds.serve import session
from rounds.serve.app import Doors
from rounds.serve.keys import Caller, Keys, Scope, new_key, read_keys, write_keys
from rounds.serve.session import Sessions, cookie_of

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
OPEN = {"/health", "/ready", "/static/{name}", "/login", "/logout", "/cds-services", "/cards/{token}"}
"""What answers without a key: nothing of a patient, and cards, whose links cannot be guessed."""
SERVICE = "rounds-patient-view"

JSON_BODIES = {CHAT: {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}, "/v1/diagnose": {"case": "x"}}


def make(where: Path, **wanted: tuple[Scope, ...]) -> tuple[Path, dict[str, str]]:
    made = {name: new_key(name, scopes) for name, scopes in wanted.items()}
    file = where / "keys.jsonl"
    write_keys(file, tuple(key for _, key in made.values()))
    return file, {name: token for name, (token, _) in made.items()}


@pytest.fixture
def guarded(make_app: Any, scripted: Any, tmp_path: Path) -> tuple[Any, dict[str, str], Path]:
    file, tokens = make(tmp_path, ward=("diagnose",), officer=("audit",))
    hosts = frozenset({"ward.example"})
    return make_app(scripted, doors=Doors(Keys(file), hosts, secure=True)), tokens, file


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


BASE = {"base_url": "https://ward.example"}


async def test_a_key_opens_what_its_scopes_say(guarded: Any, client_of: Any, chat_body: Any) -> None:
    app, tokens, _ = guarded
    async with client_of(app, **BASE) as client:

        async def statuses(headers: dict[str, str]) -> list[int]:
            asked = await client.post(CHAT, json=chat_body(), headers=headers)
            return [asked.status_code, (await client.get("/metrics", headers=headers)).status_code]

        assert await statuses(bearer(tokens["ward"])) == [200, 403]
        assert await statuses(bearer(tokens["officer"])) == [403, 200]
        assert await statuses({}) == [401, 401]
        for wrong in ("", "x", tokens["ward"][:-1], tokens["ward"] + "x", "rounds-" + "A" * 43):
            assert await statuses(bearer(wrong)) == [401, 401]
        assert await statuses({"authorization": f"Basic {tokens['ward']}"}) == [401, 401]
        refused = await client.post(CHAT, json=chat_body())
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["strict-transport-security"] == "max-age=31536000"
    assert "no known key came with this request" in refused.json()["error"]["message"]


async def test_no_route_forgets_to_ask(guarded: Any, client_of: Any) -> None:
    app, _, _ = guarded
    routes = [route for route in app._app.app.routes if hasattr(route, "methods")]
    assert len(routes) > 12
    async with client_of(app, **BASE) as client:
        for route in routes:
            if route.path in OPEN:
                continue
            for method in route.methods - {"HEAD"}:
                path = (
                    route.path.replace("{name}", SERVICE if "cds" in route.path else "x")
                    .replace("{", "")
                    .replace("}", "")
                    .replace(":path", "")
                )
                sent: dict[str, Any] = {"json": JSON_BODIES[route.path]} if route.path in JSON_BODIES else {}
                if method == "POST" and not sent:
                    sent = {"data": {"case": "fever", "verdict": "right"}}
                answer = await client.request(method, path, **sent)
                assert answer.status_code in (401, 303), f"{method} {route.path} answered {answer.status_code}"


async def test_a_session_lasts_as_long_as_its_key(
    guarded: Any, client_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, tokens, file = guarded
    async with client_of(app, **BASE) as client:
        assert (await client.post("/login", data={"key": "nonsense"})).status_code == 401
        signed = await client.post("/login", data={"key": tokens["ward"]})
        assert signed.status_code == 303
        cookie = signed.headers["set-cookie"]
        for part in ("__Host-rounds=", "HttpOnly", "SameSite=strict", "Secure", "Path=/", "Max-Age=28800"):
            assert part.lower() in cookie.lower()
        assert tokens["ward"] not in cookie
        assert (await client.get("/v1/models")).status_code == 200
        assert (await client.get("/v1/models", headers=bearer("wrong"))).status_code == 401
        others = await client.post("/", data={"case": "x"}, headers={"origin": "https://evil.example"})
        assert others.status_code == 403
        write_keys(file, tuple(key for key in read_keys(file) if key.name != "ward"))
        assert (await client.get("/v1/models")).status_code == 401


def test_sessions_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, tokens = make(tmp_path, ward=("diagnose",))
    now = 1000.0
    monkeypatch.setattr(session.time, "monotonic", lambda: now)
    sessions = Sessions(Keys(file), secure=False)
    assert sessions.cookie == "rounds"
    assert sessions.sign_in("wrong") is None
    idle, busy, left = (sessions.sign_in(f" {tokens['ward']}\n") or "" for _ in range(3))
    assert sessions.find(idle) == Caller("ward", frozenset({"diagnose"}))
    sessions.sign_out(left)
    assert sessions.find(left) is None
    for _ in range(16):
        now += session.IDLE_SECONDS - 60
        assert sessions.find(busy) == Caller("ward", frozenset({"diagnose"}))
    assert sessions.find(idle) is None
    now += session.IDLE_SECONDS - 60  # the shift is over, however busy
    assert sessions.find(busy) is None
    monkeypatch.setattr(session, "MOST_SESSIONS", 5)
    many = [sessions.sign_in(tokens["ward"]) or "" for _ in range(9)]
    assert [sessions.find(one) is not None for one in many] == [False] * 4 + [True] * 5


def test_a_file_that_changes_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, tokens = make(tmp_path, one=("diagnose",))
    keys = Keys(file)
    assert keys.find(tokens["one"]) == Caller("one", frozenset({"diagnose"}))
    token, key = new_key("two", ("audit", "admin"))
    write_keys(file, (key,))
    assert keys.find(tokens["one"]) is None
    assert keys.find(token) == Caller("two", frozenset({"audit", "admin"}))
    caplog.set_level(logging.ERROR)
    file.write_text("half a li", encoding="utf-8")
    assert keys.find(token) is None
    assert "no key opens until it is mended" in caplog.text
    file.unlink()
    assert keys.find(token) is None


def test_a_key_ends_with_its_last_day(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    made = [new_key(f"k{days}", ("diagnose",), today + timedelta(days=days)) for days in (-1, 0)]
    write_keys(tmp_path / "keys", tuple(key for _, key in made))
    keys = Keys(tmp_path / "keys")
    assert [keys.find(token) is not None for token, _ in made] == [False, True]
    assert [keys.named(key.name) is not None for _, key in made] == [False, True]


def test_files_that_are_refused(tmp_path: Path) -> None:
    file, _ = make(tmp_path, one=("diagnose",))
    assert file.stat().st_mode & 0o777 == 0o600
    line = file.read_text(encoding="utf-8")
    assert "rounds-" not in line
    file.write_text(line + line, encoding="utf-8")
    with pytest.raises(UserError, match="a name stands there twice"):
        Keys(file)
    file.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="holds no key; make one with rounds keys"):
        Keys(file)
    file.write_text(json.dumps(json.loads(line) | {"scopes": ["everything"]}), encoding="utf-8")
    with pytest.raises(UserError, match="is not a Key"):
        Keys(file)
    file.write_text(line, encoding="utf-8")
    os.chmod(file, 0o666)
    with pytest.raises(UserError, match="others may write to it; chmod 600"):
        Keys(file)


async def test_a_proxy_makes_nobody_the_person_at_this_machine(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any
) -> None:
    async with client_of(make_app(scripted)) as client:
        for header in ("x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host"):
            assert (await client.post(CHAT, json=chat_body(), headers={header: "10.0.0.9"})).status_code == 401
        assert (await client.post(CHAT, json=chat_body())).status_code == 200


async def test_refusals_are_told_once_a_second(make_app: Any, client_of: Any, scripted: Any, tmp_path: Path) -> None:
    from rounds.serve.audit import Audit
    from rounds.serve.audit_sqlite import SQLite

    file, _ = make(tmp_path, ward=("diagnose",))
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    app = make_app(scripted, audit=audit, doors=Doors(Keys(file)))
    async with client_of(app) as client:
        for _ in range(20):
            assert (await client.get("/metrics", headers=bearer("wrong"))).status_code == 401
    audit.close()
    rows = list(Audit(SQLite(tmp_path / "audit.sqlite", existing=True)).every())
    assert rows
    assert len(rows) < 10
    assert rows[0].note == "401, scope audit; 1 such requests since the last row"


@pytest.mark.parametrize(
    ("header", "value"),
    [("", ""), ("a=b; rounds=x; c=d", "x"), ("rounds", ""), ("rounds=", ""), ("\x00=;;", ""), ('r=1; rounds="y"', "y")],
)
def test_cookies_are_read(header: str, value: str) -> None:
    assert cookie_of(header, "rounds") == value
