"""GRPO by TRL's GRPOTrainer, with medical rewards and monitors that stop it with an explanation.

Prompts reach the model as ids made by our codec (TRL's rollout hook), answers are read and marked by `grade`. Greedy
accuracy on tune comes through a callback, as training never sees an exam. When a monitor stops the run, the weights of
the last good look are given back. Left out on purpose: vLLM inside the trainer (its pins clash; see docs/grpo.md).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rounds import recipe
from rounds.grade.mark import Marker
from rounds.model.tokenizer import Codec
from rounds.progress import bar
from rounds.records import Case, Grade, Prompt, Sampling, Trace
from rounds.train.balance import Balance
from rounds.train.monitors import Monitor
from rounds.train.rewards import REWARDS, weights
from rounds.train.sft import on_step

Accuracy = Callable[[Any], float]
"""Greedy accuracy of a model on tune."""


@dataclass(slots=True)
class Reasoned:
    """What GRPO did."""

    steps: int
    seconds: float
    stopped: str | None = None
    """Why a monitor stopped it; None when it ran to its end."""
    accuracy: list[float] = field(default_factory=list)
    """Greedy accuracy on tune at each look, the first before any step."""
    kept: float = 0.0
    """Greedy accuracy on tune of the weights given back."""
    table: list[dict[str, float]] = field(default_factory=list)
    """Mean of each reward, of the sum, and the monitors' shares, by step."""


def grpo(
    model: Any,
    cases: Sequence[Case],
    prompts: Sequence[Prompt],
    settings: recipe.Grpo,
    *,
    codec: Codec,
    tokenizer: Any,
    marker: Marker,
    accuracy: Accuracy,
    seed: int,
    scratch: Path,
    bias_rate: float = 0,
) -> Reasoned:
    """Improve `model` in place on `cases` (one prompt each); 0 steps leave it alone and look at nothing."""
    import torch

    steps = settings.steps or 0
    if steps == 0:
        return Reasoned(steps=0, seconds=0.0)
    before = accuracy(model)
    done = Reasoned(steps=0, seconds=0.0, accuracy=[before], kept=before)
    torch.set_num_threads(settings.threads)
    monitor = Monitor(start_accuracy=done.accuracy[0])
    best = _copy(model)
    balance = Balance(model, bias_rate) if bias_rate else None
    started = time.monotonic()
    play = _Play(cases, prompts, settings, codec, marker)
    with bar("GRPO", steps) as advance:
        trainer = _trainer(model, play, settings, steps, tokenizer, seed, scratch)

        def after() -> None:
            nonlocal best
            if balance is not None:
                balance.step()
            done.steps += 1
            row = play.row() | _kl(trainer)
            done.table.append(row)
            fault = _watch(monitor, row)
            if fault is None and (done.steps % settings.check_every == 0 or done.steps == steps):
                done.accuracy.append(accuracy(model))
                fault = monitor.look(done.accuracy[-1])
                if fault is None:
                    best, done.kept = _copy(model), done.accuracy[-1]
            if fault is not None:
                done.stopped = fault
                trainer.control.should_training_stop = True
            advance(1, f"reward {row['total']:.3f}")

        trainer.add_callback(on_step(after))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train()
    if balance is not None:
        balance.close()
    if done.stopped is not None:
        model.load_state_dict(best)
    model.eval()
    done.seconds = time.monotonic() - started
    return done


def _watch(monitor: Monitor, row: dict[str, float]) -> str | None:
    return monitor.step(
        reward=row["total"], zero_variance=row["zero variance"], clipped=row["clipped"], kl=row.get("kl")
    )


def _kl(trainer: Any) -> dict[str, float]:
    """KL to the starting model as TRL logged it for the step before; nothing without a KL term (beta 0)."""
    logged = [entry["kl"] for entry in trainer.state.log_history if "kl" in entry]
    return {"kl": float(logged[-1])} if logged else {}


def _copy(model: Any) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class _Play:
    """Rollouts and rewards of one trainer: TRL asks for answers first, then for each reward of them in turn."""

    def __init__(
        self, cases: Sequence[Case], prompts: Sequence[Prompt], settings: recipe.Grpo, codec: Codec, marker: Marker
    ) -> None:
        self.cases = {case.id: case for case in cases}
        self.ids = {prompt.case_id: codec.encode_prompt(prompt.messages) for prompt in prompts}
        self.prompts = {prompt.case_id: prompt for prompt in prompts}
        self.settings = settings
        self.codec = codec
        self.marker = marker
        self.grades: list[tuple[Case, Grade]] = []
        self.clipped = 0.0

    def rollout(self, asked: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's hook: case ids in, token ids of prompts and sampled answers out."""
        prompts = [self.ids[case_id] for case_id in asked]
        answers = sample(trainer.model, prompts, self.codec, self.settings.temperature, self.settings.max_tokens)
        self.clipped = sum(answer[-1] not in self.codec.eos_ids for answer in answers) / len(answers)
        self.grades = []
        for case_id, answer in zip(asked, answers, strict=True):
            case = self.cases[case_id]
            self.grades.append((case, self.marker.mark(case, self._trace(self.prompts[case_id], answer))))
        return {"prompt_ids": prompts, "completion_ids": answers, "logprobs": None}

    def _trace(self, prompt: Prompt, answer: list[int]) -> Trace:
        parts = self.codec.split(answer)
        return Trace(
            prompt=prompt,
            model="policy",
            engine="transformers",
            sampling=Sampling(temperature=self.settings.temperature),
            thinking=parts.thinking,
            reply=parts.reply,
            finish="stop",
            thinking_tokens=parts.thinking_tokens,
            reply_tokens=parts.reply_tokens,
        )

    def reward(self, name: str) -> Callable[..., list[float]]:
        """One of `REWARDS` in the form TRL calls."""
        score = REWARDS[name]

        def scored(**_: Any) -> list[float]:
            return [score(case, grade) for case, grade in self.grades]

        scored.__name__ = name
        return scored

    def row(self) -> dict[str, float]:
        """Means of the last step's rewards, and what the monitors look at."""
        chosen = weights(self.settings)
        means = {n: sum(REWARDS[n](c, g) for c, g in self.grades) / len(self.grades) for n in chosen}
        totals = [sum(w * REWARDS[n](c, g) for n, w in chosen.items()) for c, g in self.grades]
        size = self.settings.samples
        groups = [totals[start : start + size] for start in range(0, len(totals), size)]
        flat = sum(max(group) - min(group) < 1e-9 for group in groups) / len(groups)
        return means | {"total": sum(totals) / len(totals), "zero variance": flat, "clipped": self.clipped}


def _trainer(
    model: Any, play: _Play, settings: recipe.Grpo, steps: int, tokenizer: Any, seed: int, scratch: Path
) -> Any:
    import os

    import torch
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    chosen = weights(settings)
    arguments = GRPOConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=settings.prompts * settings.samples,
        num_generations=settings.samples,
        max_completion_length=settings.max_tokens,
        temperature=settings.temperature,
        beta=settings.beta,
        loss_type="dapo",
        reward_weights=list(chosen.values()),
        learning_rate=settings.rate,
        lr_scheduler_type="constant",  # a step of warm-up would be a step at rate 0, one of few
        max_steps=steps,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        dataloader_pin_memory=False,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[play.reward(name) for name in chosen],
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": list(play.cases)}),
        processing_class=tokenizer,
        rollout_func=play.rollout,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def sample(
    model: Any, prompts: Sequence[Sequence[int]], codec: Codec, temperature: float, max_tokens: int
) -> list[list[int]]:
    """One answer a prompt by `generate`, sampled, or greedy at temperature 0; cut after its end token."""
    import torch

    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[codec.pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    draw = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature
        else {"do_sample": False}
    )
    training = model.training
    model.eval()
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_tokens,
            pad_token_id=codec.pad_id,
            eos_token_id=list(codec.eos_ids),
            **draw,
        )
    model.train(training)
    answers = []
    for row in out[:, longest:].tolist():
        end = next((place for place, token in enumerate(row) if token in codec.eos_ids), None)
        answers.append(row if end is None else row[: end + 1])
    return answers
