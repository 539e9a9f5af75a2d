from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rounds.train.balance import Balance, peak

ROUTER = "model.layers.1.mlp.gate"


def look(model: Any, ids: Any) -> float:
    watch = Balance(model, 0.0)
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    shares = watch.loads()[ROUTER]
    watch.close()
    return peak(shares)


def test_a_skewed_router_evens_out(make_model: Callable[..., Any]) -> None:
    model = make_model("deepseek_v3", experts=8)
    torch.manual_seed(0)
    ids = torch.randint(0, 300, (8, 24))
    model.get_submodule(ROUTER).e_score_correction_bias[0] += 0.2  # expert 0 is always among the two
    assert look(model, ids) == pytest.approx(4.0)
    balance = Balance(model, 0.005)
    for _ in range(35):
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
        balance.step()
    balance.close()
    assert look(model, ids) <= 1.5


def test_the_bias_falls_where_the_load_is_high(make_model: Callable[..., Any]) -> None:
    model = make_model("deepseek_v3")
    bias = model.get_submodule(ROUTER).e_score_correction_bias
    bias[1] += 1.0
    before = bias.clone()
    balance = Balance(model, 0.125)
    with torch.no_grad():
        model(input_ids=torch.arange(40)[None], use_cache=False)
    load = torch.tensor(balance.loads()[ROUTER])
    balance.step()
    balance.close()
    assert (bias - before).tolist() == (0.125 * torch.sign(load.mean() - load)).tolist()
    assert bias[1] < before[1]
    assert balance.loads() == {}


def test_counts_are_those_the_model_makes(make_model: Callable[..., Any]) -> None:
    model = make_model("deepseek_v3")
    moe = model.model.layers[1].mlp
    chosen: list[Any] = []
    handle = moe.experts.register_forward_hook(lambda module, inputs, output: chosen.append(inputs[1]))
    balance = Balance(model, 0.0)
    with torch.no_grad():
        model(input_ids=torch.arange(40)[None], use_cache=False)
    handle.remove()
    balance.close()
    counted = torch.bincount(chosen[0].flatten(), minlength=4).float()
    assert balance.loads()[ROUTER] == pytest.approx((counted / counted.sum()).tolist())


class Router(torch.nn.Module):
    """Routers of three versions of transformers: what they return differs, what they choose does not."""

    def __init__(self, returns: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.weight = torch.nn.Parameter(torch.randn(6, 8))
        self.register_buffer("e_score_correction_bias", torch.linspace(-0.2, 0.2, 6))
        self.returns = returns

    def forward(self, hidden: Any) -> Any:
        logits = hidden.reshape(-1, 8) @ self.weight.T
        weights, indices = logits.sigmoid().topk(2, dim=-1)
        return {"logits": logits, "logits first": (logits, weights, indices), "choice": (weights, indices)}[
            self.returns
        ]


@pytest.mark.parametrize("returns", ["logits", "logits first", "choice"])
def test_counting_does_not_depend_on_what_the_router_returns(returns: str) -> None:
    model = torch.nn.Module()
    model.gate = Router(returns)
    model.config = SimpleNamespace(num_experts_per_tok=2)
    balance = Balance(model, 0.0)
    torch.manual_seed(6)
    model.gate(torch.randn(3, 10, 8))
    torch.manual_seed(6)
    scores = (torch.randn(30, 8) @ model.gate.weight.T).sigmoid() + model.gate.e_score_correction_bias
    expected = torch.bincount(scores.topk(2).indices.flatten(), minlength=6) / 60
    assert balance.loads()["gate"] == pytest.approx(expected.tolist())


def test_a_dense_model_has_no_routers(make_model: Callable[..., Any]) -> None:
    model = make_model("qwen2")
    balance = Balance(model, 0.1)
    with torch.no_grad():
        model(input_ids=torch.arange(9)[None], use_cache=False)
    balance.step()
    assert balance.routers == {}
    assert balance.loads() == {}


def test_peak_is_one_when_even() -> None:
    assert peak([0.25] * 4) == 1.0
    assert peak([0.5, 0.5, 0.0, 0.0]) == 2.0
