"""Distillation: the student learns the teacher's verified traces, fully or through an adapter.

Teacher and student may have different vocabularies (R1-Distill-Llama-70B and -Qwen-7B do), so the student learns text;
the teacher's distributions are learnt only where both share one vocabulary (`rounds.train.soft_targets`). After
merging, the adapter and the merged model must give the same logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds import recipe
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.records import UserError
from rounds.train.batches import Example
from rounds.train.pretrain import Trained, pretrain
from rounds.train.sft import sft

ATTENTION = {
    "qwen2": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "deepseek_v3": ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
}
"""Attention projections by structure: the key attention layers of arXiv 2505.00025."""

FEED_FORWARD = {"qwen2": ("gate_proj", "up_proj", "down_proj"), "llama": ("gate_proj", "up_proj", "down_proj")}
"""Feed-forward projections by structure. None on a mixture of experts: PEFT turns these names into the stacked weights
of the routed experts, leaves out the dense layer and the shared expert, and has no DoRA there."""

EMBEDDINGS = ("embed_tokens", "lm_head")


def distil(
    student: Path, lessons: Sequence[Example], settings: recipe.Distil, *, seed: int, scratch: Path
) -> tuple[Any, Trained]:
    """Train the student in `student` and return it, merged. Soft targets are learnt where a lesson has them.

    Raises:
        UserError: nothing to learn, an unsupported choice, or the merged model differs from its adapter.
    """
    model = checkpoint.load(student)
    if settings.no_repeat or settings.token_level:
        return model, _own_loop(model, student, lessons, settings, seed)
    full = settings.method == "full"
    if not full and settings.lora.embeddings and model.config.tie_word_embeddings:
        raise UserError(
            f"{student}: embeddings and head are one matrix, and training both beside an adapter would part them; "
            "set distil.lora.embeddings to false."
        )
    return sft(
        model,
        lessons,
        settings,
        tokenizer=tokenizer_of(student),
        seed=seed,
        scratch=scratch,
        adapter=None if full else lora_config(settings.lora, str(model.config.model_type)),
        muon=full and settings.muon,
    )


def _own_loop(model: Any, student: Path, lessons: Sequence[Example], settings: recipe.Distil, seed: int) -> Trained:
    # Neither the penalty on repeated names nor soft targets kept aside are losses of TRL's SFTTrainer.
    if settings.method != "full":
        name = "no_repeat" if settings.no_repeat else "token_level"
        raise UserError(
            f"distil.{name} is {getattr(settings, name):g} but distil.method is '{settings.method}'; "
            f"set {name} to 0 or the method to 'full'."
        )
    return pretrain(
        model,
        lessons,
        settings,
        pad=Codec.load(student).pad_id,
        seed=seed,
        muon=settings.muon,
        no_repeat=settings.no_repeat,
        token_level=settings.token_level,
    )


def lora_config(settings: recipe.Lora, structure: str) -> Any:
    """The PEFT configuration of a recipe's [distil.lora].

    Raises:
        UserError: the structure or a target is unknown, or QLoRA is asked for without bitsandbytes.
    """
    from peft import LoraConfig

    if settings.four_bit_base:
        raise UserError("distil.lora.four_bit_base needs a GPU with bitsandbytes, which is missing; set it to false.")
    if structure not in ATTENTION:
        raise UserError(f"structure '{structure}' has no adapter targets; use one of {', '.join(ATTENTION)}.")
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(_targets(settings, structure)),
        modules_to_save=list(EMBEDDINGS) if settings.embeddings else None,
        use_dora=settings.dora,
        use_rslora=settings.rslora,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )


def _targets(settings: recipe.Lora, structure: str) -> Sequence[str]:
    # Named one by one: PEFT's own all-linear would adapt the router of a mixture of experts too.
    known = (*ATTENTION[structure], *FEED_FORWARD.get(structure, ()))
    if settings.targets == "all-linear":
        return known
    if settings.targets == "attention":
        return ATTENTION[structure]
    unknown = [name for name in settings.targets if name not in known]
    if unknown or not settings.targets:
        raise UserError(
            f"distil.lora.targets names '{', '.join(unknown)}', which an adapter cannot take on {structure}; "
            f"use attention, all-linear, or some of {', '.join(known)}."
        )
    return settings.targets


def tokenizer_of(directory: Path) -> Any:
    """The transformers tokenizer beside a checkpoint, as TRL wants one."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
