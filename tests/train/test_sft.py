from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rounds.recipe import Lora, Optimiser
from rounds.records import UserError
from rounds.train.batches import IGNORED, Example, tensors
from rounds.train.distil import lora_config, tokenizer_of
from rounds.train.sft import merged, sft

SETTINGS = Optimiser(rate=4e-3, batch=4, steps=20)


@pytest.fixture
def train(words: Path, tmp_path: Path) -> Callable[..., Any]:
    def run(model: Any, examples: list[Example], settings: Optimiser = SETTINGS, **more: Any) -> Any:
        return sft(
            model, examples, settings, tokenizer=tokenizer_of(words), seed=1, scratch=tmp_path / "scratch", **more
        )

    return run


def loss_of(model: Any, examples: list[Example]) -> float:
    with torch.no_grad():
        return float(model(**tensors(examples, 0), use_cache=False).loss)


def test_the_loss_falls(train: Any, make_model: Callable[..., Any], spelled: list[Example]) -> None:
    model = make_model("qwen2")
    before = loss_of(model, spelled)
    trained, done = train(model, spelled)
    assert loss_of(trained, spelled) < 0.5 * before
    assert done.steps == 20
    assert done.examples == 80
    assert done.loss < before
    assert not trained.training


def test_only_the_completion_is_learnt(train: Any, make_model: Callable[..., Any], spelled: list[Example]) -> None:
    model = make_model("qwen2")
    fed: list[dict[str, Any]] = []
    model.register_forward_pre_hook(lambda module, args, kwargs: fed.append(dict(kwargs)), with_kwargs=True)
    train(model, spelled, SETTINGS.model_copy(update={"steps": 3}))
    starts = {example.ids: example.start for example in spelled}
    seen = 0
    for batch in fed:
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            row = tuple(ids[mask.bool()].tolist())
            start = starts[row]
            assert labels[mask.bool()].tolist() == [IGNORED] * start + list(row[start:])
            assert set(labels[~mask.bool()].tolist()) <= {IGNORED}
            seen += 1
    assert seen == 12


def test_the_seed_decides_everything(train: Any, make_model: Callable[..., Any], spelled: list[Example]) -> None:
    few = SETTINGS.model_copy(update={"steps": 4})
    first, second = (train(make_model("llama"), spelled, few)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_experts_are_balanced_while_it_trains(
    train: Any, make_model: Callable[..., Any], spelled: list[Example]
) -> None:
    model = make_model("deepseek_v3")
    train(model, spelled, SETTINGS.model_copy(update={"steps": 3}), bias_rate=0.01)  # an odd number cannot cancel
    assert model.model.layers[1].mlp.gate.e_score_correction_bias.any()


def test_a_loss_that_is_no_number_is_told(train: Any, make_model: Callable[..., Any], spelled: list[Example]) -> None:
    model = make_model("qwen2")
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="the loss is not a number after 2 steps; lower the rate"):
        train(model, spelled, SETTINGS.model_copy(update={"steps": 2}))


def test_what_is_too_long_or_nothing_is_refused(train: Any, make_model: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="an example has 300 tokens but the model's context is 256"):
        train(make_model("qwen2"), [Example((1,) * 300)])
    with pytest.raises(UserError, match="0 examples"):
        train(make_model("qwen2"), [])


class Damaged:
    """An adapter whose weights change when they are merged, as a fault in a library would make it."""

    def __init__(self, model: Any) -> None:
        self.inside = model
        self.device = model.device

    def __call__(self, **batch: Any) -> Any:
        return self.inside(**batch)

    def eval(self) -> None:
        self.inside.eval()

    def merge_and_unload(self) -> Any:
        whole = self.inside.merge_and_unload()
        with torch.no_grad():
            whole.lm_head.weight += 0.1
        return whole


def test_a_merge_that_changes_the_logits_is_refused(make_model: Callable[..., Any], spelled: list[Example]) -> None:
    from peft import get_peft_model

    adapted = get_peft_model(make_model("qwen2"), lora_config(Lora(rank=2, embeddings=False), "qwen2"))
    with pytest.raises(UserError, match="the merged model's logits differ from its adapter's by"):
        merged(Damaged(adapted), spelled[:2])
