"""Words of names come to one form, whatever the spelling, and the word lists do not contradict each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.grade.words import essence, singular, tokens, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Haemorrhoids", "hemorrhoid"),
        ("kidney stones", "renal calculus"),
        ("fracture of the femur", "Femoral fracture"),
        ("post traumatic arthritis", "posttraumatic arthritis"),
        ("non-alcoholic fatty liver", "nonalcoholic fatty liver"),
        ("β-thalassaemia", "beta thalassemia"),
        ("diabetes mellitus type II", "type 2 diabetes mellitus"),
        ("bronchial metastases", "metastasis of the bronchus"),
        ("suspected phaeochromocytoma", "pheochromocytoma"),
        ("2nd degree burn", "burn, second degree"),
        ("Behçet’s disease", "behcet disease"),
        ("headaches", "headache"),
    ],
)
def test_two_spellings_have_the_same_words(one: str, other: str) -> None:
    assert sorted(tokens(one)) == sorted(tokens(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hepatitis A", "hepatitis B"),
        ("vitamin D deficiency", "vitamin C deficiency"),
        ("hypothyroidism", "hyperthyroidism"),
        ("nonbacterial prostatitis", "bacterial prostatitis"),
        ("type 1 diabetes", "type 2 diabetes"),
        ("ureteritis", "urethritis"),
    ],
)
def test_different_words_stay_different(one: str, other: str) -> None:
    assert sorted(tokens(one)) != sorted(tokens(other))


@pytest.mark.parametrize(
    ("plural", "word"),
    [
        ("lymphomata", "lymphoma"),
        ("diagnoses", "diagnosis"),
        ("diseases", "disease"),
        ("allergies", "allergy"),
        ("abscesses", "abscess"),
        ("headaches", "headache"),
        ("rashes", "rash"),
        ("sinuses", "sinus"),
        ("scabies", "scabies"),
        ("arthritis", "arthritis"),
        ("lupus", "lupus"),
        ("pancreas", "pancreas"),
    ],
)
def test_singular(plural: str, word: str) -> None:
    assert singular(plural) == word


def test_the_essence_of_a_name_lacks_its_head_word_but_not_beside_a_mere_place() -> None:
    assert essence(tokens("Parkinson disease")) == {"parkinson"}
    assert essence(tokens("kidney disease")) == {"kidney", "disease"}
    assert essence(tokens("Cushing disease")) != essence(tokens("Cushing syndrome"))


def test_axes_and_minor_words() -> None:
    known = words()
    assert known.conflict({"left"}, {"right"})
    assert not known.conflict({"left"}, {"acute"})
    assert known.conflict({"viral"}, {"bacterial"})
    assert not known.conflict({"viral"}, {"bacterial"}, hard=True)
    assert known.droppable(frozenset({"acute"}), frozenset({"appendicitis"}))
    assert not known.droppable(frozenset({"acute"}), frozenset({"leukemia"}))
    assert not known.droppable(frozenset({"bacterial"}), frozenset({"meningitis"}))


def test_the_lists_agree_with_each_other() -> None:
    known = words()
    assert known.minor <= known.addable <= known.weak
    assert known.passing <= known.minor
    assert not known.filling & known.addable
    assert not set(known.same) & set(known.same.values()), "a word stands for another that itself stands for a third"


@given(st.text(max_size=60))
def test_any_text_has_words_and_none_of_them_is_filling(text: str) -> None:
    found = tokens(text)
    assert not set(found) & words().filling
    assert essence(found) <= set(found)
