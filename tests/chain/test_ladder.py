"""The ladder on a tiny random model, which four bits change too much, and its rules on figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rounds import files
from rounds.chain import ladder
from rounds.chain.ladder import LADDER, Ladder, Parent, Rung, climb, plans, rows
from rounds.chain.same import Rules, sit
from rounds.grade.mark import Marker
from rounds.knowledge.base import load
from rounds.quant.classes import Text
from rounds.recipe import Quantize
from rounds.records import Case, Figures, Lesson, Sampling, UserError

RULES = Rules(0.02, 0.01, "differential-brief@1", Sampling(temperature=0, max_tokens=24))
PLAIN = Quantize(group=64, gptq=False, distil_steps=0)


@pytest.fixture(scope="module")
def parent(babbler: Path, tune: list[Case], told: list[Lesson]) -> Parent:
    marker = Marker(load())
    return Parent(babbler, sit(babbler, "openvino", tune, RULES, marker), tune, told, marker, RULES)


def test_rungs_go_from_the_groups_asked_for_to_eight_bits() -> None:
    assert [
        (plan.name, plan.settings.bits, plan.settings.group, plan.share) for plan in plans(Quantize(group=128))
    ] == [
        ("4 bits, groups of 128", 4, 128, 0.0),
        ("4 bits, groups of 32", 4, 32, 0.0),
        ("4 bits, groups of 32, 10% of the layers in 8", 4, 32, 0.1),
        ("4 bits, groups of 32, 20% of the layers in 8", 4, 32, 0.2),
        ("4 bits, groups of 32, distilled", 4, 32, 0.0),
        ("8 bits", 8, 128, 0.0),
    ]
    assert [plan.name for plan in plans(Quantize()) if plan.distilled] == ["4 bits, groups of 32, distilled"]
    assert not any(plan.distilled for plan in plans(Quantize(distil_steps=0)))
    assert [plan.settings.group for plan in plans(Quantize(group=16))] == [16, 16, 16, 16, 16]
    assert [plan.name for plan in plans(Quantize(group=-1))][:2] == ["4 bits, a scale a row", "4 bits, groups of 32"]
    assert [plan.name for plan in plans(Quantize(bits=8))] == ["8 bits"]
    assert [plan.name for plan in plans(Quantize(ladder=False))] == ["4 bits, groups of 64"]


def test_a_model_that_four_bits_change_climbs(parent: Parent, tmp_path: Path) -> None:
    figures = climb(parent, PLAIN, tmp_path)
    found = files.read_json(tmp_path / LADDER, Ladder)
    climbed = len(found.rungs)
    assert climbed >= 4
    assert [rung.name for rung in found.rungs] == [plan.name for plan in plans(PLAIN)][:climbed]
    assert [rung.held for rung in found.rungs] == [False] * (climbed - 1) + [True]
    sizes = [rung.bytes for rung in found.rungs]
    assert sizes == sorted(sizes)
    kl = [rung.same.divergence["all"].kl for rung in found.rungs if rung.same]
    assert kl[0] > kl[2] > kl[3]
    assert len(found.layers) == 14
    assert found.rungs[2].eight == tuple(layer.name for layer in found.layers[: len(found.rungs[2].eight)])
    assert set(found.rungs[2].eight) < set(found.rungs[3].eight)
    assert figures["rung"] == found.chosen == found.rungs[-1].name
    assert (figures["rungs_made"], figures["tune"], figures["held"]) == (climbed, "too few cases", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [LADDER, "chat.json", "config.json", "generation_config.json", "openvino_model.bin", "openvino_model.xml",
         "tokenizer.json", "tokenizer_config.json"]
    )  # fmt: skip
    table = rows(found)
    assert [row["chosen"] for row in table] == [rung.held for rung in found.rungs]
    assert table[0]["KL, digits"] == found.rungs[0].same.divergence["digits"].kl  # type: ignore[union-attr]
    assert json.dumps(table)


def test_the_distilled_rung_is_another_model_as_small_as_the_one_it_starts_from(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = PLAIN.model_copy(update={"distil_steps": 3})
    monkeypatch.setattr(ladder, "plans", lambda settings: [one for one in plans(settings) if "in 8" not in one.name])
    monkeypatch.setattr(ladder, "_held", lambda same: (False, "not held"))
    climbed: list[Rung] = []
    keep = ladder._rung
    monkeypatch.setattr(ladder, "_rung", lambda *given: climbed.append(keep(*given)) or climbed[-1])
    with pytest.raises(UserError, match="no rung of the ladder is held"):
        climb(parent, chosen, tmp_path)
    _, fine, distilled, eight = climbed
    assert distilled.name == "4 bits, groups of 32, distilled"
    assert distilled.bytes == fine.bytes < eight.bytes
    assert distilled.distil_seconds is not None
    assert fine.distil_seconds is None
    assert distilled.same is not None
    assert fine.same is not None
    assert distilled.same.divergence["all"].kl != fine.same.divergence["all"].kl
    assert not (tmp_path / ".distilled").exists()
    found = Ladder(budget=None, margin=None, alpha=0.01, tune_cases=1, rungs=tuple(climbed), chosen="8 bits")
    assert [row.get("distil_seconds") is not None for row in rows(found)] == [False, False, True, False]


def test_a_budget_that_mixed_rungs_pass_leaves_the_distilled_one(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []
    make = ladder.made

    def noted(directory: Path, own: Sequence[Text], plan: ladder.Plan, *more: Any) -> Figures:
        named.append(plan.name)
        return make(directory, own, plan, *more)

    monkeypatch.setattr(ladder, "made", noted)
    monkeypatch.setattr(ladder, "_held", lambda same: (False, "not held"))
    fine = make(parent.directory, [], plans(PLAIN)[1], tmp_path / "fine", [])
    chosen = PLAIN.model_copy(update={"distil_steps": 2, "budget": f"{int(fine['bytes_after'] or 0) / 1000:.3f}KB"})
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="4 bits, groups of 32, distilled is not held"):
        climb(parent, chosen, tmp_path / "out")
    assert named[-2:] == ["4 bits, groups of 32, 10% of the layers in 8", "4 bits, groups of 32, distilled"]


def test_rungs_below_the_first_that_is_held_are_not_made(parent: Parent, tmp_path: Path) -> None:
    figures = climb(parent, Quantize(bits=8, kv_cache="u8"), tmp_path)
    found = files.read_json(tmp_path / LADDER, Ladder)
    assert [(rung.name, rung.held, rung.kv_cache) for rung in found.rungs] == [("8 bits", True, "u8")]
    assert figures["rungs_made"] == 1
    assert found.layers == ()


def test_without_a_ladder_the_rung_is_measured_and_taken(parent: Parent, tmp_path: Path) -> None:
    figures = climb(parent, PLAIN.model_copy(update={"ladder": False}), tmp_path)
    assert (figures["rungs_made"], figures["held"]) == (1, False)
    assert (tmp_path / "openvino_model.bin").is_file()


@pytest.mark.parametrize("budget", ["20kB", "4.0 bits"])
def test_a_budget_nothing_fits_is_named(parent: Parent, tmp_path: Path, budget: str) -> None:
    budget = budget.replace("k", "K")
    with pytest.raises(UserError, match=f"held within the budget of {budget}: 4 bits, groups of 64 takes .*; raise it"):
        climb(parent, PLAIN.model_copy(update={"budget": budget}), tmp_path)


def test_nothing_that_is_held_is_named(parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "plans", lambda settings: plans(settings)[:1])
    with pytest.raises(UserError, match="no rung of the ladder is held against its parent on the tune cases: 4 bits"):
        climb(parent, PLAIN, tmp_path)
