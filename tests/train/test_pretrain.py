from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rounds.recipe import Optimiser
from rounds.records import UserError
from rounds.train.batches import Example, tensors
from rounds.train.pretrain import pretrain, step_count

SETTINGS = Optimiser(rate=4e-3, batch=4, steps=30)


def loss_of(model: Any, examples: list[Example]) -> float:
    with torch.no_grad():
        return float(model(**tensors(examples, 0), use_cache=False).loss)


@pytest.mark.parametrize("muon", [True, False])
def test_the_loss_falls(make_model: Callable[..., Any], spelled: list[Example], muon: bool) -> None:
    model = make_model("qwen2")
    before = loss_of(model, spelled)
    done = pretrain(model, spelled, SETTINGS, pad=0, seed=1, muon=muon)
    assert done.steps == 30
    assert done.examples == 120
    assert done.tokens == sum(len(example.ids) for example in spelled) * 10  # ten passes over twelve examples
    assert done.loss < 0.7 * before
    assert loss_of(model, spelled) < 0.7 * before
    assert not model.training


def test_experts_are_balanced_while_it_trains(make_model: Callable[..., Any], spelled: list[Example]) -> None:
    model = make_model("deepseek_v3")
    bias = model.model.layers[1].mlp.gate.e_score_correction_bias
    few = SETTINGS.model_copy(update={"steps": 3})
    pretrain(model, spelled, few, pad=0, seed=1, muon=True)
    assert not bias.any()
    pretrain(model, spelled, few, pad=0, seed=1, muon=True, bias_rate=0.01)
    assert bias.any()


def test_the_seed_decides_everything(make_model: Callable[..., Any], spelled: list[Example]) -> None:
    few = SETTINGS.model_copy(update={"steps": 4})
    weights = []
    for seed in (1, 1, 2):
        model = make_model("llama")
        pretrain(model, spelled, few, pad=0, seed=seed, muon=True)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_loss_that_is_no_number_stops(make_model: Callable[..., Any], spelled: list[Example]) -> None:
    model = make_model("qwen2")
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"the loss is not a number at step 1; lower the rate \(0\.004\)"):
        pretrain(model, spelled, SETTINGS, pad=0, seed=1, muon=True)


def test_an_example_longer_than_the_context_is_refused(make_model: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="an example has 257 tokens but the model's context is 256; raise"):
        pretrain(make_model("qwen2"), [Example((1,) * 257)], SETTINGS, pad=0, seed=1, muon=True)


def test_nothing_to_learn_is_refused(make_model: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="there are 0 examples to learn from"):
        pretrain(make_model("qwen2"), [], SETTINGS, pad=0, seed=1, muon=True)


def test_steps_go_by_epochs_unless_given() -> None:
    assert step_count(100, Optimiser(rate=1, batch=8, epochs=2)) == 25
    assert step_count(100, Optimiser(rate=1, batch=8, epochs=2, steps=3)) == 3
    assert step_count(1, Optimiser(rate=1, batch=8, epochs=0.5)) == 1
