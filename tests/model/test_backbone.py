import pytest

from rounds.model.backbone import build
from rounds.recipe import Backbone
from rounds.records import UserError


def made(structure: str, seed: int = 1, **sizes: int):  # noqa: ANN201
    backbone = Backbone(structure=structure, width=64, layers=2, feed_forward=96, expert_width=32, **sizes)
    return build(backbone, 320, seed, bos=0, eos=(3,), pad=4)


@pytest.mark.parametrize("structure", ["qwen2", "llama", "deepseek_v3"])
def test_same_seed_same_weights_and_separate_head(structure: str) -> None:
    import torch

    first, again, other = made(structure), made(structure), made(structure, seed=2)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    assert first.lm_head.weight is not first.get_input_embeddings().weight
    assert first.dtype is torch.float32
    assert (first.config.bos_token_id, first.config.eos_token_id, first.config.pad_token_id) == (0, 3, 4)
    assert first(torch.tensor([[0, 5, 6]])).logits.shape == (1, 3, 320)


def test_deepseek_has_latent_attention_a_dense_layer_and_a_shared_expert() -> None:
    model = made("deepseek_v3")
    names = dict(model.named_parameters())
    assert "model.layers.0.mlp.gate_proj.weight" in names
    assert names["model.layers.1.mlp.experts.gate_up_proj"].shape == (8, 64, 64)
    assert "model.layers.1.mlp.shared_experts.up_proj.weight" in names
    assert "model.layers.1.self_attn.kv_a_proj_with_mqa.weight" in names
    assert model.config._experts_implementation == "eager"
    assert (model.config.n_group, model.config.topk_group) == (1, 1)


def test_building_leaves_the_global_seed_alone() -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    made("qwen2")
    assert torch.equal(torch.rand(1), expected)


def test_impossible_sizes_are_named() -> None:
    with pytest.raises(UserError, match="width 64 does not divide into 5 heads of even size; use a multiple of 10"):
        made("qwen2", heads=5)
    with pytest.raises(UserError, match="experts_per_token 9 exceeds experts 8"):
        made("deepseek_v3", experts_per_token=9)


@pytest.mark.parametrize(("given", "made_with"), [(None, 2), (1, 1), (4, 4)])
def test_heads_of_keys_and_values(given: int | None, made_with: int) -> None:
    model = made("qwen2", key_value_heads=given)
    assert model.config.num_key_value_heads == made_with
    assert model.model.layers[0].self_attn.k_proj.weight.shape == (16 * made_with, 64)


def test_key_value_heads_divide_the_heads() -> None:
    with pytest.raises(ValueError, match="heads 4 is no multiple of key_value_heads 3"):
        made("qwen2", key_value_heads=3)
