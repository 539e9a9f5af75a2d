"""Generated cases: the same for a seed, evenly spread, held apart, and true to the knowledge base."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields
from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds import recipe
from rounds.cases.generate import Drawn, draw, generate, world_for
from rounds.cases.vignette import FRAMES, Frames, reading, say, who
from rounds.cases.world import Patient, World
from rounds.knowledge.base import Finding, KnowledgeBase, load
from rounds.records import Split, UserError

Cases = dict[Split, list[Drawn]]

MEASURED = [finding for finding in load().findings.values() if finding.measure is not None]


def test_the_same_seed_writes_the_same_cases(knowledge: KnowledgeBase, drawn: Cases) -> None:
    few = recipe.Cases(teach=40, exam_per_condition=1, tune_per_condition=1, outside=5, conditions=20)
    first, second = generate(knowledge, few, 3), generate(knowledge, few, 3)
    assert first == second
    assert generate(knowledge, few, 4)["exam"] != first["exam"]
    # A longer teach split begins with the shorter one: cases do not depend on how many follow.
    longer = generate(knowledge, few.model_copy(update={"teach": 60}), 3)
    assert longer["teach"][:40] == first["teach"]


def test_counts_are_even(knowledge: KnowledgeBase, drawn: Cases) -> None:
    inside = Counter(one.case.condition for one in drawn["exam"] if not one.case.outside)
    assert set(inside) == set(knowledge.conditions)
    assert set(inside.values()) == {6}
    tune = Counter(one.case.condition for one in drawn["tune"] if not one.case.outside)
    assert set(tune.values()) == {2}
    assert sum(one.case.outside for one in drawn["exam"]) == 60
    share = sum(one.case.outside for one in drawn["teach"]) / len(drawn["teach"])
    assert 0.03 < share < 0.09
    assert [one.case.split for one in drawn["teach"]] == ["teach"] * 1200


def test_ids_are_unique(drawn: Cases) -> None:
    ids = [one.case.id for cases in drawn.values() for one in cases]
    assert len(ids) == len(set(ids))


def test_sets_of_findings_are_disjoint_between_splits(drawn: Cases) -> None:
    sets = {split: {frozenset(one.case.present) for one in cases} for split, cases in drawn.items()}
    assert not sets["exam"] & sets["teach"]
    assert not sets["exam"] & sets["tune"]
    assert not sets["tune"] & sets["teach"]
    assert len(sets["exam"]) == len(drawn["exam"])


def test_outside_conditions_of_the_exam_never_teach(knowledge: KnowledgeBase, drawn: Cases) -> None:
    shown = {split: {one.case.condition for one in cases if one.case.outside} for split, cases in drawn.items()}
    assert shown["exam"] <= set(knowledge.outside)
    assert not shown["exam"] & (shown["teach"] | shown["tune"])
    assert shown["exam"]
    assert shown["teach"]


def test_sentence_frames_of_a_split_are_its_own(drawn: Cases) -> None:
    """Every way: no sentence is built on a frame of another split."""

    def patterns(frames: object) -> list[re.Pattern[str]]:
        found = []
        for field in ("opening", "history", "signs", "tests", "absent"):
            for frame in getattr(frames, field):
                text = re.escape(frame).replace(r"\{who\}", "[^.]*?").replace(r"\{list\}", ".*?")
                found.append(re.compile(rf"(?:^|(?<=\. )){text}", re.IGNORECASE))
        return found

    known = {split: patterns(frames) for split, frames in FRAMES.items()}
    sentence = re.compile(r"(?<=\.)\s+(?=[A-Z])")
    for split, other in permutations(known, 2):
        for one in drawn[split]:
            for part in sentence.split(one.case.vignette):
                assert not any(p.fullmatch(part) for p in known[other]), part
                # The check can see: what the exam says is built on the exam's frames.
                assert split != "exam" or any(p.fullmatch(part) for p in known["exam"]), part


def test_frames_of_the_exam_share_no_word_of_content_with_the_lessons() -> None:
    def words(frames: Frames) -> set[str]:
        texts = " ".join(frame for one in fields(frames) if one.name != "asides" for frame in getattr(frames, one.name))
        return set(re.findall(r"[a-z]+", re.sub(r"\{.*?\}", " ", texts).lower()))

    said = {split: words(frames) for split, frames in FRAMES.items()}
    assert said["exam"] & said["teach"] == {"and", "are", "is", "no", "of", "the"}


def test_nobody_has_what_he_cannot_have(knowledge: KnowledgeBase, drawn: Cases) -> None:
    for cases in drawn.values():
        for one in cases:
            for name in (*one.case.present, *one.case.absent):
                patient = one.seen.patient
                assert knowledge.findings[name].possible(patient.age, patient.sex), f"{one.case.id}: {name}"


def test_patients_have_the_age_and_sex_of_their_condition(knowledge: KnowledgeBase, drawn: Cases) -> None:
    for one in drawn["exam"]:
        condition = {**knowledge.conditions, **knowledge.outside}[one.case.condition]
        assert condition.age[0] <= one.seen.patient.age <= condition.age[1]
        assert condition.sex in ("any", one.seen.patient.sex)


def test_every_page_shows_something_of_its_condition(world: World, knowledge: KnowledgeBase, drawn: Cases) -> None:
    for one in drawn["exam"]:
        condition = {**knowledge.conditions, **knowledge.outside}[one.case.condition]
        assert world.acceptable(condition, one.seen.volunteered), one.case.id


def test_present_absent_and_red_flags_agree(knowledge: KnowledgeBase, drawn: Cases) -> None:
    for one in drawn["exam"]:
        case = one.case
        assert not set(case.present) & set(case.absent)
        assert len(set(case.present)) == len(case.present)
        if case.outside:
            assert case.red_flags == case.must_not_miss == ()
        else:
            stated = [knowledge.findings[f] for f in case.present]
            assert case.red_flags == tuple(finding.name for finding in stated if finding.red_flag)


def test_the_page_never_tells_the_diagnosis(drawn: Cases) -> None:
    """A finding may share a word with a diagnosis, a whole name of three words or more never stands there."""
    for one in drawn["exam"]:
        text = one.case.vignette.lower()
        assert not any(len(n.split()) > 2 and n.lower() in text for n in (one.case.diagnosis, *one.case.also_called))


def test_every_present_finding_stands_on_the_page(knowledge: KnowledgeBase, drawn: Cases) -> None:
    for one in drawn["tune"]:
        for name in one.case.present:
            finding = knowledge.findings[name]
            test = [finding.measure.test] if finding.measure else []
            assert any(words in one.case.vignette for words in (*finding.says, *test)), f"{one.case.id}: {name}"


def test_sentences_begin_with_a_capital(drawn: Cases) -> None:
    for one in drawn["exam"] + drawn["teach"]:
        assert one.case.vignette[0].isupper()
        assert " A " not in one.case.vignette[1:].replace("haemophilia A", "")
        assert " An " not in one.case.vignette


@pytest.mark.parametrize(
    ("age", "sex", "words"),
    [
        (0.03, "female", "a 2-week-old girl"),
        (8 / 12, "male", "an 8-month-old boy"),
        (11.5 / 12, "male", "a 12-month-old boy"),
        (11, "female", "an 11-year-old girl"),
        (18, "male", "an 18-year-old man"),
        (84, "male", "an 84-year-old man"),
        (48, "male", "a 48-year-old man"),
    ],
)
def test_who(age: float, sex: str, words: str) -> None:
    said = {who(Patient(age, sex), Random(seed)) for seed in range(20)}
    assert words in said


@settings(max_examples=300, deadline=None)
@given(finding=st.sampled_from(MEASURED), seed=st.integers(0, 2**32))
def test_every_stated_number_lies_on_its_side_of_the_threshold(finding: Finding, seed: int) -> None:
    measure = finding.measure
    assert measure is not None

    def number(span: tuple[float, float]) -> float:
        text = reading(measure, span, Random(seed))
        assert text.startswith(f"{measure.test} ")
        assert text.endswith(measure.unit)
        return float(text.removeprefix(f"{measure.test} ").removesuffix(measure.unit))

    there, normal = number(measure.typical), number(measure.normal)
    assert measure.typical[0] <= there <= measure.typical[1]
    assert measure.normal[0] <= normal <= measure.normal[1]
    if measure.above is not None:
        assert there > measure.above >= normal
    else:
        assert measure.below is not None
        assert there < measure.below <= normal


@settings(max_examples=200, deadline=None)
@given(finding=st.sampled_from(MEASURED), age=st.floats(0, 100), seed=st.integers(0, 2**32))
def test_children_below_the_limits_get_words(finding: Finding, age: float, seed: int) -> None:
    assert finding.measure is not None
    said = say(finding, age, Random(seed))
    if age < finding.measure.from_age:
        assert said in finding.says


def test_a_recipe_that_leaves_pages_empty_is_refused(knowledge: KnowledgeBase) -> None:
    meagre = recipe.Cases(volunteer=0.001, asked=0)
    world = world_for(knowledge, meagre)
    with pytest.raises(UserError, match=r"cases\.volunteer is 0\.001 and leaves too little on the page of 'gout'"):
        draw(world, meagre, knowledge.conditions["gout"], "exam", "x", Random(0))


def test_outside_cases_need_outside_conditions(knowledge: KnowledgeBase) -> None:
    inside_only = KnowledgeBase(knowledge.findings, knowledge.conditions, {})
    few = recipe.Cases(teach=1, conditions=5)
    with pytest.raises(UserError, match=r"cases\.outside is 60 but the knowledge base keeps no condition outside"):
        generate(inside_only, few, 1)
    alone = generate(inside_only, few.model_copy(update={"outside": 0}), 1)
    assert not any(one.case.outside for cases in alone.values() for one in cases)
