"""Headers of safetensors files, whole and damaged: one typed sentence, and little memory."""

import json
import random
import shutil
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.model.weights import Tensor, tensors
from rounds.quant.inventory import inventory
from rounds.recipe import Backbone
from rounds.records import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of some 100 KB at true structure."""
    directory = tmp_path_factory.mktemp("weights")
    train_tokenizer(["chest pain and fever"] * 5, 300, directory / "words", "deepseek-r1")
    codec = Codec.load(directory / "words")
    backbone = Backbone(structure="qwen2", width=32, layers=1, feed_forward=32, heads=2)
    model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    checkpoint.save(model, directory / "words", directory / "made")
    return directory / "made"


def write(path: Path, header: bytes, data: int = 0, length: int | None = None) -> Path:
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + bytes(data))
    return path


def test_the_header_tells_what_the_library_tells(made: Path) -> None:
    from safetensors import safe_open

    with safe_open(made / "model.safetensors", framework="numpy") as library:
        parts = {name: library.get_slice(name) for name in library.keys()}  # noqa: SIM118
        expected = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    found = tensors(made / "model.safetensors")
    assert {one.name: (one.kind, one.shape) for one in found} == expected
    assert sum(one.bytes for one in found) == 4 * sum(p.numel() for p in checkpoint.load(made).parameters())


def entry(**other: object) -> bytes:
    return json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **other}}).encode()


def test_a_small_file_is_read(tmp_path: Path) -> None:
    assert tensors(write(tmp_path / "w", entry(), 24)) == [Tensor("a", "F32", (2, 3), 24)]
    assert tensors(write(tmp_path / "w", b"{}")) == []


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"", 9),
        (b"[]", 0),
        (b'{"a": 1}', 0),
        (b'{"a": {}}', 0),
        (b"{" + b'"a":{' * 5000, 0),
        (b"[" * 90_000, 0),
        (b'{"a": ' + b"9" * 5000 + b"}", 0),
        (entry()[:-1] + b', "a": {"dtype": "F32", "shape": [], "data_offsets": [24, 28]}}', 28),
        (entry(shape=[2, 2]), 24),
        (entry(shape=[2, 3.0]), 24),
        (entry(shape=[-2, -3]), 24),
        (entry(shape=[True, 6]), 24),
        (entry(shape=[1 << 70, 1 << 70]), 24),
        (entry(dtype="F7"), 24),
        (entry(dtype=[]), 24),
        (entry(data_offsets=[0]), 24),
        (entry(data_offsets=[24, 0]), 24),
        (entry(more=1), 24),
        (b'{"__metadata__": {"format": 1}}', 0),
        (b'{"\\ud800": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}}', 1),
        (b"\xff\xfe{}", 0),
    ],
)
def test_a_header_the_format_does_not_allow_is_one_sentence(tmp_path: Path, header: bytes, data: int) -> None:
    with pytest.raises(UserError, match="is not a whole safetensors file; fetch the checkpoint again"):
        tensors(write(tmp_path / "w", header, data))


def test_holes_overlaps_and_a_wrong_size_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="overlap or leave a hole at byte 0"):
        tensors(write(tmp_path / "w", entry(data_offsets=[8, 32]), 32))
    two = entry()[:-1] + b', "b": {"dtype": "U8", "shape": [4], "data_offsets": [20, 24]}}'
    with pytest.raises(UserError, match="overlap or leave a hole at byte 24"):
        tensors(write(tmp_path / "w", two, 24))
    with pytest.raises(UserError, match=r"has \d+ bytes where its header says \d+"):
        tensors(write(tmp_path / "w", entry(), 25))


def test_a_header_that_would_fill_the_memory_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path / "w", b"[" + b"{}," * 700_000 + b"{}]")
    assert peak(path) < 0.1 * path.stat().st_size
    with pytest.raises(UserError, match=r"its header takes 2,100,004 of 2,100,012 bytes"):
        tensors(path)


@pytest.mark.parametrize("data", [b"\x00", b"\xff"], ids=["zeros", "no text"])
def test_tensors_taken_for_a_header_are_not_copied(tmp_path: Path, data: bytes) -> None:
    header = entry() + 50_000 * data
    path = write(tmp_path / "w", header)
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        tensors(path)
    assert peak(path) < 1.5 * path.stat().st_size


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_named(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    read_or_named(path)


def read_or_named(path: Path) -> bool:
    try:
        tensors(path)
    except UserError:
        return False
    return True


def peak(path: Path) -> int:
    """Bytes Python held at most while the file was looked at."""
    tracemalloc.start()
    try:
        read_or_named(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def mutated(content: bytes, random_: random.Random, header: int) -> bytes:
    """The file with one to four wounds, most of them in its length and header, where the harm is."""
    found = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(8 if random_.random() < 0.2 else 8 + header if random_.random() < 0.8 else len(found))
        place = min(place, max(0, len(found) - 1))
        kind = random_.randrange(6)
        if kind == 0:
            found[place : place + 1] = bytes([random_.randrange(256)])
        elif kind == 1:
            found[place : place + 1] = random_.choice([b"9", b"-", b"[", b"}", b'"', b",", b"e9", b"null", b"\x00"])
        elif kind == 2:
            del found[place : place + random_.randint(1, 40)]
        elif kind == 3:
            found[place:place] = found[place : place + random_.randint(1, 200)]
        elif kind == 4:
            del found[random_.randrange(len(found)) if found else 0 :]
        else:
            found += bytes(random_.randint(1, 64))
    return bytes(found)


def wound(made: Path, folder: Path, count: int, seed: int) -> int:
    """Damaged copies; how many were still sound. All others are refused with one sentence, by whoever reads them."""
    content = (made / "model.safetensors").read_bytes()
    header = int.from_bytes(content[:8], "little")
    shutil.copytree(made, folder)
    path, sound = folder / "model.safetensors", 0
    for number in range(count):
        path.write_bytes(mutated(content, random.Random(seed + number), header))
        assert peak(path) < 2 * max(path.stat().st_size, 1 << 16), number
        whole = read_or_named(path)
        sound += whole
        for reader in (checkpoint.check, inventory):
            try:
                reader(folder)
                assert whole, number
            except UserError:
                assert not whole, number
        if whole and sound <= 20:
            try:
                checkpoint.load(folder)
            except UserError:
                continue
    return sound


def test_two_hundred_damaged_files(made: Path, tmp_path: Path) -> None:
    assert wound(made, tmp_path / "copy", 200, 0) < 60


@pytest.mark.slow
def test_ten_thousand_damaged_files(made: Path, tmp_path: Path) -> None:
    assert wound(made, tmp_path / "copy", 10_000, 1000) < 3000
