"""Names are brought to one form, and no two conditions of the knowledge base share one."""

from __future__ import annotations

import pytest

from rounds.grade.names import Names, normalise
from rounds.knowledge.base import KnowledgeBase, load
from rounds.records import Case


@pytest.fixture(scope="module")
def knowledge() -> KnowledgeBase:
    return load()


@pytest.fixture(scope="module")
def names(knowledge: KnowledgeBase) -> Names:
    return Names(knowledge)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Guillain-Barré syndrome", "guillain barre  syndrome"),
        ("Parkinson's disease", "Parkinson disease"),
        ("Parkinson’s Disease", "parkinson disease"),
        ("iron deficiency anaemia", "Iron-deficiency anemia"),
        ("subarachnoid haemorrhage", "Subarachnoid hemorrhage."),
        ("phaeochromocytoma", "pheochromocytoma"),
        ("oesophageal achalasia", "esophageal achalasia"),
        ("coeliac disease", "celiac disease"),
        ("necrotising fasciitis", "Necrotizing fasciitis"),
        ("generalised epilepsy", "generalized epilepsy"),
        ("acute lymphoblastic leukaemia", "acute lymphoblastic leukemia"),
        ("motor neurone disease", "motor neuron disease"),
        ("acute limb ischaemia", "acute limb ischemia"),
        ("Mayer-Rokitansky-Küster-Hauser syndrome", "mayer rokitansky kuster hauser syndrome"),
        ("amenorrhoea", "amenorrhea"),
        ("hand, foot and mouth disease", "hand foot and mouth disease"),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"), [("type 1 diabetes", "type 2 diabetes"), ("hypothyroidism", "hyperthyroidism"), ("gout", "")]
)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_normalising_twice_changes_nothing(knowledge: KnowledgeBase) -> None:
    for condition in knowledge.conditions.values():
        for name in condition.names:
            assert normalise(normalise(name)) == normalise(name)


def test_every_name_means_its_condition_and_no_other(knowledge: KnowledgeBase, names: Names) -> None:
    """Two conditions whose names fall together after normalising would steal each other's answers."""
    for condition in knowledge.conditions.values():
        for name in condition.names:
            assert names.meaning(name) == condition.id, name


def test_conditions_kept_outside_mean_nothing(knowledge: KnowledgeBase, names: Names) -> None:
    for condition in knowledge.outside.values():
        for name in condition.names:
            assert names.meaning(name) is None, name


def test_levels_of_a_match(names: Names) -> None:
    case = Case(id="c", vignette="v", diagnosis="ischaemic stroke", also_called=("brain infarct",))
    known = case.model_copy(update={"condition": "ischaemic_stroke"})
    assert names.match(case, "Ischemic Stroke") == "exact"
    assert names.match(case, "brain infarct") == "synonym"
    assert names.match(case, "AIS") is None
    assert names.match(known, "AIS") == "synonym"
    assert names.match(known, "stroke mimic") is None
    assert names.match(known, "") is None
