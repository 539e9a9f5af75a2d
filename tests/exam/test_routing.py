"""The gate of the router: three ways of asking, marked alike, paired under one family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from rounds.exam.routing import gate
from rounds.grade.mark import Marker
from rounds.knowledge.base import load
from rounds.records import Case, Prompt, Sampling, Trace, UserError


class Strict:
    """Answers options only where letters are asked for, and a number only where the template asks to calculate."""

    name, model, batch_invariant = "strict", "strict", True

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        for prompt in prompts:
            asked = prompt.messages[0].content
            reply = "Answer: A" if "choosing from its options" in asked else "I would rather talk."
            yield Trace(
                prompt=prompt,
                model="strict",
                engine="rule",
                sampling=sampling,
                thinking="",
                reply="Answer: 12 mmol/L" if asked.startswith("Calculate what is asked") else reply,
                finish="stop",
                thinking_tokens=0,
                reply_tokens=3,
            )


def cases() -> list[Case]:
    letters = ("iron", "zinc", "gold", "lead")
    choices = [
        Case(
            id=f"c{n}",
            vignette=f"Which metal is lacking in anaemia {n}?",
            diagnosis="iron",
            options=letters,
            right=("A",),
        )
        for n in range(10)
    ]
    numbers = [
        Case(
            id=f"n{n}",
            vignette=f"Calculate the anion gap: sodium 1{n}0, chloride 100, bicarbonate 20.",
            diagnosis="12",
            kind="number",
            limits=(11, 13),
        )
        for n in range(10)
    ]
    return [*choices, *numbers]


def test_routing_gains_where_each_kind_needs_its_own_form() -> None:
    found = gate(cases(), Strict(), Marker(load()), one="choice@1", sampling=Sampling(), margin=0.1, alpha=0.01)
    decided = [verdict for verdict in found.verdicts if verdict.finding is not None]
    assert [(v.before, v.after, v.only_after, v.finding) for v in decided] == [
        ("routing off", "routing on", 20, "gained"),
        ("choice@1", "routing on", 10, "gained"),
    ]
    cells = {(v.before, v.group): v.difference for v in found.verdicts if v.finding is None}
    assert cells["choice@1", "kind=number"] == 1.0
    assert cells["choice@1", "kind=diagnosis"] == 0.0
    assert set(found.templates.values()) == {"choice@1", "calculation@1"}
    assert [len(grades) for grades in found.grades.values()] == [20, 20, 20]


def test_an_unknown_template_stops_the_gate() -> None:
    with pytest.raises(UserError, match=r"^template 'none@1' does not exist; use one of "):
        gate(cases(), Strict(), Marker(load()), one="none@1", sampling=Sampling(), margin=0.1, alpha=0.01)
