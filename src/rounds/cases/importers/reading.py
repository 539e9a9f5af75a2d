"""Rows of other people's files, one at a time: JSON lines or one JSON document, plain or gzip, each held to its model.

A row that is not what the format says stops the reading with its place; whether a sound row makes a case is for the
importer to say. Left out on purpose: guessing at encodings, and any repair of a broken row.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ConfigDict, ValidationError

from rounds.files import decode, refuse_constant, split_lines, unreadable
from rounds.records import Record, UserError


class Row(Record):
    """What is needed of a foreign row; its other columns are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


R = TypeVar("R", bound=Row)

LONGEST = 16 * 2**20
"""Bytes of a line of JSONL: a file without line breaks does not fill the memory."""


def rows(path: Path, kind: type[R]) -> Iterator[tuple[str, R]]:
    """Yield (place, row) of a JSONL file, or of a `.json` document that is a list or an object of rows by id.

    The place is `path:line`, or `path: row 3` and `path: row 'id'` inside a document.

    Raises:
        UserError: unreadable, not UTF-8, not JSON, not such a row, or without any row.
    """
    found = False
    for where, value in objects(path):
        found = True
        yield where, valid(value, kind, where)
    if not found:
        raise UserError(f"{path}: holds no rows; expected one JSON object a line.")


def valid(value: Any, kind: type[R], where: str) -> R:
    """Hold one value to the model of its row.

    Raises:
        UserError: a field is missing or of another type (named).
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if "[" not in str(part)) or "row"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: field '{field}': {message}; mend or remove that row.") from error


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, JSON object); the objects of a document keyed by id get that key as `id` where they have none.

    A folder is read file by file, those that end in .json or .jsonl (or so with .gz), by name.

    Raises:
        UserError: unreadable, not UTF-8, not JSON, something else than objects, or a folder without such a file.
    """
    if path.is_dir():
        inside = [
            file for file in sorted(path.iterdir()) if file.name.removesuffix(".gz").endswith((".json", ".jsonl"))
        ]
        if not inside:
            raise UserError(f"{path}: holds no .json or .jsonl file; check the path.")
        for file in inside:
            yield from objects(file)
    elif _is_document(path):
        yield from _of_document(path)
    else:
        for number, line in lines(path, LONGEST):
            yield f"{path}:{number}", _object(parse(line, f"{path}:{number}"), f"{path}:{number}")


def lines(path: Path, longest: int = -1) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of the non-blank lines of a UTF-8 file, gzip or not, a mark of order dropped.

    longest: bytes a line may have; -1 for no limit.

    Raises:
        UserError: missing, unreadable, a broken gzip, not UTF-8, or a line longer than allowed.
    """
    try:
        with opened(path) as content:
            for number, text in split_lines(content, path, longest):
                yield number, text.removeprefix("\ufeff") if number == 1 else text
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: is a broken gzip file ({error}); fetch it anew.") from error
    except OSError as error:
        raise unreadable(path, error) from error


def text(path: Path) -> str:
    """The whole of a UTF-8 file, gzip or not.

    Raises:
        UserError: as `lines`.
    """
    return "".join(line for _, line in lines(path))


def opened(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def parse(line: str, where: str) -> Any:
    """One JSON value; NaN, Infinity and a key given twice are refused.

    Raises:
        UserError: not JSON, or nested too deeply.
    """
    return decode(
        line,
        where,
        remedy="the text may be cut short: fetch the file anew",
        shape="expected one JSON object a row",
        decoder=ONCE,
    )


def _is_document(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".json")


def _of_document(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    value = parse(text(path), str(path))
    if isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield f"{path}: row {number}", _object(item, f"{path}: row {number}")
    elif isinstance(value, Mapping) and value and all(isinstance(item, dict) for item in value.values()):
        for key, item in value.items():
            yield f"{path}: row '{key}'", {"id": key, **item}
    else:
        yield str(path), _object(value, str(path))


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: is not a JSON object; expected one object a row.")
    return value


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in names if names.count(key) > 1)}' is given twice")
    return value


ONCE = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=_no_repeats)
"""Strict, and every key once."""
