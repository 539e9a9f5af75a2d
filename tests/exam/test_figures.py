"""A sitting counts every answer once; noise is paired by case."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.exam.figures import OUTCOMES, model_figures, noise, sitting, with_sittings
from rounds.records import Answer, Grade, Level, Message, Prompt, Report, Sampling, Trace

FIVE = ("gout", "sepsis")


def a_grade(
    case_id: str, correct: bool | None = True, tokens: int = 0, level: Level | None = "exact", **answer: object
) -> Grade:
    said = Answer.model_validate({"case_id": case_id, "diagnoses": () if answer else FIVE, **answer})
    found = level if correct else None
    return Grade(case_id=case_id, answer=said, correct=correct, level=found, thinking_tokens=tokens)


def a_trace(case: str, seconds: float | None = 1.0, finish: str = "stop", seed: int = 1) -> Trace:
    prompt = Prompt(case_id=case, template="t@1", messages=(Message(role="user", content="x"),))
    return Trace.model_validate(
        {"prompt": prompt, "model": "m", "engine": "e", "sampling": Sampling(seed=seed), "thinking": "", "reply": "",
         "finish": finish, "thinking_tokens": 0, "reply_tokens": 1, "total_s": seconds}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("grade", "outcome"),
    [
        (a_grade("a"), "exact"),
        (a_grade("a", level="judge"), "judge"),
        (a_grade("a", level=None), "right"),
        (a_grade("a", level=None, abstained=True), "right abstention"),
        (a_grade("a", False), "missed"),
        (a_grade("a", False).model_copy(update={"near_rank": 2}), "near"),
        (a_grade("a", False, abstained=True), "abstained"),
        (a_grade("a", False, refused=True), "refused"),
        (a_grade("a", False, unreadable=True), "unreadable"),
        (a_grade("a", None), "not gradable"),
    ],
)
def test_every_answer_comes_to_one_thing(grade: Grade, outcome: str) -> None:
    assert outcome in OUTCOMES
    assert sitting([(None, grade)]).outcomes == {outcome: 1}


def test_what_was_asked_comes_from_the_traces() -> None:
    pairs = [(a_trace("a"), a_grade("a")), (a_trace("b", finish="length", seed=2), a_grade("b"))]
    sat = sitting(pairs)
    assert (sat.answers, sat.cut) == (2, 1)
    assert sat.asked["seed"] == "1, 2"
    assert sat.asked["template"] == "t@1"
    bare = sitting([(None, grade) for _, grade in pairs])
    assert (bare.cut, bare.asked) == (None, {})


def test_lengths_part_the_answers_and_leave_out_what_no_group_can_hold() -> None:
    pairs = [(a_trace(f"{n}", seconds=float(n)), a_grade(f"{n}", n % 2 == 0, tokens=n)) for n in range(1, 9)]
    pairs += [(a_trace("silent", None), a_grade("silent")), (None, a_grade("away", tokens=5))]
    pairs += [(None, a_grade("unmarked", None, tokens=5))]
    lengths = sitting(pairs, {"away"}).lengths
    assert [(one.shortest, one.longest) for one in lengths] == [(0, 0), (1, 2), (3, 4), (5, 6), (7, 8)]
    assert [(one.right.events, one.right.chances) for one in lengths] == [(1, 1), *[(1, 2)] * 4]
    assert [one.seconds for one in lengths] == [None, 1.5, 3.5, 5.5, 7.5]


@given(st.lists(st.integers(0, 40), max_size=60))
def test_every_length_is_in_one_stretch(tokens: list[int]) -> None:
    pairs = [(None, a_grade(f"{place}", tokens=count)) for place, count in enumerate(tokens)]
    lengths = sitting(pairs).lengths
    assert sum(one.right.chances for one in lengths) == len(tokens)
    assert all(a.longest < b.shortest for a, b in pairwise(lengths))
    assert len(lengths) <= 5


def test_noise_is_paired_by_case() -> None:
    first = [a_grade("a"), a_grade("b"), a_grade("c", False), a_grade("d", None), a_grade("e")]
    second = [a_grade("c"), a_grade("a"), a_grade("b", False, unreadable=True), a_grade("d")]
    found = noise("m", "in another order", first, second)
    assert (found.cases, found.changed, found.only_first, found.only_second) == (3, 1, 1, 1)


def test_noise_counts_cases_not_samples() -> None:
    def samples(*right: bool) -> list[Grade]:
        return [a_grade("a", one).model_copy(update={"sample": number}) for number, one in enumerate(right)]

    found = noise("m", "with another seed", samples(True, True, False), samples(True, False, False))
    assert (found.cases, found.only_first, found.only_second) == (1, 1, 0)


def test_near_misses_count_in_the_lenient_figure_alone() -> None:
    near = a_grade("b", False).model_copy(update={"near_rank": 1})
    found = model_figures([a_grade("a"), near, a_grade("c", False), a_grade("d", False)])
    assert (found["top5"], found["top5_lenient"]) == (0.25, 0.5)


def test_a_model_without_answers_sat_nothing() -> None:
    report = Report(title="t", alpha=0.01, margin=0.02, why_margin="because of this", evidence="public", verdicts=())
    sat = with_sittings(report, {"m": [(None, a_grade("a"))], "absent": []}).sittings
    assert list(sat) == ["m"]
