"""Generates teach, tune and exam cases from the knowledge base, the same for the same seed.

Every exam and tune condition gets the same number of cases. No set of present findings of an exam or tune case occurs
in teach. Left out on purpose: the lessons' reasoning (`rounds.cases.oracle`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from rounds import recipe
from rounds.cases.vignette import FRAMES, Frames, in_page_order, write
from rounds.cases.world import Floats, Observed, Patient, World
from rounds.knowledge.base import Condition, KnowledgeBase
from rounds.progress import track
from rounds.records import Case, Split, UserError

MOST_DRAWS = 5000
"""A recipe whose pages are still not acceptable after so many draws is refused."""


@dataclass(slots=True, frozen=True)
class Drawn:
    """A case and what its page tells, for the oracle."""

    case: Case
    seen: Observed


def world_for(knowledge: KnowledgeBase, settings: recipe.Cases) -> World:
    """The patient model a recipe asks for."""
    return World(knowledge, settings.volunteer, settings.prior, settings.conditions)


def generate(knowledge: KnowledgeBase, settings: recipe.Cases, seed: int) -> dict[Split, list[Drawn]]:
    """All three splits, exam first so that nothing it holds is taught.

    Raises:
        UserError: the knowledge base has no conditions kept outside though the recipe asks for such cases.
    """
    world = world_for(knowledge, settings)
    taught, kept = _outside_halves(knowledge, world)
    if settings.outside and not kept:
        raise UserError(
            f"cases.outside is {settings.outside} but the knowledge base keeps no condition outside; set it to 0."
        )
    taken: set[frozenset[int]] = set()
    exam = [
        *_per_condition(world, settings, "exam", settings.exam_per_condition, seed, taken),
        *_outside(world, settings, "exam", kept, settings.outside, seed, taken),
    ]
    few = max(1, settings.outside // 3) if settings.outside else 0
    tune = [
        *_per_condition(world, settings, "tune", settings.tune_per_condition, seed, taken),
        *_outside(world, settings, "tune", taught, few, seed, taken),
    ]
    teach = list(track(_teach(world, settings, taught, seed, frozenset(taken)), "writing cases", settings.teach))
    return {"teach": teach, "tune": tune, "exam": exam}


def _outside_halves(knowledge: KnowledgeBase, world: World) -> tuple[list[Condition], list[Condition]]:
    """Conditions kept outside: one half shows in teach and tune how to abstain, the other only in the exam."""
    specialties = {condition.specialty for condition in world.conditions}
    outside = [c for c in knowledge.outside.values() if c.specialty in specialties]
    return outside[0::2], outside[1::2]


def _per_condition(
    world: World, settings: recipe.Cases, split: Split, count: int, seed: int, taken: set[frozenset[int]]
) -> Iterator[Drawn]:
    for condition in world.conditions:
        for number in range(count):
            key = f"{split}-{condition.id}-{number + 1}"
            yield _fresh(world, settings, condition, split, key, seed, taken)


def _outside(
    world: World,
    settings: recipe.Cases,
    split: Split,
    conditions: list[Condition],
    count: int,
    seed: int,
    taken: set[frozenset[int]],
) -> Iterator[Drawn]:
    for number in range(count):
        condition = conditions[number % len(conditions)]
        key = f"{split}-outside-{condition.id}-{number // len(conditions) + 1}"
        yield _fresh(world, settings, condition, split, key, seed, taken)


def _teach(
    world: World, settings: recipe.Cases, outside: list[Condition], seed: int, taken: frozenset[frozenset[int]]
) -> Iterator[Drawn]:
    prior = np.exp(world.log_prior)
    choose = Random(f"{seed}-teach")
    for number in range(settings.teach):
        if outside and choose.random() < settings.outside_share:
            condition = choose.choice(outside)
        else:
            condition = choose.choices(world.conditions, weights=prior.tolist())[0]
        yield _fresh(world, settings, condition, "teach", f"teach-{number + 1}", seed, taken)


def _fresh(
    world: World,
    settings: recipe.Cases,
    condition: Condition,
    split: Split,
    key: str,
    seed: int,
    taken: set[frozenset[int]] | frozenset[frozenset[int]],
) -> Drawn:
    """Draw until the set of present findings is new, and remember it when `taken` can grow."""
    random = Random(f"{seed}-{key}")
    for _ in range(MOST_DRAWS):
        drawn = draw(world, settings, condition, split, key, random)
        mark = frozenset(drawn.seen.present)
        if mark not in taken:
            if isinstance(taken, set):
                taken.add(mark)
            return drawn
    raise UserError(
        f"condition '{condition.id}' has no new set of findings left for {key}; ask for fewer cases of each condition."
    )


def draw(world: World, settings: recipe.Cases, condition: Condition, split: Split, key: str, random: Random) -> Drawn:
    """One case of one condition.

    Raises:
        UserError: so little is volunteered that no acceptable page comes about.
    """
    place = world.index.get(condition.id)
    row = world.row(condition) if place is None else world.chance[place]
    for _ in range(MOST_DRAWS):
        patient = Patient(age=_age(condition, random), sex=_sex(condition, random))
        truth = _truth(world, row * world.allowed(patient), random)
        told = [int(f) for f in np.flatnonzero(truth) if random.random() < world.volunteer[f]]
        if world.acceptable(condition, told):
            break
    else:
        raise UserError(
            f"cases.volunteer is {settings.volunteer} and leaves too little on the page of '{condition.id}'; raise it."
        )
    seen = _ask(world, settings, Observed(patient, tuple(told)), truth, random)
    return Drawn(_case(world, condition, seen, split, key, FRAMES[split], random), seen)


def _age(condition: Condition, random: Random) -> float:
    low, high = condition.age
    age = random.uniform(low, high)
    return age if age < 2 else max(low, float(int(age)))


def _sex(condition: Condition, random: Random) -> str:
    return random.choice(("female", "male")) if condition.sex == "any" else condition.sex


def _truth(world: World, chance: Floats, random: Random) -> Floats:
    """Which findings the patient has (1 or 0); of two that exclude each other the likelier stays."""
    draws = np.random.default_rng(random.getrandbits(64)).random(len(chance))
    truth = (draws < chance).astype(float)
    for finding, rivals in world.rivals.items():
        if truth[finding] and any(truth[r] and (chance[r], -r) > (chance[finding], -finding) for r in rivals):
            truth[finding] = 0.0
    return truth


def _ask(world: World, settings: recipe.Cases, seen: Observed, truth: Floats, random: Random) -> Observed:
    """Look for a few discriminating findings, chosen from what was told alone."""
    taken = set(seen.volunteered)
    for finding in seen.volunteered:
        taken.update(world.rivals.get(finding, ()))
    candidates = world.informative(world.posterior(seen), seen.patient, taken)
    chosen = random.sample(candidates, min(settings.asked, len(candidates)))
    # Two findings of one instrument cannot both be asked: one reading answers both.
    asked = [f for i, f in enumerate(chosen) if not any(r in chosen[:i] for r in world.rivals.get(f, ()))]
    return Observed(
        seen.patient,
        seen.volunteered,
        tuple(f for f in asked if truth[f]),
        tuple(f for f in asked if not truth[f]),
    )


def _case(
    world: World, condition: Condition, seen: Observed, split: Split, key: str, frames: Frames, random: Random
) -> Case:
    findings = [world.knowledge.findings[name] for name in world.findings]
    present = in_page_order([findings[i] for i in seen.present], random)
    absent = [findings[i] for i in seen.asked_absent]
    known = world.knowledge.conditions
    inside = condition.id in world.index
    return Case(
        id=key,
        vignette=write(seen.patient, present, absent, frames, random),
        diagnosis=condition.name,
        also_called=(*condition.also_called, *condition.abbreviations),
        icd10=condition.icd10,
        outside=not inside,
        red_flags=tuple(finding.name for finding in present if finding.red_flag) if inside else (),
        must_not_miss=tuple(known[n.condition].name for n in condition.must_not_miss) if inside else (),
        present=tuple(finding.id for finding in present),
        absent=tuple(finding.id for finding in absent),
        condition=condition.id,
        specialty=condition.specialty,
        incidence=condition.incidence,
        split=split,
        source="written from the knowledge base",
        licence="Apache-2.0",
    )
