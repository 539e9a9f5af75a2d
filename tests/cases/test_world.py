"""The posterior is Bayes' rule: equal to counting every page a small world can write."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from rounds.cases.world import (
    AGES_LOOKED_AT,
    FEWEST_FINDINGS,
    MOST_FINDINGS,
    REACHES_PAGE,
    Observed,
    Patient,
    World,
    _counts,
    softmax,
)
from rounds.knowledge.base import Condition, Finding, KnowledgeBase, Neighbour

FINDINGS = {
    "fever": ("symptom", 0.10),
    "cough": ("symptom", 0.20),
    "pain": ("symptom", 0.05),
    "rash": ("sign", 0.02),
    "smoking": ("history", 0.30),
    "spots": ("test", 0.01),
}

CLASSES: dict[str, dict[str, list[str]]] = {
    "one": {"very_frequent": ["fever", "cough"], "frequent": ["pain", "rash"], "occasional": ["smoking"]},
    "two": {"very_frequent": ["rash"], "frequent": ["fever", "spots", "smoking"], "rare": ["pain"]},
    "three": {"frequent": ["cough", "pain", "smoking", "spots"], "occasional": ["rash"], "excluded": ["fever"]},
}


def toy() -> KnowledgeBase:
    findings = {
        name: Finding.model_validate({"id": name, "kind": kind, "says": (name,), "background": background})
        for name, (kind, background) in FINDINGS.items()
    }
    conditions = {
        name: Condition.model_validate(
            {
                "id": name,
                "name": name,
                "specialty": "ward",
                "incidence": "rare" if name == "two" else "frequent",
                "icd10": "A00",
                "age": (10, 50) if name == "one" else (20, 90),
                "findings": classes,
                "red_flags": ("rash",),
                "must_not_miss": (Neighbour(condition="two", why="it kills within a day"),),
                "first_test": "look",
                "first_treatment": "wait",
                "sources": ("a textbook",),
            }
        )
        for name, classes in CLASSES.items()
    }
    return KnowledgeBase(findings, conditions, {})


@pytest.fixture(scope="module")
def small() -> World:
    return World(toy(), volunteer=0.6)


def pages(world: World) -> Iterator[tuple[tuple[int, ...], list[float]]]:
    """Every set of volunteered findings with P(this page is drawn and acceptable | condition), by counting truths."""
    count = len(world.findings)
    for told in itertools.product((False, True), repeat=count):
        chances = []
        for i, condition in enumerate(world.conditions):
            chance = 0.0
            for truth in itertools.product((False, True), repeat=count):
                p = 1.0
                for f in range(count):
                    p *= world.chance[i, f] if truth[f] else 1 - world.chance[i, f]
                    if truth[f]:
                        p *= world.volunteer[f] if told[f] else 1 - world.volunteer[f]
                    elif told[f]:
                        p = 0.0
                chance += p
            numbers = tuple(f for f in range(count) if told[f])
            chances.append(chance if world.acceptable(condition, numbers) else 0.0)
        yield tuple(f for f in range(count) if told[f]), chances


def test_posterior_equals_counting_every_page(small: World) -> None:
    patient = Patient(age=30, sex="female")
    every = list(pages(small))
    written = np.sum([chances for _, chances in every], axis=0)
    np.testing.assert_allclose(small.log_acceptable, np.log(written), rtol=1e-9)
    widths = np.array([condition.age[1] - condition.age[0] for condition in small.conditions])
    looked_at = 0
    for told, chances in every:
        if sum(chances) > 0:
            brute = np.array(chances) / written / widths
            np.testing.assert_allclose(small.posterior(Observed(patient, told)), brute / brute.sum(), atol=1e-9)
            looked_at += 1
    assert looked_at > 30


def test_asked_findings_count_as_bayes_says(small: World) -> None:
    """Silence about a finding that was asked is replaced by what was seen."""
    patient = Patient(age=30, sex="male")
    told = (0, 1, 3)
    plain = small.log_told(Observed(patient, told))
    cough = small.finding_index["spots"]
    v = small.volunteer[cough]
    silent = np.log1p(-small.chance[:, cough] * v)
    absent = small.log_told(Observed(patient, told, (), (cough,)))
    np.testing.assert_allclose(absent - plain, np.log1p(-small.chance[:, cough]) - silent, atol=1e-9)
    present = small.log_told(Observed(patient, told, (cough,), ()))
    np.testing.assert_allclose(present - plain, np.log(small.chance[:, cough] * (1 - v)) - silent, atol=1e-9)


def test_age_and_sex_rule_conditions_out(world: World) -> None:
    posterior = world.posterior(
        Observed(Patient(30, "male"), tuple(world.finding_index[f] for f in ("fever", "nausea")))
    )
    for i, condition in enumerate(world.conditions):
        low, high = condition.age
        if condition.sex == "female" or not low <= 30 <= high:
            assert posterior[i] < 1e-6, condition.id
    assert posterior.sum() == pytest.approx(1)


def test_incidence_prior_weighs_the_frequent(knowledge: KnowledgeBase) -> None:
    even, weighted = World(toy(), 0.6, "even"), World(toy(), 0.6, "incidence")
    np.testing.assert_allclose(np.exp(even.log_prior), 1 / 3)
    np.testing.assert_allclose(np.exp(weighted.log_prior), np.array([20, 1, 20]) / 41)


def test_what_is_volunteered_depends_on_the_kind_of_finding(small: World) -> None:
    rates = {name: small.volunteer[i] for name, i in small.finding_index.items()}
    assert rates["fever"] == pytest.approx(0.6 * REACHES_PAGE["symptom"])
    assert rates["spots"] == pytest.approx(0.6 * REACHES_PAGE["test"])


def test_informative_findings_split_the_candidates_and_are_possible(world: World) -> None:
    patient = Patient(30, "male")
    told = tuple(world.finding_index[f] for f in ("flank_pain", "vomiting", "sweating"))
    posterior = world.posterior(Observed(patient, told))
    asked = world.informative(posterior, patient, told)
    assert 0 < len(asked) <= 12
    assert not set(asked) & set(told)
    allowed = world.allowed(patient)
    assert all(allowed[f] for f in asked)
    assert all(world.askable[f] for f in asked)


def test_allowed_agrees_with_the_finding_itself(world: World, knowledge: KnowledgeBase) -> None:
    for patient in (Patient(0.2, "female"), Patient(6, "male"), Patient(30, "female"), Patient(80, "male")):
        own = [knowledge.findings[f].possible(patient.age, patient.sex) for f in world.findings]
        np.testing.assert_array_equal(world.allowed(patient) > 0, own)


def test_rivals_read_the_same_instrument(world: World) -> None:
    fast, slow = world.finding_index["fast_pulse"], world.finding_index["slow_pulse"]
    assert slow in world.rivals[fast]
    assert fast in world.rivals[slow]
    assert world.finding_index["cough"] not in world.rivals


def test_limit_spreads_over_specialties_and_incidences(knowledge: KnowledgeBase) -> None:
    limited = World(knowledge, 0.36, limit=15)
    assert len({(c.specialty, c.incidence) for c in limited.conditions}) == 15


def test_counts_are_those_of_independent_events() -> None:
    counts = _counts(np.array([[0.5, 0.5, 0.2], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(counts[0, :4], [0.2, 0.45, 0.30, 0.05])
    np.testing.assert_allclose(counts[1, :3], [0, 1, 0])
    assert counts.shape == (2, MOST_FINDINGS + 1)


def test_acceptable_pages_show_something_of_their_condition(world: World, knowledge: KnowledgeBase) -> None:
    gout = knowledge.conditions["gout"]
    foreign = [world.finding_index[f] for f in ("hearing_loss", "ear_pain", "wheeze")]
    own = world.finding_index["joint_pain"]
    assert not world.acceptable(gout, foreign)
    assert world.acceptable(gout, [*foreign, own])
    assert not world.acceptable(gout, [own] * (FEWEST_FINDINGS - 1))
    assert not world.acceptable(gout, [own] * (MOST_FINDINGS + 1))
    assert AGES_LOOKED_AT > 1


def test_softmax_sums_to_one_even_far_from_zero() -> None:
    np.testing.assert_allclose(softmax(np.array([-1000.0, -1000.0])), [0.5, 0.5])
