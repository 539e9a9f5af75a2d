"""What a model's files hold: tensors, weights and bytes by kind, read from the files themselves.

Left out on purpose: what the tensors do to an answer (`rounds.quant.divergence`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from pydantic import Field

from rounds.engine import telemetry
from rounds.engine.openvino import IR
from rounds.model import checkpoint
from rounds.model.tokenizer import read_object
from rounds.model.weights import tensors
from rounds.records import Record, UserError

KINDS = ("embeddings", "head", "linears", "norms and biases", "other")
_EMBEDDINGS = re.compile(r"embed_tokens|wte|word_embeddings")
_HEAD = re.compile(r"lm_head|output_embedding")
_PARTS = re.compile(r"/(?:scale|zero_point)$|\.weight_(?:scale|zero_point|shape|g_idx)$")
"""What 4 and 8 bits need beside the weights; named so by NNCF and by compressed-tensors."""
_PACKED = ".weight_packed"
"""Words of 32 bits that compressed-tensors packs weights into."""
SMALLEST = 8
"""Constants with fewer entries are shapes, axes and factors of a graph."""


class Held(Record):
    """The tensors of one kind."""

    tensors: int = 0
    weights: int = 0
    """Scales and zero points are no weights."""
    bytes: int = 0
    """With scales and zero points."""
    types: dict[str, int] = Field(default_factory=dict)
    """Number of tensors by element type."""

    @property
    def bits(self) -> float:
        """Bits a weight, scales and zero points counted in."""
        return 8 * self.bytes / self.weights if self.weights else 0.0


def inventory(directory: Path) -> dict[str, Held]:
    """Tensors by kind (KINDS, those that occur), of a checkpoint in safetensors or an OpenVINO folder.

    Raises:
        UserError: a file of weights is faulty.
    """
    found: dict[str, Held] = {}
    for name, kind, shape, size in _exported(directory) if (directory / IR).is_file() else _stored(directory):
        part = bool(_PARTS.search(name))
        of = _kind(_PARTS.sub("", name), shape, part)
        held = found.get(of, Held())
        types = held.types if part else {**held.types, kind: held.types.get(kind, 0) + 1}
        found[of] = Held(
            tensors=held.tensors + (not part),
            weights=held.weights + (0 if part else prod(shape)),
            bytes=held.bytes + size,
            types=types,
        )
    return {kind: found[kind] for kind in KINDS if kind in found}


def total(found: dict[str, Held]) -> Held:
    """All kinds together."""
    types: dict[str, int] = {}
    for held in found.values():
        for kind, number in held.types.items():
            types[kind] = types.get(kind, 0) + number
    rest = {name: sum(getattr(held, name) for held in found.values()) for name in ("tensors", "weights", "bytes")}
    return Held(**rest, types=types)


def packing(before: Path, after: Path, group: int, sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What packing a checkpoint in few bits saved, and on how much text it was calibrated.

    bytes_before and bytes_after of the weights (stored checkpoint; safetensors or OpenVINO .bin), bits_per_weight,
    weights, group, tensors by type, calibration sequences and tokens.

    Raises:
        UserError: a file of weights is faulty.
    """
    weights = total(inventory(before)).weights
    types = total(inventory(after)).types
    return {
        "bytes_before": checkpoint.bytes_of(before),
        "bytes_after": checkpoint.bytes_of(after),
        "bits_per_weight": 8 * checkpoint.bytes_of(after) / weights,
        "weights": weights,
        "group": group,
        "tensors_4_bit": types.get("i4", 0) + types.get("u4", 0),
        "tensors_8_bit": types.get("i8", 0) + types.get("u8", 0),
        "calibration_sequences": len(sequences),
        "calibration_tokens": sum(map(len, sequences)),
    }


def _kind(name: str, shape: tuple[int, ...], part: bool) -> str:
    if "rotary" in name or prod(shape) < SMALLEST:
        return "other"
    if _EMBEDDINGS.search(name):
        return "embeddings"
    if _HEAD.search(name):
        return "head"
    return "linears" if part or sum(side > 1 for side in shape) > 1 else "norms and biases"


def _stored(directory: Path) -> list[tuple[str, str, tuple[int, ...], int]]:
    """(name, type, shape, bytes) of every tensor of a checkpoint.

    Raises:
        UserError: a file is faulty.
    """
    found = []
    for one in [one for path in sorted(directory.glob("*.safetensors")) for one in tensors(path)]:
        name, kind, shape = one.name, one.kind.lower(), one.shape
        if name.endswith(_PACKED):
            bits = _bits(directory, name.removesuffix(_PACKED))
            kind, shape = f"i{bits}", (*shape[:-1], shape[-1] * 32 // bits)
        found.append((name, kind, shape, one.bytes))
    return found


def _bits(directory: Path, layer: str) -> int:
    """Bits of a weight of a packed layer, as config.json tells: whole names count before patterns.

    Raises:
        UserError: it does not tell.
    """
    try:
        groups = read_object(directory / "config.json")["quantization_config"]["config_groups"].values()
        targets = [(target, int(group["weights"]["num_bits"])) for group in groups for target in group["targets"]]
        named = [bits for target, bits in targets if target == layer]
        alike = [bits for target, bits in targets if target.startswith("re:") and re.match(target[3:], layer)]
        return (named + alike)[0]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, re.error) as error:
        raise UserError(
            f"{directory / 'config.json'}: does not say how many bits layer '{layer}' has; fetch the checkpoint again."
        ) from error


def _exported(directory: Path) -> list[tuple[str, str, tuple[int, ...], int]]:
    """(name, type, shape, bytes) of every constant of an OpenVINO model."""
    telemetry.silence()
    import openvino

    constants = [op for op in openvino.Core().read_model(directory / IR).get_ops() if op.get_type_name() == "Constant"]
    return [
        (
            op.get_friendly_name(),
            op.get_element_type().get_type_name(),
            tuple(op.output(0).shape),
            op.get_byte_size(),
        )
        for op in constants
    ]
