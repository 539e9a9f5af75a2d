"""Reasoning is held against the case claim by claim: each kind of planted error is found, in several wordings."""

from __future__ import annotations

import pytest

from rounds.grade.steps import Lexicon, check_steps, lexicon
from rounds.knowledge.base import KnowledgeBase, load
from rounds.records import Answer, Case, StepCheck

CASE = Case(
    id="c",
    vignette="A man reports a red toe.",
    diagnosis="gout",
    condition="gout",
    present=("joint_pain", "joint_swelling", "fever", "raised_uric_acid"),
    absent=("morning_stiffness",),
)
ANSWER = Answer(case_id="c", diagnoses=("gout", "rheumatoid arthritis"))

SOUND = (
    "Joint pain fits gout, rheumatoid arthritis. Raised uric acid points to gout. "
    "No morning stiffness for over an hour, against rheumatoid arthritis. Leading: gout."
)


@pytest.fixture(scope="module")
def knowledge() -> KnowledgeBase:
    return load()


def check(thinking: str, knowledge: KnowledgeBase, answer: Answer = ANSWER) -> StepCheck:
    return check_steps(thinking, answer, CASE, knowledge)


def test_sound_reasoning_has_no_error(knowledge: KnowledgeBase) -> None:
    steps = check(SOUND, knowledge)
    assert steps.errors == 0
    # Three findings, four links, one conclusion.
    assert steps.claims == 3 + 4 + 1


@pytest.mark.parametrize(
    "sentence",
    [
        "Fainting fits gout.",
        "The patient also reports syncope.",
        "Red flag: fainting.",
        "Blackout suggests a cardiac cause.",
        "There is FAINTING, which worries me.",
    ],
)
def test_an_invented_finding_is_found(sentence: str, knowledge: KnowledgeBase) -> None:
    assert check(f"{SOUND} {sentence}", knowledge).invented == ("fainting",)


@pytest.mark.parametrize(
    "sentence",
    [
        "No fever, against infective endocarditis.",
        "Fever is absent.",
        "The patient denies feeling feverish.",
        "Without a raised temperature sepsis is unlikely.",
        "There was never any fever.",
    ],
)
def test_a_denied_finding_is_found(sentence: str, knowledge: KnowledgeBase) -> None:
    steps = check(f"{SOUND} {sentence}", knowledge)
    assert steps.denied == ("fever",)
    assert steps.invented == ()


@pytest.mark.parametrize(
    "sentence",
    [
        "Joint pain fits ischaemic stroke.",
        "Aching joints: think of ischemic stroke.",
        "Joint pain suggests a brain infarct.",
        "Ischaemic stroke is supported by joint pain.",
    ],
)
def test_an_unsupported_link_is_found(sentence: str, knowledge: KnowledgeBase) -> None:
    assert check(f"{SOUND} {sentence}", knowledge).unsupported == ("joint_pain -> ischaemic_stroke",)


def test_absence_speaks_only_against_what_expects_it(knowledge: KnowledgeBase) -> None:
    steps = check(f"{SOUND} No seizure, against rheumatoid arthritis.", knowledge)
    assert steps.unsupported == ("seizure -> rheumatoid_arthritis",)


@pytest.mark.parametrize("thinking", ["Joint pain fits rheumatoid arthritis.", "Fever is here. It is gouty weather."])
def test_a_conclusion_nobody_argued_for_is_found(thinking: str, knowledge: KnowledgeBase) -> None:
    assert check(thinking, knowledge).unargued == ("gout",)


def test_a_conclusion_may_be_argued_under_another_name(knowledge: KnowledgeBase) -> None:
    assert check("Joint pain suggests gouty arthritis.", knowledge).unargued == ()


def test_findings_that_contain_a_negation_deny_nothing(knowledge: KnowledgeBase) -> None:
    case = CASE.model_copy(update={"present": ("absent_reflexes", "not_vaccinated", "cold_pulseless_limb")})
    thinking = (
        "Lost reflexes fits Guillain-Barré syndrome. Missing vaccinations. Cold limb without pulses is a red flag."
    )
    steps = check_steps(thinking, Answer(case_id="c"), case, knowledge)
    assert (steps.invented, steps.denied) == ((), ())


def test_an_answer_without_thinking_makes_no_claims(knowledge: KnowledgeBase) -> None:
    assert check("", knowledge) == StepCheck()
    assert check(" \n ", knowledge).claims == 0


def test_sentences_without_findings_claim_nothing(knowledge: KnowledgeBase) -> None:
    steps = check("Let me think about this. Gout it is.", knowledge)
    assert steps.errors == 0
    assert steps.claims == 1


def test_longer_words_win_over_those_inside_them(knowledge: KnowledgeBase) -> None:
    words = lexicon(knowledge)
    assert words.mentions("one sided throbbing headache and a thunderclap headache")[0] == [
        "headache_one_sided",
        "thunderclap_headache",
    ]
    assert words.mentions("coughing up blood")[0] == ["coughing_blood"]


def test_every_wording_of_every_finding_is_recognised(knowledge: KnowledgeBase) -> None:
    words = Lexicon.of(knowledge)
    assert set(words.findings.values()) == set(knowledge.findings)
    for form, finding in words.findings.items():
        assert finding in words.mentions(f"there is {form} today")[0], form
