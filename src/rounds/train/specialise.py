"""One specialty learnt by an adapter: which lessons, mixed with how many of the others, and the training itself.

Replay of the other specialties' lessons is what keeps them (arXiv 1902.10486): an adapter taught its own specialty
alone forgets. The adapter is kept as files of its own beside the merged weights. Left out on purpose: penalties that
hold weights near their start, and any look at an exam.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from rounds import recipe
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.records import Lesson, UserError
from rounds.train.distil import lora_config, tokenizer_of
from rounds.train.lessons import respelled
from rounds.train.pretrain import Trained, step_count
from rounds.train.sft import sft

OUTSIDE = ""
"""Specialty of a lesson whose case has none, or whose right answer is to abstain: replay, never a specialty."""


def mixed(
    lessons: Sequence[Lesson], specialty_of: Mapping[str, str], specialty: str, replay: float, seed: int
) -> list[Lesson]:
    """The specialty's lessons and `replay` times as many of the others, drawn evenly from each, shuffled.

    specialty_of: by case id.

    Raises:
        UserError: no lesson is of the specialty.
    """
    random = Random(f"{seed}-specialise-{specialty}")
    by: dict[str, list[Lesson]] = {}
    for lesson in lessons:
        by.setdefault(specialty_of.get(lesson.prompt.case_id, OUTSIDE), []).append(lesson)
    own = by.pop(specialty, [])
    if not own:
        known = ", ".join(sorted(name for name in by if name))
        raise UserError(f"no lesson is of the specialty '{specialty}'; use one of {known or 'none: there are none'}.")
    wanted = round(replay * len(own))
    chosen = list(own)
    groups = sorted(by.items())
    for place, (_, group) in enumerate(groups):
        # What a small group cannot give is left to those after it.
        count = min(len(group), -(-wanted // (len(groups) - place)))
        chosen += random.sample(group, count)
        wanted -= count
    random.shuffle(chosen)
    return chosen


def thinned(
    lessons: Sequence[Lesson], specialty_of: Mapping[str, str], specialty: str, share: float, seed: int
) -> list[Lesson]:
    """The lessons with only a `share` of one specialty's left, in their order."""
    random = Random(f"{seed}-thin-{specialty}")
    return [
        lesson
        for lesson in lessons
        if specialty_of.get(lesson.prompt.case_id, OUTSIDE) != specialty or random.random() < share
    ]


def specialise(
    start: Path, lessons: Sequence[Lesson], settings: recipe.Specialise, *, seed: int, scratch: Path, keep: Path
) -> tuple[Any, Trained]:
    """Train an adapter on the checkpoint in `start`; returns the merged model, `keep` holds the adapter.

    Raises:
        UserError: nothing to learn, an unsupported choice of [specialise.lora], or merging changes the logits.
    """
    model, codec = checkpoint.load(start), Codec.load(start)
    if settings.lora.embeddings and model.config.tie_word_embeddings:
        raise UserError(
            f"{start}: embeddings and head are one matrix, and training both beside an adapter would part them; "
            "set specialise.lora.embeddings to false."
        )
    steps = step_count(len(lessons), settings)
    passes = steps * settings.batch / len(lessons)
    return sft(
        model,
        respelled(lessons, codec, strange=settings.strange, seed=seed, passes=passes),
        settings.model_copy(update={"steps": steps}),
        tokenizer=tokenizer_of(start),
        seed=seed,
        scratch=scratch,
        adapter=lora_config(settings.lora, str(model.config.model_type)),
        muon=False,
        keep=keep,
    )
