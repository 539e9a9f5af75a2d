from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rounds.train.optimiser import ADAM_RATES, MUON_RATE, optimiser, orthogonal, rate_at


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (3, 24, 40)])
def test_orthogonal_brings_singular_values_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_orthogonal_keeps_the_directions() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(32, 12)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.T @ orthogonal(matrix) @ right.T
    # In the matrix's own singular basis the result is a diagonal of ones, roughly.
    assert (core - torch.diag(core.diagonal())).abs().max() < 1e-3


def test_stacked_matrices_are_treated_one_by_one() -> None:
    torch.manual_seed(0)
    stack = torch.randn(3, 8, 20)
    alone = torch.stack([orthogonal(one) for one in stack])
    assert torch.allclose(orthogonal(stack), alone, atol=1e-5)


def test_the_rate_warms_up_and_falls_to_a_twentieth() -> None:
    rates = [rate_at(step, 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.05)
    assert rate_at(0, 1, 0.05) == 1.0


def gradients(model: Any) -> None:
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)


def adam_on(model: Any) -> Any:
    return torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.0)


def stepped(model: Any, walker: Any, steps: int = 2) -> dict[str, Any]:
    for _ in range(steps):
        gradients(model)
        walker.step()
        walker.zero_grad(set_to_none=True)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_without_muon_it_is_adamw_alone(make_model: Callable[..., Any]) -> None:
    ours, plain = make_model("qwen2"), make_model("qwen2")
    after = stepped(ours, optimiser(ours, 4e-3, muon=False))
    expected = stepped(plain, adam_on(plain))
    assert all(torch.equal(after[name], expected[name]) for name in expected)


def test_muon_moves_matrices_and_adamw_the_rest(make_model: Callable[..., Any]) -> None:
    ours, plain = make_model("deepseek_v3"), make_model("deepseek_v3")
    after = stepped(ours, optimiser(ours, 4e-3, muon=True))
    expected = stepped(plain, adam_on(plain))
    by_adam = {name for name in expected if torch.equal(after[name], expected[name])}
    assert "model.norm.weight" in by_adam
    assert "model.layers.1.mlp.gate.weight" in by_adam  # the router
    faster = {"model.embed_tokens.weight", "lm_head.weight"}
    muon = set(expected) - by_adam - faster
    assert "model.layers.1.mlp.experts.down_proj" in muon
    assert "model.layers.0.mlp.gate_proj.weight" in muon
    assert all(expected[name].ndim in (2, 3) for name in muon)


def test_embeddings_and_head_have_rates_of_their_own_beside_muon(make_model: Callable[..., Any]) -> None:
    model, plain = make_model("qwen2"), make_model("qwen2")
    after = stepped(model, optimiser(model, 4e-3, muon=True), steps=1)
    expected = stepped(plain, adam_on(plain), steps=1)
    before = dict(make_model("qwen2").named_parameters())
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        times = next(times for part, times in ADAM_RATES.items() if part in name)
        assert torch.allclose(after[name] - before[name], times * (expected[name] - before[name]), atol=1e-5)


def test_one_step_of_muon_is_an_orthogonal_step_of_the_gradient() -> None:
    layer = torch.nn.Linear(12, 30)
    before = layer.weight.detach().clone()
    walker = optimiser(layer, 4e-3, muon=True)
    gradients(layer)
    wanted = orthogonal(layer.weight.grad)  # scaling does not matter, so momentum of one gradient points the same way
    walker.step()
    moved = (before - layer.weight.detach()) / (4e-3 * MUON_RATE * (30 / 12) ** 0.5)
    assert torch.allclose(moved, wanted, atol=1e-4)


def test_one_schedule_moves_both(make_model: Callable[..., Any]) -> None:
    model = make_model("llama")
    walker = optimiser(model, 4e-3, muon=True)
    for group in walker.param_groups:
        group["lr"] = 0.0
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    after = stepped(model, walker)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert walker.param_groups[-1]["params"][0].grad is None


def test_frozen_weights_are_left_alone(make_model: Callable[..., Any]) -> None:
    model = make_model("llama")
    model.requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)
    walker = optimiser(model, 4e-3, muon=True)
    assert [len(group["params"]) for group in walker.param_groups] == [1]
