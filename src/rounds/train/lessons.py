"""Lessons and plain text as training examples, spelled by the codec that serving uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from rounds.knowledge.base import Condition, KnowledgeBase
from rounds.model.tokenizer import Codec
from rounds.records import Lesson
from rounds.train.batches import Example


def examples(lessons: Iterable[Lesson], codec: Codec) -> list[Example]:
    """One example a lesson; the loss is on the completion."""
    made = []
    for lesson in lessons:
        prompt = codec.encode_prompt(lesson.prompt.messages)
        completion = codec.encode_completion(lesson.thinking, lesson.reply)
        thought = completion.index(codec.end_think_id) + 1 if codec.end_think_id in completion else 0
        made.append(Example((*prompt, *completion), len(prompt), len(prompt) + thought))
    return made


def text_examples(texts: Sequence[str], codec: Codec) -> list[Example]:
    """One example a text; the loss is on all of it but its first token, and none of it is a reply."""
    made = []
    for text in texts:
        ids = codec.encode_text(text)
        made.append(Example((*ids, codec.eos_ids[0]), 1, len(ids) + 1))
    return made


def pages(knowledge: KnowledgeBase, seed: int, limit: Iterable[str] | None = None) -> list[str]:
    """The knowledge base as running text: a page a condition, a line a finding, wordings varied."""
    random = Random(f"{seed}-pages")
    chosen = set(limit) if limit is not None else set(knowledge.conditions)
    conditions = [c for c in knowledge.conditions.values() if c.id in chosen]
    texts = []
    for condition in conditions:
        texts += [_page(knowledge, condition, random) for _ in range(4)]
    for finding in knowledge.findings.values():
        listing = [c.name for c in conditions if c.findings.get(finding.id, 0) > 0.1]
        for words in finding.says if listing else ():
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
