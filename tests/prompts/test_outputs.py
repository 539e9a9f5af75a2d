"""Every answer has a schema any grammar takes, and reads back what fits it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.prompts.choices import read_choices, read_number
from rounds.prompts.outputs import OUTPUTS, Consultation, Handover, read_output, schema_of
from rounds.prompts.reader import read_reply


def keys_of(node: Any) -> set[str]:
    """Every key of a schema that is not the name of a property."""
    if isinstance(node, list):
        return set().union(*map(keys_of, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    inside = [value for key, value in node.items() if key != "properties"] + list(node.get("properties", {}).values())
    return set(node) | keys_of(inside)


@pytest.mark.parametrize("answer", OUTPUTS)
def test_a_schema_is_closed_and_plain(answer: str) -> None:
    schema = json.loads(schema_of(answer))
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(OUTPUTS[answer].model_fields)
    assert not keys_of(schema) & {"$ref", "$defs", "title", "description"}


def test_a_record_reads_back() -> None:
    record = Handover(
        severity="watcher", summary="A man of 60.", actions=["repeat lactate"], situation=[], questions=[]
    )
    assert read_output(f"<think>x</think>Here: {record.model_dump_json()}", "handover") == record


@pytest.mark.parametrize("reply", ["", "{", "{}", '{"severity": "bad"}', "no", '{"allergies": ["a"]}', "}{"])
def test_what_does_not_fit_is_none(reply: str) -> None:
    assert read_output(reply, "record") is None


@given(st.text())
def test_no_reply_raises(reply: str) -> None:
    assert read_output(reply, "record") is None or isinstance(read_output(reply, "record"), Consultation)


def test_the_readers_of_lists_letters_and_numbers_read_the_json_of_their_schema() -> None:
    listed = [
        {"diagnosis": name, "supports": [], "against": []} for name in ("gout", "flu", "croup", "asthma", "sepsis")
    ]
    answer = read_reply(json.dumps({"diagnoses": listed, "red_flags": ["fainting", "none"]}), "c")
    assert answer.diagnoses == ("gout", "flu", "croup", "asthma", "sepsis")
    assert answer.red_flags == ("fainting",)
    assert read_choices('{"why": "A is wrong", "answer": ["B", "C"]}', "c", ("x", "y", "z")).choices == ("B", "C")
    assert read_choices('{"why": "no", "answer": "yes"}', "c", ("yes", "no", "maybe")).choices == ("A",)
    assert read_number('{"working": "2 x 3", "answer": 6.5, "unit": "mg"}') == 6.5


def test_red_flags_and_abstentions_of_other_languages() -> None:
    spanish = read_reply("1. gota - a favor: dolor; en contra: nada\n2. gripe\nSignos de alarma: síncope; fiebre", "c")
    assert (spanish.diagnoses, spanish.red_flags) == (("gota", "gripe"), ("síncope", "fiebre"))
    chinese = read_reply("1. 痛风：支持：足痛\n2. 流感 - 支持：发热\n危险信号：无", "c")
    assert (chinese.diagnoses, chinese.red_flags) == (("痛风", "流感"), ())
    assert read_reply("无法归类此病例。", "c").abstained
    assert read_reply("No puedo situar este caso.", "c").abstained
