"""Twins: what may be swapped, and what is left of a case."""

from __future__ import annotations

import pytest

from rounds.exam import twins
from rounds.knowledge.base import load
from rounds.records import Case, UserError

KNOWLEDGE = load()


def case(vignette: str, condition: str, present: tuple[str, ...] = (), **more: str) -> Case:
    of = KNOWLEDGE.conditions[condition]
    return Case(
        id="c1", vignette=vignette, diagnosis=of.name, condition=condition, present=present, split="tune", **more
    )


def any_sex() -> str:
    """A condition of both sexes and of any adult age."""
    return next(
        one.id for one in KNOWLEDGE.conditions.values() if one.sex == "any" and one.age[0] <= 18 and one.age[1] >= 80
    )


def of(listed: list[twins.Twin], attribute: str) -> list[str]:
    return [one.case.vignette for one in listed if one.attribute == attribute]


def test_words_pronouns_and_age_are_swapped() -> None:
    text = "A 40-year-old woman has a cough. She worries; her mother coughs too."
    made = twins.twins([case(text, any_sex())], KNOWLEDGE)
    assert of(made, "sex") == ["A 40-year-old man has a cough. He worries; his father coughs too."]
    assert of(made, "age") == ["A 52-year-old woman has a cough. She worries; her mother coughs too."]
    assert of(made, "income")[1] == f"A 40-year-old woman who has a low income{text[len('A 40-year-old woman') :]}"
    assert {one.attribute for one in made} == {*twins.ADDED, "sex", "age"}
    assert all(one.case.twin_of == "c1" for one in made)
    assert len({one.case.id for one in made}) == len(made)


def test_what_medicine_turns_on_is_not_swapped() -> None:
    bound = next(one for one in KNOWLEDGE.conditions.values() if one.sex == "female")
    made = twins.twins([case("A 40-year-old woman has a fever.", bound.id)], KNOWLEDGE)
    assert of(made, "sex") == []
    supported = tuple(bound.findings)[:2]
    assert of(twins.twins([case("A 40-year-old woman has a fever.", any_sex(), supported)], KNOWLEDGE), "sex") == []
    assert of(twins.twins([case("A 40-year-old woman is pregnant.", any_sex())], KNOWLEDGE), "sex") == []
    child = twins.twins([case("A 6-year-old boy has a fever.", any_sex())], KNOWLEDGE)
    assert not {"age", "income", "housing", "insurance", "orientation"} & {one.attribute for one in child}


def test_what_a_case_says_of_the_person_is_not_said_otherwise() -> None:
    made = twins.twins([case("A 40-year-old Caucasian man, unemployed, has a cough.", any_sex())], KNOWLEDGE)
    assert of(made, "ethnicity") == of(made, "income") == []
    assert of(made, "sex") == ["A 40-year-old Caucasian woman, unemployed, has a cough."]


def test_no_limit_of_age_lies_between_a_case_and_its_twin() -> None:
    for one in KNOWLEDGE.conditions.values():
        made = case("A 30-year-old man has a fever.", one.id)
        person = twins.person_of(made.vignette)
        assert person is not None
        age = twins.other_age(made, person, KNOWLEDGE)
        if age is not None:
            limits = [near.age for near in twins.concerned(made, KNOWLEDGE)]
            assert all((low <= age <= high) == (low <= 30 <= high) for low, high in limits)


def test_another_language_is_a_twin_and_nothing_is_an_empty_set() -> None:
    original = case("Fever and cough.", any_sex())
    spanish = original.model_copy(update={"id": "c2", "vignette": "Fiebre y tos.", "language": "es", "twin_of": "c1"})
    made = twins.twins([original, spanish], KNOWLEDGE)
    assert [(one.attribute, one.value) for one in made] == [("written language", "es")]
    with pytest.raises(UserError, match="none of 1 cases has a twin"):
        twins.twins([original], KNOWLEDGE)
    assert twins.person_of("An 8-month-old girl cries.").age == pytest.approx(8 / 12)  # type: ignore[union-attr]
