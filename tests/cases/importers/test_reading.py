"""Foreign rows are read whole or named by their line; whatever the bytes, the fault is one sentence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rounds.cases.importers import reading
from rounds.cases.importers.reading import Row, objects, rows
from rounds.records import UserError

Write = Callable[..., Path]


class Patient(Row):
    id: str
    age: int


def fault(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        list(rows(path, Patient))
    return str(raised.value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_lines_are_rows_with_their_place(jsonl: Write, name: str) -> None:
    path = jsonl({"id": "a", "age": 3, "other": [1]}, "", {"id": "b", "age": 4}, name=name)
    assert [(where, row.id) for where, row in rows(path, Patient)] == [(f"{path}:1", "a"), (f"{path}:3", "b")]


def test_a_mark_of_order_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a", "age": 3}\n')
    assert [row.id for _, row in rows(path, Patient)] == ["a"]


def test_a_document_is_a_list_or_rows_by_id_or_one_row(document: Write) -> None:
    assert [row.id for _, row in rows(document([{"id": "a", "age": 1}]), Patient)] == ["a"]
    assert [row.id for _, row in rows(document({"x": {"age": 1}, "y": {"age": 2}}), Patient)] == ["x", "y"]
    assert [row.id for _, row in rows(document({"id": "a", "age": 1}), Patient)] == ["a"]


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    for name in ("b.json", "a.jsonl", "notes.md"):
        (tmp_path / name).write_text(json.dumps({"id": name, "age": 1}), encoding="utf-8")
    assert [row.id for _, row in rows(tmp_path, Patient)] == ["a.jsonl", "b.json"]


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ('{"id": "b"}', "field 'age': Field required; mend or remove that row."),
        ('{"id": "b", "age": "old"}', "field 'age': Input should be a valid integer"),
        ('{"id": "b", "age": NaN}', "is not JSON (NaN is not a JSON value)"),
        ('{"id": "b", "age": 1, "age": 2}', "is not JSON (the key 'age' is given twice)"),
        ('{"id": "b", "age', "is not JSON (Invalid control character at)"),
        ("[1]", "is not a JSON object; expected one object a row."),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_broken_row_is_named_by_its_line(jsonl: Write, second: str, sentence: str) -> None:
    path = jsonl({"id": "a", "age": 1}, second)
    assert fault(path).startswith(f"{path}:2: ")
    assert sentence in fault(path)


def test_files_that_are_no_files_of_rows(tmp_path: Path, jsonl: Write) -> None:
    assert "holds no rows" in fault(jsonl(""))
    assert "cannot be read (No such file" in fault(tmp_path / "gone.jsonl")
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"id": "ä", "age": 1}'.encode("latin-1"))
    assert fault(latin) == f"{latin}:1: is not UTF-8; save the file as UTF-8."
    broken = tmp_path / "cut.jsonl.gz"
    broken.write_bytes(gzip.compress(b'{"id": "a", "age": 1}\n' * 1000)[:40])
    assert "is a broken gzip file" in fault(broken)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no .json or .jsonl file" in fault(empty)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    jsonl: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1000)
    assert "is longer than 1,000 bytes" in fault(jsonl({"id": "a" * 2000, "age": 1}))


def verdict(path: Path) -> str:
    """What is wrong with a file, '' when nothing is."""
    try:
        list(rows(path, Patient))
    except UserError as error:
        return str(error)
    return ""


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(), json_values, max_size=4), max_size=5))
def test_what_json_can_say_is_read_back(tmp_path: Path, values: list[dict[str, Any]]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    assert [value for _, value in objects(path)] == values


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["rows.jsonl", "rows.json", "rows.jsonl.gz"]))
def test_any_bytes_are_rows_or_one_sentence(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert "\n" not in verdict(path)
