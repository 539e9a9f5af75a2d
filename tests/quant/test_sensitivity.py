from pathlib import Path

import numpy as np
import pytest

from rounds.model import checkpoint
from rounds.quant.classes import Text
from rounds.quant.inventory import inventory
from rounds.quant.openvino import quantize
from rounds.quant.sensitivity import Layer, most_sensitive, rounded, sensitivity
from rounds.recipe import Quantize
from rounds.records import UserError

TEXTS = [Text([5 + (7 * i + j) % 250 for j in range(40)], 10, tuple(j % 5 for j in range(30))) for i in range(4)]


def test_rounding_is_that_of_the_export(qwen: Path, tmp_path: Path) -> None:
    import openvino

    quantize(qwen, [], Quantize(group=32, gptq=False), tmp_path / "four")
    weights = dict(checkpoint.load(qwen).named_parameters())
    name = "model.layers.1.mlp.down_proj.weight"
    model = openvino.Core().read_model(tmp_path / "four" / "openvino_model.xml")
    held = {op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Constant"}
    pairs = held[f"self.{name}"].get_data().view(np.uint8)  # two a byte, the lower half first
    packed = np.stack([pairs & 15, pairs >> 4], axis=-1).ravel().astype(np.float32)
    packed[packed > 7] -= 16
    scale = np.array(held[f"self.{name}/scale"].get_data(), dtype=np.float32)
    expected = (packed.reshape(64, 3, 32) * scale).reshape(weights[name].shape)
    found = rounded(weights[name].data, 32).numpy()
    step = np.abs(scale).max()
    # The export holds its scales in half precision.
    assert np.abs(found - expected).max() < 0.01 * step
    assert np.abs(found - weights[name].detach().numpy()).max() > 0.2 * step


def test_rounding_keeps_what_lies_on_the_grid() -> None:
    import torch

    grid = torch.tensor([[-8.0, -3.0, 0.0, 7.0], [8.0, 3.0, 0.0, -7.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.equal(rounded(grid, -1), grid)
    assert torch.equal(rounded(grid[:2], 2)[:, :2], grid[:2, :2])


def test_a_layer_with_outliers_is_the_most_sensitive(qwen: Path, tmp_path: Path) -> None:
    model = checkpoint.load(qwen)
    weight = model.model.layers[1].mlp.up_proj.weight
    # One huge weight a row that meets a feature which is nearly silent: the rest of the row falls on zero.
    weight.data[:, 0] = 40 * weight.data.abs().max()
    model.model.layers[1].post_attention_layernorm.weight.data[0] = 1e-6
    checkpoint.save(model, qwen, tmp_path)
    layers = sensitivity(tmp_path, TEXTS, -1)
    assert len(layers) == 14
    assert layers[0].name == "model.layers.1.mlp.up_proj"
    assert layers[0].kl > 3 * layers[1].kl > 0
    assert [layer.kl for layer in layers] == sorted((layer.kl for layer in layers), reverse=True)
    assert layers[0].weights == 64 * 96


def test_a_share_of_the_weights_is_taken_and_at_least_one_layer() -> None:
    layers = [Layer(name=name, weights=size, kl=1.0) for name, size in (("a", 30), ("b", 10), ("c", 60))]
    assert most_sensitive(layers, 0.01) == ["a"]
    assert most_sensitive(layers, 0.39) == ["a"]
    assert most_sensitive(layers, 0.4) == ["a", "b"]
    assert most_sensitive(layers, 1.0) == ["a", "b", "c"]


def test_chosen_layers_stay_in_eight_bits(qwen: Path, tmp_path: Path) -> None:
    names = ["model.layers.0.mlp.down_proj", "model.layers.1.self_attn.q_proj"]
    quantize(qwen, [], Quantize(group=32, gptq=False), tmp_path / "mixed", names)
    assert inventory(tmp_path / "mixed")["linears"].types == {"i4": 12, "i8": 2}
    with pytest.raises(UserError, match=r"has no layer 'model\.nowhere'; export the checkpoint again"):
        quantize(qwen, [], Quantize(gptq=False), tmp_path / "out", ["model.nowhere"])
