"""What the teacher would have said: the same numbers as token by token, and a student that comes nearer to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rounds.model import checkpoint
from rounds.model.tokenizer import train_tokenizer
from rounds.recipe import Distil
from rounds.records import UserError
from rounds.train.batches import Example, Soft, softened, tensors
from rounds.train.distil import distil
from rounds.train.pretrain import labelled_loss
from rounds.train.soft_targets import LIKELIEST, refuse_other_words, with_soft_targets


@pytest.fixture(scope="module")
def teacher(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that is sure of some tokens, as random weights are of none."""
    model = checkpoint.load(checkpoints / "deepseek_v3")
    model.lm_head.weight.data *= 40
    directory = tmp_path_factory.mktemp("teacher")
    checkpoint.save(model, checkpoints / "deepseek_v3", directory)
    return directory


def divergence(model: Any, examples: list[Example]) -> float:
    """Mean KL of a student to its examples' soft targets, nats."""
    soft = softened(examples)
    assert soft is not None
    with torch.no_grad():
        replies = torch.tensor([one.reply for one in examples])
        crossed = labelled_loss(model, tensors(examples, 0), replies, 0.0, soft, 1.0)
        return float(crossed - torch.special.entr(soft.chances).sum(-1).mean())


def test_they_are_the_teachers_likeliest_next_tokens(teacher: Path, spelled: list[Example]) -> None:
    model = checkpoint.load(teacher)
    made = with_soft_targets(teacher, spelled)
    assert [replace(one, soft=None) for one in made] == spelled
    for one in made:
        assert one.soft is not None
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([one.ids]), use_cache=False).logits[0, one.start - 1 : -1]
        chances, tokens = logits.softmax(-1).topk(LIKELIEST)
        assert one.soft.tokens.shape == (len(one.ids) - one.start, LIKELIEST)
        assert torch.equal(one.soft.tokens[:, 0].long(), tokens[:, 0])
        expected = chances / chances.sum(-1, keepdim=True)
        assert torch.allclose(one.soft.chances.float(), expected, atol=2e-3)


def test_they_take_their_share_of_the_loss(make_model: Callable[..., Any]) -> None:
    model = make_model("qwen2").eval()
    soft = Soft(torch.tensor([[7, 3], [8, 9]], dtype=torch.int32), torch.tensor([[0.75, 0.25], [1.0, 0.0]]).half())
    examples = [Example((5, 6, 7, 8), 2, 2, soft), Example((5, 6, 9), 1, 1)]  # the second is certain of its text
    slow = 0.0
    for example in examples:
        with torch.no_grad():
            chances = model(input_ids=torch.tensor([example.ids]), use_cache=False).logits[0].log_softmax(-1)
        for row, place in enumerate(range(example.start, len(example.ids))):
            said = {example.ids[place]: 1.0}
            if example.soft is not None:
                said = dict(zip(example.soft.tokens[row].tolist(), example.soft.chances[row].tolist(), strict=True))
            slow -= 0.6 * sum(chance * chances[place - 1, token].item() for token, chance in said.items())
            slow -= 0.4 * chances[place - 1, example.ids[place]].item()
    replies = torch.tensor([example.reply for example in examples])
    with torch.no_grad():
        found = labelled_loss(model, tensors(examples, 0), replies, 0.0, softened(examples), 0.6)
    assert found.item() == pytest.approx(slow / 4, rel=1e-4)


def test_examples_without_any_have_none(spelled: list[Example]) -> None:
    assert softened(spelled) is None


def test_a_student_comes_nearer_to_its_teacher(
    checkpoints: Path, teacher: Path, spelled: list[Example], tmp_path: Path
) -> None:
    lessons = with_soft_targets(teacher, spelled)
    apart = {}
    for share in (0.0, 0.9):
        settings = Distil(rate=1e-2, batch=4, steps=40, no_repeat=1.0, token_level=share)
        model, _ = distil(checkpoints / "qwen2", lessons, settings, seed=1, scratch=tmp_path)
        apart[share] = divergence(model, lessons)
    assert apart[0.9] < 0.7 * min(apart[0.0], divergence(checkpoint.load(checkpoints / "qwen2"), lessons))


def test_an_adapter_cannot_learn_them(checkpoints: Path, spelled: list[Example], tmp_path: Path) -> None:
    settings = Distil(method="lora", token_level=0.5)
    with pytest.raises(UserError, match=r"distil.token_level is 0.5 but distil.method is 'lora'; set token_level to 0"):
        distil(checkpoints / "qwen2", spelled, settings, seed=1, scratch=tmp_path)


def test_two_vocabularies_are_refused(checkpoints: Path, make_model: Callable[..., Any], tmp_path: Path) -> None:
    train_tokenizer(["Other words altogether: 1. Gout"] * 9, 320, tmp_path / "words", "deepseek-r1")
    checkpoint.save(make_model("llama"), tmp_path / "words", tmp_path / "other")
    refuse_other_words(checkpoints / "llama", checkpoints / "qwen2")
    with pytest.raises(UserError, match=r"needs one vocabulary, but .*llama has \d+ tokens and .*other has"):
        refuse_other_words(checkpoints / "llama", tmp_path / "other")
