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


@dataclass(slots=True, frozen=True, eq=False)
class Soft:
    """A distribution over the next token at each token learnt; both of shape (tokens learnt, likeliest)."""

    tokens: Any
    """Token ids, int32."""
    chances: Any
    """Of these tokens, summing to 1; float16."""


@dataclass(slots=True, frozen=True)
class Example:
    """Token ids of one prompt and its completion; the loss is taken from `start` on."""

    ids: tuple[int, ...]
    start: int = 0
    reply: int = 0
    """Where the answer after the thinking begins: what it already names is not to be named again."""
    soft: Soft | None = None
    """What a teacher would have said, from `start` on."""


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


def softened(batch: Sequence[Example]) -> Soft | None:
    """The soft targets of a batch, row after row as its labels stand; None where no example has any.

    An example without any is certain of its text.
    """
    import torch

    likeliest = max((one.soft.tokens.shape[1] for one in batch if one.soft is not None), default=0)
    if not likeliest:
        return None
    tokens, chances = [], []
    for one in batch:
        learnt = torch.tensor(one.ids[max(1, one.start) :])
        if one.soft is not None:
            tokens.append(one.soft.tokens.long())
            chances.append(one.soft.chances.float())
        else:
            tokens.append(learnt[:, None].expand(-1, likeliest))
            chances.append(torch.eye(1, likeliest).expand(len(learnt), -1))
    return Soft(torch.cat(tokens), torch.cat(chances))
