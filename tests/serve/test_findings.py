"""Findings in a case with their places, and who says what for and against a diagnosis."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.knowledge.base import load
from rounds.serve.findings import Argument, Arguments, finding_of, literal, seen

KNOWLEDGE = load()
CASE = (
    "A 67-year-old woman has sudden breathlessness and is coughing up blood. Known: smoking for decades.\n"
    "Oxygen saturation 86 %, heart rate 118 /min. No fever; she doesn’t have leg swelling."
)


def test_places_are_those_of_the_text() -> None:
    found = {one.id: one for one in seen(CASE, KNOWLEDGE)}
    assert {mark.text for one in found.values() for mark in one.marks} >= {
        "breathlessness",
        "coughing up blood",
        "smoking for decades",
        "Oxygen saturation 86 %",
        "heart rate 118 /min",
        "fever",
    }
    for one in found.values():
        assert one.marks
        for mark in one.marks:
            assert CASE[mark.start : mark.end] == mark.text
    assert [one.id for one in found.values() if one.denied] == ["fever"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "fever",
                "no fever",
                "Ⅳ",
                "½",
                "coughing up blood",
                "\n",
                "’s",
                "don't",
                "µg/L",
                "é",
                "<b>",
                "🫀",
                "breathlessness,",
            ]
        ),
        max_size=12,
    )
)
def test_places_hold_for_any_text(words: list[str]) -> None:
    text = " ".join(words)
    for one in seen(text, KNOWLEDGE):
        for mark in one.marks:
            assert text[mark.start : mark.end] == mark.text
            assert mark.text


def arguments(thinking: str = "", reply: str = "", case: str = CASE) -> Arguments:
    return Arguments(case, KNOWLEDGE, thinking, reply, seen(case, KNOWLEDGE))


def names(side: tuple[Argument, ...]) -> dict[str, tuple[str, ...]]:
    return {("no " if one.absent else "") + one.finding: one.voices for one in side}


def test_the_knowledge_base_speaks_by_itself() -> None:
    speaks_for, against = arguments().of("pulmonary embolism", "pulmonary_embolism")
    assert names(speaks_for)["breathlessness"] == ("knowledge base",)
    assert names(speaks_for)["coughing up blood"] == ("knowledge base",)
    pneumonia = arguments().of("pneumonia", "community_acquired_pneumonia")[1]
    assert names(pneumonia)["no fever"] == ("knowledge base",)
    assert "no fever" not in names(against)


def test_the_model_speaks_by_its_thoughts() -> None:
    thinking = (
        "Breathlessness suggests pulmonary embolism. Heavy smoking speaks against pulmonary embolism. "
        "No fever, so less likely: community-acquired pneumonia. Swelling of one leg fits pulmonary embolism."
    )
    speaks_for, against = arguments(thinking).of("pulmonary embolism", "pulmonary_embolism")
    assert names(speaks_for)["breathlessness"] == ("model", "knowledge base")
    assert names(against) == {"heavy smoking": ("model",)}
    invented = next(one for one in speaks_for if one.finding == "swelling of one leg")
    assert (invented.doubt, invented.marks) == ("not in the case", ())
    assert speaks_for[-1] == invented  # what holds comes first
    pneumonia = arguments(thinking).of("community-acquired pneumonia", "community_acquired_pneumonia")[1]
    assert names(pneumonia) == {"no fever": ("model", "knowledge base")}


def test_the_model_speaks_by_its_list() -> None:
    reply = (
        "1. Pulmonary embolism - for: breathlessness, sudden breathlessness, fever; against: no fever\n"
        "2. **Gout** - for: none; against: heart rate 118"
    )
    speaks_for, against = arguments(reply=reply).of("Pulmonary embolism", "pulmonary_embolism")
    doubts = {one.finding: one.doubt for one in speaks_for}
    assert doubts["breathlessness"] == ""
    assert doubts["fever"] == "denied in the case"
    assert names(against)["no fever"] == ("model",)
    assert [one.marks[0].text for one in arguments(reply=reply).of("Gout", "")[1]] == ["heart rate 118"]


def test_a_diagnosis_nobody_knows_is_read_by_its_own_words() -> None:
    thinking = "Breathlessness suggests Takotsubo cardiomyopathy."
    speaks_for, against = arguments(thinking).of("Takotsubo cardiomyopathy", "")
    assert names(speaks_for) == {"breathlessness": ("model",)}
    assert against == ()


@pytest.mark.parametrize(("words", "found"), [("HEART rate", "heart rate"), ("eart", ""), ("", ""), ("a(b", "")])
def test_literal(words: str, found: str) -> None:
    assert "".join(mark.text for mark in literal(words, CASE)) == found


def test_finding_of() -> None:
    assert KNOWLEDGE.findings[finding_of("Coughing up blood", KNOWLEDGE)].name == "coughing up blood"
    assert finding_of("a look of unease", KNOWLEDGE) == ""
