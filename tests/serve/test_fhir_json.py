"""Strict JSON: each thing FHIR forbids is one typed error that never repeats the input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rounds.serve.fhir_json import BadFhir, Deadline, Limits, read_strict

SECRET = "Zacharias"


@pytest.mark.parametrize(
    ("body", "sentence", "code", "status"),
    [
        (b'\xef\xbb\xbf{"a": 1}', "begins with a byte-order mark", "invalid", 400),
        ('{"a": 1}'.encode("utf-16"), "begins with UTF-16", "invalid", 400),
        ('{"a": 1}'.encode("utf-16-le"), "holds zero bytes", "invalid", 400),
        ('{"a": "é"}'.encode("latin-1"), "is not UTF-8", "invalid", 400),
        (b'  <Patient xmlns="http://hl7.org/fhir"/>', "looks like XML", "not-supported", 415),
        (b'{"Zacharias": NaN}', "NaN is not a JSON value|not valid JSON", "invalid", 400),
        (b'{"Zacharias": -Infinity}', "not valid JSON", "invalid", 400),
        (b'{"Zacharias": 1e999}', "a number is too large", "invalid", 400),
        (b'{"Zacharias": ' + b"9" * 5000 + b"}", "too many digits", "invalid", 400),
        (b'{"Zacharias": 1, "Zacharias": 2}', "the same key twice", "invalid", 400),
        (b'{"a": {"Zacharias": 1, "Zacharias": 1}}', "the same key twice", "invalid", 400),
        (rb'{"a": "Zacharias \ud800"}', "half of a surrogate pair", "invalid", 400),
        (rb'{"Zacharias \udc00": 1}', "half of a surrogate pair", "invalid", 400),
        (b'{"Zacharias": ', "not valid JSON", "invalid", 400),
        (b"", "not valid JSON", "invalid", 400),
        (b'{"a": "Zacharias\n"}', "not valid JSON", "invalid", 400),
        (b"[" * 41 + b"]" * 41, "nested more than 40 deep", "too-costly", 400),
        (b"[" * 200_000, "nested more than 40 deep", "too-costly", 400),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested more than 40 deep", "too-costly", 400),
    ],
    ids=range(19),
)
def test_what_fhir_forbids(body: bytes, sentence: str, code: str, status: int) -> None:
    with pytest.raises(BadFhir, match=sentence) as caught:
        read_strict(body)
    assert (caught.value.code, caught.value.status) == (code, status)
    outcome = caught.value.outcome()
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["code"] == code
    assert SECRET not in json.dumps(outcome)


@pytest.mark.parametrize(
    ("body", "limits", "sentence"),
    [
        (b'"123456789"', Limits(bytes=10), "larger than 10 bytes"),
        (json.dumps(list(range(100))).encode(), Limits(nodes=50), "more than 50 values"),
    ],
)
def test_caps(body: bytes, limits: Limits, sentence: str) -> None:
    with pytest.raises(BadFhir, match=sentence) as caught:
        read_strict(body, limits)
    assert caught.value.status == 413


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "", "é\U0001f600", [], {}, {"a": [{"b": None}]}])
def test_what_is_json_is_read(value: Any) -> None:
    assert read_strict(json.dumps(value, ensure_ascii=False).encode()) == value
    assert read_strict(json.dumps(value, ensure_ascii=True).encode()) == value


def test_forty_deep_is_read() -> None:
    assert read_strict(b"[" * 40 + b"1" + b"]" * 40)


def test_time_is_limited() -> None:
    Deadline(60).check()
    with pytest.raises(BadFhir, match="reading took longer than 0 s; send fewer resources") as caught:
        Deadline(0).check()
    assert caught.value.status == 413
