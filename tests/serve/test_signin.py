"""Signing in by key on the page: the cookie, wrong keys, and where it leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rounds.serve.app import Doors
from rounds.serve.keys import Keys, new_key, write_keys

pytestmark = pytest.mark.anyio


@pytest.fixture
def key(tmp_path: Path) -> str:
    token, known = new_key("ward", ("diagnose",))
    write_keys(tmp_path / "keys.json", (known,))
    return token


async def test_in_and_out(make_app: Any, client_of: Any, scripted: Any, key: str, tmp_path: Path) -> None:
    async with client_of(make_app(scripted, doors=Doors(keys=Keys(tmp_path / "keys.json")))) as client:
        page = await client.get("/login?to=/passport")
        wrong = await client.post("/login", data={"key": "nonsense", "to": "/passport"})
        right = await client.post("/login", data={"key": key, "to": "/passport"})
        inside = await client.get("/")
        out = await client.post("/logout")
        outside = await client.get("/")
        expired = await client.post("/", data={"case": "my long case"})
        streamed = await client.post("/stream", data={"case": "my long case"})
    assert '<input type="hidden" name="to" value="/passport">' in page.text
    assert (wrong.status_code, "This key is not known here" in wrong.text) == (401, True)
    assert "set-cookie" not in wrong.headers
    assert (right.status_code, right.headers["location"]) == (303, "/passport")
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert key not in cookie
    assert "Sign out" in inside.text
    assert out.headers["location"] == "/login"
    assert outside.status_code == 303
    assert (expired.status_code, "my long case</textarea>" in expired.text) == (401, True)
    assert "Your session has ended" in expired.text
    assert streamed.status_code == 401
    assert scripted.prompts == []


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/v1/models", "javascript:alert(1)", ""])
async def test_leads_nowhere_else(
    make_app: Any, client_of: Any, scripted: Any, key: str, tmp_path: Path, to: str
) -> None:
    async with client_of(make_app(scripted, doors=Doors(keys=Keys(tmp_path / "keys.json")))) as client:
        response = await client.post("/login", data={"key": key, "to": to})
    assert response.headers["location"] == "/"


async def test_nothing_to_sign_in_to(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        responses = [await client.get("/login"), await client.post("/login", data={"key": "x"})]
        page = await client.get("/")
    assert [(one.status_code, one.headers["location"]) for one in responses] == [(303, "/")] * 2
    assert "Sign out" not in page.text
