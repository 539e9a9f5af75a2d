"""Each level of the cascade on hand-written pairs, the five places, and one ruling for one pair."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.grade.cascade import Cascade, Ruling, answer_key, plain, right_key
from rounds.knowledge.base import load
from rounds.records import Case


@cache
def whole() -> Cascade:
    return Cascade(load())


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return whole()


def case(diagnosis: str, *also: str, icd10: str = "", condition: str = "") -> Case:
    return Case(id="c", vignette="v", diagnosis=diagnosis, also_called=also, icd10=icd10, condition=condition)


@pytest.mark.parametrize(
    ("right", "answer", "state", "level"),
    [
        (case("ischaemic stroke"), "Stroke, ischemic.", "right", "exact"),
        (case("ischaemic stroke"), "cerebral infarction", "right", "synonym"),
        (case("red nose of clowns", "clown's rhinitis"), "Clown rhinitis", "right", "synonym"),
        (case("gout", condition="gout"), "podagra", "right", "synonym"),
        (case("typhoid", icd10="A01.0"), "Typhoid fever", "right", "synonym"),
        (case("fever of the canal diggers", icd10="A00"), "Cholera", "right", "code"),
        (
            case("fever of the canal diggers", icd10="A00"),
            "Cholera due to Vibrio cholerae 01, biovar eltor",
            "right",
            "code",
        ),
        (case("fever of the canal diggers", icd10="A00.1"), "Cholera", "near", None),
        (case("bacterial meningitis"), "meningitis", "near", None),
        (case("type 1 diabetes"), "type 2 diabetes", "wrong", None),
        (case("gout"), "an imbalance of the humours", "open", None),
        (case("痛風"), "痛風。", "right", "exact"),
        (case("痛風"), "風邪", "open", None),
        (case("痛風", "gout"), "podagra", "right", "synonym"),
        (case("痛風", "つうふう"), "つうふう", "right", "synonym"),
    ],
)
def test_levels(cascade: Cascade, right: Case, answer: str, state: str, level: str | None) -> None:
    ruling = cascade.rule(right, answer)
    assert (ruling.state, ruling.level) == (state, level)
    assert ruling.why or state == "open"


def test_one_pair_has_one_ruling_however_it_is_written_and_whoever_answers(cascade: Cascade) -> None:
    first = cascade.rule(case("gout"), "Septic Arthritis")
    assert cascade.rule(case("gout").model_copy(update={"id": "another"}), "septic arthritis.") is first


def test_a_person_overrules_and_the_overruled_pair_stays_so(cascade: Cascade) -> None:
    right = case("Rider's complaint")
    ruling = cascade.rule(right, "saddle trouble")
    assert ruling.state == "open"
    cascade.overrule([ruling.model_copy(update={"state": "right", "level": "human", "why": "AB"})])
    assert cascade.rule(right, "Saddle Trouble").level == "human"


def test_other_names_or_another_code_make_another_right_diagnosis() -> None:
    keys = {right_key(case("gout")), right_key(case("gout", "podagra")), right_key(case("gout", icd10="M10"))}
    assert len(keys) == 3
    assert right_key(case("x", "a", "b")) == right_key(case("x", "b", "a"))


@pytest.mark.parametrize(
    ("slots", "places"),
    [
        (["gout", "Gout.", "GOUT", "flu"], ("gout", "flu")),
        (["gout or flu", "croup"], ("gout", "flu", "croup")),
        (["a1", "b2", "c3", "d4", "e5", "f6"], ("a1", "b2", "c3", "d4", "e5")),
        (["gout, flu, croup, mumps, measles, rabies"], ("gout", "flu", "croup", "mumps", "measles")),
        (["hand, foot and mouth disease", "flu"], ("hand, foot and mouth disease", "flu")),
        (["diabetes mellitus, type 2"], ("diabetes mellitus, type 2",)),
        (["saddle sore, left, severe", "flu"], ("saddle sore left severe", "flu")),
        (["pneumonia, due to aspiration"], ("pneumonia due to aspiration",)),
        (["heart failure, COPD"], ("heart failure", "COPD")),
        (["**Final Diagnosis:** gout"], ("gout",)),
        (["Final diagnosis: gout / pseudogout"], ("gout", "pseudogout")),
        (["osteoarthritis (knee, hip)"], ("osteoarthritis (knee, hip)",)),
        (["none", "Unknown", "", "  ", "multiple"], ()),
        (["痛風、風邪"], ("痛風", "風邪")),
    ],
)  # fmt: skip
def test_places(cascade: Cascade, slots: list[str], places: tuple[str, ...]) -> None:
    assert cascade.places(case("gout"), slots) == places


def test_a_right_name_with_commas_stays_whole(cascade: Cascade) -> None:
    right = case("fever, thirst and wanderlust")
    assert cascade.places(right, ["Fever, thirst and wanderlust"]) == ("Fever, thirst and wanderlust",)


def test_names_in_latin_letters_are_told_from_others() -> None:
    assert plain("β-thalassaemia")
    assert plain("Sjögren’s syndrome")
    assert not plain("痛風")
    assert not plain("1型糖尿病")
    assert not plain("")
    assert answer_key("痛風。") == "痛風"
    assert answer_key("Crohn's Disease") == "crohn disease"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=7), st.text(min_size=1, max_size=40))
def test_nothing_makes_it_raise_and_five_is_five(slots: list[str], diagnosis: str) -> None:
    cascade = whole()
    right = case(diagnosis.encode("utf-8", "replace").decode())
    places = cascade.places(right, slots)
    assert len(places) <= 5
    assert len({answer_key(place) for place in places}) == len(places)
    for place in places:
        ruling = cascade.rule(right, place)
        assert Ruling.model_validate_json(ruling.model_dump_json()) == ruling
