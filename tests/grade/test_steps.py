"""Reasoning is held against the case claim by claim: each kind of planted error is found, in several wordings."""

from __future__ import annotations

import pytest

from rounds.grade.steps import Lexicon, check_steps, lexicon, mentioned, sound
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


@pytest.mark.parametrize(
    ("sentence", "faults"),
    [
        ("Joint pain rather than fever speaks against ischaemic stroke.", ()),
        ("Raised uric acid speaks against gout.", ("raised_uric_acid -> gout",)),
        ("No seizure: that supports gout.", ()),
        ("No joint pain would support gout.", ("joint_pain -> gout",)),
        ("Gout typically brings joint pain.", ()),
        ("Gout typically brings a seizure.", ("seizure -> gout",)),
    ],
)
def test_links_are_read_with_their_sense(sentence: str, faults: tuple[str, ...], knowledge: KnowledgeBase) -> None:
    assert check(f"{SOUND} {sentence}", knowledge).unsupported == faults


def test_what_a_disease_brings_in_general_is_no_claim_about_the_patient(knowledge: KnowledgeBase) -> None:
    steps = check(f"{SOUND} Sepsis usually brings a seizure. If it were croup, I would expect stridor.", knowledge)
    assert (steps.invented, steps.denied, steps.stated) == ((), (), check(SOUND, knowledge).stated)


def test_stated_findings_are_counted_apart(knowledge: KnowledgeBase) -> None:
    steps = check(f"{SOUND} There is a seizure.", knowledge)
    assert (steps.stated, len(steps.invented)) == (3, 1)


FREE = Case(
    id="f",
    vignette="A man of 40 has had a fever and an aching right knee. He denies weight loss. Sodium 121 mmol/L.",
    diagnosis="septic arthritis",
)


@pytest.mark.parametrize(
    ("thinking", "invented", "denied"),
    [
        ("He has fever.", (), ()),
        ("There is low sodium.", (), ()),
        ("There is weight loss.", ("weight_loss",), ()),
        ("There is a seizure.", ("seizure",), ()),
        ("There is no fever.", (), ("fever",)),
        ("No seizure, no weight loss.", (), ()),
    ],
)
def test_a_free_text_is_read_for_what_it_states(
    thinking: str, invented: tuple[str, ...], denied: tuple[str, ...], knowledge: KnowledgeBase
) -> None:
    steps = check_steps(thinking, Answer(case_id="f", diagnoses=("septic arthritis",)), FREE, knowledge)
    assert (steps.invented, steps.denied) == (invented, denied)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("gout", "Podagra comes to mind.", False),
        ("gout", "A gouty arthritis comes to mind.", True),
        ("AMI", "Is this an acute myocardial infarction?", True),
        ("Orbital myositis (OM)", "An OM would explain it.", True),
        ("Acute zonal outer retinopathy", "So AZOR it is.", True),
        ("Orbital myositis due to a virus", "Myositis of the orbital muscles.", True),
        ("Orbital myositis", "A cyst.", False),
        ("", "A cyst.", False),
    ],
)
def test_a_diagnosis_is_mentioned_under_other_words(
    name: str, text: str, found: bool, knowledge: KnowledgeBase
) -> None:
    assert mentioned(name, text, knowledge) is found


def test_the_filter_asks_for_a_share_of_sound_claims(knowledge: KnowledgeBase) -> None:
    assert sound(check(SOUND, knowledge))
    assert sound(StepCheck())
    slip = check(f"{SOUND} There is a seizure.", knowledge)
    assert not sound(slip)
    assert sound(slip, 1 / slip.claims)
