"""Trains a tiny model from scratch: our own loop, as no library has Muon, MoE balance and length batches in one.

The base student learns the text of the knowledge base and cases with direct answers; the teacher starts the same way
and goes on with chain of thought. A student distilled with a penalty on repeats learns here too, as TRL has none.
Left out on purpose: several machines (use a checkpoint instead), mixed precision (no gain on a CPU at this size).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from rounds.progress import bar
from rounds.recipe import Optimiser
from rounds.records import UserError
from rounds.train.balance import Balance
from rounds.train.batches import IGNORED, Example, Soft, batches, softened, tensors
from rounds.train.optimiser import optimiser, rate_at


@dataclass(slots=True)
class Trained:
    """What a training step measured of itself."""

    steps: int
    examples: int
    tokens: int
    loss: float
    """Mean over the last tenth, nats a token."""
    seconds: float


def pretrain(
    model: Any,
    examples: Sequence[Example],
    settings: Optimiser,
    *,
    pad: int,
    seed: int,
    muon: bool,
    bias_rate: float = 0,
    no_repeat: float = 0,
    token_level: float = 0,
) -> Trained:
    """Train in place; `no_repeat` weighs unlikelihood and `token_level` the examples' soft targets (`labelled_loss`).

    Raises:
        UserError: no examples, one longer than the model's context, or the loss is no longer a number.
    """
    import torch

    steps = step_count(len(examples), settings)
    refuse_long(examples, int(model.config.max_position_embeddings))
    torch.set_num_threads(settings.threads)
    walker = optimiser(model, settings.rate, muon)
    full = [group["lr"] for group in walker.param_groups]
    balance = Balance(model, bias_rate) if bias_rate else None
    losses: list[float] = []
    tokens, started = 0, time.monotonic()
    model.train()
    with bar("training", steps) as advance:
        for step, batch in enumerate(batches(examples, settings.batch, steps, Random(seed))):
            share = rate_at(step, steps, settings.warm_up)
            for group, rate in zip(walker.param_groups, full, strict=True):
                group["lr"] = rate * share
            inputs = tensors(batch, pad)
            replies = torch.tensor([example.reply for example in batch])
            soft = softened(batch) if token_level else None
            loss = labelled_loss(model, inputs, replies, no_repeat, soft, token_level)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            walker.step()
            walker.zero_grad(set_to_none=True)
            if balance is not None:
                balance.step()
            losses.append(loss.item())
            if losses[-1] != losses[-1]:
                raise UserError(f"the loss is not a number at step {step + 1}; lower the rate ({settings.rate}).")
            tokens += int(inputs["attention_mask"].sum())
            advance(1, f"loss {losses[-1]:.3f}")
    if balance is not None:
        balance.close()
    model.eval()
    last = losses[-max(1, steps // 10) :]
    return Trained(steps, steps * settings.batch, tokens, sum(last) / len(last), time.monotonic() - started)


def labelled_loss(
    model: Any,
    inputs: dict[str, Any],
    replies: Any,
    repeats: float = 0.0,
    soft: Soft | None = None,
    share: float = 0.0,
) -> Any:
    """Mean cross-entropy over the labelled tokens; the head runs on those alone, a third of a case.

    `repeats` weighs a penalty on the chance of tokens the reply already holds (unlikelihood training, arXiv
    1908.04319): five diagnoses must be five, and the tail of a differential is too even for likelihood to say so.
    `replies`, shape (examples,), is where each reply begins: what was thought before may be named again.
    `soft` takes `share` of the cross-entropy, the text itself the rest.
    """
    import torch

    hidden = model.model(inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)[0]
    labels = inputs["labels"][:, 1:]
    chosen = labels != IGNORED
    targets = labels[chosen]
    chances = model.lm_head(hidden[:, :-1][chosen]).log_softmax(-1)
    places = torch.arange(len(targets), device=targets.device)
    likely = 0.0 if soft is None else share * (soft.chances * chances.gather(1, soft.tokens)).sum(-1).mean()
    share = 0.0 if soft is None else share
    if not repeats:
        return -(1 - share) * chances[places, targets].mean() - likely
    held, names = already_named(chosen, targets, replies)
    # One look-up for both: each costs a pass over a matrix of labels by vocabulary on the way back.
    looked_up = chances[torch.cat((places, held)), torch.cat((targets, names))]
    right, repeated = looked_up[: len(places)], looked_up[len(places) :]
    unlikely = torch.log1p(-repeated.exp().clamp(max=0.999)).sum() / len(targets)
    return -(1 - share) * right.mean() - likely - repeats * unlikely


def already_named(chosen: Any, targets: Any, replies: Any) -> tuple[Any, Any]:
    """Each labelled place with each token its reply holds before it, once, its own target left out.

    chosen: (examples, columns), where labels are; targets: (labels,), in that order; replies: (examples,). Both
    results have one entry a pair: the place among the labels, and the token.
    """
    import torch

    rows, columns = chosen.nonzero(as_tuple=True)
    # Column k predicts token k + 1, so a reply that begins at token r is predicted from column r - 1 on.
    replying = columns >= replies[rows] - 1
    earlier = (rows[:, None] == rows[None, :]) & (columns[:, None] > columns[None, :]) & replying[None, :]
    here, there = (earlier & (targets[:, None] != targets[None, :])).nonzero(as_tuple=True)
    size = int(targets.max()) + 1
    pairs = torch.unique(here * size + targets[there])
    return pairs // size, pairs % size


def step_count(examples: int, settings: Optimiser) -> int:
    """Steps a setting asks for.

    Raises:
        UserError: there is nothing to learn from.
    """
    if not examples:
        raise UserError("there are 0 examples to learn from; write more cases or keep more traces.")
    return settings.steps or max(1, round(examples * settings.epochs / settings.batch))


def refuse_long(examples: Sequence[Example], context: int) -> None:
    """Raise a UserError when an example does not fit the context (tokens)."""
    longest = max(len(example.ids) for example in examples)
    if longest > context:
        raise UserError(
            f"an example has {longest} tokens but the model's context is {context}; raise backbone.context."
        )
