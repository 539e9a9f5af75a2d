"""Rewards of GRPO, one function each, named as in the recipe; each gives one number an answer.

They use the very mark the exam uses, so nothing can be won that the exam would not count. The rank reward takes exact
names only: a synonym list must not become something to search. Left out on purpose: a judge model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from rounds.recipe import Grpo
from rounds.records import Case, Grade

RANK_WORTH = (1.0, 0.6, 0.5, 0.4, 0.3)
"""Worth of the right diagnosis in places one to five."""


def rank(case: Case, grade: Grade) -> float:
    """The right diagnosis by its exact name, worth more the higher; on a case outside, abstaining is worth 1."""
    if case.outside:
        return 1.0 if grade.answer.abstained else 0.0
    if grade.rank is None or grade.level != "exact":
        return 0.0
    return RANK_WORTH[grade.rank - 1]


def red_flag(case: Case, grade: Grade) -> float:
    """Share of red flags named; naming flags the case lacks costs as much."""
    invented = max(0, len(grade.answer.red_flags) - grade.red_flags_named)
    if grade.red_flags_total == 0:
        return 1.0 if invented == 0 else 0.0
    return max(0.0, (grade.red_flags_named - invented) / grade.red_flags_total)


def form(case: Case, grade: Grade) -> float:
    """Five distinct valid diagnoses, or an abstention where one is right."""
    return 1.0 if grade.valid_five or (case.outside and grade.answer.abstained) else 0.0


def steps(case: Case, grade: Grade) -> float:
    """Share of the reasoning's claims that hold; an answer without claims earns nothing."""
    if grade.steps is None or grade.steps.claims == 0:
        return 0.0
    return max(0.0, 1.0 - grade.steps.errors / grade.steps.claims)


def length(case: Case, grade: Grade) -> float:
    """Shorter reasoning is worth more, from 1 at none to 0 at 400 tokens, and only when the answer is right."""
    return max(0.0, 1.0 - grade.thinking_tokens / 400) if grade.correct else 0.0


REWARDS: Mapping[str, Callable[[Case, Grade], float]] = MappingProxyType(
    {"rank": rank, "red_flag": red_flag, "format": form, "steps": steps, "length": length}
)


def weights(settings: Grpo) -> dict[str, float]:
    """The rewards a recipe gives weight to."""
    named = {
        "rank": settings.rank_weight,
        "red_flag": settings.red_flag_weight,
        "format": settings.format_weight,
        "steps": settings.steps_weight,
        "length": settings.length_weight,
    }
    return {name: weight for name, weight in named.items() if weight > 0}
