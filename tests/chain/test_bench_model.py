"""Shapes by name, their config.json and back, and prompts of an exact length."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rounds.chain.bench_model import PRESETS, config_of, is_made, make, prompts_of, shape_named, stored, words
from rounds.chain.shape import KNOWN, Shape, of_backbone, of_config
from rounds.model.tokenizer import Codec
from rounds.recipe import Backbone, read
from rounds.records import UserError

SMALL = Shape("qwen2", 32, 1, 4, 2, 8, 64, 1200, context=128)


def shapes() -> list[Shape]:
    backbone = {"width": 32, "layers": 3, "heads": 4, "feed_forward": 48, "expert_width": 24, "kv_rank": 16}
    made = [of_backbone(Backbone.model_validate({"structure": "deepseek_v3", **backbone}), 900)]
    return [*KNOWN.values(), *made, replace(SMALL, tied=True)]


@pytest.mark.parametrize("shape", shapes())
def test_a_configuration_tells_its_shape_again(shape: Shape) -> None:
    told = config_of(shape) | {"dtype": "bfloat16"}
    assert of_config(told, Path("x")) == replace(shape, stored_bytes=2)


def test_names_of_shapes(tmp_path: Path) -> None:
    assert shape_named("1.5b") == PRESETS["1.5b"]
    assert shape_named("7b").weights == 7_615_616_512
    student = read("tiny").student.backbone
    assert student is not None
    assert shape_named("tiny") == of_backbone(student, read("tiny").pretrain.vocabulary)
    (tmp_path / "config.json").write_text(json.dumps(config_of(SMALL)), encoding="utf-8")
    assert shape_named(str(tmp_path)) == shape_named(str(tmp_path / "config.json")) == replace(SMALL, stored_bytes=4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("3b", "shape '3b' is not known; use one of 1.5b, 7b, 8b, the name of a recipe, or a config.json"),
        ("gone.toml", "recipe 'gone.toml' does not exist"),
        ("gone.json", "gone.json: does not exist; give a folder with a config.json, or one of 1.5b"),
    ],
)
def test_a_shape_that_is_not_there_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        shape_named(name)


MIXTURE = of_backbone(
    Backbone(structure="deepseek_v3", width=32, layers=2, feed_forward=48, expert_width=24, experts=4), 1200
)


@pytest.mark.parametrize("plain", [SMALL, replace(SMALL, structure="llama", tied=True), replace(MIXTURE, context=128)])
def test_a_made_model_has_the_shape_and_never_ends_by_itself(plain: Shape, tmp_path: Path) -> None:
    import torch

    from rounds.model import checkpoint

    shape = stored(plain, 300)
    assert shape.context == 300
    make(shape, tmp_path / "made")
    assert is_made(tmp_path / "made", shape)
    assert not is_made(tmp_path / "made", replace(shape, layers=3))
    model, codec = checkpoint.load(tmp_path / "made"), Codec.load(tmp_path / "made")
    assert sum(parameter.numel() for parameter in model.parameters()) == shape.weights
    assert checkpoint.bytes_of(tmp_path / "made") == pytest.approx(2 * shape.weights, rel=0.1)
    with torch.no_grad():
        ids = torch.tensor([codec.encode_prompt(prompts_of(codec, 40, 1, "s")[0].messages)])
        answer = model.generate(ids, do_sample=False, max_new_tokens=30)[0, ids.shape[1] :]
    assert len(answer) == 30
    assert not set(answer.tolist()) & codec.control_ids


@pytest.mark.parametrize("length", [7, 128, 2048])
def test_prompts_have_exactly_the_tokens_asked_for(tmp_path: Path, length: int) -> None:
    codec = words(1200, tmp_path)
    found = prompts_of(codec, length, 3, "a")
    assert [len(codec.encode_prompt(prompt.messages)) for prompt in found] == [length] * 3
    assert len({prompt.messages for prompt in found}) == 3
    assert found == prompts_of(codec, length, 3, "a") != prompts_of(codec, length, 3, "b")


def test_what_leaves_no_room_for_words_is_refused(tmp_path: Path) -> None:
    codec = words(1200, tmp_path)
    with pytest.raises(UserError, match="prompts of 5 tokens are no longer than the chat format's 5"):
        prompts_of(codec, 5, 1, "a")
    with pytest.raises(UserError, match="a vocabulary of 300 is too small for the words of the prompts"):
        words(300, tmp_path / "few")
