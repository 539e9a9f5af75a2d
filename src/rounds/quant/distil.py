"""The quantised student distilled from its unquantised parent: weights that know the grid they will be put on.

Quantisation-aware: the forward pass sees every linear layer rounded to symmetric int4 in groups, as the export will
round it, and gradients pass through the rounding as if it were not there (straight-through, arXiv 1308.3432). The loss
is the KL to the parent's distribution on the parent's own answers (arXiv 2601.20088): no right answer is looked at, so
nothing is learnt but to be the parent again. Full weights in float32: two models and AdamW's two moments, 16 bytes a
weight. Left out on purpose: adapters (an adapter that is merged moves the weights off their grid), and training
embeddings, head and norms, which the export hardly touches.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds import files
from rounds.model import checkpoint
from rounds.progress import track
from rounds.quant.classes import CLASSES, WEIGHTS, Text
from rounds.quant.sensitivity import LEVELS, in_groups, scale_of

BATCH = 16
"""Answers a step."""
RATE = 0.003
"""AdamW's, in steps of a layer's grid, falling to nothing along a cosine: a weight may cross to its neighbour's level,
hardly further. Measured in docs/log.md; at .03 the model ends up worse than rounded plainly."""


def distil(directory: Path, texts: Sequence[Text], group: int, out: Path, steps: int) -> dict[str, float]:
    """Write to `out` the checkpoint `directory` with its linear layers on the grid of int4, trained to stay its parent.

    `texts` are the parent's own answers; `group` weights share a scale, -1 a row. Plain rounding in the same groups
    leaves the weights where they are. Figures: distil_steps, distil_seconds, distil_kl_first and distil_kl_last (mean
    of the first and last tenth of the steps: nats a token, weighted by class, in torch).

    Raises:
        UserError: the checkpoint is faulty.
    """
    import torch

    started = time.perf_counter()
    settings = checkpoint.check(directory)
    parent, student = checkpoint.load(directory), checkpoint.load(directory)
    head = student.get_output_embeddings()
    layers = [m for m in student.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    student.requires_grad_(False)
    for layer in layers:
        layer.weight.requires_grad_(True)
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", _grid(layer.weight, group), unsafe=True)
    held = [layer.parametrizations.weight for layer in layers]
    groups = [{"params": [one.original], "lr": RATE * float(one[0].scale.abs().mean())} for one in held]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order, losses = random.Random(0), []
    for _ in track(range(steps), "distilling the quantised student"):
        batch = order.sample(list(texts), min(BATCH, len(texts)))
        loss = _apart(parent, student, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
        losses.append(float(loss.detach()))
    for layer in layers:
        torch.nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    stored = str(settings.get("dtype") or settings.get("torch_dtype") or "float32")
    with files.making(out) as partial:
        checkpoint.save(student.to(getattr(torch, stored)), directory, partial)
    tenth = max(1, steps // 10)
    return {
        "distil_steps": steps,
        "distil_seconds": time.perf_counter() - started,
        "distil_kl_first": sum(losses[:tenth]) / tenth,
        "distil_kl_last": sum(losses[-tenth:]) / tenth,
    }


def _grid(weight: Any, group: int) -> Any:
    """The rounding of one weight, with a gradient; the class stands here as torch is imported only when training."""
    import torch

    class Grid(torch.nn.Module):
        """Weight (outputs, inputs) to the nearest of a grid that stays where it is.

        The weight that spans its group's grid keeps its place: an export finds the same grid by it.
        """

        def __init__(self) -> None:
            super().__init__()
            parts = in_groups(weight.detach(), group)
            self.scale = scale_of(parts)
            self.ends = (parts / self.scale).round() == -LEVELS

        def forward(self, weight: Any) -> Any:
            parts = in_groups(weight, group)
            levels = (parts / self.scale).round().clamp(-LEVELS, LEVELS - 1)
            passed = parts + (levels * self.scale - parts).detach()
            return torch.where(self.ends, -LEVELS * self.scale, passed).reshape(weight.shape)

    return Grid()


def _apart(parent: Any, student: Any, batch: Sequence[Text]) -> Any:
    """Mean KL of the student from its parent over the tokens of the answers, each by the weight of its class."""
    import torch

    longest = max(len(text.ids) for text in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    weight = torch.zeros(len(batch), longest)
    for row, text in enumerate(batch):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)
        mask[row, : len(text.ids)] = 1
        told = torch.tensor([WEIGHTS[CLASSES[one]] for one in text.classes])
        weight[row, text.start - 1 : text.start - 1 + len(told)] = told
    foreseen = weight > 0
    with torch.no_grad():
        kept = parent(input_ids=ids, attention_mask=mask, use_cache=False).logits[foreseen].log_softmax(-1)
    found = student(input_ids=ids, attention_mask=mask, use_cache=False).logits[foreseen].log_softmax(-1)
    kl = (kept.exp() * (kept - found)).sum(-1)
    return (kl * weight[foreseen]).sum() / weight.sum()
