"""Real TRL on a tiny model: three steps, the monitors' stops, and the weights given back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rounds import recipe
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.records import Answer, Case, Grade, Message, Prompt, Trace
from rounds.train.batches import Example
from rounds.train.distil import tokenizer_of
from rounds.train.grpo import grpo, sample
from rounds.train.pretrain import pretrain

CASES = [Case(id=f"c{number}", vignette=f"case {number}", diagnosis="meningitis") for number in range(4)]
PROMPTS = [
    Prompt(case_id=case.id, template="t@1", messages=(Message(role="user", content=case.vignette),)) for case in CASES
]
SETTINGS = recipe.Grpo(steps=3, prompts=2, samples=4, max_tokens=40, check_every=1, rate=1e-3, temperature=1.0)


class ByLength:
    """A marker for a model that cannot speak yet: an answer is well formed when its length is even, or never."""

    def __init__(self, pleased: bool = True) -> None:
        self.pleased = pleased
        self.marked: list[Trace] = []

    def mark(self, case: Case, trace: Trace) -> Grade:
        self.marked.append(trace)
        even = len(trace.thinking + trace.reply) % 2 == 0
        return Grade(case_id=case.id, answer=Answer(case_id=case.id), correct=None, valid_five=even and self.pleased)


@pytest.fixture
def reason(codec: Codec, words: Path, tmp_path: Path) -> Callable[..., Any]:
    def run(model: Any, accuracies: list[float], marker: Any = None, **fields: Any) -> Any:
        left: Iterator[float] = iter(accuracies)
        return grpo(
            model,
            CASES,
            PROMPTS,
            SETTINGS.model_copy(update=fields),
            codec=codec,
            tokenizer=tokenizer_of(words),
            marker=marker or ByLength(),
            accuracy=lambda model: next(left),
            seed=1,
            scratch=tmp_path / "scratch",
            bias_rate=0.01,
        )

    return run


@pytest.fixture(scope="module")
def speaker(make_model: Callable[..., Any], spelled: list[Example]) -> Callable[[str], Any]:
    """A model of its own each time, taught just enough to come to an end."""
    taught: dict[str, Any] = {}

    def give(structure: str) -> Any:
        if structure not in taught:
            model = make_model(structure)
            settings = recipe.Optimiser(rate=1e-2, batch=4, steps=40)
            pretrain(model, spelled, settings, pad=0, seed=1, muon=True)
            taught[structure] = model
        return copy.deepcopy(taught[structure])

    return give


def weights_of(model: Any) -> Any:
    return torch.cat([tensor.detach().float().flatten().clone() for tensor in model.state_dict().values()])


@pytest.mark.parametrize("structure", ["qwen2", "deepseek_v3"])
def test_three_steps(reason: Any, speaker: Callable[[str], Any], structure: str) -> None:
    model = speaker(structure)
    before = weights_of(model)
    marker = ByLength()
    done = reason(model, [0.5, 0.5, 0.6, 0.7], marker)
    assert (done.steps, done.stopped) == (3, None)
    assert done.accuracy == [0.5, 0.5, 0.6, 0.7]
    assert len(marker.marked) == 3 * 2 * 4
    assert not torch.equal(weights_of(model), before)
    assert not model.training
    for row in done.table:
        assert set(row) == {"rank", "red_flag", "format", "steps", "total", "zero variance", "clipped"}
        assert row["red_flag"] == 1.0
        assert row["total"] == pytest.approx(0.2 * row["red_flag"] + 0.2 * row["format"])
        assert 0.0 <= row["clipped"] <= 1.0


def test_groups_that_all_earn_the_same_stop_it(reason: Any, speaker: Callable[[str], Any]) -> None:
    model = speaker("qwen2")
    before = weights_of(model)
    done = reason(model, [0.5] * 11, ByLength(pleased=False), steps=10)
    assert done.steps == 3
    assert done.stopped.startswith("step 3: every group had answers of equal reward for 3 steps")
    assert done.accuracy == [0.5, 0.5, 0.5]  # the third look is not taken any more
    assert torch.equal(weights_of(model), before)


def test_a_fall_on_tune_stops_it_and_gives_the_weights_back(reason: Any, speaker: Callable[[str], Any]) -> None:
    model = speaker("qwen2")
    before = weights_of(model)
    done = reason(model, [0.5, 0.2], steps=10)
    assert done.steps == 1
    assert "greedy accuracy on tune fell from 0.500 to 0.200" in done.stopped
    assert (done.accuracy, done.kept) == ([0.5, 0.2], 0.5)
    assert torch.equal(weights_of(model), before)


def test_the_last_good_look_is_what_comes_back(reason: Any, speaker: Callable[[str], Any]) -> None:
    one, two = speaker("qwen2"), speaker("qwen2")
    reason(one, [0.5, 0.6], steps=1)
    stopped = reason(two, [0.5, 0.6, 0.1], steps=10)
    assert (stopped.steps, stopped.kept) == (2, 0.6)
    assert torch.allclose(weights_of(one), weights_of(two), atol=1e-6)


def test_with_a_kl_term_the_monitor_is_told_the_kl(
    reason: Any, speaker: Callable[[str], Any], words: Path, tmp_path: Path
) -> None:
    checkpoint.save(speaker("qwen2"), words, tmp_path / "start")
    done = reason(checkpoint.load(tmp_path / "start"), [0.5] * 4, beta=0.1)
    assert ["kl" in row for row in done.table] == [False, True, True]  # TRL logs a step after our look
    assert all(row["kl"] >= 0 for row in done.table[1:])
    assert done.table[2]["kl"] > 0


def test_a_kl_that_blows_up_stops_it(
    reason: Any, speaker: Callable[[str], Any], words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rounds.train.monitors.KL", 0.5)  # a model this small cannot reach ten nats
    checkpoint.save(speaker("qwen2"), words, tmp_path / "start")
    model = checkpoint.load(tmp_path / "start")
    with torch.no_grad():
        model.lm_head.weight *= -3  # says what the start, which TRL reads from the disk, finds least likely
    done = reason(model, [0.5] * 9, steps=8, beta=0.001, rate=1e-5)
    assert done.steps == 2
    assert done.stopped.startswith("step 2: KL to the starting model is ")


def test_no_steps_leave_the_model_alone(reason: Any, speaker: Callable[[str], Any]) -> None:
    model = speaker("qwen2")
    before = weights_of(model)
    done = reason(model, [], steps=0)
    assert (done.steps, done.table, done.accuracy) == (0, [], [])
    assert torch.equal(weights_of(model), before)


def test_sampling_stops_at_the_end_token_and_pads_nothing_in(make_model: Callable[..., Any], codec: Codec) -> None:
    model = make_model("qwen2")
    prompts = [codec.encode_text("case"), codec.encode_text("a much longer case with chest pain")]
    together = sample(model, prompts, codec, 0.0, 12)
    alone = [sample(model, [prompt], codec, 0.0, 12)[0] for prompt in prompts]
    assert together == alone
    assert all(len(answer) <= 12 for answer in together)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # every token is as likely: greedy takes the first
    assert all(set(answer) == {0} for answer in sample(model, prompts, codec, 0.0, 12) if 0 not in codec.eos_ids)
