"""Sign-in by the hospital's own directory: OpenID Connect, authorization code with PKCE.

Follows https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth, RFC 7636 and RFC 9207. Addresses and keys
come from the issuer's own discovery document, on the issuer's own origin alone (`rounds.serve.outgoing`); a token's
`jku` or `jwk` is never looked at, and which signatures are taken is decided here, not by that document. Scopes are
mapped from a claim by an officer's file: who has no role there gets in nowhere. Left out on purpose: refresh and access
tokens (a session lasts a shift), signing out at the issuer, and dynamic registration.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from pydantic import Field, ValidationError

from rounds.files import read_text
from rounds.records import Record, UserError
from rounds.serve.fhir_json import BadFhir, read_strict
from rounds.serve.keys import Caller, Scope
from rounds.serve.outgoing import Outgoing, OutgoingFault, Reply, secret_in

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384")
"""Signatures that are taken: none is missing by mistake, `none` and those of shared secrets are missing on purpose."""
SECONDS = 10.0
"""Of all requests of one sign-in."""
PENDING_SECONDS = 600.0
"""A person may take so long at the issuer."""
MOST_PENDING = 1_000
"""The oldest give way."""
METADATA_SECONDS = 3600.0
SKEW = 30
"""Seconds the issuer's clock may differ from ours."""
MOST_BYTES = 256 * 1024
LONGEST_NAME = 100
PREFIX = "oidc:"
"""Begins a person's name in the audit log, where no key's name has a colon."""
CALLBACK = "/login/oidc/callback"


class NotLetIn(Exception):
    """Somebody is not signed in, in a sentence for them."""


class OidcFile(Record):
    """What --oidc names."""

    issuer: str = Field(min_length=8, max_length=512)
    """As in the tokens, letter for letter."""
    client_id: str = Field(min_length=1, max_length=256)
    client_secret_file: str = ""
    """Path of the client's secret, relative to this file; '' for a public client."""
    public_url: str = Field(min_length=8, max_length=512)
    """By which browsers reach this server, as https://ward.hospital.example."""
    name_claim: str = "sub"
    """Stands in the audit log."""
    scope_claim: str = Field(min_length=1, max_length=128)
    """The claim that holds a person's roles: a list or a string; dots lead into objects (realm_access.roles)."""
    request_scopes: tuple[str, ...] = ("openid",)
    scopes: dict[str, tuple[Scope, ...]] = Field(min_length=1, max_length=256)
    """Role to what it opens."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was sent to the issuer."""

    address: str
    """Where the browser goes."""
    state: str
    """Comes back with it; the browser must bring it in a cookie too."""


@dataclass(frozen=True, slots=True)
class _Pending:
    nonce: str
    verifier: str
    to: str
    began: float


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who came back, and where they wanted to go."""

    caller: Caller
    to: str


@dataclass(slots=True)
class Oidc:
    """One issuer."""

    stated: OidcFile
    secret: str = field(repr=False)
    _way: Outgoing = field(repr=False)
    _pending: dict[str, _Pending] = field(default_factory=dict, repr=False)
    _metadata: Mapping[str, Any] | None = None
    _read: float = 0.0

    @property
    def redirect(self) -> str:
        """Where the issuer sends browsers back; to be registered there."""
        return self.stated.public_url.rstrip("/") + CALLBACK

    async def begin(self, to: str) -> Begun:
        """A new sign-in that leads to the page `to`.

        Raises:
            OutgoingFault: the issuer cannot be asked for its addresses.
        """
        from authlib.common.urls import add_params_to_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        async with self._way.asking(SECONDS) as client:
            metadata = await self._discover(client)
        state, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
        now = time.monotonic()
        self._pending = {one: kept for one, kept in self._pending.items() if now - kept.began < PENDING_SECONDS}
        while len(self._pending) >= MOST_PENDING:
            self._pending.pop(next(iter(self._pending)))
        self._pending[state] = _Pending(nonce, verifier, to, now)
        asked = {
            "response_type": "code",
            "client_id": self.stated.client_id,
            "redirect_uri": self.redirect,
            "scope": " ".join(self.stated.request_scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        return Begun(add_params_to_uri(metadata["authorization_endpoint"], list(asked.items())), state)

    async def finish(self, query: Mapping[str, str], cookie: str) -> SignedIn:
        """Who comes back with these parameters and this cookie. A state serves once.

        Raises:
            NotLetIn: anything is wrong with them, with the token, or the person has no role here.
            OutgoingFault: the issuer does not answer.
        """
        state = query.get("state", "")
        same = hmac.compare_digest(state.encode("utf-8", "replace"), cookie.encode("utf-8", "replace"))
        # The state of a link that somebody else made is not taken from whoever it belongs to.
        pending = self._pending.pop(state, None) if state and same else None
        if pending is None or time.monotonic() - pending.began > PENDING_SECONDS:
            raise NotLetIn("this sign-in was not begun in this browser, or has expired; sign in again.")
        if query.get("iss", self.stated.issuer) != self.stated.issuer:
            raise NotLetIn("the answer comes from another issuer than the one configured; sign in again.")
        code = query.get("code", "")
        if query.get("error") or not code:
            raise NotLetIn("the sign-in was refused or broken off at the issuer; sign in again.")
        async with self._way.asking(SECONDS) as client:
            metadata = await self._discover(client)
            token = await self._token(client, metadata, code, pending.verifier)
            keys = await self._json(client, metadata["jwks_uri"])
        claims = await asyncio.to_thread(self._claims, token, keys, pending.nonce)
        return SignedIn(self._caller(claims), pending.to)

    async def _discover(self, client: Any) -> Mapping[str, Any]:
        if self._metadata is not None and time.monotonic() - self._read < METADATA_SECONDS:
            return self._metadata
        found = await self._json(client, str(self._way.at(".well-known/openid-configuration")))
        if not isinstance(found, dict) or found.get("issuer") != self.stated.issuer:
            raise OutgoingFault("the issuer's description names another issuer; check `issuer` in the file of --oidc.")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self._address(found.get(name))
        self._metadata, self._read = found, time.monotonic()
        return found

    def _address(self, value: Any) -> Any:
        import httpx

        try:
            url = httpx.URL(value if isinstance(value, str) else "")
        except httpx.InvalidURL:
            url = httpx.URL("")
        if not self._way.owns(url):
            raise OutgoingFault("the issuer's description points at another address, which is not asked.")
        return url

    async def _json(self, client: Any, address: str) -> Any:
        return _value(await self._way.fetch(client, self._address(address), {"accept": "application/json"}, MOST_BYTES))

    async def _token(self, client: Any, metadata: Mapping[str, Any], code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code[:4096],
            "redirect_uri": self.redirect,
            "client_id": self.stated.client_id,
            "code_verifier": verifier,
        }
        headers = {"accept": "application/json"}
        if self.secret:  # client_secret_basic, RFC 6749 section 2.3.1
            pair = f"{quote_plus(self.stated.client_id)}:{quote_plus(self.secret)}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        address = self._address(metadata["token_endpoint"])
        reply = await self._way.fetch(client, address, headers, MOST_BYTES, form)
        if reply.status in (400, 401):
            raise NotLetIn("the issuer does not take this sign-in; sign in again, or ask those who run this server.")
        found = _value(reply)
        if not isinstance(found, dict) or not isinstance(found.get("id_token"), str):
            raise NotLetIn("the issuer sent no token of identity; ask those who run this server.")
        return found

    def _claims(self, token: Mapping[str, Any], keys: Any, nonce: str) -> Mapping[str, Any]:
        """What a token of identity says, once its signature and every claim hold; not for the event loop."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import ExpiredTokenError, JoseError
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        try:
            read = jwt.decode(token["id_token"], KeySet.import_key_set(keys), registry=registry)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise NotLetIn("the token's signature is not one of the issuer's; sign in again.") from None
        access = token.get("access_token")
        known = {"nonce": nonce, "client_id": self.stated.client_id}
        known |= {"access_token": access} if isinstance(access, str) else {}
        demanded = {
            "iss": {"essential": True, "value": self.stated.issuer},
            "aud": {"essential": True, "value": self.stated.client_id},
        }
        claims: Mapping[str, Any] = CodeIDToken(read.claims, read.header, demanded, known)
        try:
            claims.validate(leeway=SKEW)  # type: ignore[attr-defined]
        except ExpiredTokenError:
            raise NotLetIn("the token has expired; sign in again, and see that the clocks are right.") from None
        except (JoseError, ValueError, TypeError) as error:
            raise NotLetIn(f"the token is not for this sign-in ({_claim_of(error)}); sign in again.") from None
        return claims

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        name = claims.get(self.stated.name_claim)
        if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise NotLetIn("the token does not say who you are; ask those who run this server.")
        value: Any = claims
        for part in self.stated.scope_claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        roles = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
        opened = {scope for role in roles if isinstance(role, str) for scope in self.stated.scopes.get(role, ())}
        if not opened:
            raise NotLetIn("you have no role that opens anything here; ask those who run this server.")
        return Caller(PREFIX + name, frozenset(opened))


def _value(reply: Reply) -> Any:
    if reply.status != 200 or reply.kind not in ("application/json", "application/jwk-set+json") or reply.packed:
        raise OutgoingFault("the issuer sent something else than JSON; check `issuer` in the file of --oidc.")
    try:
        return read_strict(reply.body)
    except BadFhir:
        raise OutgoingFault("the issuer sent JSON that cannot be read; try again later.") from None


def _claim_of(error: Exception) -> str:
    """Which claim is wrong; names of ours only."""
    claim = getattr(error, "claim", "")
    return claim if claim in ("iss", "aud", "azp", "nonce", "exp", "iat", "nbf", "sub", "at_hash") else "a claim"


def read_oidc(path: Path) -> Oidc:
    """The issuer of a TOML file.

    Raises:
        UserError: unreadable, an unknown field, an address that cannot be, a secret that everybody may read.
    """
    try:
        stated = OidcFile.model_validate(tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is not valid TOML ({error}); see docs/serve.md for an example.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}; see docs/serve.md for an example.") from error
    way = Outgoing("the issuer", stated.issuer, f"{path}: issuer")
    Outgoing("this server", stated.public_url, f"{path}: public_url")
    if "openid" not in stated.request_scopes:
        raise UserError(f"{path}: request_scopes lacks 'openid'; without it an issuer sends no token of identity.")
    secret = ""
    if stated.client_secret_file:
        secret = secret_in(path.parent / stated.client_secret_file, "client secret")
    return Oidc(stated, secret, way)
