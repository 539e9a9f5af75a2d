"""Same disease, narrower, broader, another one, or not shown: by words, names and kinds. Every example by hand."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.grade.lexicon import lexicon, read_names
from rounds.grade.match import Reader, genus, initials, slip
from rounds.knowledge.base import load


@cache
def whole() -> Reader:
    return Reader(lexicon(load()))


@pytest.fixture(scope="module")
def reader() -> Reader:
    return whole()


@pytest.mark.parametrize(
    ("right", "answer"),
    [
        ("acute myocardial infarction", "Heart attack"),
        ("myocardial infarction", "acute inferior wall myocardial infarction"),
        ("nephrolithiasis", "left kidney stone"),
        ("Addison's disease", "primary adrenal insufficiency (Addison disease)"),
        ("appendicitis", "Acute perforated appendicitis"),
        ("acute appendicitis", "appendicitis"),
        ("chickenpox", "Varicella (chickenpox)"),
        ("gout", "acute gout flare"),
        ("hypertension", "Essential hypertension"),
        ("meningitis", "viral meningitis"),
        ("diabetes mellitus", "type 2 diabetes"),
        ("polymyalgia rheumatica", "PMR"),
        ("complex regional pain syndrome", "CRPS"),
        ("aortic dissection", "Possible aortic dissection."),
        ("cirrhosis", "cirrhosis due to hepatitis C"),
        ("lead poisoning", "Plumbism"),
        ("acoustic neuroma", "vestibular schwannoma / acoustic neuroma"),
        ("psoriasis", "psoraisis"),
        ("anaphylaxis", "peanut-induced anaphylaxis"),
        ("Mallory-Weiss syndrome", "Mallory Weiss tear"),
        ("orbital blowout fracture", "blowout fracture"),
        ("Escherichia coli sepsis", "E. coli sepsis"),
        ("h. pylori gastritis", "Helicobacter pylori gastritis"),
    ],
)
def test_the_right_disease_in_other_words(reader: Reader, right: str, answer: str) -> None:
    assert reader.relation(right, answer) in ("same", "narrower")


@pytest.mark.parametrize(
    ("right", "answer"),
    [
        ("type 1 diabetes", "type 2 diabetes"),
        ("hypothyroidism", "hyperthyroidism"),
        ("acute pancreatitis", "chronic pancreatitis"),
        ("non-Hodgkin lymphoma", "Hodgkin lymphoma"),
        ("ischaemic stroke", "haemorrhagic stroke"),
        ("primary hyperparathyroidism", "secondary hyperparathyroidism"),
        ("left bundle branch block", "right bundle branch block"),
        ("hepatitis A", "hepatitis B"),
        ("delirium", "delirium tremens"),
        ("hypertension", "portal hypertension"),
        ("acute respiratory distress syndrome", "neonatal respiratory distress syndrome"),
        ("Cushing disease", "Cushing syndrome"),
        ("ureteral stricture", "urethral stricture"),
        ("prostate cancer", "cancer"),
        ("bacterial meningitis", "meningitis"),
        ("sepsis", "pneumonia"),
        ("liver abscess", "abscess"),
        ("depression", "cognitive decline due to depression"),
        ("gout", ""),
        ("gout", "nothing"),
        ("cyst", "ovarian cyst"),
    ],
)
def test_another_or_a_vaguer_disease_never_matches(reader: Reader, right: str, answer: str) -> None:
    assert reader.relation(right, answer) not in ("same", "narrower")


def test_too_general_is_told_apart_from_another_disease(reader: Reader) -> None:
    assert reader.relation("Crohn disease", "inflammatory bowel disease") == "broader"
    assert reader.relation("bacterial meningitis", "meningitis") == "broader"
    assert reader.relation("Crohn disease", "ulcerative colitis") == "other"
    assert reader.relation("Crohn disease", "the evil eye") == "unknown"


def test_a_right_name_with_a_companion_wants_just_the_disease(reader: Reader) -> None:
    right = "arthritis associated with sarcoidosis"
    assert reader.relation(right, "arthritis") == "same"
    assert reader.relation(right, "septic arthritis") not in ("same", "narrower")


def test_brackets_hold_another_name_only_at_the_end(reader: Reader) -> None:
    assert reader.relation("plumbism", "blood disease (lead poisoning)") == "same"
    assert reader.relation("complex (gout) deficiency type 1", "complex (gout) deficiency type 2") != "same"


def test_a_slash_parts_names_only_where_both_are_known(reader: Reader) -> None:
    assert reader.relation("gout", "gout/pseudogout") == "same"
    assert reader.relation("blue/green disease", "green/red disease") not in ("same", "narrower")


def test_names_are_known_or_only_describe(reader: Reader) -> None:
    assert reader.known("Stein-Leventhal syndrome")
    assert not reader.known("left")
    assert reader.describes("left")
    assert reader.describes("degenerative")
    assert reader.describes("due to smoking")
    assert not reader.describes("diabetic foot ulcer")


def test_a_genus_may_be_its_first_letter() -> None:
    assert genus("P. aeruginosa", "Pseudomonas aeruginosa")
    assert not genus("P. aeruginosa", "Proteus mirabilis")
    assert not genus("P. aeruginosa", "aeruginosa")
    # Only a name in two words with a Latin end: no article, no letter that is a type.
    assert not genus("a pneumonia", "aspiration pneumonia")
    assert not genus("T. cell lymphoma", "testicular cell lymphoma")


@pytest.mark.parametrize("word", ["SLE", "sle", "S.L.E."])
def test_initials(word: str) -> None:
    assert initials(word, "systemic lupus erythematosus") is (word != "S.L.E.")
    assert initials("POTS", "postural orthostatic tachycardia syndrome")
    assert not initials("gout", "giant osteoid ugly tumor x")
    assert not initials("PE", "pulmonary embolism")


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("psitacosis", "psittacosis", True),
        ("occulsion", "occlusion", True),
        ("asthma", "asthma", False),
        ("hyperkalemia", "hypokalemia", False),
        ("scurvy", "scabies", False),
        ("abcd", "abdc", True),
        ("abc", "abcde", False),
    ],
)
def test_one_slip_of_the_pen(one: str, other: str, apart: bool) -> None:
    assert slip(one, other) is slip(other, one) is apart


def test_a_real_word_is_not_mended_into_another(reader: Reader) -> None:
    assert reader.relation("dysphagia", "dysphasia") not in ("same", "narrower") or "dysphasia" not in reader.vocabulary
    assert Reader(reader.lexicon, {"dysphasia"}).relation("dysphagia", "dysphasia") not in ("same", "narrower")


def test_every_pair_of_names_of_a_group_matches_both_ways(reader: Reader) -> None:
    for group in read_names()[0][::7]:
        for other in group[1:]:
            assert reader.relation(group[0], other) in ("same", "narrower"), (group[0], other)
            assert reader.relation(other, group[0]) in ("same", "narrower"), (other, group[0])


NAMES = st.sampled_from([name for group in read_names()[0] for name in group])


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=80), NAMES), st.one_of(st.text(max_size=80), NAMES))
def test_no_name_makes_it_raise(right: str, answer: str) -> None:
    reader = whole()
    assert reader.relation(right, answer) == reader.relation(right, answer)


@settings(max_examples=200, deadline=None)
@given(NAMES, st.sampled_from(["acute", "left", "suspected", "severe", "recurrent", "the"]))
def test_minor_words_before_a_name_only_conflict_or_change_nothing(name: str, word: str) -> None:
    reader = whole()
    assert reader.relation(name, f"{word} {name}") in ("same", "narrower", "other", "broader")


@settings(max_examples=200, deadline=None)
@given(NAMES)
def test_a_name_is_the_same_upside_down_in_capitals_and_with_a_full_stop(name: str) -> None:
    reader = whole()
    assert reader.relation(name, f"{name.upper()}.") == "same"
