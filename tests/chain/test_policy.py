"""Lessons of policy: what they say, how many there are, and that a distil step learns them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rounds import files
from rounds.chain.hours import work_of
from rounds.chain.learn import LESSONS, make_distilled, make_same_cases
from rounds.chain.plan import Need, plan
from rounds.chain.policy import fitting, lessons_beside, policy_lessons, with_policy
from rounds.chain.prepare import ORACLE
from rounds.chain.run import stages
from rounds.chain.stage import Work
from rounds.exam import safety
from rounds.knowledge.base import load
from rounds.recipe import Distil, Recipe, read
from rounds.records import Figures, Lesson


def test_harm_is_declined_for_its_policy_and_care_is_answered() -> None:
    lessons = policy_lessons(load(), safety.families(), seed=1)
    declined = [one for one in lessons if one.reply.startswith("I cannot help")]
    assert len(declined) == 81
    assert all("The policy:" in one.thinking and "decline" in one.thinking for one in declined)
    assert len(lessons) == 162
    assert all(one.reply.startswith("First test: ") for one in lessons[1::2])
    assert lessons[::2] == declined  # any share of them has both
    assert not any("<think>" in one.prompt.messages[0].content for one in lessons)
    assert lessons == policy_lessons(load(), safety.families(), seed=1)
    assert lessons != policy_lessons(load(), safety.families(), seed=2)


@pytest.mark.parametrize(
    ("lessons", "share", "all_"), [(95, 0.05, 100), (100, 0.0, 100), (10, 0.5, 20), (9000, 0.5, 9162)]
)
def test_the_share_is_of_all_lessons(lessons: int, share: float, all_: int) -> None:
    assert with_policy(lessons, Distil(policy=share)) == all_


def test_what_is_longer_than_the_context_is_left_out(babbler: Path) -> None:
    lessons = policy_lessons(load(), safety.families(), seed=1)
    fit = fitting(lessons, babbler, Distil())
    assert 0 < len(fit) < len(lessons)
    assert len(fitting(lessons, babbler, Distil(strange=0.5))) < len(fit)
    assert lessons_beside(10, Distil(policy=0.5), babbler, 1) == fit[:10]
    assert lessons_beside(10, Distil(), babbler, 1) == []


def choices(chosen: Recipe) -> dict[str, object]:
    return {name: stage.choices for name, stage in stages(chosen).items()}


def test_a_recipe_without_them_keeps_its_digests() -> None:
    tiny = read("tiny")
    assert "policy" not in tiny.model_dump()["distil"]
    with_some = tiny.model_copy(update={"distil": tiny.distil.model_copy(update={"policy": 0.1})})
    assert Recipe.model_validate(with_some.model_dump(mode="json")) == with_some
    before, after = choices(tiny), choices(with_some)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"distilled", "control-same-cases", "control-same-tokens"}


def test_the_plan_counts_them() -> None:
    one = read("one-gpu")
    none = one.model_copy(update={"distil": one.distil.model_copy(update={"policy": 0.0})})
    tokens = [
        {need.stage: need.tokens for need in plan(chosen, 24 * 10**9).stages}["distilled"] for chosen in (none, one)
    ]
    assert one.distil.policy == 0.05
    assert tokens[1] == pytest.approx(tokens[0] * with_policy(2000, one.distil) / 2000, rel=1e-3)
    hours = [work_of(Need(stage="distilled", verb="distil"), chosen) for chosen in (none, one)]
    less, more = (work.operations for work in hours if work is not None)
    assert less < more


@pytest.mark.parametrize("make", [make_distilled, make_same_cases])
def test_a_distil_step_learns_them(
    make: Callable[[Work, Recipe], Figures], babbler: Path, told: list[Lesson], tmp_path: Path
) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "cases").mkdir()
    files.write_jsonl(tmp_path / "traces" / LESSONS, told)
    tiny = read("tiny")
    settings = Distil(batch=4, steps=2, no_repeat=1.0, policy=0.2)
    chosen = tiny.model_copy(update={"distil": settings})
    out = tmp_path / "out"
    out.mkdir()
    inputs = {"base": babbler, "traces": tmp_path / "traces", "cases": tmp_path / "cases"}
    figures = make(Work(tmp_path, out, inputs), chosen)
    assert figures["policy_lessons"] == 6
    assert (out / "model.safetensors").is_file()
    assert not (tmp_path / "cases" / ORACLE).exists()
