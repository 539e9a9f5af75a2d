"""The oracle reasons without a wrong step, and its ceiling lies where the exam is neither trivial nor hopeless."""

from __future__ import annotations

from random import Random

import pytest

from rounds.cases import oracle
from rounds.cases.generate import Drawn
from rounds.cases.world import World
from rounds.grade.mark import Marker, faults
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Prompt, Sampling, Split, Trace

Cases = dict[Split, list[Drawn]]


def traced(case_id: str, thought: oracle.Thought) -> Trace:
    return Trace(
        prompt=Prompt(case_id=case_id, template="differential@1", messages=()),
        model="oracle",
        engine="oracle",
        sampling=Sampling(),
        thinking=thought.thinking,
        reply=thought.reply,
        finish="stop",
        thinking_tokens=0,
        reply_tokens=0,
    )


@pytest.fixture(scope="module")
def marker(knowledge: KnowledgeBase) -> Marker:
    return Marker(knowledge)


def test_no_thought_of_the_oracle_has_a_fault(world: World, drawn: Cases, marker: Marker) -> None:
    random = Random(5)
    claims = 0
    for one in drawn["teach"][:200]:
        grade = marker.mark(one.case, traced(one.case.id, oracle.think(world, one, random)))
        assert faults(one.case, grade) == (), f"{one.case.id}: {grade.steps}"
        assert grade.steps is not None
        claims += grade.steps.claims
    assert claims > 1200


def test_direct_answers_have_no_fault_either(world: World, drawn: Cases, marker: Marker) -> None:
    for one in drawn["teach"][:200]:
        thought = oracle.direct(world, one)
        assert thought.thinking == ""
        assert faults(one.case, marker.mark(one.case, traced(one.case.id, thought))) == ()


def test_a_thought_with_a_planted_error_is_refused(world: World, drawn: Cases, marker: Marker) -> None:
    one = next(one for one in drawn["teach"] if not one.case.outside and "seizure" not in one.case.present)
    thought = oracle.think(world, one, Random(1))
    worse = oracle.Thought(f"Seizure fits generalised epilepsy. {thought.thinking}", thought.reply)
    assert faults(one.case, marker.mark(one.case, traced(one.case.id, worse))) == ("finding not true of the case",)


def test_the_ceiling_lies_in_the_stated_band(world: World, drawn: Cases) -> None:
    ceiling = oracle.ceiling(world, drawn["exam"])
    assert ceiling["n"] == 660
    assert 0.75 <= ceiling["top1"] <= 0.85
    assert 0.95 <= ceiling["top5"] <= 0.98


def test_the_ceiling_knows_the_page_alone(world: World, drawn: Cases) -> None:
    """The order comes from what was seen; the true condition is used for lessons only."""
    one = drawn["exam"][0]
    assert oracle.five(world, one.seen) == oracle.five(world, one.seen)
    other = Drawn(one.case.model_copy(update={"condition": drawn["exam"][300].case.condition}), one.seen)
    assert oracle.five(world, other.seen) == oracle.five(world, one.seen)


def test_lessons_hold_the_truth_at_the_latest_in_fifth_place(world: World, drawn: Cases) -> None:
    missed = 0
    for one in drawn["teach"]:
        if not one.case.outside:
            lines = oracle.direct(world, one).reply.splitlines()
            names = [line.split(". ", 1)[1] for line in lines[:5]]
            assert f"{one.case.diagnosis[0].upper()}{one.case.diagnosis[1:]}" in names
            assert len(set(names)) == 5
            missed += world.index[one.case.condition] not in oracle.five(world, one.seen)
    assert missed > 0


def test_outside_cases_are_answered_by_abstaining(world: World, drawn: Cases) -> None:
    one = next(one for one in drawn["teach"] if one.case.outside)
    thought = oracle.think(world, one, Random(0))
    assert thought.reply == oracle.ABSTENTION
    assert any(line in thought.thinking for line in oracle.UNPLACED)


def test_wording_varies(world: World, drawn: Cases) -> None:
    one = next(one for one in drawn["teach"] if not one.case.outside)
    assert len({oracle.think(world, one, Random(seed)).thinking for seed in range(10)}) > 5
