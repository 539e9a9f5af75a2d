"""The header of a safetensors file, read strictly and without its tensors.

https://huggingface.co/docs/safetensors: 8 bytes of header length, a JSON header, then the tensors without a hole. The
library that loads them trusts a header more than a hospital should, and its faults name no remedy. Left out on
purpose: the tensors themselves.
"""

from __future__ import annotations

import codecs
import json
import re
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from rounds.records import UserError

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6,
}  # fmt: skip
"""Bits of an element, by its name in a header."""
SMALL_HEADER = 1 << 20
"""Bytes. A longer header may be a sixteenth of its file: as Python objects it takes up to 24 times its size."""

PIECE = 1 << 12
"""Bytes looked at together."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class Tensor(NamedTuple):
    """One tensor as its header tells it."""

    name: str
    kind: str
    """A name of BITS."""
    shape: tuple[int, ...]
    bytes: int


def tensors(path: Path) -> list[Tensor]:
    """Every tensor of a safetensors file, in the order of its header.

    Raises:
        UserError: the file is not whole, its header is not what the format allows, or its tensors do not fill it.
    """
    size = path.stat().st_size
    with path.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if not 2 <= length <= size - 8:
            raise _broken(path)
        if length > max(SMALL_HEADER, size // 16):
            raise UserError(f"{path}: its header takes {length:,} of {size:,} bytes; fetch the checkpoint again.")
        header = content.read(length)
    try:
        _is_text(header)
        told = json.loads(header, object_pairs_hook=_once)
        spans = [_tensor(name, entry) for name, entry in told.items() if name != "__metadata__"]
        _sound_metadata(told.get("__metadata__", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path) from error
    end = 0
    for start, tensor in sorted(spans, key=lambda span: (span[0], span[1].bytes)):
        if start != end:
            raise UserError(f"{path}: its tensors overlap or leave a hole at byte {end:,}; fetch the checkpoint again.")
        end += tensor.bytes
    if size != 8 + length + end:
        raise UserError(
            f"{path}: has {size} bytes where its header says {8 + length + end}; fetch the checkpoint again."
        )
    return [tensor for _, tensor in spans]


def _is_text(header: bytes) -> None:
    """Refuse what cannot be JSON before there is a second copy of it: a false length takes tensors for a header.

    Raises:
        ValueError: it is no UTF-8, or has control characters, which JSON escapes.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(header), PIECE):
        if _CONTROL.search(decoder.decode(header[start : start + PIECE], final=start + PIECE >= len(header))):
            raise ValueError("a control character")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _tensor(name: str, entry: Any) -> tuple[int, Tensor]:
    """Where it begins, and what it is.

    Raises:
        ValueError, KeyError, TypeError: it is not what the format allows.
    """
    name.encode()
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    numbers = [*shape, start, end]
    if len(entry) != 3 or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("a shape or an offset is no whole number")
    if prod(shape) * BITS[entry["dtype"]] != 8 * (end - start):
        raise ValueError("a tensor is longer or shorter than its shape")
    return start, Tensor(name, entry["dtype"], tuple(shape), end - start)


def _sound_metadata(told: Any) -> None:
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise ValueError("the metadata are no texts")


def _broken(path: Path) -> UserError:
    return UserError(f"{path}: is not a whole safetensors file; fetch the checkpoint again.")
