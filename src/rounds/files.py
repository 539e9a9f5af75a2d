"""The one way in and out of files: JSONL of records, whole directories made under a temporary name, digests.

A half-written artefact never bears its final name: everything is written beside its place, flushed to the disk and
renamed. Left out on purpose: locking (one run directory belongs to one run).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

from pydantic import ValidationError

from rounds.records import Record, Step, UserError

R = TypeVar("R", bound=Record)

LINEAGE = "lineage.json"


def read_jsonl(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield one record a line; blank lines are skipped.

    Raises:
        UserError: the file cannot be read, or a line is not such a record (the line number is named).
    """
    for number, line in numbered_lines(path):
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            where = f"field '{place}': " if place else ""
            raise UserError(
                f"{path}:{number}: is not a {kind.__name__} ({where}{first['msg']}); mend or remove that line."
            ) from error


def numbered_lines(path: Path, longest: int = -1) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of the non-blank lines of a UTF-8 file.

    longest: bytes a line may have, so that a file without line breaks does not fill the memory; -1 for no limit.

    Raises:
        UserError: missing, unreadable, not UTF-8, or a line longer than allowed.
    """
    try:
        with path.open("rb") as file:
            yield from split_lines(file, path, longest)
    except OSError as error:
        raise unreadable(path, error) from error


def split_lines(file: IO[bytes], path: Path, longest: int = -1) -> Iterator[tuple[int, str]]:
    """As `numbered_lines`, of an open file; `path` names it in errors.

    Raises:
        UserError: not UTF-8, or a line longer than allowed.
        OSError: what reading raises.
    """
    number = 1
    # Bytes are split first: a decoder that reads ahead would name a line too early.
    lines = file if longest < 0 else iter(lambda: file.readline(longest + 1), b"")
    try:
        for number, line in enumerate(lines, start=1):
            if 0 <= longest < len(line):
                raise UserError(f"{path}:{number}: is longer than {longest:,} bytes; write one JSON object a line.")
            if line.strip():
                yield number, line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number}: is not UTF-8; save the file as UTF-8.") from error


def refuse_constant(name: str) -> NoReturn:
    """For a JSON decoder's `parse_constant`: NaN and Infinity, which Python writes and JSON lacks."""
    raise ValueError(f"{name} is not a JSON value")


STRICT = json.JSONDecoder(parse_constant=refuse_constant)
"""Made once: json.loads would make a decoder for every line."""


def decode(text: str, where: str, *, remedy: str, shape: str, decoder: json.JSONDecoder = STRICT) -> Any:
    """A JSON value from anywhere but our own records; remedy and shape end the two sentences.

    Raises:
        UserError: not JSON, or nested too deeply.
    """
    try:
        return decoder.decode(text)
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: is not JSON ({why}); {remedy}.") from error
    except RecursionError as error:
        raise UserError(f"{where}: is nested too deeply; {shape}.") from error


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file.

    Raises:
        UserError: missing, unreadable, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8; save the file as UTF-8.") from error
    except OSError as error:
        raise unreadable(path, error) from error


def read_json(path: Path, kind: type[R]) -> R:
    """One record that fills a file.

    Raises:
        UserError: missing, not UTF-8, or not such a record.
    """
    try:
        return kind.model_validate_json(read_text(path))
    except ValidationError as error:
        raise UserError(f"{path}: is not a {kind.__name__} ({error.errors()[0]['msg']}); make it anew.") from error


def unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.")


def unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({error.strerror}); free space or choose another place.")


def write_text(path: Path, text: str) -> None:
    """Write under a temporary name, flush to the disk, rename.

    Raises:
        UserError: full disk, no permission.
    """
    _write(path, (text.encode(),))


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`. Raises as it does."""
    _write(path, (content,))


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """One record a line, all or nothing; the records are not held in memory. What they raise leaves nothing behind.

    Raises:
        UserError: full disk, no permission.
    """
    _write(path, (f"{record.model_dump_json()}\n".encode() for record in records))


def create(path: Path, content: bytes, mode: int) -> None:
    """Write a new file of this mode and flush it to the disk; for a secret, that is never readable in between.

    Raises:
        FileExistsError: it is there already.
        OSError: it cannot be written.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _write(path: Path, parts: Iterable[bytes]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as out:
            out.writelines(parts)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
        sync_directory(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


@contextmanager
def making(directory: Path) -> Iterator[Path]:
    """Give a fresh temporary directory that takes the place of `directory` when the block ends well.

    Raises:
        UserError: full disk, no permission. Whatever stops the block leaves nothing under the final name.
    """
    partial = directory.with_name(f".{directory.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb") as made:
                    os.fsync(made.fileno())
        # Two renames, as a full directory cannot be replaced in one: a kill between them leaves the old one aside
        # and the next run makes the step anew.
        aside = directory.with_name(f".{directory.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        if directory.exists():
            directory.rename(aside)
        partial.rename(directory)
        sync_directory(directory.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise unwritable(directory, error) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a directory: every file's relative name and content, lineage and hidden files left out.

    Raises:
        UserError: missing or unreadable.
    """
    try:
        if path.is_file():
            with path.open("rb") as content:
                return hashlib.file_digest(content, "sha256").hexdigest()
        if not path.is_dir():
            raise UserError(f"{path}: does not exist; check the path.")
        whole = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path)
            if file.is_file() and file.name != LINEAGE and not any(part.startswith(".") for part in name.parts):
                whole.update(f"{name.as_posix()}\0{digest(file)}\n".encode())
        return whole.hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def digest_of(value: object) -> str:
    """SHA-256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def lineage(directory: Path) -> Step | None:
    """How a directory was made; None when it was not made by Rounds or is incomplete."""
    path = directory / LINEAGE
    return read_json(path, Step) if path.is_file() else None


def sync_directory(directory: Path) -> None:
    """Flush to the disk which names a directory holds."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_name(name: str) -> str:
    """What of a model's name may stand in a file's name."""
    return re.sub(r"[^\w.()-]+", "-", name).strip("-.") or "model"


def file_names(names: Iterable[str], where: str = "") -> dict[str, str]:
    """`file_name` of each; `where` begins the sentence of an error.

    Raises:
        UserError: two would share a file, also where capitals and small letters are one.
    """
    found = {name: file_name(name) for name in names}
    if len({name.casefold() for name in found.values()}) < len(found):
        raise UserError(f"{where}two models would share a file ({', '.join(sorted(found))}); rename one.")
    return found
