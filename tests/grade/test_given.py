"""Answers come as lists, replies, letters or traces; what is none of these is refused with its line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.grade.given import SHAPE, Given, read_given
from rounds.records import Prompt, Sampling, Trace, UserError


def read(tmp_path: Path, text: str | bytes) -> list[Given]:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_given(path))


def test_every_shape(tmp_path: Path) -> None:
    trace = Trace(
        prompt=Prompt(case_id="c4", template="t@1", messages=()),
        model="m",
        engine="e",
        sampling=Sampling(),
        sample=2,
        thinking="hm",
        reply="1. gout",
        finish="stop",
        thinking_tokens=5,
        reply_tokens=3,
        total_s=0.5,
    )
    lines = [
        '\ufeff{"case_id": "c1", "diagnoses": ["gout", "flu"]}',
        '{"case_id": "c2", "reply": "1. gout", "model": "any other column"}',
        '{"case_id": "c3", "choices": ["A"], "sample": 1, "reply": null}',
        trace.model_dump_json(),
        "",
    ]
    assert read(tmp_path, "\n".join(lines)) == [
        Given("c1", 0, ("gout", "flu"), ""),
        Given("c2", 0, None, "1. gout"),
        Given("c3", 1, ("A",), ""),
        Given("c4", 2, None, "1. gout", 5, 0.5),
    ]


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    assert read(tmp_path, '{"case_id": 7, "diagnoses": []}')[0].case_id == "7"


NO_ID = "give each line a case_id of text or a whole number."
CUT = "the line may be cut short: make the file anew."
TWICE = '{"case_id": "a", "reply": "x"}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", f": holds no answers; {SHAPE}, one a line."),
        ('{"case_id": "c1", "rep', f":1: is not JSON (Unterminated string starting at); {CUT}"),
        ('{"case_id": "c1", "sample": NaN}', f":1: is not JSON (NaN is not a JSON value); {CUT}"),
        ("[1]", f":1: is not a JSON object; {SHAPE}."),
        ("[" * 100_000, f":1: is nested too deeply; {SHAPE}."),
        ('{"reply": "x"}', f":1: case_id None is not an id; {NO_ID}"),
        ('{"case_id": true, "reply": "x"}', f":1: case_id True is not an id; {NO_ID}"),
        (f'{TWICE}\n{{"case_id": 1, "reply": "x"}}', ":2: case_id 1 mixes text and numbers; write every id as text."),
        ('{"case_id": "a", "reply": "x", "sample": -1}', ":1: sample is -1; number repeated answers 0, 1, 2."),
        ('{"case_id": "a"}', f":1: has no answer; {SHAPE}."),
        ('{"case_id": "a", "reply": "x", "diagnoses": []}', f":1: has diagnoses and reply; {SHAPE}."),
        ('{"case_id": "a", "reply": 5}', ":1: reply is int; write the model's text."),
        ('{"case_id": "a", "diagnoses": "gout"}', f":1: diagnoses must be a list of texts; {SHAPE}."),
        ('{"case_id": "a", "diagnoses": [1]}', f":1: diagnoses must be a list of texts; {SHAPE}."),
        ('{"prompt": {}}', ":1: is not a Trace (field 'prompt.case_id': Field required); mend that line."),
        (
            f"{TWICE}\n\n{TWICE}",
            ":3: case_id 'a', sample 0, was already on line 1; number repeated answers of one case in 'sample'.",
        ),
    ],
)
def test_faults_are_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'a.jsonl'}{sentence}"


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not UTF-8"):
        read(tmp_path, '{"case_id": "é", "reply": "x"}'.encode("latin-1"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_line_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    with suppress(UserError):
        read(tmp_path_factory.mktemp("given"), text.encode("utf-8", "replace"))
