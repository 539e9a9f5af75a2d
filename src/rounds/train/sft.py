"""Supervised fine-tuning on prompt and completion by TRL's SFTTrainer: adapters, and checkpoints in full.

Examples arrive as token ids made by our own codec, so that a lesson is spelled exactly as an exam prompt will be. TRL's
defaults that hurt on a CPU (bf16, gradient checkpointing) are set off. Left out on purpose: packing (see
`rounds.train.batches`) and evaluation during training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rounds.progress import bar
from rounds.recipe import Optimiser
from rounds.records import UserError
from rounds.train.balance import Balance
from rounds.train.batches import IGNORED, Example, tensors
from rounds.train.optimiser import optimiser, rate_at
from rounds.train.pretrain import Trained, refuse_long, step_count

SAME = 1e-3
"""Largest difference between the logits of adapter and merged model, relative to the largest logit (float32)."""


def sft(
    model: Any,
    examples: Sequence[Example],
    settings: Optimiser,
    *,
    tokenizer: Any,
    seed: int,
    scratch: Path,
    muon: bool = True,
    bias_rate: float = 0,
    adapter: Any = None,
    keep: Path | None = None,
) -> tuple[Any, Trained]:
    """Train `model`, or an adapter on it, and return the trained model (merged when there was an adapter).

    `tokenizer` is the transformers tokenizer of the checkpoint (TRL reads its pad token); `adapter` a PEFT config;
    `scratch` a directory for the trainer's own files; `keep` one for the adapter itself, before it is merged.

    Raises:
        UserError: no examples, one longer than the context, the loss is no longer a number, or the merged model does
            not give the logits of its adapter.
    """
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    steps = step_count(len(examples), settings)
    refuse_long(examples, int(model.config.max_position_embeddings))
    torch.set_num_threads(settings.threads)
    if adapter is not None:
        model = _with_adapter(model, adapter)
    walker = optimiser(model, settings.rate, muon)
    schedule = torch.optim.lr_scheduler.LambdaLR(walker, lambda step: rate_at(step, steps, settings.warm_up))
    balance = Balance(model, bias_rate) if bias_rate else None
    data = Dataset.from_dict({"input_ids": [list(e.ids) for e in examples], "labels": [_labels(e) for e in examples]})
    started = time.monotonic()
    with bar("training", steps) as advance:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**_arguments(settings, steps, seed, scratch, int(model.config.max_position_embeddings))),
            train_dataset=data,
            processing_class=tokenizer,
            optimizers=(walker, schedule),
            callbacks=[on_step(lambda: _after(balance, advance))],
        )
        trainer.remove_callback(_printer())
        trainer.train()
    if balance is not None:
        balance.close()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    loss = sum(losses[-3:]) / max(1, len(losses[-3:]))
    if loss != loss:
        raise UserError(f"the loss is not a number after {steps} steps; lower the rate ({settings.rate}).")
    tokens = round(sum(len(e.ids) for e in examples) / len(examples) * steps * settings.batch)
    if keep is not None:
        trainer.model.save_pretrained(keep)
    model = merged(trainer.model, examples[:2]) if adapter is not None else trainer.model
    model.eval()
    return model, Trained(steps, steps * settings.batch, tokens, loss, time.monotonic() - started)


def _arguments(settings: Optimiser, steps: int, seed: int, scratch: Path, context: int) -> dict[str, Any]:
    return {
        "output_dir": str(scratch),
        "per_device_train_batch_size": settings.batch,
        "max_steps": steps,
        "learning_rate": settings.rate,
        "max_length": context,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,
        "logging_steps": max(1, steps // 10),
        "logging_nan_inf_filter": False,  # else a loss that is no number is logged as the mean of the others
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": not _has_gpu(),
        "seed": seed,
        "data_seed": seed,
        "dataloader_pin_memory": False,
    }


def _with_adapter(model: Any, adapter: Any) -> Any:
    from peft import get_peft_model

    return get_peft_model(model, adapter)


def merged(model: Any, examples: Sequence[Example]) -> Any:
    """The adapter folded into the weights of a PeftModel, after a check that the logits on `examples` stay the same.

    Raises:
        UserError: they do not.
    """
    import torch

    batch = {name: rows.to(model.device) for name, rows in tensors(examples, pad=0).items() if name != "labels"}
    model.eval()
    with torch.no_grad():
        before = model(**batch, use_cache=False).logits
    whole = model.merge_and_unload()
    with torch.no_grad():
        after = whole(**batch, use_cache=False).logits
    seen = batch["attention_mask"].bool()
    apart, largest = (after - before)[seen].abs().max().item(), before[seen].abs().max().item()
    if not apart <= SAME * max(1.0, largest):
        raise UserError(
            f"the merged model's logits differ from its adapter's by {apart:.2g} (largest logit {largest:.2g}); "
            "use distil.method = 'full' or other targets."
        )
    return whole


def _labels(example: Example) -> list[int]:
    return [IGNORED] * example.start + list(example.ids[example.start :])


def _after(balance: Balance | None, advance: Callable[[float, str], None]) -> None:
    if balance is not None:
        balance.step()
    advance(1, "")


def on_step(action: Callable[[], None]) -> Any:
    """A trainer callback that runs `action` after every optimiser step."""
    from transformers import TrainerCallback

    class OnStep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            action()

    return OnStep()


def _printer() -> Any:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
