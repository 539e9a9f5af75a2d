"""Each error mode is found where it is, in several wordings, and not where it is not."""

from __future__ import annotations

import pytest

from rounds.grade.mark import Marker
from rounds.grade.modes import (
    DISMISSED,
    DRIFT,
    INVERSION,
    MEASURED,
    MODES,
    NOT_RANKED,
    NOT_SEEN,
    closing,
    detect,
    error_modes,
    thought_of,
)
from rounds.knowledge.base import KnowledgeBase, load
from rounds.records import Case, Grade, Prompt, Sampling, Trace

CASE = Case(
    id="c",
    vignette="A child with fever and a stiff neck.",
    diagnosis="bacterial meningitis",
    condition="bacterial_meningitis",
    present=("fever", "headache", "neck_stiffness", "vomiting"),
    absent=("rash_purpuric",),
    red_flags=("stiff neck",),
    must_not_miss=("subarachnoid haemorrhage",),
)
RIGHT = (
    "bacterial meningitis",
    "subarachnoid haemorrhage",
    "migraine",
    "viral gastroenteritis",
    "tension-type headache",
)
SOUND = (
    "Fever fits bacterial meningitis. Headache fits migraine and bacterial meningitis. "
    "The stiff neck is a red flag. Most likely: bacterial meningitis."
)


@pytest.fixture(scope="module")
def marker() -> Marker:
    return Marker(load())


def trace(thinking: str, names: tuple[str, ...] = RIGHT, flags: str = "stiff neck") -> Trace:
    reply = "\n".join([*(f"{place}. {name}" for place, name in enumerate(names, start=1)), f"Red flags: {flags}"])
    return Trace(
        prompt=Prompt(case_id="c", template="differential@1", messages=()),
        model="m",
        engine="e",
        sampling=Sampling(),
        thinking=thinking,
        reply=reply,
        finish="stop",
        thinking_tokens=1,
        reply_tokens=1,
    )


def modes(marker: Marker, answer: Trace, case: Case = CASE) -> tuple[str, ...]:
    return error_modes(case, answer, marker.mark(case, answer), marker.knowledge)


def test_a_sound_answer_shows_none(marker: Marker) -> None:
    assert modes(marker, trace(SOUND)) == ()


def test_an_answer_without_thoughts_cannot_drift(marker: Marker) -> None:
    assert modes(marker, trace("")) == ()


@pytest.mark.parametrize("reply", ["I cannot place this case.", "I am sorry, I cannot help with that.", "Hard to say."])
def test_without_a_list_there_is_nothing_to_judge(reply: str, marker: Marker) -> None:
    answer = trace(SOUND).model_copy(update={"reply": reply})
    assert modes(marker, answer) == ()


# Drift -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "thinking",
    [
        "Fever fits bacterial meningitis. The stiff neck is a red flag. Most likely: gout.",
        "Fever fits bacterial meningitis. A stiff neck too. So in the end I settle for gout and asthma.",
        "Let me see.\n\nFever and stiff neck fit bacterial meningitis.\n\nEverything points to gout.",
    ],
)
def test_thoughts_that_close_elsewhere_drift(thinking: str, marker: Marker) -> None:
    assert modes(marker, trace(thinking)) == (DRIFT,)


def test_a_first_diagnosis_never_argued_for_is_drift(marker: Marker) -> None:
    names = ("gout", *RIGHT[:4])
    found = detect(CASE, trace(SOUND, names), marker.mark(CASE, trace(SOUND, names)), marker.knowledge)
    assert DRIFT in {one.mode for one in found}
    assert any("'gout' stands first" in one.why for one in found)


def test_the_later_half_about_another_patient_is_drift(marker: Marker) -> None:
    thinking = (
        "Fever fits bacterial meningitis. The stiff neck is a red flag. There is wheeze. The joint pain is new. "
        "Jaundice is seen. Most likely: bacterial meningitis."
    )
    found = detect(CASE, trace(thinking), marker.mark(CASE, trace(thinking)), marker.knowledge)
    assert [(one.mode, one.why) for one in found] == [
        (DRIFT, "the later half speaks of what the case lacks: jaundice, joint_pain")
    ]


def test_one_slip_is_no_drift(marker: Marker) -> None:
    assert modes(marker, trace(f"{SOUND[:-35]} There is wheeze. Most likely: bacterial meningitis.")) == ()


def test_stating_and_denying_the_same_is_drift(marker: Marker) -> None:
    assert modes(marker, trace(f"There is no fever. {SOUND}")) == (DRIFT,)


def test_speaking_of_a_finding_in_general_contradicts_nothing(marker: Marker) -> None:
    assert modes(marker, trace(f"Migraine usually comes without fever. {SOUND}")) == ()


def test_a_long_name_may_be_closed_on_in_short(marker: Marker) -> None:
    case = Case(id="c", vignette="A man is ill.", diagnosis="x")
    thinking = "He is ill.\n\nMuch is unclear.\n\nWhat matters is the bowel.\n\nSo it is diffuse large bowel lymphoma."
    names = ("Diffuse large bowel lymphoma (DLBL) secondary to long immune suppression after transplant",)
    assert modes(marker, trace(thinking, names), case) == ()


def test_where_a_line_of_thought_closes() -> None:
    assert closing("One. Two. Most likely: a. Then b.") == ["Most likely: a.", "Then b."]
    assert closing("One.\n\nTwo.\n\nThree. Four.") == ["Three.", "Four."]
    assert closing("One.\n\nTwo.\n\nThree.", paragraphs=2) == ["Two.", "Three."]
    assert closing("One. Two. Three. Four.") == ["Three.", "Four."]


# Red flags ---------------------------------------------------------------------------------------------------------

BARE = "Fever fits bacterial meningitis. Headache fits migraine. {flag} Most likely: bacterial meningitis."


def test_a_flag_nobody_mentions_is_not_seen(marker: Marker) -> None:
    assert modes(marker, trace(BARE.format(flag=""), flags="none")) == (NOT_SEEN,)


def test_a_flag_named_in_the_reply_was_seen(marker: Marker) -> None:
    assert modes(marker, trace(BARE.format(flag=""), flags="neck resisting flexion")) == ()


@pytest.mark.parametrize(
    "flag",
    [
        "The stiff neck is probably unrelated.",
        "The stiff neck can be ignored.",
        "The stiff neck is not relevant here.",
        "There is a stiff neck. That is most likely just stress.",
        "The stiff neck adds nothing.",
        "There is no stiff neck.",
        "The patient has fever and a stiff neck.",
    ],
)
def test_a_flag_set_aside_or_passed_over_is_dismissed(flag: str, marker: Marker) -> None:
    assert modes(marker, trace(BARE.format(flag=flag), flags="none"))[-1:] == (DISMISSED,)


@pytest.mark.parametrize(
    "flag",
    [
        "The stiff neck must not be overlooked.",
        "The stiff neck cannot be ignored.",
        "The stiff neck worries me.",
        "The stiff neck fits bacterial meningitis.",
        "At first the stiff neck seemed unrelated. But the stiff neck needs a lumbar puncture.",
    ],
)
def test_a_flag_the_thoughts_hold_on_to_is_recognised(flag: str, marker: Marker) -> None:
    assert modes(marker, trace(BARE.format(flag=flag), flags="none")) == ()


def test_a_reply_that_was_never_asked_for_flags_passes_none_over(marker: Marker) -> None:
    answer = trace(BARE.format(flag="There is a stiff neck."))
    unasked = answer.model_copy(update={"reply": answer.reply.rpartition("\n")[0]})
    assert modes(marker, unasked) == ()


def test_a_flag_whose_danger_is_not_listed_is_not_ranked(marker: Marker) -> None:
    names = ("migraine", "tension-type headache", "viral gastroenteritis", "gout", "asthma")
    thinking = "Headache fits migraine. The stiff neck is a red flag. Most likely: migraine."
    assert modes(marker, trace(thinking, names)) == (NOT_RANKED,)


def test_a_danger_the_flag_warns_of_is_enough(marker: Marker) -> None:
    names = ("migraine", "subarachnoid haemorrhage")
    thinking = "Headache fits migraine. The stiff neck is a red flag. Most likely: migraine."
    assert NOT_RANKED not in modes(marker, trace(thinking, names))


def test_a_flag_outside_the_vocabulary_is_found_by_its_words(marker: Marker) -> None:
    case = CASE.model_copy(update={"red_flags": ("purple toe nails",)})
    assert modes(marker, trace(SOUND, flags="none"), case) == (NOT_SEEN,)
    told = SOUND.replace("The stiff neck", "The toe with purple nails")
    assert modes(marker, trace(told, flags="none"), case) == ()


# Priority ----------------------------------------------------------------------------------------------------------


def harmless(knowledge: KnowledgeBase) -> str:
    dangerous = {n.condition for c in knowledge.conditions.values() for n in c.must_not_miss}
    return next(c.name for c in knowledge.conditions.values() if c.id not in dangerous)


def test_the_right_one_below_a_harmless_one_is_inverted(marker: Marker) -> None:
    name = harmless(marker.knowledge)
    thinking = f"Fever fits {name}. {SOUND}"
    assert INVERSION in modes(marker, trace(thinking, (name, RIGHT[0])))
    assert INVERSION not in modes(marker, trace(thinking, (RIGHT[0], name, RIGHT[1])))


def test_the_right_one_below_a_dangerous_one_is_not(marker: Marker) -> None:
    thinking = SOUND.replace("migraine and", "subarachnoid haemorrhage and")
    assert INVERSION not in modes(marker, trace(thinking, ("subarachnoid haemorrhage", "bacterial meningitis")))


def test_danger_below_a_harmless_first_one_is_inverted(marker: Marker) -> None:
    name = harmless(marker.knowledge)
    thinking = f"Headache fits {name}. The stiff neck is a red flag. Most likely: {name}."
    assert INVERSION in modes(marker, trace(thinking, (name, "subarachnoid haemorrhage")))


def test_the_right_one_thought_of_and_left_out_is_inverted(marker: Marker) -> None:
    names = ("subarachnoid haemorrhage", "ischaemic stroke")
    thinking = (
        "Headache fits subarachnoid haemorrhage. The stiff neck is a red flag. Leading: subarachnoid haemorrhage."
    )
    assert INVERSION not in modes(marker, trace(thinking, names))
    assert INVERSION in modes(marker, trace(f"Could it be bacterial meningitis? {thinking}", names))


@pytest.mark.parametrize(
    ("thinking", "thought"),
    [
        ("A benign odontogenic cyst of the jaw comes to mind.", True),
        ("The jaw hurts. A cyst elsewhere is benign.", False),
        ("Nothing.", False),
    ],
)
def test_a_name_outside_the_vocabulary_is_thought_of_with_all_its_words(
    thinking: str, thought: bool, marker: Marker
) -> None:
    case = Case(id="c", vignette="A man.", diagnosis="Odontogenic cyst of the jaw")
    assert thought_of(case, thinking, marker.knowledge) is thought


def test_on_a_case_outside_there_is_no_priority(marker: Marker) -> None:
    outside = CASE.model_copy(update={"outside": True, "condition": "", "red_flags": ()})
    assert INVERSION not in modes(marker, trace(SOUND, ("migraine", "gout")), outside)


def test_modes_come_in_their_order_and_once(marker: Marker) -> None:
    thinking = (
        "There is fever. There is no fever. The stiff neck is a red flag. Could it be bacterial meningitis? Gout."
    )
    found = modes(marker, trace(thinking, ("gout", "asthma"), flags="none"))
    assert list(found) == [mode for mode in MODES if mode in found]
    assert {DRIFT, NOT_RANKED, INVERSION} == set(found)


def test_every_measured_mode_is_a_mode_and_its_kappa_lies_in_its_interval() -> None:
    assert set(MEASURED) <= set(MODES)
    for one in MEASURED.values():
        assert one.low <= one.kappa <= one.high <= 1
        assert one.n >= 200


def test_a_grade_alone_decides_the_rank(marker: Marker) -> None:
    answer = trace(SOUND, ("purulent brain fever", "migraine"))
    grade: Grade = marker.mark(CASE, answer)
    assert INVERSION in error_modes(CASE, answer, grade, marker.knowledge)
    by_hand = grade.model_copy(update={"rank": 1, "level": "human"})
    assert INVERSION not in error_modes(CASE, answer, by_hand, marker.knowledge)
