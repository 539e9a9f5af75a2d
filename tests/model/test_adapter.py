"""What is no adapter for a checkpoint is refused in a sentence before anything is loaded."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from rounds import files
from rounds.model import checkpoint
from rounds.model.adapter import CONFIG, WEIGHTS, laid_on, read_adapter, read_adapters
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.recipe import Backbone
from rounds.records import UserError


def make(place: Path, width: int) -> Path:
    train_tokenizer(["A man of 54 with chest pain."] * 9, 300, place / "words", "deepseek-r1")
    codec = Codec.load(place / "words")
    backbone = Backbone(structure="qwen2", width=width, layers=1, heads=2, feed_forward=48, context=64)
    model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    checkpoint.save(model, place / "words", place / "model")
    return place / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("base"), 32)


def peft(model: Path, out: Path, **more: Any) -> Path:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "o_proj"], "init_lora_weights": False}
    get_peft_model(checkpoint.load(model), LoraConfig(**{**config, **more}, task_type="CAUSAL_LM")).save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peft(model, tmp_path_factory.mktemp("adapter") / "whole")


@pytest.fixture
def adapter(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_its_scale_and_kind_are_read(model: Path, whole: Path, tmp_path: Path) -> None:
    found = read_adapters({"a": whole}, model)["a"]
    assert (found.name, found.scale, found.plain, len(found.digest)) == ("a", 2.0, True, 64)
    assert read_adapter("b", peft(model, tmp_path / "b", use_rslora=True), model).scale == 4.0
    assert not read_adapter("c", peft(model, tmp_path / "c", use_dora=True), model).plain
    assert not read_adapter("d", peft(model, tmp_path / "d", modules_to_save=["lm_head"]), model).plain


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}])
def test_the_model_beneath_stays_as_it_is_and_lends_its_weights(
    model: Path, tmp_path: Path, kind: dict[str, bool]
) -> None:
    ids = torch.tensor([[1, 5, 9, 20]])
    bare = checkpoint.load(model)
    with torch.no_grad():
        before = bare(input_ids=ids).logits
        view = laid_on(bare, peft(model, tmp_path / "a", **kind))
        assert torch.equal(bare(input_ids=ids).logits, before)
        assert not torch.allclose(view(input_ids=ids).logits, before, atol=1e-3)
    own = {id(one) for one in bare.parameters()}
    lent = [one for name, one in view.named_parameters() if "lora" not in name]
    assert len(lent) == len(list(bare.parameters()))
    assert all(id(one) in own for one in lent)


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], object]:
    def spoil(place: Path) -> None:
        told = json.loads((place / CONFIG).read_text())
        change(told)
        (place / CONFIG).write_text(json.dumps(told))

    return spoil


def without_pairs(place: Path) -> None:
    held = load_file(place / WEIGHTS)
    save_file({name: one for name, one in held.items() if "lora_B" not in name}, place / WEIGHTS)


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (lambda p: (p / CONFIG).unlink(), r"holds no adapter \(adapter_config\.json, adapter_model\.safetensors\)"),
    (lambda p: (p / WEIGHTS).unlink(), "holds no adapter"),
    (lambda p: (p / WEIGHTS).rename(p / "adapter_model.bin"), r"holds pickled weights \(adapter_model\.bin\)"),
    (lambda p: (p / CONFIG).write_text("{"), "is not JSON"),
    (lambda p: (p / WEIGHTS).write_bytes((p / WEIGHTS).read_bytes()[:-9]), "bytes where its header says"),
    (rewritten(lambda told: told.update(peft_type="IA3")), "is not that of a LoRA adapter"),
    (rewritten(lambda told: told.update(r=0)), "is not that of a LoRA adapter"),
    (rewritten(lambda told: told.update(r=8)), r"does not fit .* at model\.layers\.0\.self_attn\.\w_proj; give the"),
    (rewritten(lambda told: told.update(alpha_pattern={"q_proj": 2})), "asks for 'alpha_pattern', which is not known"),
    (without_pairs, "does not fit"),
    (lambda p: save_file({"x": torch.ones(2)}, p / WEIGHTS), "holds no matrices of a LoRA adapter"),
]


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS)
def test_a_faulty_adapter_is_one_sentence(
    model: Path, adapter: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(adapter)
    with pytest.raises(UserError, match=sentence):
        read_adapter("a", adapter, model)


def test_another_checkpoint_and_one_without_its_weights_are_refused(model: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not fit"):
        read_adapter("a", whole, make(tmp_path, 64))
    with pytest.raises(UserError, match="has no weights in safetensors, and an adapter belongs on those"):
        read_adapter("a", whole, tmp_path)
    with pytest.raises(UserError, match="an adapter needs a name"):
        read_adapters({"": whole}, model)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_damage_is_more_than_a_sentence(
    model: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("damaged")
    for name in (CONFIG, WEIGHTS):
        raw = bytearray((whole / name).read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            raw[data.draw(st.integers(0, min(len(raw), 4000) - 1))] = data.draw(st.integers(0, 255))
        (place / name).write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    with suppress(UserError):  # anything else would fail here
        found = read_adapter("a", place, model)
        assert found.digest == files.digest(place)
        assert found.scale > 0
