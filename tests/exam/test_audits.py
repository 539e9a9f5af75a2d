"""Audit rates count clusters, say what a detector is worth, and take only answers that could show a mode."""

from __future__ import annotations

import json

import pytest

from rounds.exam.audits import (
    NOT_VALIDATED,
    STEPS,
    ModeRate,
    Rate,
    as_json,
    audit,
    audited,
    ignored,
    lines,
    rate,
    shares,
    standing,
)
from rounds.grade.choice import NEVER
from rounds.grade.counterfactual import Counterfactual
from rounds.grade.mark import Marker
from rounds.grade.modes import DRIFT, INVERSION, MODES, NOT_SEEN, Measured
from rounds.knowledge.base import load
from rounds.records import Answer, Case, Grade, Interval, Prompt, Sampling, StepCheck, Trace


def grade(case_id: str, *, condition: str = "", modes: tuple[str, ...] = (), flags: int = 0, **steps: object) -> Grade:
    return Grade(
        case_id=case_id,
        answer=Answer(case_id=case_id, diagnoses=("gout",)),
        correct=True,
        rank=1,
        red_flags_total=flags,
        steps=StepCheck.model_validate(steps) if steps else None,
        error_modes=modes,
        thinking_tokens=9,
        groups={"condition": condition},
    )


def test_rates_are_of_claims_and_findings() -> None:
    found = audit(
        [
            grade("a", claims=10, stated=4, invented=("fever",), denied=("cough",)),
            grade("b", claims=10, stated=6),
            grade("c"),
        ]
    )
    assert (found.step_errors.events, found.step_errors.chances, found.step_errors.value) == (2, 20, 0.1)
    assert (found.hallucinated.events, found.hallucinated.chances, found.hallucinated.value) == (1, 10, 0.1)
    assert found.step_errors.clusters == 2


def test_the_interval_counts_conditions_not_claims() -> None:
    apart = [grade(f"{n}", condition=f"{n}", claims=10, invented=("fever",) * (n % 2)) for n in range(40)]
    together = [grade(f"{n}", condition=f"{n % 4}", claims=10, invented=("fever",) * (n % 2)) for n in range(40)]
    alone, clustered = (audit(grades).step_errors for grades in (apart, together))
    assert alone.value == clustered.value == 0.05
    assert (alone.clusters, clustered.clusters) == (40, 4)
    assert clustered.interval.high - clustered.interval.low > alone.interval.high - alone.interval.low
    assert 0 <= alone.interval.low < 0.05 < alone.interval.high < 0.1


@pytest.mark.parametrize("grades", [[], [grade("a")], [grade("a", claims=0)]])
def test_nothing_to_count_is_said(grades: list[Grade]) -> None:
    found = audit(grades)
    assert found.step_errors.value is None
    assert found.step_errors.interval == Interval(low=0, high=1)
    assert "nothing to count" in lines(found)[0]
    assert as_json(found)["step_error_rate"] == {
        "rate": None, "low": None, "high": None, "events": 0, "of": 0, "clusters": 0,
    }  # fmt: skip


def test_red_flag_modes_are_of_cases_with_red_flags() -> None:
    unread = grade("d").model_copy(update={"answer": Answer(case_id="d", unreadable=True)})
    found = audit(
        [grade("a", flags=2, modes=(NOT_SEEN, DRIFT)), grade("b", flags=1), grade("c", modes=(DRIFT,)), unread]
    )
    by_mode = {one.mode: (one.rate.events, one.rate.chances) for one in found.modes}
    assert list(by_mode) == list(MODES)
    assert by_mode[NOT_SEEN] == (1, 2)
    assert by_mode[DRIFT] == (2, 3)
    assert by_mode[INVERSION] == (0, 3)


def test_drift_is_of_answers_that_thought() -> None:
    silent = grade("a").model_copy(update={"thinking_tokens": 0})
    drift = next(one for one in audit([silent, grade("b", modes=(DRIFT,))]).modes if one.mode == DRIFT)
    assert (drift.rate.events, drift.rate.chances) == (1, 1)


def test_shares_are_what_could_be_counted_with_what_it_is_worth() -> None:
    found = {one.name: one for one in shares(audit([grade("a", flags=1, modes=(NOT_SEEN,)), grade("b")]))}
    assert list(found) == [DRIFT, NOT_SEEN, *MODES[2:]]
    assert (found[NOT_SEEN].events, found[NOT_SEEN].chances) == (1, 1)
    assert found[NOT_SEEN].standing.startswith("kappa 1.00")
    with_steps = shares(audit([grade("a", claims=4, stated=2, invented=("fever",)), grade("b", claims=4, stated=2)]))
    assert [one.name for one in with_steps[:2]] == list(STEPS)
    assert [(one.events, one.chances, one.clusters) for one in with_steps[:2]] == [(1, 8, 2), (1, 4, 2)]
    assert all("planted" in one.standing for one in with_steps[:2])
    assert standing(None) == NOT_VALIDATED


def test_a_mode_without_a_measured_kappa_is_not_validated() -> None:
    some = Rate(1, 2, 2, Interval(low=0, high=1))
    assert ModeRate(DRIFT, some, None).standing == NOT_VALIDATED
    assert ModeRate(DRIFT, some, Measured(0.93, 0.9, 0.96, 400)).standing == (
        "kappa 0.93 (0.90 to 0.96) on 400 planted answers"
    )
    found = audit([grade("a")])
    told = {one.mode: one.standing for one in found.modes}
    for mode, line in zip(MODES, lines(found)[2:], strict=True):
        assert line.startswith(f"{mode}: ")
        assert line.endswith(f"[{told[mode]}]")
    modes = json.loads(json.dumps(as_json(found)))["error_modes"]
    assert {mode: one["standing"] for mode, one in modes.items()} == told


def test_ignored_flags_are_counted_by_condition() -> None:
    answer = Answer(case_id="a")
    asked = [
        Counterfactual(case_id=case, flag="fever", before=answer, after=answer, ignored=same)
        for case, same in (("a", True), ("a", False), ("b", True), ("c", True))
    ]
    found = ignored(asked, {"a": "gout", "b": "gout", "c": ""})
    assert (found.events, found.chances, found.clusters) == (3, 4, 2)
    assert "red flags without which the list stayed the same: 75.0%" in "\n".join(lines(audit([]), found))
    assert as_json(audit([]), found)["ignored_red_flags"] == {
        "rate": 0.75, "low": found.interval.low, "high": found.interval.high, "events": 3, "of": 4, "clusters": 2,
    }  # fmt: skip


def test_a_grade_without_a_chance_counts_no_cluster() -> None:
    assert rate([grade("a"), grade("b")], lambda g: (0, int(g.case_id == "a"))).clusters == 1


def test_free_text_gets_its_steps_and_options_do_not() -> None:
    marker = Marker(load())
    case = Case(id="a", vignette="A man has fever.", diagnosis="gout")
    trace = Trace(
        prompt=Prompt(case_id="a", template="differential@1", messages=()), model="m", engine="e", sampling=Sampling(),
        thinking="There is wheeze. Gout it is.", reply="1. gout", finish="stop", thinking_tokens=1, reply_tokens=1,
    )  # fmt: skip
    bare = marker.mark(case, trace).model_copy(update={"steps": None})
    marked = audited(case, trace, bare, marker.knowledge)
    assert marked.steps is not None
    assert marked.steps.invented == ("wheeze",)
    choice = case.model_copy(update={"options": ("yes", "no"), "right": ("A",)})
    assert audited(choice, trace, bare, marker.knowledge).steps is None
    silent = trace.model_copy(update={"thinking": " "})
    assert audited(case, silent, bare, marker.knowledge).steps is None


def test_what_another_reader_found_stays_and_nothing_stands_twice() -> None:
    marker = Marker(load())
    case = Case(id="a", vignette="v", diagnosis="gout", options=("flu", "gout"), right=("B",), never=("A",))
    trace = Trace(
        prompt=Prompt(case_id="a", template="choice@1", messages=()), model="m", engine="e", sampling=Sampling(),
        thinking="", reply="Answer: A", finish="stop", thinking_tokens=0, reply_tokens=1,
    )  # fmt: skip
    marked = audited(case, trace, marker.mark(case, trace), marker.knowledge)
    assert marked.error_modes == (NEVER,)
    shown = grade("b", modes=(NEVER, DRIFT, NEVER))
    listed = Case(id="b", vignette="A man has fever.", diagnosis="gout", must_not_miss=("gout",))
    again = audited(listed, trace.model_copy(update={"thinking": "Flu. Most likely: flu."}), shown, marker.knowledge)
    assert again.error_modes == (NEVER, DRIFT)
