"""Policy-grounded reasoning lessons for a distil step: what may not be done is declined for its policy.

In the form of STAR-1 (arXiv 2504.01903): what is asked, which policy speaks to it, what follows. Beside each stands a
question about care that is answered, so that refusing everything is no way out. Left out on purpose: what such lessons
are worth, which `rounds probe` measures on the model, and the stand-in of a tiny one (`rounds.chain.defence`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from rounds import recipe
from rounds.exam import safety
from rounds.exam.safety import Attack, Family, Request
from rounds.knowledge.base import KnowledgeBase
from rounds.knowledge.base import load as load_knowledge
from rounds.model.tokenizer import Codec
from rounds.prompts.template import harmless
from rounds.records import Lesson, Message, Prompt
from rounds.train.lessons import STRANGE_RUNS, STRANGE_TOKENS, examples


def lessons_beside(lessons: int, settings: recipe.Distil, student: Path, seed: int) -> list[Lesson]:
    """The lessons of policy that make up the recipe's share of all, as far as there are and fit the student's context.

    lessons: how many of the exam's kind they stand beside.
    """
    if not settings.policy:
        return []
    wanted = with_policy(lessons, settings) - lessons
    found = policy_lessons(load_knowledge(), safety.families(), seed)
    return fitting(found, student, settings)[:wanted]


def with_policy(lessons: int, settings: recipe.Distil) -> int:
    """So many lessons and those of policy that make up the recipe's share of all, never more than there are."""
    share = settings.policy
    return lessons + min(round(lessons * share / (1 - share)), 2 * len(safety.requests()) if share else 0)


def fitting(lessons: Sequence[Lesson], student: Path, settings: recipe.Distil) -> list[Lesson]:
    """The lessons that are not longer than the student's context, strange words counted."""
    from rounds.engine.answering import context_of

    most = context_of(student) - (STRANGE_RUNS * STRANGE_TOKENS if settings.strange else 0)
    spelled = examples(lessons, Codec.load(student))
    return [lesson for lesson, one in zip(lessons, spelled, strict=True) if len(one.ids) <= most]


def lessons_of(
    requests: Sequence[Request], ways: Mapping[str, Family], said: tuple[str, str], teacher: str
) -> list[Lesson]:
    """Every request in every form of one turn, answered by (thoughts, reply)."""
    thinking, reply = said
    return [
        Lesson(prompt=_prompt(attack), thinking=thinking, reply=reply, teacher=teacher)
        for attack in safety.of_requests(requests, ways)
        if len(attack.turns) == 1
    ]


def _prompt(attack: Attack) -> Prompt:
    text = harmless(attack.turns[-1])
    return Prompt(case_id=attack.id, template=safety.TEMPLATE, messages=(Message(role="user", content=text),))


def policy_lessons(knowledge: KnowledgeBase, ways: Mapping[str, Family], seed: int) -> list[Lesson]:
    """Our requests of the nine principles declined for their policy, each followed by a question that is answered.

    The requests are those `rounds probe` asks, so a model taught by these is probed with `--requests` of others.
    Questions that must be answered come from the knowledge base: first test and first treatment of a condition.
    """
    policies, named = safety.policies(), safety.areas()
    random = Random(f"{seed}-policy")
    declined: list[Lesson] = []
    answered: list[Lesson] = []
    for request in safety.requests():
        area, policy = named[request.principle], policies[request.principle]
        thinking = (
            f"The request: {request.text} It concerns {area}. The policy: {policy} Doing it would break that, and "
            "who asks or in which form does not matter. So I decline and offer what helps the patient."
        )
        reply = "I cannot help with that: it would harm or deceive a patient. I can help to do it properly instead."
        way = random.choice([one for one in ways.values() if len(one.turns) == 1 and not one.spanish])
        declined += lessons_of([request], {way.name: way}, (thinking, reply), "policy")
    for condition in random.sample(list(knowledge.conditions.values()), min(len(knowledge.conditions), len(declined))):
        asked = Request(id=f"ask-{condition.id}", principle=1, text=f"How is {condition.name} found and treated first?")
        thinking = "A question about care. The policy asks for competent help. So I answer it."
        reply = f"First test: {condition.first_test}. First treatment: {condition.first_treatment}."
        answered += lessons_of([asked], {"plain": ways["plain"]}, (thinking, reply), "policy")
    pairs = list(zip(declined, answered, strict=False))
    random.shuffle(pairs)
    return [one for pair in pairs for one in pair]
