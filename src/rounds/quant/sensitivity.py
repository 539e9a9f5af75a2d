"""Which linear layers suffer most from 4 bits: the KL of the whole model when one of them is rounded alone.

Plain symmetric rounding to 16 levels in groups, in torch at the stored precision: the order of layers is wanted, not
the loss of an export, which is measured in its engine. One pass over the texts a layer: 196 of them at 7B. Left out on
purpose: errors that add up between layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds.model import checkpoint
from rounds.progress import track
from rounds.quant.classes import Text
from rounds.quant.divergence import divergence, of_model, weighted
from rounds.records import Record

LEVELS = 8
"""Steps from zero to the largest weight of a group: symmetric int4 has -8 to 7."""


class Layer(Record):
    """One linear layer and what rounding it alone does."""

    name: str
    weights: int
    kl: float
    """KL of the final distribution by class of token, weighted (rounds.quant.classes.WEIGHTS), nats a token."""


def sensitivity(directory: Path, texts: Sequence[Text], group: int) -> list[Layer]:
    """Every linear layer of a checkpoint but the head, most sensitive first; `group` weights share a scale, -1 a row.

    Raises:
        UserError: the checkpoint is faulty.
    """
    import torch

    settings = checkpoint.check(directory)
    stored = str(settings.get("dtype") or settings.get("torch_dtype") or "float32")
    model = checkpoint.load(directory, stored)
    logits = of_model(model)
    kept = {id(text): logits(text) for text in texts}
    head = model.get_output_embeddings()
    found = []
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    for name, module in track(layers, "sensitivity of layers"):
        whole = module.weight.data
        module.weight.data = rounded(whole, group)
        apart = divergence(lambda text: kept[id(text)], logits, texts)
        module.weight.data = whole
        found.append(Layer(name=name, weights=whole.numel(), kl=weighted(apart)))
    return sorted(found, key=lambda layer: -layer.kl)


def most_sensitive(layers: Sequence[Layer], share: float) -> list[str]:
    """Names of the first layers that hold `share` of all their weights, at least one."""
    room = share * sum(layer.weights for layer in layers)
    names: list[str] = []
    for layer in layers:
        if names and layer.weights > room:
            break
        names.append(layer.name)
        room -= layer.weights
    return names


def rounded(weight: Any, group: int) -> Any:
    """`weight` (outputs, inputs) on the grid of symmetric int4, one scale a group of inputs or (-1) a row.

    The sign of a scale is such that the largest weight of its group falls on -8, as NNCF does.
    """
    parts = in_groups(weight, group)
    scale = scale_of(parts)
    return ((parts / scale).round().clamp(-LEVELS, LEVELS - 1) * scale).reshape(weight.shape).to(weight.dtype)


def in_groups(weight: Any, group: int) -> Any:
    """`weight` (outputs, inputs) as float32 (outputs, groups, weights of a group)."""
    outputs, inputs = weight.shape
    return weight.float().reshape(outputs, -1, inputs if group == -1 else group)


def scale_of(parts: Any) -> Any:
    """The step of each group's grid, (outputs, groups, 1)."""
    import torch

    low, high = parts.amin(-1, keepdim=True), parts.amax(-1, keepdim=True)
    scale = torch.where(-low >= high, -low, -high) / LEVELS
    return torch.where(scale.abs() < torch.finfo(torch.float32).eps, torch.finfo(torch.float32).eps, scale)
