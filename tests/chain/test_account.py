"""What a report tells of how its models were made comes from the lineage."""

from __future__ import annotations

from rounds import recipe
from rounds.chain.account import machine, made
from rounds.records import Step


def test_made_tells_only_what_the_run_has() -> None:
    chosen = recipe.read("tiny")
    step = Step(verb="cases", recipe="", seconds=61.5, peak_memory_mb=70, figures={"teach": 40000, "exam": 720})
    told = made(chosen, {"cases": step})
    assert told["splits"] == "teach 40,000, exam 720"
    assert told["stages"] == "cases"
    assert told["work"].startswith("62 s in 1 stages on ")
    assert told["student"].startswith("made here: qwen2, ")
    assert {"lessons", "alignment"}.isdisjoint(told)
    traces = Step(verb="trace", recipe="", figures={"lessons": 3880, "kept": 3903})
    more = made(chosen, {"cases": step, "traces": traces, "reasoned": Step(verb="grpo", recipe="")})
    assert more["lessons"] == "3,880 lessons from 3,903 answers of the teacher that passed verification"
    assert "rank 1" in more["alignment"]


def test_an_endpoint_is_told_by_its_name() -> None:
    at = recipe.Model(endpoint="http://10.0.0.1/v1", name="big")
    told = made(recipe.read("tiny").model_copy(update={"teacher": at}), {"cases": Step(verb="cases", recipe="")})
    assert told["teacher"] == "endpoint big"


def test_machine_has_seed_and_versions() -> None:
    told = machine(recipe.read("tiny"))
    assert told["seed"] == "1"
    assert told["recipe"].startswith("tiny, ")
    assert {"rounds", "python", "processor"} <= set(told)
