import json
import sys
from pathlib import Path

import pytest

from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.recipe import Backbone
from rounds.records import UserError


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    train_tokenizer(["chest pain and fever"] * 5, 320, directory / "words", "deepseek-r1")
    codec = Codec.load(directory / "words")
    backbone = Backbone(structure="qwen2", width=64, layers=1, feed_forward=96)
    model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    checkpoint.save(model, directory / "words", directory / "made")
    return directory / "made"


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(original, tmp_path / "copy"))


def test_saved_and_loaded_weights_are_the_same(original: Path) -> None:
    import torch
    from safetensors.torch import load_file

    model = checkpoint.load(original)
    stored = load_file(original / "model.safetensors")
    assert all(torch.equal(weight, stored[name]) for name, weight in model.state_dict().items())
    assert not model.training
    assert checkpoint.chat_of(original) == "deepseek-r1"
    assert checkpoint.bytes_of(original) == (original / "model.safetensors").stat().st_size
    assert checkpoint.load(original, "bfloat16").dtype is torch.bfloat16
    assert checkpoint.resolve(str(original)) == original


def test_what_is_neither_here_nor_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"checkpoint '\./nowhere' does not exist"):
        checkpoint.resolve("./nowhere")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="'nobody/nothing-at-all' is no directory and could not be fetched"):
        checkpoint.resolve("nobody/nothing-at-all")


def test_remote_code_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "evil.Model"}}))
    with pytest.raises(UserError, match=r"config\.json: asks for remote code \(auto_map\)"):
        checkpoint.load(copy)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.ckpt"])
def test_pickled_weights_are_refused_even_beside_good_ones(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=f"holds pickled weights \\({name}\\)"):
        checkpoint.load(copy)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights_are_found_before_loading(copy: Path, keep: int) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"is not a whole safetensors file|where its header says"):
        checkpoint.check(copy)


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00002.safetensors"}}))
    with pytest.raises(UserError, match=r"lacks model-00002\.safetensors of its index"):
        checkpoint.check(copy)


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("config.json", r"has no config\.json"),
        ("model.safetensors", r"holds no \*\.safetensors"),
        ("tokenizer.json", r"has no tokenizer\.json"),
    ],
)
def test_missing_files_are_named(copy: Path, gone: str, sentence: str) -> None:
    (copy / gone).unlink()
    with pytest.raises(UserError, match=sentence):
        checkpoint.load(copy)


def test_weights_that_do_not_fit_are_named(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2, "layer_types": None}))
    with pytest.raises(UserError, match=r"lacks the weights 'model\.layers\.1"):
        checkpoint.load(copy)
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "no-such-structure"}))
    with pytest.raises(UserError, match="cannot be loaded"):
        checkpoint.load(copy)


def test_a_foreign_tokenizer_is_found(copy: Path) -> None:
    train_tokenizer(["many other words are here for the sake of size " * 3] * 9, 400, copy, "deepseek-r1")
    with pytest.raises(UserError, match=r"tokenizer has \d+ entries and its embedding \d+ rows"):
        checkpoint.load(copy)


def test_vocabularies_are_compared(original: Path, copy: Path) -> None:
    checkpoint.same_vocabulary(original, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "vocab_size": 9999}))
    with pytest.raises(UserError, match=r"have heads of \d+ and 9999 tokens; token-level distillation needs one"):
        checkpoint.same_vocabulary(original, copy)
    train_tokenizer(["nausea vomiting"] * 5, 320, copy, "deepseek-r1")
    with pytest.raises(UserError, match=r"different vocabularies \(\d+ entries, such as .*\); token-level"):
        checkpoint.same_vocabulary(original, copy)


def test_a_broken_torchvision_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def broken(_: object, name: str) -> object:
        raise RuntimeError("operator torchvision::nms does not exist")

    class Broken(type(sys)):  # type: ignore[misc]
        __getattr__ = broken

    monkeypatch.setitem(sys.modules, "transformers", Broken(transformers.__name__))
    with pytest.raises(UserError, match="run: pip uninstall torchvision"):
        checkpoint.require_transformers()
