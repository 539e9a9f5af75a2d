"""The oracle: Bayes' rule over the patient model answers a case and reasons aloud, in steps that can be checked.

It is the ceiling of the exam and the author of the teacher's first lessons. Each sentence is a claim `rounds.grade`
can decide: a finding stated, a finding denied, a finding that fits a condition. Wording varies.
Left out on purpose: anything the page does not tell. The order of diagnoses comes from the page alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from rounds.cases.generate import Drawn
from rounds.cases.world import Floats, Observed, World

SUPPORT = 3
"""Most findings a thought holds up for its leading diagnosis, in the order of the page."""

# Punctuation stands on both sides of every name, so that a tokenizer spells it as it does in a list.
FITS = {"{f}: {c}.": 3, "{f}, fits: {c}.": 1, "{f}, think of: {c}.": 1, "{f}, suggests: {c}.": 1}
"""Ways to say a link, one a thought, with their weights: words that vary from step to step cost tokens and teach
nothing."""
# The first word says that a finding is missing: a small model that began with the finding often denied a present one.
AGAINST = ("no {f}, against: {c}.", "no {f}, so less likely: {c}.")
LEADING = ("most likely: {c}.", "best explained by: {c}.", "leading: {c}.")
UNPLACED = ("nothing I know explains these together.", "these findings fit no condition I know.")
ABSTENTION = "I cannot place this case: it lies outside what I know. Please ask a colleague."


@dataclass(slots=True, frozen=True)
class Thought:
    """One answer of the oracle."""

    thinking: str
    reply: str


def five(world: World, seen: Observed) -> list[int]:
    """The five likeliest conditions, best first (indices into `world.conditions`)."""
    return _first_five(world.posterior(seen))


def _first_five(posterior: Floats) -> list[int]:
    return [int(i) for i in np.argsort(-posterior, kind="stable")[:5]]


def reply_text(names: Sequence[str], red_flags: Sequence[str]) -> str:
    """The form every answer takes: five numbered lines, then the red flags.

    A name begins with a capital here and not in a line of thought: what stands on the list already is then another
    token than what was only thought of, and a small model learns sooner not to name it twice.
    """
    lines = [f"{place}. {name[0].upper()}{name[1:]}" for place, name in enumerate(names, start=1)]
    return "\n".join([*lines, f"Red flags: {'; '.join(red_flags) or 'none'}"])


def direct(world: World, drawn: Drawn) -> Thought:
    """The answer alone, with the true condition first when it is among the five and in last place otherwise.

    Lessons know the truth: a list without it would teach to miss.
    """
    return Thought("", _reply(world, drawn, world.posterior(drawn.seen)))


def think(world: World, drawn: Drawn, random: Random) -> Thought:
    """Reasoning and answer of one lesson: the leading diagnosis, what on the page is for it, one finding against one.

    The hypothesis comes first. A thought that walked through the page and then named the diagnosis taught a small
    model to trust its own walk, which on new sentences leaves out a third of the findings (docs/decisions/0006).
    Red flags are named in the reply alone, from the page, for the same reason.
    """
    seen = drawn.seen
    final = world.posterior(seen)
    if drawn.case.outside:
        return Thought(random.choice(UNPLACED), ABSTENTION)
    leading = _ordered(world, drawn, final)[0]
    lines = [_fill(random.choice(LEADING), "", _name(world, leading))]
    lines += _support(world, drawn, leading, random)
    lines += _against(world, seen, final, random)
    return Thought(" ".join(lines), _reply(world, drawn, final))


def _support(world: World, drawn: Drawn, leading: int, random: Random) -> list[str]:
    """The first findings of the page that the knowledge base lists for a condition."""
    (fits,) = random.choices(list(FITS), list(FITS.values()))
    told = [world.finding_index[finding] for finding in drawn.case.present]
    listed = [finding for finding in told if world.listed[leading, finding]]
    return [_fill(fits, _finding(world, finding), _name(world, leading)) for finding in listed[:SUPPORT]]


def _against(world: World, seen: Observed, final: Floats, random: Random) -> list[str]:
    """At most one absent finding that a leading candidate usually shows."""
    leading = np.argsort(-final)[:8]
    for finding in seen.asked_absent:
        expected = [int(c) for c in leading if world.chance[c, finding] >= 0.5]
        if expected:
            return [_fill(random.choice(AGAINST), _finding(world, finding), _name(world, expected[0]))]
    return []


def _ordered(world: World, drawn: Drawn, posterior: Floats) -> list[int]:
    ranked = _first_five(posterior)
    truth = world.index.get(drawn.case.condition)
    if truth is not None and truth not in ranked:
        ranked = [*ranked[:4], truth]
    return ranked


def _reply(world: World, drawn: Drawn, posterior: Floats) -> str:
    if drawn.case.outside:
        return ABSTENTION
    names = [world.conditions[i].name for i in _ordered(world, drawn, posterior)]
    return reply_text(names, drawn.case.red_flags)


def _name(world: World, condition: int) -> str:
    return world.conditions[condition].name


def _finding(world: World, finding: int) -> str:
    return world.knowledge.findings[world.findings[finding]].name


def _fill(pattern: str, finding: str, condition: str = "") -> str:
    return pattern.format(f=finding, c=condition)


def ceiling(world: World, drawn: Sequence[Drawn]) -> dict[str, float]:
    """The oracle's own top-1 and top-5 on cases inside the knowledge base."""
    inside = [one for one in drawn if not one.case.outside]
    ranks = [_place(five(world, one.seen), world.index[one.case.condition]) for one in inside]
    return {
        "n": len(inside),
        "top1": sum(rank == 1 for rank in ranks) / max(1, len(inside)),
        "top5": sum(rank is not None for rank in ranks) / max(1, len(inside)),
    }


def _place(ranked: Sequence[int], truth: int) -> int | None:
    return ranked.index(truth) + 1 if truth in ranked else None
