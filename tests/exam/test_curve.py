"""Budgets on a model that needs to think so long and no longer: what is asked again, what is cut, what is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.exam.curve import (
    Point,
    check_budgets,
    choose,
    closed,
    cut,
    cut_curve,
    judged,
    lengths,
    point,
    touches,
)
from rounds.exam.examine import Examined, examine
from rounds.grade.mark import Marker
from rounds.knowledge.base import load
from rounds.records import Answer, Case, Grade, Interval, Prompt, Sampling, Share, Trace, UserError, Verdict

CASES = [Case(id=f"c{n}", vignette=f"A man of {20 + n} has fever.", diagnosis="Gout", split="tune") for n in range(40)]
FREE = Sampling(temperature=0)


class Thinker:
    """Thinks 10 tokens on even cases and 30 on odd ones, and is right when it may finish."""

    name, model, batch_invariant = "thinker", "thinker", True

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        for prompt in prompts:
            wanted = 10 if int(prompt.case_id[1:]) % 2 == 0 else 30
            budget = sampling.thinking_budget
            self.asked.append((prompt.case_id, budget))
            spent = wanted if budget is None else min(wanted, budget)
            yield Trace(
                prompt=prompt,
                model="thinker",
                engine="rule",
                sampling=sampling,
                thinking="so " * spent,
                reply="1. Gout" if spent == wanted else "1. Sepsis",
                finish="stop",
                thinking_tokens=spent,
                reply_tokens=4,
                total_s=spent / 10,
            )


@pytest.fixture(scope="module")
def marker() -> Marker:
    return Marker(load())


@pytest.fixture(scope="module")
def free(marker: Marker) -> Examined:
    return examine(CASES, Thinker(), template="differential-brief@1", sampling=FREE, marker=marker)


def held(free: Examined, marker: Marker, budget: int) -> tuple[Examined, Thinker]:
    thinker = Thinker()
    done = closed(CASES, free, budget, thinker, template="differential-brief@1", sampling=FREE, marker=marker)
    return done, thinker


def test_only_answers_that_reach_the_budget_are_asked_again(free: Examined, marker: Marker) -> None:
    done, thinker = held(free, marker, 20)
    assert thinker.asked == [(case.id, 20) for case in CASES[1::2]]
    assert [trace.prompt.case_id for trace in done.traces] == [case.id for case in CASES]
    assert done.traces[0] is free.traces[0]
    assert [bool(grade.correct) for grade in done.grades] == [True, False] * 20


def test_a_budget_nobody_reaches_asks_nobody(free: Examined, marker: Marker) -> None:
    done, thinker = held(free, marker, 31)
    assert thinker.asked == []
    assert done is free


@pytest.mark.parametrize(("budget", "touched"), [(0, True), (9, True), (10, True), (11, False)])
def test_the_closing_mark_counts(free: Examined, budget: int, touched: bool) -> None:
    assert touches(free.traces[0], budget) is touched  # thinks 10: the engine would close it at 10 as well


def test_cut_is_a_miss_at_its_share_of_the_time(free: Examined) -> None:
    short = cut(free.grades, 15)
    assert short[0] is free.grades[0]
    assert (short[1].correct, short[1].answer.unreadable, short[1].thinking_tokens) == (False, True, 15)
    assert short[1].total_s == pytest.approx(1.5)
    unknown = free.grades[1].model_copy(update={"correct": None})
    assert cut([unknown], 15)[0].correct is None


@given(st.lists(st.integers(0, 60), min_size=1), st.integers(0, 70))
def test_cutting_never_adds_a_right_answer_or_a_token(tokens: list[int], budget: int) -> None:
    grades = [
        Grade(case_id=str(n), answer=Answer(case_id=str(n)), correct=True, thinking_tokens=count)
        for n, count in enumerate(tokens)
    ]
    after = cut(grades, budget)
    assert all(one.thinking_tokens == min(count, budget) for one, count in zip(after, tokens, strict=True))
    assert all(bool(one.correct) == (count <= budget) for one, count in zip(after, tokens, strict=True))


def test_the_whole_curve_of_cut_answers(free: Examined) -> None:
    found = cut_curve("thinker", free.grades, (0, 10, 29, 30), margin=0.1, alpha=0.01)
    rates = [one.right.events for one in found.points]
    assert rates == [0, 20, 20, 40, 40]
    assert [one.touched for one in found.points] == [40, 20, 20, 0, 0]
    assert [one.cut for one in found.points] == [40, 20, 20, 0, 0]
    assert found.points[-1].budget is None
    assert found.points[-1].verdicts == ()
    assert [one.verdicts[0].finding for one in found.points[:-1]] == ["lost", "lost", "lost", "kept"]
    assert found.chosen == 30
    assert found.why == (
        "30 tokens is the smallest budget that is kept against no limit, with 0 % fewer thinking tokens; "
        "29 is lost on accuracy."
    )


def test_budgets_by_length_begin_with_none_at_all(free: Examined) -> None:
    assert lengths(free.grades) == [0, 10, 20, 30]
    with pytest.raises(UserError, match="no answer had any thinking tokens"):
        lengths([grade.model_copy(update={"thinking_tokens": 0}) for grade in free.grades])


def a_point(budget: int | None, *findings: str, tokens: float = 10) -> Point:
    share = Share(name="right", events=1, chances=2, clusters=2, low=0, high=1)
    span = Interval(low=0, high=0)
    verdicts = [
        Verdict.model_validate(
            {"before": "a", "after": "b", "n": 9, "both": 9, "only_before": 0, "only_after": 0, "neither": 0,
             "difference": 0, "tango": span, "newcombe": span, "p_exact": 1, "p_midp": 1, "finding": finding,
             "cases_needed": 900}
        )
        for finding in findings
    ]  # fmt: skip
    return Point(
        budget=budget, touched=0, right=share, top1=None, step_error_rate=None, red_flags=None, cut=0,
        thinking_tokens=tokens, tokens=None, seconds=None, slow_seconds=None, verdicts=tuple(verdicts),
    )  # fmt: skip


def test_the_search_ends_at_the_first_that_is_not_kept() -> None:
    # 10 looks kept by luck below 20, which is not: nothing below a failure is looked at.
    points = [a_point(10, "kept"), a_point(20, "too few cases"), a_point(40, "gained", tokens=5), a_point(None)]
    best, why = choose(points)
    assert best == 40
    assert why.endswith(
        "with 50 % fewer thinking tokens; 20 has too few cases to tell on accuracy (about 900 would decide)."
    )


def test_every_arm_must_be_kept() -> None:
    best, why = choose([a_point(20, "kept", "lost"), a_point(None)])
    assert best is None
    assert why == "no budget is kept against no limit; 20 is lost on accuracy."


def test_one_family_for_all_budgets(free: Examined) -> None:
    marked = [free.grades, free.grades, free.grades]
    points = [point(free.grades, budget=budget, touched=0) for budget in (1, 2, None)]
    shown = judged(points, marked, margin=0.1, alpha=0.01)
    assert [len(one.verdicts) for one in shown] == [1, 1, 0]
    assert {v.p_holm for one in shown for v in one.verdicts} == {1.0}


@pytest.mark.parametrize(
    ("budgets", "sentence"),
    [([-1], "thinking budget -1 is not between"), ([200000], "200000 is not"), ([], "0 thinking budgets were given")],
)
def test_budgets_out_of_range_are_refused(budgets: list[int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_budgets(budgets)


def test_budgets_are_sorted_and_each_once() -> None:
    assert check_budgets([4, 1, 4]) == [1, 4]


def test_no_answers_have_no_curve() -> None:
    with pytest.raises(UserError, match="there are 0 answers"):
        cut_curve("m", [], (), margin=0.1, alpha=0.01)


DATA = Path(__file__).parents[3] / "shared" / "data" / "09_medagents_recorded_mcq"


@pytest.mark.shared
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/09_medagents_recorded_mcq is not there")
def test_published_models_give_the_same_curve() -> None:
    from rounds.cases.importers.recorded import recorded
    from rounds.exam.curve_page import render

    grades = recorded("medagents", DATA / "medqa.answers.jsonl.gz", DATA / "medqa.items.jsonl.gz")
    found = cut_curve("DeepSeek-R1", grades["DeepSeek-R1"], (), margin=0.02, alpha=0.01)
    rates = [one.right.events for one in found.points]
    assert rates == sorted(rates)
    assert rates[-1] == sum(bool(grade.correct) for grade in grades["DeepSeek-R1"])
    assert found.points[0].right.events == 0
    assert found.chosen is not None
    assert "DeepSeek-R1, no limit: 92.1 %" in render("Published", [found], "public")
