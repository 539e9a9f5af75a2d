"""What a form holds: cases in words, records in FHIR, and what is neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rounds.records import UserError
from rounds.serve.typed import FORM, case_of, fields_of
from rounds.serve.wording import wording

PATIENT = {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1990-05-01"}


def bundle(*resources: Any) -> str:
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]})


def condition(text: str, patient: str = "p") -> dict[str, Any]:
    return {"resourceType": "Condition", "subject": {"reference": f"Patient/{patient}"}, "code": {"text": text}}


def test_fields() -> None:
    fields = fields_of(f"{FORM}; charset=utf-8", b"case=a%0D%0Ab+c&case=second&template=")
    assert fields == {"case": "a\nb c", "template": ""}


def test_words_stay_as_they_are() -> None:
    for text in ("", "  fever\n", "{fever}", "[1]", "{{ x }}"):
        assert case_of({"case": text}, wording()).case == text
    assert case_of({}, wording()).case == ""


def test_a_record_becomes_words() -> None:
    typed = case_of({"case": f"\n {bundle(PATIENT, condition('fever'), {'resourceType': 'Claim'})} "}, wording())
    assert "-year-old man" in typed.case
    assert "fever" in typed.case
    assert typed.from_fhir.startswith("Read from FHIR: ")
    assert "Left out of the record: 1 " in typed.from_fhir


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"', "the record cannot be read: the body is not valid JSON"),
        ('{"a": NaN}', "the record cannot be read"),
        ('{"a": 1}', "the record cannot be read"),
        ('{"a":' * 60 + "1" + "}" * 60, "the record cannot be read"),
        (bundle(PATIENT), "tells nothing but who the patient is"),
        (bundle(PATIENT, {**PATIENT, "id": "q"}, condition("fever")), "the record cannot be read"),
        (bundle(PATIENT, condition("fever", "somebody-else")), "the record cannot be read"),
    ],
)
def test_what_is_no_record_of_one_patient(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        case_of({"case": text}, wording())
    assert "somebody" not in str(error.value)
