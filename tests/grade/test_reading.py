"""Sentences are read for what they state, deny or only speak of; numbers and free case texts likewise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.grade.reading import Sentence, facts, facts_of_text, fold, lexicon, read
from rounds.knowledge.base import KnowledgeBase, load
from rounds.records import Case


@pytest.fixture(scope="module")
def knowledge() -> KnowledgeBase:
    return load()


def one(text: str, knowledge: KnowledgeBase) -> Sentence:
    (sentence,) = read(text, knowledge)
    return sentence


@pytest.mark.parametrize(
    ("text", "stated", "denied", "spoken"),
    [
        ("She has fever and a cough.", {"fever", "cough"}, set(), set()),
        ("No fever, cough or wheeze.", set(), {"fever", "cough", "wheeze"}, set()),
        ("There is fever but no cough.", {"fever"}, {"cough"}, set()),
        ("He denies fever, has a cough.", {"cough"}, {"fever"}, set()),
        ("He does not have fever or cough.", set(), {"fever", "cough"}, set()),
        ("Fever is absent, but cough is present.", {"cough"}, {"fever"}, set()),
        ("Fever present, cough absent.", {"fever"}, {"cough"}, set()),
        ("Fever was not reported.", set(), {"fever"}, set()),
        ("Fever has never been present.", set(), {"fever"}, set()),
        ("Negative for fever and wheeze.", set(), {"fever", "wheeze"}, set()),
        ("Absent: fever or cough.", set(), {"fever", "cough"}, set()),
        ("Not present: fever, cough.", set(), {"fever", "cough"}, set()),
        ("He denied any fever.", set(), {"fever"}, set()),
        ("Not only fever, also cough.", {"fever", "cough"}, set(), set()),
        ("And do not forget the wheeze.", {"wheeze"}, set(), set()),
        ("Denies odd dreams, hot ears, sore feet, itching, or fever.", set(), {"itching", "fever"}, set()),
        ("Without fever she would be at home.", set(), {"fever"}, set()),
        ("Migraine often brings vomiting.", set(), set(), {"vomiting"}),
        ("Croup usually presents with fever and stridor.", set(), set(), {"fever", "stridor"}),
        ("If it were croup, I would expect stridor.", set(), set(), {"stridor"}),
        ("Asthma is not typically linked with fever.", set(), set(), {"fever"}),
        ("The fever may point to pneumonia.", {"fever"}, set(), set()),
        ("Haemoptysis and COUGHING UP BLOOD.", {"coughing_blood"}, set(), set()),
        ("Fever fits croup.", {"fever"}, set(), set()),
        ("Two seizures were seen.", {"seizure"}, set(), set()),
    ],
)  # fmt: skip
def test_what_a_sentence_says(
    text: str, stated: set[str], denied: set[str], spoken: set[str], knowledge: KnowledgeBase
) -> None:
    sentence = one(text, knowledge)
    assert (set(sentence.stated), set(sentence.denied), set(sentence.spoken)) == (stated, denied, spoken)


@pytest.mark.parametrize(
    ("text", "named", "opposed"),
    [
        ("Fever fits croup.", ["croup"], []),
        ("Fever speaks against croup.", ["croup"], ["croup"]),
        ("Croup is unlikely with this cough.", ["croup"], ["croup"]),
        ("The cough makes croup less likely.", ["croup"], ["croup"]),
        ("Cough fits croup rather than epiglottitis.", ["croup", "epiglottitis"], ["epiglottitis"]),
        ("Cough fits croup but speaks against epiglottitis.", ["croup", "epiglottitis"], ["epiglottitis"]),
        ("This cough is not croup.", ["croup"], ["croup"]),
    ],
)
def test_what_a_sentence_argues(text: str, named: list[str], opposed: list[str], knowledge: KnowledgeBase) -> None:
    sentence = one(text, knowledge)
    assert (list(sentence.named), list(sentence.opposed)) == (named, opposed)


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        ("Temperature 39.2 °C.", "fever", "low_temperature"),
        ("Temperature was 34.1 °C.", "low_temperature", "fever"),
        ("Sodium: 121 mmol/L", "low_sodium", ""),
        ("Heart rate 138 bpm.", "fast_pulse", "slow_pulse"),
        ("C-reactive protein (88 mg/L)", "raised_crp", ""),
    ],
)
def test_a_number_past_its_threshold_states_its_finding(
    text: str, present: str, absent: str, knowledge: KnowledgeBase
) -> None:
    known = facts_of_text(text, knowledge)
    assert present in known.present
    assert absent not in known.present


@pytest.mark.parametrize("text", ["Temperature 101 F.", "Temperature 39", "Sodium 121 mEq/kg", "Room 39 °C"])
def test_a_number_in_another_unit_says_nothing(text: str, knowledge: KnowledgeBase) -> None:
    assert facts_of_text(text, knowledge).present == frozenset()


def test_a_normal_number_denies(knowledge: KnowledgeBase) -> None:
    known = facts_of_text("Temperature 36.8 °C, haemoglobin 14.1 g/dL.", knowledge)
    assert {"fever", "low_temperature", "anaemia"} <= known.absent
    assert known.present == frozenset()


def test_structured_findings_are_taken_where_there_are_some(knowledge: KnowledgeBase) -> None:
    case = Case(id="c", vignette="Fever and cough.", diagnosis="croup", present=("wheeze",), absent=("fever",))
    known = facts(case, knowledge)
    assert (known.present, known.absent, known.free) == ({"wheeze"}, {"fever"}, False)
    free = facts(case.model_copy(update={"present": (), "absent": ()}), knowledge)
    assert free.present == {"fever", "cough"}
    assert free.free


def test_in_a_free_text_the_words_themselves_count(knowledge: KnowledgeBase) -> None:
    known = facts_of_text("A barking cough all night, no fever. Her racing heart stopped.", knowledge)
    assert known.states("cough", "cough")
    assert known.states("palpitations", "racing heart")
    assert not known.states("fever", "fever")
    assert not known.states("wheeze", "wheeze")


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    knowledge = load()
    for sentence in read(text, knowledge):
        assert set(sentence.findings) <= set(knowledge.findings)
        assert set(sentence.opposed) <= set(sentence.named) <= set(knowledge.conditions)


@given(st.text(max_size=60))
def test_folding_twice_changes_nothing(text: str) -> None:
    once = fold(text)
    assert fold(once) == once


@pytest.mark.parametrize(
    ("one_way", "other"),
    [
        ("Haemoglobin", "hemoglobin"),
        ("oedema", "edema"),
        ("diarrhoea", "diarrhea"),
        ("generalised", "generalized"),
        ("tumours", "tumor"),
        ("Guillain-Barré syndrome", "guillain barre syndrome"),
        ("leucopenia", "leukopenia"),
        ("Crohn’s disease", "Crohn disease"),
    ],
)
def test_spellings_are_one(one_way: str, other: str) -> None:
    assert fold(one_way) == fold(other)


def test_every_vignette_wording_is_found_in_its_sentence(knowledge: KnowledgeBase) -> None:
    words = lexicon(knowledge)
    for finding in knowledge.findings.values():
        for says in finding.says:
            assert finding.id in words.mentions(f"There is {says}, too.")[0], says
