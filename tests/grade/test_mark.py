"""One mark: the law that every gold answer grades as right, and what a mark counts."""

from __future__ import annotations

import pytest

from rounds import recipe
from rounds.cases.generate import generate
from rounds.cases.oracle import ABSTENTION, reply_text
from rounds.grade.mark import Marker, faults
from rounds.grade.names import normalise
from rounds.knowledge.base import KnowledgeBase, load
from rounds.prompts.reader import read_reply
from rounds.records import Answer, Case, Prompt, Sampling, Trace


@pytest.fixture(scope="module")
def knowledge() -> KnowledgeBase:
    return load()


@pytest.fixture(scope="module")
def marker(knowledge: KnowledgeBase) -> Marker:
    return Marker(knowledge)


@pytest.fixture(scope="module")
def exam(knowledge: KnowledgeBase) -> list[Case]:
    settings = recipe.Cases(teach=1, exam_per_condition=1)
    return [one.case for one in generate(knowledge, settings, seed=2)["exam"]]


def answered(case: Case, *diagnoses: str, flags: tuple[str, ...] = ()) -> Answer:
    return Answer(case_id=case.id, diagnoses=diagnoses, red_flags=flags)


def traced(case: Case, reply: str, thinking: str = "") -> Trace:
    return Trace(
        prompt=Prompt(case_id=case.id, template="differential@1", messages=()),
        model="m",
        engine="e",
        sampling=Sampling(),
        sample=3,
        thinking=thinking,
        reply=reply,
        finish="stop",
        thinking_tokens=11,
        reply_tokens=7,
        total_s=0.5,
    )


# The law -----------------------------------------------------------------------------------------------------------


def test_every_gold_answer_grades_as_right(marker: Marker, exam: list[Case]) -> None:
    for case in exam:
        if not case.outside:
            grade = marker.mark(case, traced(case, reply_text([case.diagnosis], case.red_flags)))
            assert (grade.correct, grade.rank, grade.level) == (True, 1, "exact"), case.id
            assert grade.red_flags_named == grade.red_flags_total == len(case.red_flags), case.id


def test_every_synonym_grades_as_right_through_a_written_reply(marker: Marker, exam: list[Case]) -> None:
    for case in exam:
        if not case.outside:
            for name in case.also_called:
                grade = marker.mark(case, traced(case, f"1. {name}\n2. something else"))
                assert (grade.correct, grade.rank) == (True, 1), name
                same = normalise(name) == normalise(case.diagnosis)
                assert grade.level == ("exact" if same else "synonym"), name


def test_abstaining_is_right_outside_and_wrong_inside(marker: Marker, exam: list[Case]) -> None:
    for case in exam:
        grade = marker.mark(case, traced(case, ABSTENTION))
        assert grade.correct is case.outside
        assert grade.answer.abstained


def test_a_list_is_wrong_outside_even_with_the_right_name(marker: Marker, exam: list[Case]) -> None:
    case = next(case for case in exam if case.outside)
    assert marker.mark_answer(case, answered(case, case.diagnosis)).correct is False


def test_no_other_diagnosis_grades_as_right(marker: Marker, exam: list[Case], knowledge: KnowledgeBase) -> None:
    for case in exam:
        if not case.outside:
            others = [c.name for c in knowledge.conditions.values() if c.id != case.condition]
            for start in range(0, len(others), 5):
                assert not marker.mark_answer(case, answered(case, *others[start : start + 5])).correct


# What a mark counts ------------------------------------------------------------------------------------------------


@pytest.fixture
def gout(knowledge: KnowledgeBase) -> Case:
    condition = knowledge.conditions["gout"]
    return Case(
        id="g",
        vignette="v",
        diagnosis=condition.name,
        also_called=(*condition.also_called, *condition.abbreviations),
        condition="gout",
        specialty="internal medicine",
        incidence="frequent",
        red_flags=("fever", "shaking chills"),
        must_not_miss=("infective endocarditis",),
        present=("joint_pain", "fever", "chills"),
    )


FOUR = ("rheumatoid arthritis", "Guillain-Barre syndrome", "heart attack", "infective endocarditis")


def test_rank_is_the_place_on_the_list(marker: Marker, gout: Case) -> None:
    for place in range(5):
        names = [*FOUR[:place], "Gout", *FOUR[place:]]
        grade = marker.mark_answer(gout, answered(gout, *names))
        assert grade.rank == place + 1
        assert grade.valid_five
        assert grade.must_not_miss_named == grade.must_not_miss_total == 1
    assert marker.mark_answer(gout, answered(gout, *FOUR)).rank is None


def test_valid_five_wants_five_different_known_conditions(marker: Marker, gout: Case) -> None:
    assert not marker.mark_answer(gout, answered(gout, "gout", *FOUR[:3])).valid_five
    assert not marker.mark_answer(gout, answered(gout, *FOUR, "bad humours")).valid_five
    assert not marker.mark_answer(gout, answered(gout, *FOUR, "myocardial infarction")).valid_five


def test_red_flags_count_in_any_wording_and_once(marker: Marker, gout: Case) -> None:
    grade = marker.mark_answer(gout, answered(gout, "gout", flags=("Rigors", "feeling feverish", "fever")))
    assert (grade.red_flags_named, grade.red_flags_total) == (2, 2)
    assert marker.mark_answer(gout, answered(gout, "gout", flags=("stiff neck",))).red_flags_named == 0


def test_a_mark_carries_what_reports_group_by(marker: Marker, gout: Case) -> None:
    grade = marker.mark(gout, traced(gout, "1. gout"))
    assert grade.groups == {
        "specialty": "internal medicine",
        "incidence": "frequent",
        "condition": "gout",
        "kind": "diagnosis",
    }
    assert (grade.sample, grade.thinking_tokens, grade.total_s) == (3, 11, 0.5)


def test_steps_are_checked_only_where_findings_are_known(marker: Marker, gout: Case) -> None:
    bare = gout.model_copy(update={"present": ()})
    assert marker.mark(bare, traced(bare, "1. gout", "Seizure fits gout.")).steps is None
    steps = marker.mark(gout, traced(gout, "1. gout", "Seizure fits gout.")).steps
    assert steps is not None
    assert steps.invented == ("seizure",)


def test_an_unreadable_reply_is_a_miss(marker: Marker, gout: Case) -> None:
    grade = marker.mark(gout, traced(gout, "Take care."))
    assert grade.correct is False
    assert grade.answer.unreadable


def test_faults_of_a_trace_are_named(marker: Marker, gout: Case) -> None:
    whole = reply_text(["gout", *FOUR], gout.red_flags)
    thinking = "Joint pain suggests gout."

    def found(reply: str, thought: str = thinking) -> tuple[str, ...]:
        return faults(gout, marker.mark(gout, traced(gout, reply, thought)))

    assert found(whole) == ()
    assert found(reply_text(FOUR, gout.red_flags)) == (
        "wrong diagnosis",
        "not five distinct valid diagnoses",
    )
    assert found(reply_text(["gout", *FOUR], ("fever",))) == ("red flag not named",)
    assert found(reply_text(["gout", *FOUR], (*gout.red_flags, "seizure"))) == ("red flag invented",)
    assert found(whole, "Seizure suggests gout.") == ("finding not true of the case",)
    assert found(ABSTENTION) == ("wrong diagnosis", "not five distinct valid diagnoses", "red flag not named")


def test_a_right_abstention_has_no_fault(marker: Marker, exam: list[Case]) -> None:
    case = next(case for case in exam if case.outside)
    assert faults(case, marker.mark(case, traced(case, ABSTENTION))) == ()


def test_reading_and_marking_agree_with_marking_alone(marker: Marker, gout: Case) -> None:
    reply = reply_text(["gout", *FOUR], gout.red_flags)
    alone = marker.mark_answer(gout, read_reply(reply, gout.id))
    whole = marker.mark(gout, traced(gout, reply))
    assert (alone.rank, alone.valid_five, alone.red_flags_named) == (
        whole.rank,
        whole.valid_five,
        whole.red_flags_named,
    )


def test_a_conversation_to_write_down_is_neither_right_nor_wrong(marker: Marker) -> None:
    case = Case(id="a", vignette="Patient: I cough.", diagnosis="", kind="record")
    grade = marker.mark(case, traced(case, '{"complaint": ["cough"]}'))
    assert (grade.correct, grade.answer.unreadable, grade.groups["kind"]) == (None, False, "record")
