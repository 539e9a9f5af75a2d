"""Seconds of stages: against the recorded tiny run, against counts by hand, and how they move."""

from __future__ import annotations

from typing import Any

import pytest

from rounds import recipe
from rounds.chain.hours import MEASURED, START, Rates, Work, _orthogonal, measured, timed, told, work_of
from rounds.chain.plan import Need, Plan, plan
from rounds.chain.shape import QWEN_7B, of_backbone

GB = 10**9
HERE = Rates(104e9, 30.7e9, 2, MEASURED)

RECORDED = {
    "base": 139.88,
    "teacher/pretrained": 159.44,
    "teacher/taught": 250.91,
    "traces": 123.52,
    "distilled": 316.2,
    "control-same-cases": 167.22,
    "control-same-tokens": 244.5,
}
"""Seconds of the longest stages of the recorded tiny run (benchmarks/README.md); HERE was measured after it."""


def need(found: Plan, stage: str) -> Need:
    return next(one for one in found.stages if one.stage == stage)


def times(given: recipe.Recipe, device: Rates | None = HERE) -> dict[str, float | None]:
    return {one.stage: one.seconds for one in timed(plan(given, 24 * GB), given, device, HERE).stages}


def changed(name: str, **sections: Any) -> recipe.Recipe:
    told = recipe.read(name).model_dump()
    return recipe.parse({**told, **{key: {**told[key], **value} for key, value in sections.items()}}, "test")


def test_the_recorded_run_lies_within_the_factor_that_is_told() -> None:
    found = times(recipe.read("tiny"))
    for stage, seconds in RECORDED.items():
        assert 0.5 < (found[stage] or 0) / seconds < 2, stage
    assert sum(found[stage] or 0 for stage in RECORDED) == pytest.approx(sum(RECORDED.values()), rel=0.2)


def test_the_operations_of_training_are_six_a_weight_and_token() -> None:
    given = changed("tiny", pretrain={"muon": False})
    backbone = given.student.backbone
    assert backbone is not None
    shape = of_backbone(backbone, given.pretrain.vocabulary)
    tokens = 350 * 32 * 60
    work = work_of(need(plan(given, GB), "base"), given)
    assert work is not None
    assert work.operations == pytest.approx(6 * shape.active * tokens, rel=0.05)
    assert work.operations > 6 * shape.active * tokens  # attention
    assert shape.active == shape.weights - 4096 * 192


def test_experts_that_a_token_passes_by_are_not_counted() -> None:
    backbone = recipe.read("tiny").teacher.backbone
    assert backbone is not None
    few, many = (of_backbone(backbone.model_copy(update={"experts": n}), 4096) for n in (8, 64))
    assert many.active - few.active == 56 * 192  # the router alone
    assert many.weights > 2 * few.weights


def test_muon_is_counted_by_its_products() -> None:
    assert _orthogonal(3, 2) == 5 * (2 * 2 * 2 * 3 + 2 * 2 * 2 * 3 + 2 * 2 * 2 * 2)
    with_muon, without = (
        work_of(need(plan(r, GB), "base"), r) for r in (recipe.read("tiny"), changed("tiny", pretrain={"muon": False}))
    )
    assert with_muon is not None
    assert without is not None
    assert with_muon.operations > without.operations


def test_one_answer_is_bound_by_the_memory_and_many_by_the_operations() -> None:
    given = changed("one-gpu", trace={"cases": 1, "samples": 1}, examine={"max_tokens": 2000})
    work = work_of(need(plan(given, GB), "grades/base"), given)
    assert work is not None
    # Every answer of the exam reads the weights once a token, shared by those in flight.
    answers = 720 * given.examine.samples
    assert work.bytes_read > answers / 256 * 1000 * 2 * 1_777_088_000
    assert work.operations == pytest.approx(answers * 1250 * 2 * 1_543_714_304, rel=0.2)


def test_more_operations_a_second_take_less_time_and_more_steps_more() -> None:
    slow, fast = times(recipe.read("tiny")), times(recipe.read("tiny"), Rates(100e12, 900e9))
    assert (fast["base"] or 0) < 1.2 * START < (slow["base"] or 0)
    longer = times(changed("tiny", pretrain={"steps": 700}))
    assert (longer["base"] or 0) - START == pytest.approx(2 * ((slow["base"] or 0) - START))
    threads = times(changed("tiny", pretrain={"threads": 2}))
    assert (threads["base"] or 0) - START == pytest.approx(((slow["base"] or 0) - START) / 2)


def test_what_runs_elsewhere_or_on_an_unknown_device_has_no_time() -> None:
    found = times(recipe.read("one-gpu"), None)
    assert found["traces"] is None  # the teacher is at an endpoint
    assert found["distilled"] is None
    assert found["cases"] is not None
    assert found["grades/packed"] is not None  # the CPU engine
    assert times(recipe.read("one-gpu"))["distilled"] is not None


def test_the_seven_billion_shape_reads_all_but_its_table_of_embeddings() -> None:
    assert QWEN_7B.active == QWEN_7B.weights - 152064 * 3584
    assert Work() == Work(0.0, 0.0, 0.0, 0)


def test_this_machine_is_measured() -> None:
    found = measured()
    assert found.operations > 1e8
    assert found.bandwidth > 1e7
    assert found.threads >= 1


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "-"), (9.6, "10 s"), (99.0, "99 s"), (125, "2 min"), (7200, "2.0 h")]
)
def test_times_for_people(seconds: float | None, said: str) -> None:
    assert told(seconds) == said
