"""Full and adapter training at true structure, with tiny random weights in every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rounds.model import checkpoint
from rounds.recipe import Distil, Lora
from rounds.records import UserError
from rounds.train.batches import Example, tensors
from rounds.train.distil import ATTENTION, FEED_FORWARD, distil, lora_config
from rounds.train.pretrain import pretrain

SETTINGS = Distil(rate=1e-2, batch=4, steps=8)


@pytest.fixture
def train(checkpoints: Path, spelled: list[Example], tmp_path: Path) -> Callable[..., Any]:
    def run(structure: str, **fields: Any) -> tuple[Any, Any]:
        settings = Distil.model_validate(SETTINGS.model_dump() | fields)
        return distil(checkpoints / structure, spelled, settings, seed=1, scratch=tmp_path / "scratch")

    return run


def changed(before: Path, model: Any) -> set[str]:
    old = checkpoint.load(before).state_dict()
    new = model.state_dict()
    assert set(old) == set(new)
    return {name for name in old if not torch.equal(old[name], new[name])}


def loss_of(model: Any, examples: list[Example]) -> float:
    with torch.no_grad():
        return float(model(**tensors(examples, 0), use_cache=False).loss)


@pytest.mark.parametrize("structure", checkpoint.STRUCTURES)
def test_full_training_moves_everything(train: Any, structure: str, checkpoints: Path, spelled: list[Example]) -> None:
    model, done = train(structure, rate=4e-3)
    moved = changed(checkpoints / structure, model)
    assert {"model.embed_tokens.weight", "lm_head.weight"} <= moved
    assert any("mlp" in name for name in moved)
    assert loss_of(model, spelled) < loss_of(checkpoint.load(checkpoints / structure), spelled)
    assert done.steps == 8


def test_repeats_are_weighed_in_our_own_loop(train: Any, checkpoints: Path, spelled: list[Example]) -> None:
    model, done = train("qwen2", rate=4e-3, no_repeat=3.0)
    again = checkpoint.load(checkpoints / "qwen2")
    expected = pretrain(
        again, spelled, SETTINGS.model_copy(update={"rate": 4e-3}), pad=4, seed=1, muon=True, no_repeat=3
    )
    assert (done.steps, done.tokens, done.loss) == (8, expected.tokens, expected.loss)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), again.parameters(), strict=True))
    plain, _ = train("qwen2", rate=4e-3)
    assert not torch.equal(plain.lm_head.weight, model.lm_head.weight)


def test_repeats_are_weighed_with_the_full_method_only(train: Any) -> None:
    with pytest.raises(UserError, match=r"distil.no_repeat is 2 but distil.method is 'lora'; set no_repeat to 0 or"):
        train("qwen2", method="lora", lora=Lora(rank=4), no_repeat=2.0)


@pytest.mark.parametrize("structure", checkpoint.STRUCTURES)
def test_an_adapter_on_all_linears(train: Any, structure: str, checkpoints: Path, spelled: list[Example]) -> None:
    model, _ = train(structure, method="lora", lora=Lora(rank=4))
    moved = changed(checkpoints / structure, model)
    layers = {name.split(".")[-2] for name in moved if ".layers." in name}
    assert layers == {*ATTENTION[structure], *FEED_FORWARD.get(structure, ())}
    assert {"model.embed_tokens.weight", "lm_head.weight"} <= moved
    assert loss_of(model, spelled) < loss_of(checkpoint.load(checkpoints / structure), spelled)


@pytest.mark.parametrize("structure", checkpoint.STRUCTURES)
def test_attention_first_touches_attention_only(train: Any, structure: str, checkpoints: Path) -> None:
    model, _ = train(structure, method="lora", lora=Lora(rank=4, targets="attention", embeddings=False))
    moved = changed(checkpoints / structure, model)
    assert {name.split(".")[-2] for name in moved} == set(ATTENTION[structure])
    assert all(".self_attn." in name for name in moved)


@pytest.mark.parametrize("lora", [Lora(rank=4), Lora(rank=4, dora=True), Lora(rank=4, rslora=True)])
@pytest.mark.parametrize("structure", checkpoint.STRUCTURES)
def test_the_router_is_never_adapted(train: Any, structure: str, lora: Lora, checkpoints: Path) -> None:
    model, _ = train(structure, method="lora", lora=lora, steps=2)
    moved = changed(checkpoints / structure, model)
    assert moved
    assert not [name for name in moved if ".mlp.gate." in name or ".experts." in name]


@pytest.mark.parametrize("extra", [{}, {"dora": True}, {"rslora": True}, {"dora": True, "rslora": True}])
@pytest.mark.parametrize("structure", checkpoint.STRUCTURES)
def test_merged_weights_give_the_adapters_logits(
    structure: str, extra: dict[str, bool], checkpoints: Path, spelled: list[Example]
) -> None:
    from peft import get_peft_model

    settings = Lora.model_validate({"rank": 4, "alpha": 8, **extra})
    model = get_peft_model(checkpoint.load(checkpoints / structure), lora_config(settings, structure))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name or "magnitude" in name or "modules_to_save" in name:
                weight += 0.1 * torch.randn_like(weight)
    batch = {name: rows for name, rows in tensors(spelled, 0).items() if name != "labels"}
    model.eval()
    with torch.no_grad():
        adapted = model(**batch).logits
        plain = checkpoint.load(checkpoints / structure)(**batch).logits
        whole = model.merge_and_unload()(**batch).logits
    seen = batch["attention_mask"].bool()
    assert (adapted - plain)[seen].abs().max() > 0.01
    assert (adapted - whole)[seen].abs().max() < 1e-4


def test_training_uses_dora_and_rslora(checkpoints: Path) -> None:
    from peft import get_peft_model

    made = {}
    for extra in ({}, {"dora": True}, {"rslora": True}):
        config = lora_config(Lora.model_validate({"rank": 16, "alpha": 32, **extra}), "qwen2")
        model = get_peft_model(checkpoint.load(checkpoints / "qwen2"), config)
        scaling = model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"]
        made[next(iter(extra), "")] = (scaling, any("magnitude" in name for name, _ in model.named_parameters()))
    assert made == {"": (2.0, False), "dora": (2.0, True), "rslora": (8.0, False)}


def test_what_is_merged_is_saved_and_read_again(
    train: Any, checkpoints: Path, spelled: list[Example], tmp_path: Path
) -> None:
    model, _ = train("qwen2", method="lora", lora=Lora(rank=4, dora=True))
    checkpoint.save(model, checkpoints / "qwen2", tmp_path / "out")
    again = checkpoint.load(tmp_path / "out")
    assert loss_of(again, spelled) == pytest.approx(loss_of(model, spelled), abs=1e-6)


def test_targets_of_ones_own(train: Any, checkpoints: Path) -> None:
    model, _ = train("llama", method="lora", lora=Lora(rank=4, targets=("q_proj", "v_proj"), embeddings=False))
    moved = changed(checkpoints / "llama", model)
    assert {name.split(".")[-2] for name in moved} == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("structure", "targets", "said"),
    [
        ("qwen2", ("q_proj", "qproj"), "names 'qproj', which an adapter cannot take on qwen2; use attention"),
        ("deepseek_v3", ("gate",), "names 'gate', which an adapter cannot take on deepseek_v3"),
        ("deepseek_v3", ("up_proj",), "names 'up_proj', which an adapter cannot take on deepseek_v3"),
        ("llama", (), "names '', which an adapter cannot take on llama"),
    ],
)
def test_unknown_targets_are_refused(structure: str, targets: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        lora_config(Lora(targets=targets), structure)


def test_an_unknown_structure_is_refused() -> None:
    with pytest.raises(UserError, match="structure 'gpt2' has no adapter targets; use one of qwen2, llama"):
        lora_config(Lora(), "gpt2")


def test_four_bit_base_says_what_it_needs(train: Any) -> None:
    with pytest.raises(UserError, match="four_bit_base needs a GPU with bitsandbytes"):
        train("qwen2", method="lora", lora=Lora(four_bit_base=True))


def test_tied_embeddings_are_not_parted(
    make_model: Callable[..., Any], words: Path, spelled: list[Example], tmp_path: Path
) -> None:
    model = make_model("qwen2")
    model.config.tie_word_embeddings = True
    model.tie_weights()
    checkpoint.save(model, words, tmp_path / "tied")
    settings = SETTINGS.model_copy(update={"method": "lora"})
    with pytest.raises(UserError, match=r"one matrix.*set distil\.lora\.embeddings to false"):
        distil(tmp_path / "tied", spelled, settings, seed=1, scratch=tmp_path / "scratch")
