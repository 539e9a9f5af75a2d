from __future__ import annotations

import pytest

from rounds.recipe import Grpo
from rounds.records import Answer, Case, Grade, Level, StepCheck
from rounds.train.rewards import REWARDS, form, length, rank, red_flag, steps, weights

CASE = Case(id="c", vignette="v", diagnosis="meningitis", red_flags=("neck stiffness", "rash"))
OUTSIDE = Case(id="o", vignette="v", diagnosis="a rare thing", outside=True)


def grade(**fields: object) -> Grade:
    return Grade.model_validate({"case_id": "c", "answer": Answer(case_id="c"), "correct": None} | fields)


@pytest.mark.parametrize(("place", "worth"), [(1, 1.0), (2, 0.6), (3, 0.5), (4, 0.4), (5, 0.3), (None, 0.0)])
def test_a_higher_place_is_worth_more(place: int | None, worth: float) -> None:
    assert rank(CASE, grade(rank=place, level="exact")) == worth


@pytest.mark.parametrize("level", ["synonym", "code", "judge", "human", None])
def test_only_the_exact_name_earns(level: Level | None) -> None:
    assert rank(CASE, grade(rank=1, level=level)) == 0.0


def test_outside_the_knowledge_base_abstaining_earns() -> None:
    abstained = grade(answer=Answer(case_id="o", abstained=True))
    assert (rank(OUTSIDE, abstained), form(OUTSIDE, abstained)) == (1.0, 1.0)
    assert (rank(OUTSIDE, grade(rank=1, level="exact")), form(OUTSIDE, grade())) == (0.0, 0.0)
    assert (rank(CASE, abstained), form(CASE, abstained)) == (0.0, 0.0)


def flags(*named: str) -> Answer:
    return Answer(case_id="c", red_flags=named)


@pytest.mark.parametrize(
    ("answer", "right", "total", "worth"),
    [
        (flags("neck stiffness", "rash"), 2, 2, 1.0),
        (flags("neck stiffness"), 1, 2, 0.5),
        (flags("neck stiffness", "fever"), 1, 2, 0.0),  # one right, one invented
        (flags("a", "b", "c"), 0, 2, 0.0),
        (flags(), 0, 0, 1.0),
        (flags("fever"), 0, 0, 0.0),
    ],
)
def test_an_invented_red_flag_costs_as_much_as_a_named_one_earns(
    answer: Answer, right: int, total: int, worth: float
) -> None:
    assert red_flag(CASE, grade(answer=answer, red_flags_named=right, red_flags_total=total)) == worth


def test_five_valid_diagnoses_earn_the_form() -> None:
    assert (form(CASE, grade(valid_five=True)), form(CASE, grade())) == (1.0, 0.0)


def test_reasoning_earns_by_the_share_of_claims_that_hold() -> None:
    assert steps(CASE, grade(steps=StepCheck(claims=4, invented=("fever",)))) == 0.75
    assert steps(CASE, grade(steps=StepCheck(claims=1, invented=("a", "b")))) == 0.0
    assert steps(CASE, grade(steps=StepCheck())) == 0.0  # silence earns nothing
    assert steps(CASE, grade()) == 0.0


def test_short_reasoning_earns_only_when_right() -> None:
    assert length(CASE, grade(correct=True, thinking_tokens=100)) == 0.75
    assert length(CASE, grade(correct=True, thinking_tokens=4000)) == 0.0
    assert length(CASE, grade(correct=False, thinking_tokens=0)) == 0.0


def test_a_recipe_names_the_rewards_it_weighs() -> None:
    assert set(weights(Grpo())) == {"rank", "red_flag", "format", "steps"}
    assert weights(Grpo(rank_weight=0, length_weight=0.5)) == {
        "red_flag": 0.2,
        "format": 0.2,
        "steps": 0.3,
        "length": 0.5,
    }
    everything = Grpo(length_weight=1)
    assert list(weights(everything)) == list(REWARDS)
