"""Auxiliary-loss-free balance of experts: the part of DeepSeek-V3 that transformers leaves out.

After every step the bias of an overloaded expert falls by a fixed amount and that of an underloaded one rises
(arXiv 2412.19437, section 2.1.2; arXiv 2408.15664). The bias steers the choice of experts only, never their weight.
Left out on purpose: the sequence-wise auxiliary loss, which the paper keeps at 1e-4 of the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Balance:
    """Counts which experts the tokens of a step chose, and moves the biases."""

    def __init__(self, model: Any, rate: float) -> None:
        """Watches every router of `model`; a model without routers is left alone."""
        self.rate = rate
        self.routers = {name: module for name, module in model.named_modules() if is_router(module)}
        self.top_k = getattr(model.config, "num_experts_per_tok", 0)
        self.counts: dict[str, Any] = {}
        self._handles = [router.register_forward_hook(self._counter(name)) for name, router in self.routers.items()]

    def _counter(self, name: str) -> Callable[..., None]:
        import torch

        def count(module: Any, inputs: Any, output: Any) -> None:
            # What a router returns differs between versions of transformers: the choice is made again from its
            # logits, as the model makes it with one group: sigmoid plus bias, then the top k.
            logits = output[0] if isinstance(output, tuple) else output
            if logits.shape[-1] != module.e_score_correction_bias.shape[0]:
                hidden = inputs[0].reshape(-1, module.weight.shape[1]).float()
                logits = torch.nn.functional.linear(hidden, module.weight.float())
            scores = logits.detach().reshape(-1, logits.shape[-1]).sigmoid() + module.e_score_correction_bias
            chosen = scores.topk(self.top_k, dim=-1).indices.flatten()
            load = torch.bincount(chosen, minlength=scores.shape[-1])
            self.counts[name] = self.counts.get(name, 0) + load

        return count

    def step(self) -> None:
        """Move the biases by what was counted since the last step, and forget it."""
        import torch

        with torch.no_grad():
            for name, load in self.counts.items():
                error = load.float().mean() - load.float()
                self.routers[name].e_score_correction_bias += self.rate * torch.sign(error)
        self.counts.clear()

    def loads(self) -> dict[str, list[float]]:
        """Share of the choices each expert got since the last step, by layer."""
        return {name: (load / load.sum()).tolist() for name, load in self.counts.items()}

    def close(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()


def is_router(module: Any) -> bool:
    """Whether a module is a router with a correction bias."""
    return hasattr(module, "e_score_correction_bias") and hasattr(module, "weight")


def peak(shares: list[float]) -> float:
    """Load of the busiest expert over the mean: 1 is even."""
    return max(shares) * len(shares)
