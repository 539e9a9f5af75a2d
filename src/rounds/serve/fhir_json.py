"""Strict reading of JSON that a hospital system sends: UTF-8 only, bounded, every fault one typed error.

What Python's reader lets through and the FHIR specification does not (NaN, 1e999, keys given twice, halves of a
surrogate pair, a byte-order mark: https://hl7.org/fhir/R4/json.html) is refused here, and no fault repeats what was
sent. Left out on purpose: XML, in any form, and what the values mean (`rounds.serve.fhir`).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from time import monotonic
from typing import Any

from rounds.files import refuse_constant

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
LONGEST_INTEGER = 18
"""Digits; FHIR's own integers have ten."""
ENTRIES = 500
FHIR = "application/fhir+json"

WIDE = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\xef\xbb\xbf", "a byte-order mark"))


class BadFhir(Exception):
    """What was sent cannot be read. The sentence never holds a word of it."""

    def __init__(self, sentence: str, code: str = "structure", status: int = 400) -> None:
        super().__init__(sentence)
        self.code = code
        """Of https://hl7.org/fhir/R4/valueset-issue-type.html."""
        self.status = status
        """HTTP: 400, 412, 413, 415."""

    def outcome(self) -> dict[str, Any]:
        """The fault as a FHIR OperationOutcome."""
        return outcome_of(str(self), self.code)


def outcome_of(sentence: str, code: str) -> dict[str, Any]:
    """An OperationOutcome with one issue (https://hl7.org/fhir/R4/operationoutcome.html)."""
    issue = {"severity": "error", "code": code, "diagnostics": sentence}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is read of one request."""

    bytes: int = 4 * 1024 * 1024
    depth: int = 40
    """Objects and lists inside one another; an Observation's deepest field lies at about 12."""
    nodes: int = 200_000
    """Values of any kind."""
    entries: int = ENTRIES
    """Resources, those in contained bundles included."""
    bundles: int = 2
    """Bundles inside one another."""
    contained: int = 20
    """Resources contained in one resource."""
    seconds: float = 2.0
    """Of reading, looked at between two resources."""


LIMITS = Limits()


class Deadline:
    """Ends reading that takes too long; made when reading begins."""

    __slots__ = ("_ends", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = monotonic() + seconds

    def check(self) -> None:
        """Raises:
        BadFhir: the time is over.
        """
        if monotonic() > self._ends:
            raise BadFhir(f"reading took longer than {self._seconds:g} s; send fewer resources.", "too-costly", 413)


def read_strict(body: bytes, limits: Limits = LIMITS) -> Any:
    """The JSON value of a body.

    Raises:
        BadFhir: too many bytes or values, too deep, not UTF-8, not JSON, or JSON that FHIR forbids.
    """
    if len(body) > limits.bytes:
        raise BadFhir(f"the body is larger than {limits.bytes:,} bytes; send less.", "too-long", 413)
    text = _decoded(body)
    try:
        value = DECODER.decode(text)
    except RecursionError:
        raise _too_deep(limits) from None
    except _Forbidden as fault:
        raise BadFhir(f"the body is not JSON that can be read: {fault}.", "invalid") from None
    except ValueError:
        raise BadFhir("the body is not valid JSON.", "invalid") from None
    _walk(value, limits, SURROGATE.search(text) is not None)
    return value


def _decoded(body: bytes) -> str:
    for mark, name in WIDE:
        if body.startswith(mark):
            raise BadFhir(f"the body begins with {name}; send UTF-8 without a mark.", "invalid")
    if b"\x00" in body:
        raise BadFhir("the body holds zero bytes, as UTF-16 and UTF-32 do; send UTF-8.", "invalid")
    if body.lstrip()[:1] == b"<":
        raise BadFhir("the body looks like XML, which is not read here; send FHIR as JSON.", "not-supported", 415)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadFhir("the body is not UTF-8.", "invalid") from None


class _Forbidden(ValueError):
    """JSON to Python, not to FHIR."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _Forbidden("an object has the same key twice")
    return made


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Forbidden("a number is too large")
    return value


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER + 1:
        raise _Forbidden("a number has too many digits")
    return int(digits)


DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_int=_whole, parse_constant=refuse_constant
)


def _walk(value: Any, limits: Limits, surrogates: bool) -> None:
    """Depth, number of values, and no half of a surrogate pair; level by level, so that depth costs no recursion."""
    level, seen, depth = [value], 0, 0
    while level:
        if depth == limits.depth and any(isinstance(one, dict | list) for one in level):
            raise _too_deep(limits)
        depth += 1
        seen += len(level)
        if seen > limits.nodes:
            raise BadFhir(f"the body holds more than {limits.nodes:,} values; send less.", "too-costly", 413)
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
                if surrogates:
                    below.extend(one)
            elif isinstance(one, list):
                below.extend(one)
            elif surrogates and isinstance(one, str):
                _whole_characters(one)
        level = below


def _whole_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadFhir("a string holds half of a surrogate pair.", "invalid") from None


def _too_deep(limits: Limits) -> BadFhir:
    return BadFhir(f"the body is nested more than {limits.depth} deep; send plain resources.", "too-costly")
