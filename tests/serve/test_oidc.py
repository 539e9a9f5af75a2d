"""Sign-in at a real, small issuer on this machine, with keys made here; what is wrong is refused in one sentence."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rounds.cli.main import main
from rounds.records import UserError
from rounds.serve import oidc as module
from rounds.serve.app import Doors
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.keys import Caller, Keys, new_key, write_keys
from rounds.serve.oidc import Oidc, read_oidc
from rounds.serve.operate import Operation
from rounds.serve.outgoing import OutgoingFault
from rounds.serve.views import CONTENT_SECURITY

pytestmark = pytest.mark.anyio
HERE = "http://127.0.0.1:8000"
NAME = "Dr Quillfeather"


@pytest.fixture(scope="module")
def rsa() -> Any:
    from joserfc.jwk import RSAKey

    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})


@pytest.fixture(scope="module")
def other() -> Any:
    from joserfc.jwk import RSAKey

    return RSAKey.generate_key(2048, {"kid": "one"})


class Issuer:
    """The issuer's answers; a test changes what is wrong."""

    def __init__(self, hospital: Any, answer: Any, rsa: Any) -> None:
        self.url, self.key, self.hospital, self.answer = f"{hospital.url}/realms/ward", rsa, hospital, answer
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.changes: dict[str, Any] = {}
        """Claims that differ from good ones; None leaves one out."""
        self.signs: Any = rsa
        self.nonce = ""
        self.challenge = ""
        self.about = {"issuer": self.url, "authorization_endpoint": f"{self.url}/auth",
                      "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
                      "id_token_signing_alg_values_supported": ["none", "HS256"]}  # fmt: skip
        hospital.answers["/realms/ward/.well-known/openid-configuration"] = lambda _: self.json(self.about)
        hospital.answers["/realms/ward/keys"] = lambda _: self.json({"keys": [rsa.as_dict(private=False)]})
        hospital.answers["/realms/ward/token"] = self.token

    def json(self, value: Any, status: int = 200) -> Any:
        return self.answer(value, status, "application/json")

    def token(self, body: str) -> Any:
        form = {name: values[0] for name, values in parse_qs(body).items()}
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != self.challenge or form["code"] != "good":
            return self.json({"error": "invalid_grant"}, 400)
        return self.json({"access_token": "a", "token_type": "Bearer", "id_token": self.signed()})

    def signed(self) -> str:
        from joserfc import jwt

        now = int(time.time())
        claims = {"iss": self.url, "sub": "u-1", "aud": "rounds", "exp": now + 60, "iat": now, "nonce": self.nonce,
                  "preferred_username": NAME, "realm_access": {"roles": ["doctors", "elsewhere"]}}  # fmt: skip
        claims = {name: value for name, value in (claims | self.changes).items() if value is not None}
        if self.header["alg"] == "none":
            parts = (json.dumps(part).encode() for part in (self.header, claims))
            return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."
        return jwt.encode(self.header, claims, self.signs, algorithms=[self.header["alg"]])


@pytest.fixture
def issuer(hospital: Any, answer: Any, rsa: Any) -> Issuer:
    return Issuer(hospital, answer, rsa)


def stated(where: Path, issuer: str, **more: Any) -> Path:
    file = where / "oidc.toml"
    lines = {"issuer": issuer, "client_id": "rounds", "public_url": HERE, "name_claim": "preferred_username",
             "scope_claim": "realm_access.roles"} | more  # fmt: skip
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    file.write_text(f'{text}[scopes]\ndoctors = ["diagnose", "records"]\nsafety = ["audit"]\n', encoding="utf-8")
    return file


@pytest.fixture
def made(make_app: Any, scripted: Any, issuer: Issuer, tmp_path: Path) -> Any:
    write_keys(tmp_path / "keys", (new_key("program", ("diagnose",))[1],))
    doors = Doors(Keys(tmp_path / "keys"), oidc=read_oidc(stated(tmp_path, issuer.url)))
    return make_app(scripted, doors=doors)


async def begun(client: Any, issuer: Issuer, to: str = "/") -> dict[str, str]:
    """What the browser is sent to the issuer with."""
    sent = await client.get("/login/oidc", params={"to": to})
    assert sent.status_code == 303
    where = urlsplit(sent.headers["location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == f"{issuer.url}/auth"
    query = {name: values[0] for name, values in parse_qs(where.query).items()}
    issuer.nonce, issuer.challenge = query["nonce"], query["code_challenge"]
    return query


async def test_there_and_back(made: Any, client_of: Any, issuer: Issuer) -> None:
    async with client_of(made) as client:
        login = await client.get("/login")
        asked = await begun(client, issuer, "/passport")
        back = await client.get("/login/oidc/callback", params={"state": asked["state"], "code": "good"})
        page = await client.get("/")
        audit = await client.get("/audit")
        again = await client.get("/login/oidc/callback", params={"state": asked["state"], "code": "good"})
        await client.post("/logout")
        left = await client.get("/")
    assert '<a class="button" href="/login/oidc?to=/">' in login.text
    assert asked["redirect_uri"] == f"{HERE}/login/oidc/callback"
    assert (asked["response_type"], asked["client_id"], asked["scope"]) == ("code", "rounds", "openid")
    assert asked["code_challenge_method"] == "S256"
    assert back.status_code == 200
    assert 'content="0;url=/passport"' in back.text
    assert back.headers["content-security-policy"] == CONTENT_SECURITY
    cookies = back.headers.get_list("set-cookie")
    assert any("rounds=" in one and "samesite=strict" in one.lower() and "httponly" in one.lower() for one in cookies)
    assert page.status_code == 200
    assert "/audit" not in page.text
    assert audit.status_code == 403
    assert f"&#39;oidc:{NAME}&#39; lacks the scope" in audit.text
    assert again.status_code == 401
    assert left.status_code == 303


async def test_a_clinician_of_the_hospital_records_in_shadow(
    make_app: Any, client_of: Any, scripted: Any, issuer: Issuer, tmp_path: Path
) -> None:
    write_keys(tmp_path / "keys", (new_key("program", ("diagnose",))[1],))
    doors = Doors(Keys(tmp_path / "keys"), oidc=read_oidc(stated(tmp_path, issuer.url)))
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    app = make_app(scripted, doors=doors, shadow=True, operation=Operation(tmp_path), audit=audit)
    form = {"case": "fever and cough", "d1": "heart failure"}
    async with client_of(app) as client:
        unknown = await client.get("/", headers={"accept": "text/html"})
        lost = await client.post("/", data=form)
        asked = await begun(client, issuer)
        await client.get("/login/oidc/callback", params={"state": asked["state"], "code": "good"})
        page = await client.get("/")
        recorded = await client.post("/", data=form)
        other_door = await client.post("/v1/diagnose", json={"case": "fever"})
    assert (unknown.status_code, unknown.headers["location"]) == (303, "/login")
    assert lost.status_code == 401
    assert "fever and cough" in lost.text  # who is signed out meanwhile keeps what was typed
    assert "Your own five diagnoses" in page.text
    assert "Recorded." in recorded.text
    assert "embolism" not in recorded.text
    assert other_door.status_code == 404
    assert {row.caller for row in audit.rows(5) if row.kind != "refused"} == {f"oidc:{NAME}"}


WRONG = {
    "nonce": ({"nonce": "another"}, {}, "the token is not for this sign-in (nonce)"),
    "no nonce": ({"nonce": None}, {}, "the token is not for this sign-in (nonce)"),
    "audience": ({"aud": "another"}, {}, "the token is not for this sign-in (aud)"),
    "two audiences": ({"aud": ["rounds", "x"], "azp": "x"}, {}, "the token is not for this sign-in (azp)"),
    "issuer": ({"iss": "https://evil.example"}, {}, "the token is not for this sign-in (iss)"),
    "expired": ({"exp": 1_000_000_000}, {}, "the token has expired"),
    "from the future": ({"iat": 4_000_000_000}, {}, "the token is not for this sign-in (iat)"),
    "no end": ({"exp": None}, {}, "the token is not for this sign-in (exp)"),
    "access token": ({"at_hash": "x"}, {}, "the token is not for this sign-in (at_hash)"),
    "alg none": ({}, {"alg": "none"}, "signature is not one of the issuer"),
    "another kid": ({}, {"kid": "two"}, "signature is not one of the issuer"),
    "no name": ({"preferred_username": ""}, {}, "does not say who you are"),
    "no role": ({"realm_access": {"roles": ["elsewhere"]}}, {}, "you have no role that opens anything here"),
    "no claim": ({"realm_access": None}, {}, "you have no role that opens anything here"),
}


@pytest.mark.parametrize("fault", WRONG)
async def test_wrong_tokens_open_nothing(made: Any, client_of: Any, issuer: Issuer, fault: str) -> None:
    changes, header, said = WRONG[fault]
    issuer.changes, issuer.header = changes, issuer.header | header
    await refused(made, client_of, issuer, said)


async def refused(made: Any, client_of: Any, issuer: Issuer, said: str, **query: str) -> None:
    async with client_of(made) as client:
        asked = await begun(client, issuer)
        back = await client.get("/login/oidc/callback", params={"state": asked["state"], "code": "good", **query})
        after = await client.get("/")
    assert back.status_code in (401, 502)
    assert said.lower() in back.text.replace("&#39;", "'").lower()
    assert not any(one.startswith("rounds=") for one in back.headers.get_list("set-cookie"))
    assert NAME not in back.text
    assert after.status_code == 303


async def test_tokens_signed_otherwise(made: Any, client_of: Any, issuer: Issuer, other: Any) -> None:
    from joserfc.jwk import OctKey

    issuer.signs = other  # the same kid, another key
    await refused(made, client_of, issuer, "signature is not one of the issuer's")
    public = issuer.key.as_pem(private=False)
    issuer.signs, issuer.header = OctKey.import_key(base64.b64encode(public).decode()), {"alg": "HS256", "kid": "one"}
    await refused(made, client_of, issuer, "signature is not one of the issuer's")


async def test_another_state_or_browser(made: Any, client_of: Any, issuer: Issuer, monkeypatch: Any) -> None:
    said = "this sign-in was not begun in this browser, or has expired"
    await refused(made, client_of, issuer, said, state="another")
    async with client_of(made) as one, client_of(made) as two:
        asked = await begun(one, issuer)
        lured = await two.get("/login/oidc/callback", params={"state": asked["state"], "code": "good"})
        assert lured.status_code == 401
        assert said in lured.text.lower()
    monkeypatch.setattr(module, "PENDING_SECONDS", -1.0)
    await refused(made, client_of, issuer, said)


async def test_what_the_issuer_may_answer(made: Any, client_of: Any, issuer: Issuer) -> None:
    broken = "refused or broken off at the issuer"
    await refused(made, client_of, issuer, broken, error="access_denied", error_description="<b>x</b>")
    await refused(made, client_of, issuer, broken, code="")
    await refused(made, client_of, issuer, "another issuer than the one configured", iss="https://evil.example")
    await refused(made, client_of, issuer, "does not take this sign-in", code="stolen")
    issuer.hospital.answers["/realms/ward/keys"] = issuer.answer(b"<html>", 200, "text/html")
    await refused(made, client_of, issuer, "sent something else than JSON")
    issuer.hospital.answers["/realms/ward/token"] = issuer.json({"access_token": "a"})
    await refused(made, client_of, issuer, "sent no token of identity")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"issuer": "https://evil.example"}, "names another issuer"),
        ({"jwks_uri": "https://evil.example/keys"}, "points at another address"),
        ({"token_endpoint": 7}, "points at another address"),
        ({"authorization_endpoint": "https://evil.example/auth"}, "points at another address"),
    ],
)
async def test_a_description_that_leads_elsewhere(
    issuer: Issuer, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    issuer.about |= change
    with pytest.raises(OutgoingFault, match=said):
        await read_oidc(stated(tmp_path, issuer.url)).begin("/")
    assert len(issuer.hospital.asked) == 1


async def test_a_client_with_a_secret_says_it_to_the_issuer_alone(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s:ecret\n", encoding="utf-8")
    (tmp_path / "secret").chmod(0o600)
    oidc: Oidc = read_oidc(stated(tmp_path, issuer.url, client_secret_file="secret"))
    sent = await oidc.begin("/")
    query = parse_qs(urlsplit(sent.address).query)
    issuer.nonce, issuer.challenge = query["nonce"][0], query["code_challenge"][0]
    signed = await oidc.finish({"state": sent.state, "code": "good", "iss": issuer.url}, sent.state)
    assert signed.caller == Caller(f"oidc:{NAME}", frozenset({"diagnose", "records"}))
    assert "s:ecret" not in repr(oidc) + sent.address
    basic = [head.get("authorization") for head in issuer.hospital.heads]
    assert basic == [None, "Basic " + base64.b64encode(b"rounds:s%3Aecret").decode(), None]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"issuer": "http://login.example"}, "unencrypted; use https"),
        ({"public_url": "ward.example"}, "public_url 'ward.example' is not a base URL"),
        ({"client_id": ""}, "client_id: String should have at least 1 character"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"request_scopes": ["email"]}, "lacks 'openid'"),
        ({"client_secret_file": "open"}, "everybody on this machine may read it"),
        ({"client_secret_file": "empty"}, "is no client secret"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    (tmp_path / "open").write_text("x", encoding="utf-8")
    (tmp_path / "open").chmod(0o604)
    (tmp_path / "empty").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_oidc(stated(tmp_path, **{"issuer": "https://login.example", **more}))


def test_not_toml_and_not_without_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_text("=", encoding="utf-8")
    with pytest.raises(UserError, match="is not valid TOML"):
        read_oidc(tmp_path / "bad")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    asked = ["serve", str(tmp_path), "--unproven", "--port", "0", "--oidc", str(tmp_path / "bad")]
    assert main(asked) == 2
    assert "give --keys" in capsys.readouterr().err
