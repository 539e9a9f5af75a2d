"""Verified truncation: what goes, in which order, what stays, and that nothing unverified comes out."""

from __future__ import annotations

import pytest

from rounds.grade.mark import Marker, faults
from rounds.knowledge.base import load
from rounds.prompts.template import render
from rounds.records import Case, Lesson, Sampling, Trace
from rounds.train.shorten import shortened

KNOWLEDGE = load()
NAMES = ("Gout", "Septic arthritis", "Pseudogout", "Osteoarthritis", "Rheumatoid arthritis")


@pytest.fixture(scope="module")
def marker() -> Marker:
    return Marker(KNOWLEDGE)


@pytest.fixture(scope="module")
def case() -> Case:
    """A case of a condition with a red flag, written from the knowledge base's own words."""
    from rounds import recipe
    from rounds.cases.generate import generate

    settings = recipe.Cases(teach=200, tune_per_condition=1, exam_per_condition=1, outside=0, conditions=12)
    drawn = [one.case for one in generate(KNOWLEDGE, settings, 5)["teach"] if not one.case.outside]
    return next(one for one in drawn if one.red_flags and len(one.present) >= 4)


@pytest.fixture(scope="module")
def lesson(case: Case) -> Lesson:
    """Thoughts with a repeat, a sentence about nothing on the list, a red flag and a conclusion."""
    others = [c for c in KNOWLEDGE.conditions.values() if c.specialty == case.specialty and c.name != case.diagnosis]
    five = [case.diagnosis, *[one.name for one in others[:4]]]
    condition = next(c for c in KNOWLEDGE.conditions.values() if c.id == case.condition)
    shown = [f for f in case.present if condition.findings.get(f, 0) > 0.01]
    first = KNOWLEDGE.findings[shown[0]].name
    flag = case.red_flags[0]
    sentences = [
        f"{first}, suggests: {case.diagnosis}.",
        f"{first}, suggests: {case.diagnosis}.",
        f"{KNOWLEDGE.findings[shown[1]].name}, suggests: {case.diagnosis}.",
        "Let me think about this for a while.",
        f"a red flag: {flag}.",
        f"best explained by: {case.diagnosis}.",
    ]
    reply = "\n".join(f"{n}. {name}" for n, name in enumerate(five, 1)) + f"\nRed flags: {'; '.join(case.red_flags)}"
    return Lesson(
        prompt=render(case, "differential-brief@1"), thinking=" ".join(sentences), reply=reply, teacher="oracle"
    )


def count(text: str) -> int:
    return len(text.split())


def passes(lesson: Lesson, case: Case, marker: Marker) -> bool:
    trace = Trace(
        prompt=lesson.prompt, model="m", engine="e", sampling=Sampling(), thinking=lesson.thinking, reply=lesson.reply,
        finish="stop", thinking_tokens=0, reply_tokens=0,
    )  # fmt: skip
    return faults(case, marker.mark(case, trace)) == ()


def test_the_fixture_passes_as_it_is(lesson: Lesson, case: Case, marker: Marker) -> None:
    assert passes(lesson, case, marker)


def test_repeats_go_first(lesson: Lesson, case: Case, marker: Marker) -> None:
    short = shortened(lesson, case, marker, 0.95, count)
    said = lesson.thinking.split(". ")
    assert short.thinking == lesson.thinking.replace(f"{said[0]}. ", "", 1)


def test_then_what_is_about_nothing_on_the_list(lesson: Lesson, case: Case, marker: Marker) -> None:
    whole = count(lesson.thinking)
    repeat = count(lesson.thinking.split(". ")[0])
    short = shortened(lesson, case, marker, (whole - repeat - 1) / whole, count)
    assert "Let me think" not in short.thinking
    assert count(short.thinking) == whole - repeat - 8


def test_support_red_flag_and_conclusion_stay_however_short(lesson: Lesson, case: Case, marker: Marker) -> None:
    short = shortened(lesson, case, marker, 0.01, count)
    said = lesson.thinking.split(". ")
    assert short.thinking == f"{said[0]}. {said[4]}. {said[5]}"
    assert passes(short, case, marker)
    assert (short.reply, short.prompt) == (lesson.reply, lesson.prompt)


def test_a_lesson_that_is_short_enough_is_left(lesson: Lesson, case: Case, marker: Marker) -> None:
    assert shortened(lesson, case, marker, 1.0, count) is lesson


def test_what_does_not_pass_is_left_as_it_was(lesson: Lesson, case: Case, marker: Marker) -> None:
    wrong = lesson.model_copy(update={"reply": lesson.reply.replace("Red flags: ", "Red flags: none;")})
    wrong = wrong.model_copy(update={"reply": "1. Gout\nRed flags: none"})
    assert shortened(wrong, case, marker, 0.01, count) == wrong
