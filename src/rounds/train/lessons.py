"""Lessons and plain text as training examples, spelled by the codec that serving uses."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, pairwise
from random import Random

from rounds.knowledge.base import Condition, KnowledgeBase
from rounds.model.tokenizer import Codec
from rounds.records import Lesson
from rounds.train.batches import Example

STRANGE_RUNS, STRANGE_TOKENS = 4, 5
"""Most places of a prompt that strange words go to, and most tokens at a place."""


def examples(lessons: Iterable[Lesson], codec: Codec, *, strange: float = 0.0, seed: int = 0) -> list[Example]:
    """One example a lesson; the loss is on the completion. `strange`: see `rounds.recipe.Optimiser`."""
    random = Random(f"{seed}-strange")
    pieces = _pieces_of_words(codec) if strange else []
    made = []
    for lesson in lessons:
        prompt = codec.encode_prompt(lesson.prompt.messages)
        if random.random() < strange:
            prompt = _with_strange_words(prompt, pieces, codec.control_ids, random)
        completion = codec.encode_completion(lesson.thinking, lesson.reply)
        thought = completion.index(codec.end_think_id) + 1 if codec.end_think_id in completion else 0
        made.append(Example((*prompt, *completion), len(prompt), len(prompt) + thought))
    return made


def respelled(
    lessons: Sequence[Lesson],
    codec: Codec,
    *,
    strange: float,
    seed: int,
    passes: float = 1.0,
    first: Sequence[Example] = (),
) -> list[Example]:
    """Each lesson once a pass, its strange words in other places each time, so that none is learnt by heart.

    `passes` are those over the lessons that training will make; one begun counts whole. Without strange words all
    passes are alike, and one is given. `first` is the first pass, where `examples` has made it with this seed already.
    """
    turns = max(1, math.ceil(round(passes, 1))) if strange else 1
    later = (examples(lessons, codec, strange=strange, seed=seed + turn) for turn in range(1, turns))
    return [*(first or examples(lessons, codec, strange=strange, seed=seed)), *chain.from_iterable(later)]


def _pieces_of_words(codec: Codec) -> list[int]:
    """Tokens of at most four letters: what a word that no lesson holds is spelled with."""
    texts = {i: codec.decode([i]).strip() for i in range(codec.size) if i not in codec.control_ids}
    return [i for i, text in texts.items() if len(text) <= 4 and text.isascii() and text.isalpha()]


def _with_strange_words(
    prompt: Sequence[int], pieces: Sequence[int], control: Collection[int], random: Random
) -> list[int]:
    """The prompt with runs of such tokens in the user's turn: the longest stretch between control tokens."""
    marks = [-1, *(place for place, token in enumerate(prompt) if token in control), len(prompt)]
    before, after = max(pairwise(marks), key=lambda ends: ends[1] - ends[0])
    made = list(prompt)
    for place in sorted(random.choices(range(before + 1, after + 1), k=random.randint(1, STRANGE_RUNS)), reverse=True):
        made[place:place] = random.choices(pieces, k=random.randint(1, STRANGE_TOKENS))
    return made


def text_examples(texts: Sequence[str], codec: Codec) -> list[Example]:
    """One example a text; the loss is on all of it but its first token, and none of it is a reply."""
    made = []
    for text in texts:
        ids = codec.encode_text(text)
        made.append(Example((*ids, codec.eos_ids[0]), 1, len(ids) + 1))
    return made


def pages(knowledge: KnowledgeBase, seed: int, limit: Iterable[str] | None = None) -> list[str]:
    """The knowledge base as running text: a page a condition, a line a finding, in words drawn by the seed."""
    random = Random(f"{seed}-pages")
    chosen = set(limit) if limit is not None else set(knowledge.conditions)
    conditions = [c for c in knowledge.conditions.values() if c.id in chosen]
    texts = []
    for condition in conditions:
        texts.append(_page(knowledge, condition, random))
    for finding in knowledge.findings.values():
        listing = [c.name for c in conditions if c.findings.get(finding.id, 0) > 0.1]
        if listing:
            words = random.choice(finding.says)
            texts.append(
                f"{words[0].upper()}{words[1:]} is seen in {', '.join(random.sample(listing, min(6, len(listing))))}."
            )
        if finding.measure is not None:
            limit_text = (
                f"above {finding.measure.above:g}"
                if finding.measure.above is not None
                else f"below {finding.measure.below:g}"
            )
            texts.append(f"{finding.measure.test} {limit_text} {finding.measure.unit} means {finding.name}.")
    return texts


def _page(knowledge: KnowledgeBase, condition: Condition, random: Random) -> str:
    usual = [f for f, chance in condition.findings.items() if chance >= 0.5]
    sometimes = [f for f, chance in condition.findings.items() if 0.1 < chance < 0.5]
    said = [random.choice(knowledge.findings[f].says) for f in random.sample(usual, min(6, len(usual)))]
    also = [random.choice(knowledge.findings[f].says) for f in random.sample(sometimes, min(4, len(sometimes)))]
    name = random.choice((condition.name, *condition.also_called))
    lines = [f"{name[0].upper()}{name[1:]} ({condition.icd10}), {condition.incidence} in {condition.specialty}."]
    lines.append(f"Usual: {', '.join(said)}.")
    if also:
        lines.append(f"Sometimes: {', '.join(also)}.")
    lines.append(f"First test: {condition.first_test}.")
    return " ".join(lines)
