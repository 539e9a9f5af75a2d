from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from rounds.exam import archive
from rounds.records import UserError


def a_sample(name: str | int, value: object, epoch: int = 1, **more: object) -> dict[str, Any]:
    """A line of summaries.json as Inspect writes it."""
    return {
        "id": name,
        "epoch": epoch,
        "input": "A man of 60 with sudden chest pain.",
        "target": "aortic dissection",
        "metadata": {"specialty": "surgery"},
        "scores": {"match": {"value": value, "answer": "aortic dissection"}},
        "model_usage": {"local/model": {"input_tokens": 66, "output_tokens": 3, "total_tokens": 69}},
        "uuid": f"u{name}{epoch}",
        "completed": True,
    } | more


HEADER = {"version": 2, "status": "success", "eval": {"task": "diagnosis", "model": "local/model"}}


def write(path: Path, members: dict[str, object], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as log:
        for name, content in members.items():
            log.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return path


def write_zstandard(path: Path, members: dict[str, bytes], frames: int = 1) -> Path:
    """A zip of method 93, which Python cannot write before 3.14: local headers, central directory, end."""
    body, directory = b"", b""
    for name, content in members.items():
        size = max(1, -(-len(content) // frames))
        pieces = [content[k : k + size] for k in range(0, len(content), size)]
        packed = b"".join(zstandard.ZstdCompressor().compress(piece) for piece in pieces)
        common = struct.pack(
            "<HHHHHIIIHH", 63, 0, archive.ZSTANDARD, 0, 33, zlib.crc32(content), len(packed), len(content), len(name), 0
        )
        extra = struct.pack("<HHH", 0xCAFE, 2, 7)  # a field of its own, in the local header only
        local = common[:-2] + struct.pack("<H", len(extra))
        directory += (
            b"PK\x01\x02"
            + struct.pack("<H", 63)
            + common
            + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
            + name.encode()
        )
        body += b"PK\x03\x04" + local + name.encode() + extra + packed
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


def ids(path: Path) -> list[object]:
    return [row["id"] for row in archive.samples(path) if isinstance(row, dict)]


def test_a_finished_log_is_its_summaries(tmp_path: Path) -> None:
    rows = [a_sample("a", "C"), a_sample("b", "I")]
    members: dict[str, object] = {
        "_journal/start.json": HEADER,
        "samples/a_epoch_1.json": {"broken": True},
        "_journal/summaries/1.json": rows[:1],
        "summaries.json": rows,
        "header.json": HEADER,
    }
    found = list(archive.samples(write(tmp_path / "log.eval", members)))
    assert [row["scores"] for row in found if isinstance(row, dict)] == [row["scores"] for row in rows]
    assert all("input" not in row and "metadata" in row for row in found if isinstance(row, dict))


def test_a_stopped_log_is_its_journal_where_the_later_line_counts(tmp_path: Path) -> None:
    members: dict[str, object] = {
        "_journal/summaries/10.json": [a_sample("a", "C")],
        "_journal/summaries/9.json": [a_sample("a", "I"), a_sample("b", "I"), a_sample("a", "I", 2)],
    }
    found = {
        (row["id"], row["epoch"]): row["scores"]["match"]["value"]
        for row in archive.samples(write(tmp_path / "x", members))
    }  # type: ignore[index]
    assert found == {("a", 1): "C", ("b", 1): "I", ("a", 2): "I"}


def test_a_log_without_summaries_is_its_samples_of_either_shape(tmp_path: Path) -> None:
    members: dict[str, object] = {
        "samples/a_epoch_1.json": a_sample("a", "C"),
        "samples/b/c_epoch_1/sample.json": a_sample("b/c", "C"),
        "samples/b/c_epoch_1/messages/0.json": [{"role": "user"}],
        "reductions.json": [],
    }
    assert ids(write(tmp_path / "log.eval", members)) == ["a", "b/c"]


def test_an_invalidated_log_is_read_sample_by_sample(tmp_path: Path) -> None:
    members: dict[str, object] = {
        "summaries.json": [a_sample("a", "C")],
        "samples/a_epoch_1.json": a_sample("a", "C", invalidation={"author": "x"}),
        "header.json": HEADER | {"invalidated": True},
    }
    (found,) = archive.samples(write(tmp_path / "log.eval", members))
    assert isinstance(found, dict)
    assert found["invalidation"] == {"author": "x"}


@pytest.mark.parametrize("frames", [1, 3])
def test_zstandard_is_read(tmp_path: Path, frames: int) -> None:
    rows = json.dumps([a_sample(k, "C") for k in range(50)]).encode()
    path = write_zstandard(tmp_path / "log.eval", {"header.json": b"{}", "summaries.json": rows}, frames)
    assert ids(path) == list(range(50))


def test_only_a_sample_is_made_lighter() -> None:
    text = '{"id": 1, "epoch": 1, "output": {"x": 1}, "scores": {"output": {"value": "C"}}}'
    assert archive.parse(text, "x") == {"id": 1, "epoch": 1, "scores": {"output": {"value": "C"}}}


def fault(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        list(archive.samples(path))
    return str(raised.value).replace(str(path), "log.eval")


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    assert fault(write(path, {"word/document.xml": b"<x/>"})) == (
        "log.eval: is a zip without samples of Inspect; give an .eval log with samples."
    )
    assert fault(write(path, {"summaries.json": []})) == (
        "log.eval(summaries.json): holds no samples; give the log of an evaluation that ran."
    )
    assert fault(write(path, {"summaries.json": {"id": 1}})).startswith("log.eval(summaries.json): holds no samples;")
    assert fault(write(path, {"summaries.json": b'[\n{"id": 1,'})).startswith(
        "log.eval(summaries.json):2: is not JSON ("
    )
    assert fault(write(path, {"summaries.json": b"\xff\xfe"})) == (
        "log.eval(summaries.json): is not UTF-8; copy the log anew."
    )
    assert fault(write(path, {"summaries.json": b"[" * 100_000})).startswith("log.eval(summaries.json): is n")
    assert fault(tmp_path / "none.eval").startswith("log.eval: cannot be read")


def test_a_damaged_log_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "log.eval", {"summaries.json": [a_sample("a", "C")]}, zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"surgery", b"surgerX"))
    assert fault(path).startswith("log.eval: is damaged or no zip that can be read (Bad CRC-32")
    path.write_bytes(whole[: len(whole) // 2])
    assert fault(path).startswith("log.eval: is damaged or no zip that can be read (")
    rows = json.dumps([a_sample("a", "C")]).encode()
    packed = write_zstandard(path, {"summaries.json": rows}).read_bytes()
    start = packed.index(b"\x28\xb5\x2f\xfd")
    path.write_bytes(packed[: start + 8] + b"\0\0\0\0" + packed[start + 12 :])
    assert fault(path).startswith("log.eval: is damaged or no zip that can be read (")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LARGEST_MEMBER", 1000)
    rows = [a_sample(k, "C") for k in range(50)]
    assert fault(write(tmp_path / "log.eval", {"summaries.json": rows})).endswith("more than 1,000; split the log.")
    # A header that lies about the size is found while unpacking.
    path = write_zstandard(tmp_path / "log.eval", {"summaries.json": json.dumps(rows).encode()})
    size = struct.pack("<I", len(json.dumps(rows)))
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 500)))
    assert "log.eval" in fault(path)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 1)
    members: dict[str, object] = {"header.json": HEADER, "summaries.json": [a_sample("a", "C")]}
    assert fault(write(tmp_path / "log.eval", members)) == "log.eval: has 2 members, more than 1; split the log."
