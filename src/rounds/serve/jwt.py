"""Who calls a CDS Hooks service: JSON Web Tokens, signed with keys that an officer has put into a file.

Follows https://cds-hooks.hl7.org/2.0/#trusting-cds-clients: a token a call, aud is the URL called, exp, iat and jti are
required, ES384 or RS384. A token can only point into the key set configured for its issuer: its `jku`, `jwk`, `x5u` and
`x5c` are never looked at, so nothing here ever opens a connection. Left out on purpose: fetching key sets (a cron job
and a file do that where it can be seen), HMAC, and tokens that live longer than five minutes.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from rounds.files import STRICT, decode, read_text
from rounds.records import Record, UserError

ALGORITHMS = MappingProxyType({"ES384": "EC", "RS384": "RSA"})
"""Signature to the type of key it is made with."""
LONGEST_LIFE = 300
"""Seconds between iat and exp."""
SKEW = 5
"""Seconds a caller's clock may be ahead of ours."""
LONGEST_TOKEN = 8192
SHORTEST_RSA = 2048
"""Bits."""
MOST_KEYS = 32
MOST_ISSUERS = 64


class BadToken(Exception):
    """Not let in: 401. Says what is missing, and nothing of the token."""


class Issuer(Record):
    """One system that may call, as an officer writes it down."""

    iss: str = Field(min_length=1, max_length=128)
    """As in the token, letter for letter."""
    audience: str = Field(min_length=8, max_length=512)
    """Base URL by which this system calls us, as https://cds.hospital.example."""
    jwks: dict[str, Any] | None = None
    """Its public keys, RFC 7517; or else jwks_file."""
    jwks_file: str = ""
    """Path of its public keys, relative to the file of issuers."""


class IssuersFile(Record):
    """What --cds-issuers names."""

    issuers: tuple[Issuer, ...] = Field(min_length=1, max_length=MOST_ISSUERS)


@dataclass(frozen=True, slots=True)
class Known:
    """An issuer with its keys read."""

    iss: str
    audience: str
    keys: Mapping[str, Any]
    """kid to PyJWK."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says."""

    iss: str
    audience: str
    """Base URL of this issuer's calls."""


def read_issuers(path: Path) -> dict[str, Known]:
    """Issuers by name.

    Raises:
        UserError: unreadable, an unknown field, a private or weak key, a key that signs otherwise, a doubled issuer.
    """
    table = decode(read_text(path), str(path), remedy="see docs/cds-hooks.md for an example", shape="flatten it")
    try:
        stated = IssuersFile.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}; see docs/cds-hooks.md for an example.") from error
    found: dict[str, Known] = {}
    for one in stated.issuers:
        where = f"{path}: issuer '{one.iss}'"
        if one.iss in found:
            raise UserError(f"{where} is listed twice; keep one.")
        base = urlsplit(one.audience)
        if base.scheme not in ("https", "http") or not base.hostname or base.query or base.fragment:
            raise UserError(f"{where}: audience '{one.audience}' is not a base URL; give one as https://cds.example.")
        if (one.jwks is None) == (not one.jwks_file):
            raise UserError(f"{where} needs exactly one of jwks, jwks_file.")
        jwks: Any = one.jwks
        if one.jwks_file:
            file = path.parent / one.jwks_file
            jwks = decode(read_text(file), str(file), remedy="save the issuer's JWKS there", shape="flatten it")
        found[one.iss] = Known(one.iss, one.audience.rstrip("/"), _keys(jwks, where))
    return found


def _keys(jwks: Any, where: str) -> Mapping[str, Any]:
    """Raises:
    UserError: see read_issuers.
    """
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(listed, list) or not listed or len(listed) > MOST_KEYS:
        raise UserError(f"{where}: its JWKS is not a list of 1 to {MOST_KEYS} keys; save the issuer's JWKS there.")
    keys: dict[str, Any] = {}
    for key in listed:
        kid = key.get("kid") if isinstance(key, dict) else None
        if not isinstance(kid, str) or not kid or kid in keys:
            raise UserError(f"{where}: each key needs a kid of its own; ask the issuer for a whole JWKS.")
        if "d" in key or key.get("kty") == "oct":
            raise UserError(f"{where}: key '{kid}' is a secret one; put only the public part there.")
        algorithm = {"EC": "ES384", "RSA": "RS384"}.get(str(key.get("kty")))
        if algorithm is None or key.get("alg", algorithm) != algorithm or key.get("use", "sig") != "sig":
            raise UserError(f"{where}: key '{kid}' does not sign with ES384 or RS384; ask for one that does.")
        try:
            keys[kid] = PyJWK.from_dict(key, algorithm)
        except (PyJWTError, ValueError, TypeError) as error:
            raise UserError(
                f"{where}: key '{kid}' cannot be read ({type(error).__name__}); ask for it anew."
            ) from error
        public = keys[kid].key
        if algorithm == "ES384" and public.curve.name != "secp384r1":
            raise UserError(f"{where}: key '{kid}' is not on the curve P-384; ask the issuer for one that is.")
        if algorithm == "RS384" and public.key_size < SHORTEST_RSA:
            raise UserError(f"{where}: key '{kid}' has {public.key_size} bits; at least {SHORTEST_RSA} are needed.")
    return MappingProxyType(keys)


@dataclass(slots=True)
class Seen:
    """Tokens used already, each remembered until it would have expired. Only tokens with a good signature come here."""

    most: int = 200_000
    _until: dict[tuple[str, str], float] = field(default_factory=dict)
    _order: list[tuple[float, tuple[str, str]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def first_time(self, iss: str, jti: str, expires: float, now: float) -> bool:
        """Remember a token; False when it was used before or when no more can be remembered."""
        with self._lock:
            while self._order and self._order[0][0] <= now:
                self._until.pop(heapq.heappop(self._order)[1], None)
            name = (iss, jti)
            if name in self._until or len(self._until) >= self.most:
                return False
            self._until[name] = expires
            heapq.heappush(self._order, (expires, name))
            return True


class Verifier:
    """Checks tokens against the configured issuers; one per server, so that no token is taken twice."""

    def __init__(self, issuers: Mapping[str, Known], clock: Callable[[], float] = time) -> None:
        self._issuers = issuers
        self._clock = clock
        self._seen = Seen()
        # What was used before a restart is forgotten; tokens from before it are therefore not taken.
        self._started = math.floor(clock())

    def check(self, token: str, path: str) -> Claims:
        """Whoever signed a token for a call of this path (`/cds-services/…`). About 1 ms; not for the event loop.

        Raises:
            BadToken: for any fault.
        """
        import jwt

        if not token or len(token) > LONGEST_TOKEN:
            raise BadToken("a signed token is needed: 'Authorization: Bearer JWT'.")
        try:
            header = jwt.get_unverified_header(token)
            issuer = self._issuers.get(self._issuer_of(token))
            if issuer is None:
                raise BadToken("the token's issuer is not known here.")
            key = issuer.keys.get(str(header.get("kid")))
            algorithm = header.get("alg")
            if key is None or ALGORITHMS.get(str(algorithm)) != key.key_type or "crit" in header:
                raise BadToken("the token's key or algorithm is not one configured for its issuer.")
            claims = jwt.decode(
                token,
                key,
                algorithms=[str(algorithm)],
                audience=issuer.audience + path,
                issuer=issuer.iss,
                options={
                    "require": ["iss", "aud", "exp", "iat", "jti"],
                    "strict_aud": True,
                    # Times are checked below, with our clock and without conversions.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidAudienceError:
            raise BadToken("the token is for another address (aud must be the URL that is called).") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
            raise BadToken("the token is not a valid one.") from None
        self._check_times(claims, issuer.iss)
        return Claims(issuer.iss, issuer.audience)

    @staticmethod
    def _issuer_of(token: str) -> str:
        """Of an unverified token: it only chooses whose keys are tried."""
        from jwt.utils import base64url_decode

        claims = STRICT.decode(base64url_decode(token.split(".")[1]).decode())
        iss = claims.get("iss") if isinstance(claims, dict) else None
        return iss if isinstance(iss, str) else ""

    def _check_times(self, claims: Mapping[str, Any], iss: str) -> None:
        now = self._clock()
        issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
        before = _seconds(claims, "nbf") if "nbf" in claims else issued
        if expires <= now:
            raise BadToken("the token has expired.")
        if max(issued, before) > now + SKEW:
            raise BadToken("the token is from the future; set the clocks.")
        if not 0 < expires - issued <= LONGEST_LIFE:
            raise BadToken(f"the token lives longer than {LONGEST_LIFE} s.")
        if issued < self._started:
            raise BadToken("the token is older than this server; send a new one.")
        jti = claims["jti"]
        if not isinstance(jti, str) or not 1 <= len(jti) <= 256:
            raise BadToken("the token's jti is not a string of 1 to 256 characters.")
        if not self._seen.first_time(iss, jti, expires, now):
            raise BadToken("the token was used before; sign a new one for each call.")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadToken(f"the token's {name} is not a number of seconds.")
    return float(value)
