"""The matrix of bad tokens: every one is refused, each for its reason, and none makes a connection."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from rounds.records import UserError
from rounds.serve.jwt import MOST_ISSUERS, BadToken, Seen, Verifier, read_issuers

ISS = "https://ehr.example"
BASE = "https://cds.example"
PATH = "/cds-services/rounds-patient-view"
NOW = 1_800_000_000

P384 = ec.generate_private_key(ec.SECP384R1())
OTHER = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)


def public(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


JWKS = {"keys": [public(P384, "ec", use="sig", alg="ES384"), public(RSA, "rsa")]}


def issuers_at(path: Path, *listed: dict[str, Any]) -> Path:
    given = listed or ({"iss": ISS, "audience": BASE, "jwks": JWKS},)
    path.write_text(json.dumps({"issuers": given}), encoding="utf-8")
    return path


@pytest.fixture
def check(tmp_path: Path) -> Callable[[str], Any]:
    verifier = Verifier(read_issuers(issuers_at(tmp_path / "issuers.json")), clock=lambda: NOW)
    return lambda token: verifier.check(token, PATH)


def claims(**changed: Any) -> dict[str, Any]:
    good = {"iss": ISS, "aud": BASE + PATH, "iat": NOW, "exp": NOW + 60, "jti": "one"}
    return {name: value for name, value in {**good, **changed}.items() if value != "absent"}


def signed(payload: dict[str, Any], key: Any = P384, algorithm: str = "ES384", kid: Any = "ec", **header: Any) -> str:
    return jwt.encode(payload, key, algorithm, headers={"kid": kid, **header})


def test_good_tokens_of_both_kinds(check: Callable[[str], Any]) -> None:
    assert check(signed(claims())).iss == ISS
    assert check(signed(claims(jti="two"), RSA, "RS384", "rsa")).audience == BASE
    # A jku is part of the specification's own example: it is there, and nobody looks.
    assert check(signed(claims(jti="three"), jku="https://ehr.example/jwks")).iss == ISS


def forged(header: dict[str, Any], payload: Any) -> str:
    parts = (json.dumps(part).encode() if not isinstance(part, bytes) else part for part in (header, payload))
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2ln"])


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "none at all": (lambda: "", "a signed token is needed"),
    "an API key": (lambda: "rounds-0123456789", "not a valid one"),
    "alg none": (lambda: jwt.encode(claims(), None, "none", headers={"kid": "ec"}), "key or algorithm"),
    "HS256 with the public key": (
        lambda: forged({"alg": "HS256", "kid": "ec", "typ": "JWT"}, claims()),
        "key or algorithm",
    ),
    "HS384 signed": (lambda: signed(claims(), "secret" * 10, "HS384"), "key or algorithm"),
    "ES256": (lambda: signed(claims(), ec.generate_private_key(ec.SECP256R1()), "ES256"), "key or algorithm"),
    "RS256": (lambda: signed(claims(), RSA, "RS256", "rsa"), "key or algorithm"),
    "RS512": (lambda: signed(claims(), RSA, "RS512", "rsa"), "key or algorithm"),
    "EC kid with RS384": (lambda: signed(claims(), RSA, "RS384", "ec"), "key or algorithm"),
    "another's key": (lambda: signed(claims(), OTHER), "not a valid one"),
    "no kid": (lambda: jwt.encode(claims(), P384, "ES384"), "key or algorithm"),
    "unknown kid": (lambda: signed(claims(), kid="evil"), "key or algorithm"),
    "kid as a path": (lambda: signed(claims(), kid="../../dev/null"), "key or algorithm"),
    "jku of the attacker": (lambda: signed(claims(), OTHER, jku="http://127.0.0.1:9/jwks"), "not a valid one"),
    "jwk of the attacker": (lambda: signed(claims(), OTHER, jwk=public(OTHER, "ec")), "not a valid one"),
    "x5u of the attacker": (lambda: signed(claims(), OTHER, x5u="http://127.0.0.1:9/x"), "not a valid one"),
    "crit": (lambda: signed(claims(), crit=["b64"], b64=True), "not a valid one|key or algorithm"),
    "unknown issuer": (lambda: signed(claims(iss="https://evil.example")), "issuer is not known"),
    "issuer with a slash": (lambda: signed(claims(iss=ISS + "/")), "issuer is not known"),
    "no issuer": (lambda: signed(claims(iss="absent")), "issuer is not known"),
    "issuer is a list": (lambda: forged({"alg": "ES384", "kid": "ec"}, claims(iss=[ISS])), "issuer is not known"),
    "other audience": (lambda: signed(claims(aud=BASE)), "for another address"),
    "audience of another service": (lambda: signed(claims(aud=BASE + "/cds-services/other")), "for another address"),
    "audience list": (lambda: signed(claims(aud=[BASE + PATH, "https://evil.example"])), "for another address"),
    "no audience": (lambda: signed(claims(aud="absent")), "not a valid one"),
    "expired": (lambda: signed(claims(iat=NOW - 120, exp=NOW - 1)), "has expired|older than"),
    "expires now": (lambda: signed(claims(exp=NOW)), "has expired"),
    "no exp": (lambda: signed(claims(exp="absent")), "not a valid one"),
    "exp in ten years": (lambda: signed(claims(exp=NOW + 315_360_000)), "lives longer than 300 s"),
    "exp 301 s after iat": (lambda: signed(claims(exp=NOW + 301)), "lives longer than 300 s"),
    "exp is text": (lambda: signed(claims(exp=str(NOW + 60))), "exp is not a number"),
    "exp is true": (lambda: signed(claims(exp=True)), "exp is not a number"),
    "exp is infinite": (
        lambda: forged({"alg": "ES384", "kid": "ec"}, b'{"iss": "https://ehr.example", "exp": 1e999}'),
        "not a valid one",
    ),
    "no iat": (lambda: signed(claims(iat="absent")), "not a valid one"),
    "iat in the future": (lambda: signed(claims(iat=NOW + 60, exp=NOW + 120)), "from the future"),
    "nbf in the future": (lambda: signed(claims(nbf=NOW + 60)), "from the future"),
    "iat before the server": (lambda: signed(claims(iat=NOW - 10)), "older than this server"),
    "no jti": (lambda: signed(claims(jti="absent")), "not a valid one"),
    "empty jti": (lambda: signed(claims(jti="")), "jti is not a string"),
    "jti is a number": (lambda: signed(claims(jti=7)), "jti is not|not a valid one"),
    "huge": (lambda: signed(claims(pad="x" * 9000)), "a signed token is needed"),
    "not base64": (lambda: "a.b.c", "not a valid one"),
    "two parts": (lambda: "YQ.YQ", "not a valid one"),
    "payload is a list": (lambda: forged({"alg": "ES384", "kid": "ec"}, [1]), "issuer is not known|not a valid"),
    "deep payload": (
        lambda: forged({"alg": "ES384", "kid": "ec"}, b"[" * 3000 + b"]" * 3000),
        "not a valid one|issuer is not known",
    ),
    "surrogates": (lambda: "\ud800.\ud800.\ud800", "not a valid one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tokens(name: str, check: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_connection(*_: Any) -> None:
        raise AssertionError("a token made a connection")

    monkeypatch.setattr(socket.socket, "connect", no_connection)
    make, sentence = BAD[name]
    with pytest.raises(BadToken, match=sentence):
        check(make())


def test_a_token_is_taken_once(check: Callable[[str], Any]) -> None:
    token = signed(claims())
    check(token)
    with pytest.raises(BadToken, match="was used before"):
        check(token)
    with pytest.raises(BadToken, match="was used before"):
        check(signed(claims(exp=NOW + 100)))  # signed anew with the same jti
    assert check(signed(claims(jti="next")))


def test_a_changed_payload_is_noticed(check: Callable[[str], Any]) -> None:
    header, _, signature = signed(claims()).split(".")
    other = signed(claims(jti="other"), OTHER).split(".")[1]
    with pytest.raises(BadToken, match="not a valid one"):
        check(".".join([header, other, signature]))


def test_used_tokens_are_forgotten_when_they_expire_and_bounded() -> None:
    seen = Seen(most=2)
    assert seen.first_time("a", "1", expires=10, now=0)
    assert not seen.first_time("a", "1", expires=10, now=9)
    assert seen.first_time("b", "1", expires=20, now=9)
    assert not seen.first_time("c", "1", expires=20, now=9), "no more can be remembered"
    assert seen.first_time("c", "1", expires=30, now=10)
    assert len(seen._until) == 2


SMALL = rsa.generate_private_key(65537, 1024)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ED_JWK = {**OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True), "kid": "ed"}
ISSUER = {"iss": ISS, "audience": BASE}


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ([], r"issuers: .*see docs/cds-hooks\.md"),
        ([{**ISSUER, "jwks": JWKS, "jku": "x"}], r"issuers\.0\.jku: Extra inputs are not permitted"),
        ([ISSUER], "needs exactly one of jwks, jwks_file"),
        ([{**ISSUER, "jwks": JWKS, "jwks_file": "x"}], "needs exactly one of jwks, jwks_file"),
        ([{**ISSUER, "jwks_file": "absent.json"}], "cannot be read"),
        ([{**ISSUER, "jwks": JWKS}] * 2, "is listed twice"),
        ([{**ISSUER, "jwks": JWKS, "audience": "cds.example"}], "is not a base URL"),
        ([{**ISSUER, "jwks": {"keys": []}}], "is not a list of 1 to 32 keys"),
        ([{**ISSUER, "jwks": {}}], "is not a list of 1 to 32 keys"),
        ([{**ISSUER, "jwks": {"keys": [{"kty": "EC"}]}}], "needs a kid of its own"),
        ([{**ISSUER, "jwks": {"keys": [public(P384, "a"), public(RSA, "a")]}}], "needs a kid of its own"),
        ([{**ISSUER, "jwks": {"keys": [{"kty": "oct", "k": "c2Vj", "kid": "s"}]}}], "'s' is a secret one"),
        (
            [{**ISSUER, "jwks": {"keys": [{**ECAlgorithm.to_jwk(P384, as_dict=True), "kid": "p"}]}}],
            "'p' is a secret one",
        ),
        ([{**ISSUER, "jwks": {"keys": [ED_JWK]}}], "does not sign with ES384 or RS384"),
        ([{**ISSUER, "jwks": {"keys": [public(P384, "e", use="enc")]}}], "does not sign with ES384"),
        ([{**ISSUER, "jwks": {"keys": [public(P256, "w")]}}], "not on the curve P-384"),
        ([{**ISSUER, "jwks": {"keys": [public(SMALL, "w")]}}], "has 1024 bits; at least 2048"),
        ([{**ISSUER, "jwks": {"keys": [{"kty": "EC", "crv": "P-384", "x": "!", "kid": "b"}]}}], "cannot be read"),
        ([{**ISSUER, "jwks": JWKS}] * (MOST_ISSUERS + 1), "at most 64"),
    ],
    ids=range(19),
)
def test_files_of_issuers(tmp_path: Path, listed: list[Any], sentence: str) -> None:
    path = tmp_path / "issuers.json"
    path.write_text(json.dumps({"issuers": listed}), encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_issuers(path)


def test_keys_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "ehr.jwks.json").write_text(json.dumps(JWKS), encoding="utf-8")
    path = issuers_at(tmp_path / "issuers.json", {**ISSUER, "audience": BASE + "/", "jwks_file": "ehr.jwks.json"})
    known = read_issuers(path)[ISS]
    assert (known.audience, set(known.keys)) == (BASE, {"ec", "rsa"})
