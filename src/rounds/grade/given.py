"""Answers to be marked, as they come in a file: lists, replies, letters, or our own traces, one JSON object a line.

Lines are `{"case_id", "diagnoses": [...]}`, `{"case_id", "reply": "..."}`, `{"case_id", "choices": [...]}`,
`{"case_id", "record": {...}}` or a Trace; `sample` numbers repeated answers of one case. Ids are text or whole numbers,
one kind a file. Left out on purpose:
marking (`rounds.grade.grading`), and any repair of a broken line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rounds.files import decode, numbered_lines
from rounds.records import Trace, UserError

SHAPE = 'expected {"case_id": "c1", "diagnoses": ["gout"]} or {"case_id": "c1", "reply": "1. gout"}'


@dataclass(frozen=True, slots=True)
class Given:
    """One answer of one model to one case, unread."""

    case_id: str
    sample: int
    listed: tuple[str, ...] | None
    """Diagnoses or options given as a list; None when there is a reply to read."""
    reply: str
    thinking_tokens: int = 0
    total_s: float | None = None


def read_given(path: Path) -> Iterator[Given]:
    """Yield the answers of a file, in its order; nothing is held in memory but which ids came.

    Raises:
        UserError: unreadable, not UTF-8, empty, a line that is not such an answer, an id that comes twice.
    """
    seen: dict[tuple[str, int], int] = {}
    kinds: set[type] = set()
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        row = _row(line.strip().lstrip("\ufeff"), where)
        given = _traced(row, where) if "prompt" in row else _plain(row, where, kinds)
        key = (given.case_id, given.sample)
        if key in seen:
            raise UserError(
                f"{where}: case_id '{given.case_id}', sample {given.sample}, was already on line {seen[key]}; "
                "number repeated answers of one case in 'sample'."
            )
        seen[key] = number
        yield given
    if not seen:
        raise UserError(f"{path}: holds no answers; {SHAPE}, one a line.")


def _row(line: str, where: str) -> dict[str, Any]:
    row = decode(line, where, remedy="the line may be cut short: make the file anew", shape=SHAPE)
    if not isinstance(row, dict):
        raise UserError(f"{where}: is not a JSON object; {SHAPE}.")
    return row


def _traced(row: Mapping[str, Any], where: str) -> Given:
    try:
        trace = Trace.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: is not a Trace (field '{place}': {first['msg']}); mend that line.") from error
    return Given(trace.prompt.case_id, trace.sample, None, trace.reply, trace.thinking_tokens, trace.total_s)


def _plain(row: Mapping[str, Any], where: str, kinds: set[type]) -> Given:
    name, sample = row.get("case_id"), row.get("sample", 0)
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise UserError(f"{where}: case_id {name!r} is not an id; give each line a case_id of text or a whole number.")
    kinds.add(type(name))
    if len(kinds) > 1:
        raise UserError(f"{where}: case_id {name!r} mixes text and numbers; write every id as text.")
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 0:
        raise UserError(f"{where}: sample is {sample!r}; number repeated answers 0, 1, 2.")
    fields = [field for field in ("diagnoses", "choices", "record", "reply") if row.get(field) is not None]
    if len(fields) != 1:
        raise UserError(f"{where}: has {' and '.join(fields) or 'no answer'}; {SHAPE}.")
    value = row[fields[0]]
    if fields[0] == "reply":
        if not isinstance(value, str):
            raise UserError(f"{where}: reply is {type(value).__name__}; write the model's text.")
        return Given(str(name), sample, None, value)
    if fields[0] == "record":
        if not isinstance(value, dict):
            raise UserError(f"{where}: record is {type(value).__name__}; write an object of sections.")
        return Given(str(name), sample, None, json.dumps(value))
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{where}: {fields[0]} must be a list of texts; {SHAPE}.")
    return Given(str(name), sample, tuple(value), "")
