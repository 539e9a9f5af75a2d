"""Packing for servers with a GPU: what is chosen anywhere, and what comes out where llmcompressor is installed."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from rounds.engine.reference import Reference
from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.quant.classes import Text
from rounds.quant.compressed import HEAD, LINEAR, _groups, compress, require
from rounds.quant.divergence import divergence, in_transformers
from rounds.quant.inventory import inventory
from rounds.recipe import Backbone, Quantize
from rounds.records import Message, Prompt, Sampling, UserError

HERE = importlib.util.find_spec("llmcompressor") is not None
packs = pytest.mark.skipif(not HERE, reason="llmcompressor is not installed (make gpu4)")
FOUR = f"re:{LINEAR}"


@pytest.fixture(scope="module")
def texts(qwen: Path) -> list[list[int]]:
    codec = Codec.load(qwen)
    return [codec.encode_text(f"A man of {n} with chest pain, troponin 1.{n} ng/mL and fever. " * 3) for n in range(16)]


@pytest.mark.skipif(HERE, reason="llmcompressor is installed")
def test_without_the_library_one_sentence_says_what_to_do(qwen: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pip install 'rounds\[gpu4\]'"):
        require()
    with pytest.raises(UserError, match="environment of its own"):
        compress(qwen, [], Quantize(gptq=False), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_which_layers_take_how_many_bits(qwen: Path) -> None:
    model = checkpoint.load(qwen)
    plain = _groups(model, Quantize(), 32, ())
    assert plain["four"]["targets"] == [FOUR]
    assert plain["four"]["weights"] == {
        "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32,
    }  # fmt: skip
    assert plain["eight"]["targets"] == [HEAD]
    assert _groups(model, Quantize(everything=True), 32, ()).keys() == {"four"}
    assert _groups(model, Quantize(bits=8), -1, ())["eight"]["targets"] == [FOUR, HEAD]
    assert _groups(model, Quantize(group=-1), -1, ())["four"]["weights"]["strategy"] == "channel"
    model.config.tie_word_embeddings = True
    assert _groups(model, Quantize(), 32, ()).keys() == {"four"}


def test_layers_a_server_multiplies_as_one_share_their_bits(qwen: Path) -> None:
    chosen = ("model.layers.1.self_attn.k_proj", "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj")
    found = _groups(checkpoint.load(qwen), Quantize(), 32, chosen)
    spared = [
        *(f"model.layers.0.mlp.{name}_proj" for name in ("down", "gate", "up")),
        *(f"model.layers.1.self_attn.{name}_proj" for name in ("k", "q", "v")),
    ]
    assert found["eight"]["targets"] == [*spared, HEAD]
    (pattern,) = found["four"]["targets"]
    assert not any(re.match(pattern.removeprefix("re:"), name) for name in spared)
    assert re.match(pattern.removeprefix("re:"), "model.layers.1.mlp.down_proj")
    with pytest.raises(UserError, match=r"'model.layers.9.mlp.up_proj' .* is not in the model"):
        _groups(checkpoint.load(qwen), Quantize(), 32, ("model.layers.9.mlp.up_proj",))


@packs
def test_four_bits_are_small_near_and_load_again(qwen: Path, texts: list[list[int]], tmp_path: Path) -> None:
    made = {
        name: compress(qwen, texts, settings, tmp_path / name)
        for name, settings in (
            ("gptq", Quantize(group=64)),
            ("plain", Quantize(group=64, gptq=False)),
            ("eight", Quantize(bits=8)),
        )
    }
    spared = compress(qwen, texts, Quantize(group=64), tmp_path / "spared", ("model.layers.0.mlp.up_proj",))
    assert (spared["tensors_4_bit"], spared["tensors_8_bit"]) == (12, 3)
    found = made["gptq"]
    assert (found["group"], found["tensors_4_bit"], found["tensors_8_bit"]) == (32, 14, 1)
    assert found["bytes_after"] < made["eight"]["bytes_after"] < found["bytes_before"]
    assert found["weights"] == sum(p.numel() for p in checkpoint.load(qwen).parameters())
    held = inventory(tmp_path / "gptq")
    assert held["linears"].weights == inventory(qwen)["linears"].weights
    assert held["linears"].bits == 4 + 32 / 32  # a float32 scale for each 32 weights
    read = [Text(ids, 1, (0,) * (len(ids) - 1)) for ids in texts]
    before = in_transformers(qwen)
    kl = {name: divergence(before, in_transformers(tmp_path / name), read)["all"].kl for name in made}
    assert 0 < kl["eight"] < kl["gptq"] < kl["plain"]
    config = json.loads((tmp_path / "gptq" / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"
    prompt = Prompt(case_id="c", template="t@1", messages=(Message(role="user", content="Chest pain."),))
    answered = next(Reference(tmp_path / "gptq").respond([prompt], Sampling(temperature=0, max_tokens=12)))
    assert answered.thinking_tokens + answered.reply_tokens > 5


@packs
def test_every_expert_is_calibrated_and_the_router_left_alone(tmp_path: Path) -> None:
    train_tokenizer(["A man with chest pain and fever."] * 9, 330, tmp_path / "words", "deepseek-r1")
    codec, source = Codec.load(tmp_path / "words"), tmp_path / "mixture"
    backbone = Backbone(structure="deepseek_v3", width=64, layers=2, feed_forward=96, experts=4, expert_width=32)
    model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    checkpoint.save(model, tmp_path / "words", source)
    own = [codec.encode_text("A man with chest pain and fever. " * 3)] * 4
    found = compress(source, own, Quantize(group=32), tmp_path / "out")
    config = checkpoint.load(source).config
    layers, experts = config.num_hidden_layers - config.first_k_dense_replace, config.n_routed_experts
    assert found["tensors_4_bit"] >= 3 * layers * experts
    read = [Text(ids, 1, (0,) * (len(ids) - 1)) for ids in own]
    assert divergence(in_transformers(source), in_transformers(tmp_path / "out"), read)["all"].kl < 0.1


@packs
@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        (Quantize(), False, "GPTQ needs calibration traces"),
        (Quantize(kv_cache="u8"), True, "kv_cache is measured in the CPU engine alone"),
    ],
)
def test_what_cannot_be_packed_is_one_sentence(
    qwen: Path, texts: list[list[int]], tmp_path: Path, settings: Quantize, given: bool, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        compress(qwen, texts if given else [], settings, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
