"""The zip of an Inspect `.eval` log: its samples, without Inspect and without filling the memory.

A finished log has every score in summaries.json; one that was stopped has them in its journal; single samples are read
where both lack or where samples were declared invalid afterwards, which only they record. Every member is bounded by
its size before it is unpacked and while it is. Left out on purpose: messages and events.
"""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rounds.files import unreadable
from rounds.records import UserError

LARGEST_MEMBER = 1 << 28
"""Bytes of one member, unpacked."""
MOST_MEMBERS = 2_000_000

ZSTANDARD = 93
"""Method of compression in the zip specification (APPNOTE 4.4.5); what Inspect writes since 2026."""

HEAVY = frozenset(
    {"input", "choices", "messages", "output", "events", "events_data", "attachments", "store", "timelines"}
    | {"transcript", "model_usage", "role_usage", "error_retries"}
)
"""Fields of a sample dropped while parsing: no mark is made of them and they are most of a log."""

SAMPLE = re.compile(r"samples/.+_epoch_\d+(\.json|/sample\.json)")


def samples(path: Path) -> Iterator[object]:
    """The samples of the log in the order they were written.

    Raises:
        UserError: unreadable, not a zip, not a log of Inspect, damaged, or a member too large.
    """
    try:
        with zipfile.ZipFile(path) as log:
            members = log.infolist()
            if len(members) > MOST_MEMBERS:
                raise UserError(f"{path}: has {len(members):,} members, more than {MOST_MEMBERS:,}; split the log.")
            yield from _samples(log, {member.filename: member for member in members}, path)
    except OSError as error:
        raise unreadable(path, error) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: is damaged or no zip that can be read ({error}); copy the log anew.") from error


def parse(text: str, where: str) -> Any:
    """A JSON document of Inspect without its heavy fields; NaN stands for a sample without a score.

    Raises:
        UserError: not JSON.
    """
    try:
        return json.loads(text.lstrip("\ufeff"), object_hook=_light)
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{where}{line}: is not JSON ({why}); the file may be cut short: copy the log anew.") from error
    except RecursionError as error:
        raise UserError(f"{where}: is nested too deeply to be a log of Inspect; copy the log anew.") from error


def _samples(log: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: Path) -> Iterator[object]:
    journal = sorted(
        (int(found[1]), name) for name in members if (found := re.fullmatch(r"_journal/summaries/(\d+)\.json", name))
    )
    single = [name for name in members if SAMPLE.fullmatch(name)]
    if single and _invalidated(log, members, path):
        journal = []
    elif "summaries.json" in members:
        yield from _rows(log, members["summaries.json"], path)
        return
    if journal:
        # A sample that was run again stands in the journal twice; the later line counts.
        latest: dict[str, object] = {}
        for _, name in journal:
            for row in _rows(log, members[name], path):
                latest[_key(row)] = row
        yield from latest.values()
        return
    if not single:
        raise UserError(f"{path}: is a zip without samples of Inspect; give an .eval log with samples.")
    for name in single:
        yield parse(_text(log, members[name], path), f"{path}({name})")


def _rows(log: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> list[object]:
    where = f"{path}({member.filename})"
    rows = parse(_text(log, member, path), where)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{where}: holds no samples; give the log of an evaluation that ran.")
    return rows


def _key(row: object) -> str:
    return json.dumps([row.get("id"), row.get("epoch")]) if isinstance(row, dict) else json.dumps(row)


def _invalidated(log: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: Path) -> bool:
    if "header.json" not in members:
        return False
    header = parse(_text(log, members["header.json"], path), f"{path}(header.json)")
    return isinstance(header, dict) and bool(header.get("invalidated"))


def _text(log: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> str:
    where = f"{path}({member.filename})"
    if member.file_size > LARGEST_MEMBER:
        raise UserError(f"{where}: unpacks to {member.file_size:,} bytes, more than {LARGEST_MEMBER:,}; split the log.")
    if member.compress_type == ZSTANDARD and sys.version_info < (3, 14):
        content = _unpacked(path, member)
    else:
        with log.open(member) as packed:
            content = packed.read(LARGEST_MEMBER + 1)
    if len(content) != member.file_size:
        raise UserError(f"{where}: unpacks to another size than the zip says; copy the log anew.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: is not UTF-8; copy the log anew.") from error


def _unpacked(path: Path, member: zipfile.ZipInfo) -> bytes:
    """A member packed with zstandard, which `zipfile` cannot read before Python 3.14."""
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: is packed with zstandard; run: pip install zstandard") from error
    with path.open("rb") as file:
        # The local header repeats the name and has extra fields of its own length (APPNOTE 4.3.7).
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
        file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), io.SEEK_CUR)
        packed = file.read(member.compress_size)
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True)
    try:
        content = reader.read(LARGEST_MEMBER + 1)
    except zstandard.ZstdError as error:
        raise zipfile.BadZipFile(str(error)) from error
    if zlib.crc32(content) != member.CRC:
        raise zipfile.BadZipFile(f"bad CRC-32 for file '{member.filename}'")
    return content


def _light(found: dict[str, Any]) -> dict[str, Any]:
    # Only a sample is made lighter: a scorer may well be called "output".
    if "id" not in found or "epoch" not in found:
        return found
    return {key: value for key, value in found.items() if key not in HEAVY}
