"""Examples as token ids, and batches of similar length made of them.

Left out on purpose: packing. Without a variable-length attention kernel, packed examples see each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

IGNORED = -100
"""Label that the loss leaves out (torch.nn.functional.cross_entropy)."""


@dataclass(slots=True, frozen=True)
class Example:
    """Token ids of one prompt and its completion; the loss is taken from `start` on."""

    ids: tuple[int, ...]
    start: int = 0
    reply: int = 0
    """Where the answer after the thinking begins: what it already names is not to be named again."""


def batches(examples: Sequence[Example], size: int, steps: int, random: Random) -> Iterator[list[Example]]:
    """`steps` batches. Every pass shuffles anew, then groups similar lengths so that little padding is computed."""
    made = 0
    while made < steps:
        order = random.sample(range(len(examples)), len(examples))
        window = size * 32
        groups: list[list[int]] = []
        for start in range(0, len(order), window):
            near = sorted(order[start : start + window], key=lambda i: len(examples[i].ids))
            groups += [near[i : i + size] for i in range(0, len(near), size)]
        random.shuffle(groups)
        for group in groups[: steps - made]:
            yield [examples[i] for i in group]
            made += 1


def tensors(batch: Sequence[Example], pad: int) -> dict[str, Any]:
    """input_ids, attention_mask and labels, each (examples, longest), padded on the right."""
    import torch

    longest = max(len(example.ids) for example in batch)
    ids = torch.full((len(batch), longest), pad)
    labels = torch.full((len(batch), longest), IGNORED)
    mask = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, example in enumerate(batch):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        labels[row, example.start : length] = ids[row, example.start : length]
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
