"""Muon for the matrices inside a model, AdamW for the rest, as one optimiser with one schedule.

Muon orthogonalises the step of each weight matrix (https://kellerjordan.github.io/posts/muon); embeddings, the head,
norms, and a router's weights are no such matrices and stay with AdamW. torch.optim.Muon iterates in bfloat16, which on
a CPU without bfloat16 units took 0.43 s a step where a whole step of the tiny student takes 0.19 s: here the same
iteration runs in float32, equal shapes stacked. Left out on purpose: weight decay, which tiny models trained for
minutes do not need.
"""

from __future__ import annotations

import math
from typing import Any

MUON_RATE = 3.0
"""Muon's rate relative to AdamW's: an orthogonal step is measured in other units (.009 to .015 against .003)."""

ADAM_RATES = {"embed_tokens": 8.0, "lm_head": 3.0}
"""Rates relative to AdamW's where Muon walks beside it: a row of the embedding moves only when a batch holds its token.
Measured in docs/log.md; a checkpoint that is tuned without Muon keeps one rate for all."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (same source)."""


def optimiser(model: Any, rate: float, muon: bool) -> Any:
    """A torch optimiser over all parameters that take gradients."""
    import torch

    matrices: list[Any] = []
    rest: dict[float, list[Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        # Experts are stacked in three dimensions, each slice is a matrix of its own.
        outside = any(part in name for part in ("embed_tokens", "lm_head", "mlp.gate.weight"))
        if muon and parameter.ndim in (2, 3) and not outside:
            matrices.append(parameter)
        else:
            times = next((times for part, times in ADAM_RATES.items() if muon and part in name), 1.0)
            rest.setdefault(times, []).append(parameter)
    groups = [{"params": parameters, "lr": rate * times} for times, parameters in rest.items()]
    adam = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    if not matrices:
        return adam
    return _both(adam, matrices, rate * MUON_RATE)


def _both(adam: Any, matrices: list[Any], muon_rate: float) -> Any:
    """AdamW and Muon behind one `step`; the class stands here as torch is imported only when training."""
    import torch

    class Both(torch.optim.Optimizer):
        """Groups: AdamW's first, then Muon's."""

        def __init__(self) -> None:
            muon_group = {"params": matrices, "lr": muon_rate}
            super().__init__([*adam.param_groups, muon_group], {})
            # One dictionary for both, so that a schedule that sets a rate here sets it there.
            adam.param_groups = self.param_groups[:-1]

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            adam.step()
            group = self.param_groups[-1]
            waiting: dict[tuple[int, ...], list[tuple[Any, Any]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 0.05)
                update = parameter.grad.lerp(momentum, 0.95)
                waiting.setdefault(tuple(parameter.shape), []).append((parameter, update))
            for shape, pairs in waiting.items():
                steps = orthogonal(torch.stack([update for _, update in pairs]))
                scale = max(1.0, shape[-2] / shape[-1]) ** 0.5
                for (parameter, _), step in zip(pairs, steps, strict=True):
                    parameter.add_(step, alpha=-group["lr"] * scale)

    return Both()


def orthogonal(matrix: Any, steps: int = 5) -> Any:
    """The nearest orthogonal matrix, roughly: singular values are brought to about 1. Shape (..., rows, columns)."""
    a, b, c = NEWTON_SCHULZ
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def rate_at(step: int, steps: int, warm_up: float) -> float:
    """Share of the full rate at a step: linear warm-up, then cosine to a twentieth."""
    first = max(1, round(steps * warm_up))
    if step < first:
        return (step + 1) / first
    done = (step - first) / max(1, steps - first)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
