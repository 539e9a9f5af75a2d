"""Both ways of shortening on the toy chain: true training, paired with the model it began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rounds import files
from rounds.chain.budget import Given
from rounds.chain.shorten import shorten
from rounds.exam.shortening import Shortening
from rounds.grade.mark import Marker, faults
from rounds.knowledge.base import load
from rounds.records import Case, Lesson, Sampling, Trace

pytestmark = pytest.mark.timeout(1800)

SHORTEN = """
[shorten]
keep = 0.3
steps = 1
epochs = 0.2
"""


@pytest.fixture(scope="module")
def done(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shortening]:
    copied = toy.copy(tmp_path_factory.mktemp("shorten"))
    with (copied.run / "recipe.toml").open("a", encoding="utf-8") as recipe:
        recipe.write(SHORTEN)
    return copied.run, shorten(copied.run, Given(timed=1), [8])


def test_shorter_lessons_pass_the_same_verification(done: tuple[Path, Shortening]) -> None:
    run, _ = done
    before = list(files.read_jsonl(run / "traces" / "lessons.jsonl", Lesson))
    after = list(files.read_jsonl(run / "shorter" / "lessons" / "lessons.jsonl", Lesson))
    cases = {case.id: case for case in files.read_jsonl(run / "cases" / "teach.jsonl", Case)}
    marker = Marker(load())
    assert [one.prompt for one in after] == [one.prompt for one in before]
    assert sum(len(one.thinking) for one in after) < 0.9 * sum(len(one.thinking) for one in before)
    for one in after:
        case = cases[one.prompt.case_id]
        trace = Trace(
            prompt=one.prompt, model="m", engine="e", sampling=Sampling(), thinking=one.thinking, reply=one.reply,
            finish="stop", thinking_tokens=0, reply_tokens=0,
        )  # fmt: skip
        assert faults(case, marker.mark(case, trace)) == ()


def test_each_way_is_held_against_the_model_it_began_with(done: tuple[Path, Shortening]) -> None:
    run, found = done
    assert [way.how for way in found.ways] == ["traces", "grpo"]
    assert [curve.name for curve in found.curves] == [
        f"{name} of toy" for name in ("reasoned", "shorter/traces", "shorter/grpo")
    ]
    assert found.margin == 0.05
    free = found.curves[0].points[-1]
    for way, curve in zip(found.ways, found.curves[1:], strict=True):
        assert way.tokens_before == free.thinking_tokens
        assert way.tokens_after == curve.points[-1].thinking_tokens
        assert way.fewer == pytest.approx(1 - way.tokens_after / way.tokens_before)
        assert way.verdicts[0].before == "before"
        assert way.sentence.startswith(f"{way.how}: {100 * way.fewer:.0f} % fewer thinking tokens")
    assert files.read_json(run / "shorten.json", Shortening) == found
    assert "shorter/grpo of toy" in (run / "shorten.html").read_text(encoding="utf-8")


def test_the_length_reward_is_in_the_table_of_grpo(done: tuple[Path, Shortening]) -> None:
    assert "first_length" in done[1].ways[1].figures
