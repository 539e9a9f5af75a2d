from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rounds.recipe import Optimiser
from rounds.records import UserError
from rounds.train.batches import IGNORED, Example, tensors
from rounds.train.pretrain import labelled_loss, pretrain, step_count

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


def slow_loss(model: Any, examples: list[Example], weight: float) -> float:
    """Cross-entropy and unlikelihood token by token, as the papers write them."""
    likelihood, unlikelihood, labels = 0.0, 0.0, 0
    for example in examples:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([example.ids]), use_cache=False).logits[0]
        for place in range(max(1, example.start), len(example.ids)):
            chance = logits[place - 1].softmax(-1)
            likelihood -= chance[example.ids[place]].log().item()
            held = set(example.ids[max(example.reply, example.start) : place]) - {example.ids[place]}
            unlikelihood -= sum((1 - chance[token]).log().item() for token in held)
            labels += 1
    return (likelihood + weight * unlikelihood) / labels


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_the_penalty_on_repeats_is_the_one_of_the_paper(make_model: Callable[..., Any], weight: float) -> None:
    model = make_model("qwen2").eval()
    examples = [
        Example((5, 6, 7, 8, 7, 9, 8, 2), 2, 4),  # the thinking, tokens 2 and 3, may be named again
        Example((5, 6, 7, 7, 8, 2), 1, 1),
        Example((5, 6, 7, 7, 8, 2), 1, 6),  # plain text: none of it is a reply
    ]
    replies = torch.tensor([example.reply for example in examples])
    with torch.no_grad():
        found = labelled_loss(model, tensors(examples, 0), replies, weight).item()
    assert found == pytest.approx(slow_loss(model, examples, weight), rel=1e-4)
    assert (labelled_loss(model, tensors(examples, 0), replies, 1.0) > found) == (weight == 0)


def test_an_answer_of_one_token_has_nothing_to_repeat(make_model: Callable[..., Any]) -> None:
    batch = tensors([Example((5, 6), 1, 1)], 0)
    assert (batch["labels"] != IGNORED).sum() == 1
    loss = labelled_loss(make_model("qwen2"), batch, torch.tensor([1]), 4.0)
    assert loss.item() == pytest.approx(labelled_loss(make_model("qwen2"), batch, torch.tensor([1])).item())
