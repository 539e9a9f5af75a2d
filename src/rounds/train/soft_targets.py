"""Soft targets: the teacher's distribution over the next token at each token a student learns (arXiv 1503.02531).

Kept for the likeliest tokens alone, made to sum to 1. The teacher reads the lesson as it was written; strange words
that the student meets in its prompt move no token of the completion. Left out on purpose: teachers behind an endpoint,
which give text, and two vocabularies, whose tokens do not answer to one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.progress import bar
from rounds.records import UserError
from rounds.train.batches import Example, Soft, tensors

LIKELIEST = 20
"""Tokens kept at each place: .99 of the tiny teacher's distribution."""
BATCH = 64


def refuse_other_words(teacher: Path, student: Path) -> None:
    """Raise a UserError when two checkpoints do not spell with the same tokens."""
    theirs, ours = (Codec.load(directory).tokens() for directory in (teacher, student))
    if theirs != ours:
        raise UserError(
            f"distil.token_level needs one vocabulary, but {teacher} has {len(theirs)} tokens and {student} has "
            f"{len(ours)}, {len(set(theirs.items()) & set(ours.items()))} of them the same; set token_level to 0."
        )


def with_soft_targets(teacher: Path, examples: Sequence[Example]) -> list[Example]:
    """The examples with what the teacher in `teacher` would have said at each token of their completions.

    Raises:
        UserError: the checkpoint is faulty.
    """
    import torch

    model = checkpoint.load(teacher)
    made = list(examples)
    order = sorted(range(len(examples)), key=lambda place: len(examples[place].ids))
    with torch.inference_mode(), bar("asking the teacher for its distributions", len(order)) as advance:
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            found = _soft(model, [examples[place] for place in places])
            for place, soft in zip(places, found, strict=True):
                made[place] = replace(examples[place], soft=soft)
            advance(len(places))
    return made


def _soft(model: Any, batch: Sequence[Example]) -> list[Soft]:
    import torch

    inputs = tensors(batch, 0)
    hidden = model.model(inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)[0]
    found = []
    for row, example in enumerate(batch):
        # The token at place k is predicted at place k - 1.
        logits = model.lm_head(hidden[row, example.start - 1 : len(example.ids) - 1])
        chances, tokens = logits.softmax(-1).topk(min(LIKELIEST, logits.shape[-1]))
        chances /= chances.sum(-1, keepdim=True)
        found.append(Soft(tokens.to(torch.int32), chances.to(torch.float16)))
    return found
