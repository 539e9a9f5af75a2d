"""4-bit weights for GPU servers: compressed-tensors by llmcompressor, calibrated on the model's own traces.

Symmetric int4 in groups for the linear layers, rounded with error compensation in static order of activation (GPTQ,
arXiv 2210.17323); the head in int8; embeddings, norms and the router of experts as they are. llmcompressor pins a
transformers of its own, so it lives in another environment than the CPU engine. Measured on a trained 3.7 M model: KL
5.7e-5, 8.0e-4 without GPTQ. Left out on purpose: embeddings in int8, which transformers cannot load again, and GPTQ
pointed at them, which destroys a model without a word (KL 4.55).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from rounds import files
from rounds.engine.export import quiet
from rounds.model import checkpoint
from rounds.model.tokenizer import write_chat
from rounds.quant.inventory import packing
from rounds.quant.openvino import group_of
from rounds.recipe import Quantize
from rounds.records import UserError

LINEAR = r".*layers\..*proj(_with_mqa)?$"
"""Names of the layers that take fewer bits; the router of experts is none of them."""
EXPERTS = r".*experts.*proj$"
"""Of them those of experts: transformers looks for a pattern that says so."""
HEAD = "lm_head"
LOGS = {"LLM_COMPRESSOR_LOG_LEVEL": "ERROR", "COMPRESSED_TENSORS_LOG_DISABLED": "true"}
"""Read on import: both libraries log on stdout, where only results belong."""
TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers that a server multiplies as one, so that they share their bits."""


def require() -> None:
    """See that llmcompressor is there.

    Raises:
        UserError: it is not.
    """
    for name, value in LOGS.items():
        os.environ.setdefault(name, value)
    try:
        import llmcompressor  # noqa: F401
    except ImportError as error:
        raise UserError(
            "llmcompressor is not installed here, and its pins clash with rounds[cpu]; make an environment of its own "
            "with pip install 'rounds[gpu4]' and call its rounds."
        ) from error


def compress(
    directory: Path, sequences: Sequence[list[int]], settings: Quantize, out: Path, eight: Collection[str] = ()
) -> dict[str, Any]:
    """Write the compressed checkpoint of `directory` to `out` (all or nothing); returns its figures.

    As `rounds.quant.openvino.quantize`: `sequences` are token ids of whole traces, `eight` names linear layers that
    stay in 8 bits (with those a server multiplies them with). `everything` takes the head to 4 bits too.

    Raises:
        UserError: llmcompressor is missing, no group divides the layers, no calibration text, a KV cache in 8 bits, or
            a layer, such as an expert, that no calibration text reached.
    """
    require()
    if settings.kv_cache != "f16":
        raise UserError("kv_cache is measured in the CPU engine alone; leave it out, and give the server its own flag.")
    if settings.gptq and not sequences:
        raise UserError("GPTQ needs calibration traces and has none; give traces or set gptq = false in [quantize].")
    stored = checkpoint.check(directory)
    started = time.perf_counter()
    bars = sys.stderr if sys.stderr.isatty() else io.StringIO()
    with quiet(), contextlib.redirect_stdout(bars), contextlib.redirect_stderr(bars):
        model = checkpoint.load(directory, str(stored.get("dtype") or stored.get("torch_dtype") or "float32"))
        widths = {module.in_features for _, module in _linears(model)}
        widths |= {model.config.moe_intermediate_size} if _has_experts(model) else set()
        group = group_of(widths, settings.group) if settings.bits == 4 else -1
        _round(model, sequences, settings, _groups(model, settings, group, eight))
        with files.making(out) as partial:
            model.save_pretrained(partial, save_compressed=True)
            for path in partial.glob("*.safetensors"):
                path.chmod((partial / "config.json").stat().st_mode)  # written for their owner alone
            checkpoint.copy_tokenizer(directory, partial)
            write_chat(partial, checkpoint.chat_of(directory))
    return {**packing(directory, out, group, sequences), "seconds": time.perf_counter() - started}


def _linears(model: Any) -> Iterator[tuple[str, Any]]:
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and re.match(LINEAR, name):
            yield name, module


def _has_experts(model: Any) -> bool:
    return bool(getattr(model.config, "n_routed_experts", 0))


def _groups(model: Any, settings: Quantize, group: int, eight: Collection[str]) -> dict[str, Any]:
    """llmcompressor's config groups. No layer is in two of them: which one counts then differs between readers.

    Raises:
        UserError: `eight` names a layer that is not there.
    """
    four: dict[str, Any] = {"num_bits": 4, "type": "int", "symmetric": True}
    four |= {"strategy": "channel"} if group == -1 else {"strategy": "group", "group_size": group}
    whole = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
    names = [name for name, _ in _linears(model)]
    unknown = next((name for name in eight if name not in names), None)
    if unknown is not None:
        raise UserError(f"layer '{unknown}' is to stay in 8 bits and is not in the model; measure its layers again.")
    spared = sorted({name for layer in eight for name in _together(layer) if name in names})
    tied = bool(model.config.tie_word_embeddings)  # a tied head is the embeddings, which stay as they are
    others = rf"(?!(?:{'|'.join(map(re.escape, spared))})$)" if spared else ""
    patterns = [f"re:{others}{LINEAR}", *([f"re:{others}{EXPERTS}"] if _has_experts(model) else [])]
    if settings.bits == 8:
        return {"eight": {"targets": [*patterns, *([] if tied else [HEAD])], "weights": whole}}
    head_in_four = settings.everything and not tied
    spared += [] if tied or head_in_four else [HEAD]
    found = {"four": {"targets": [*patterns, *([HEAD] if head_in_four else [])], "weights": four}}
    return ({"eight": {"targets": spared, "weights": whole}} if spared else {}) | found


def _together(layer: str) -> list[str]:
    stem, _, name = layer.rpartition(".")
    return [f"{stem}.{one}" for one in next((names for names in TOGETHER if name in names), (name,))]


def _round(model: Any, sequences: Sequence[list[int]], settings: Quantize, groups: dict[str, Any]) -> None:
    """Round in place.

    Raises:
        UserError: a layer that no calibration text reached.
    """
    import torch
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    if not settings.gptq or settings.bits == 8:
        oneshot(model=model, recipe=[QuantizationModifier(config_groups=groups)], pipeline="datafree")
        return
    seen: set[str] = set()

    class Watched(GPTQModifier):
        def calibrate_module(self, module: Any, args: Any, output: Any) -> None:
            if args[0].numel():
                seen.add(self._module_names[module])
            super().calibrate_module(module, args, output)

    modifier = Watched(config_groups=groups)
    batches = [
        {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        for ids in sequences
    ]
    data = torch.utils.data.DataLoader(batches, batch_size=None)
    oneshot(model=model, recipe=[modifier], dataset=data, num_calibration_samples=len(batches))
    left = sorted(set(modifier._module_names.values()) - seen)
    if left:
        raise UserError(
            f"{len(left)} layers saw no calibration text, the first is '{left[0]}'; give more traces or of more kinds."
        )
