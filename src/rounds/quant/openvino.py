"""4-bit weights for the CPU engine: NNCF on the exported OpenVINO model, calibrated on the model's own traces.

Symmetric int4 in groups for the linear layers, rounded with error compensation (GPTQ, arXiv 2210.17323); embeddings
and head in int8 unless `everything`. Measured on a trained 3.7 M model: KL 7.9e-5 with GPTQ, 5.5e-4 without. Left out
on purpose: AWQ and scale estimation (no better than rounding there) and other engines' formats.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from rounds import files
from rounds.engine import telemetry
from rounds.engine.export import exported, quiet
from rounds.engine.openvino import ENGINE_FILE, IR
from rounds.model import checkpoint
from rounds.model.tokenizer import write_chat
from rounds.quant.divergence import model_inputs
from rounds.quant.inventory import packing
from rounds.recipe import Quantize
from rounds.records import UserError

SMALLEST = 8
"""Groups below this hold more scale than weight."""


def quantize(
    directory: Path, sequences: Sequence[list[int]], settings: Quantize, out: Path, eight: Collection[str] = ()
) -> dict[str, Any]:
    """Write the compressed model of the checkpoint `directory` to `out` (all or nothing); returns its figures.

    `sequences` are token ids of whole traces (prompt and answer); `eight` names linear layers that stay in 8 bits, as
    `rounds.quant.sensitivity` does. Figures: bytes_before and bytes_after of the weights (stored checkpoint, OpenVINO
    .bin), bits_per_weight, group, tensors by type, calibration sequences and tokens, seconds.

    Raises:
        UserError: no group divides the layers, no calibration text, or the structure has no export.
    """
    config = checkpoint.check(directory)
    group = group_for(config, settings.group) if settings.bits == 4 else -1
    if settings.bits == 4 and settings.gptq and not sequences:
        raise UserError("GPTQ needs calibration traces and has none; give traces or set gptq = false in [quantize].")
    started = time.perf_counter()
    parent = exported(directory)
    telemetry.silence()
    import nncf  # noqa: F401  (sets its own logging on import, so before `quiet`)
    import openvino

    # NNCF draws its bars on stdout, where only results belong.
    bars = sys.stderr if sys.stderr.isatty() else io.StringIO()
    with quiet(), contextlib.redirect_stdout(bars):
        model = openvino.Core().read_model(parent / IR)
        compressed = _compress(model, sequences, settings, group, eight)
        with files.making(out) as partial:
            openvino.save_model(compressed, partial / IR, compress_to_fp16=False)
            for path in parent.glob("*.json"):
                shutil.copyfile(path, partial / path.name)
            write_chat(partial, checkpoint.chat_of(directory))
            if settings.kv_cache != "f16":
                files.write_text(partial / ENGINE_FILE, json.dumps({"kv_cache": settings.kv_cache}))
    return {**packing(directory, out, group, sequences), "seconds": time.perf_counter() - started}


def group_for(config: dict[str, Any], wanted: int) -> int:
    """The largest group of at most `wanted` weights that divides the input width of every linear layer; -1 is a row.

    Raises:
        UserError: no group of at least eight does.
    """
    width = int(config["hidden_size"])
    heads = int(config["num_attention_heads"]) * int(
        config.get("head_dim") or width // int(config["num_attention_heads"])
    )
    return group_of((width, heads, int(config["intermediate_size"])), wanted)


def group_of(widths: Iterable[int], wanted: int) -> int:
    """As `group_for`, for the input widths themselves.

    Raises:
        UserError: no group of at least eight divides them all.
    """
    if wanted == -1:
        return -1
    every = sorted(set(widths))
    for group in range(wanted, SMALLEST - 1, -1):
        if not any(size % group for size in every):
            return group
    raise UserError(
        f"no group of {SMALLEST} to {wanted} weights divides the widths {', '.join(map(str, every))}; "
        "set group = -1 (one scale a row) in [quantize]."
    )


def _compress(
    model: Any, sequences: Sequence[list[int]], settings: Quantize, group: int, eight: Collection[str]
) -> Any:
    import nncf

    if settings.bits == 8:
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    data = nncf.Dataset([model_inputs(ids) for ids in sequences]) if settings.gptq else None
    compressed = nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode.INT4_SYM,
        ratio=1.0,
        group_size=group,
        all_layers=settings.everything,
        dataset=data,
        subset_size=max(1, len(sequences)),
        gptq=settings.gptq,
        ignored_scope=nncf.IgnoredScope(names=_nodes(model, eight)) if eight else None,
    )
    # What the first pass left alone is all that is still float.
    return nncf.compress_weights(compressed, mode=nncf.CompressWeightsMode.INT8_SYM) if eight else compressed


def _nodes(model: Any, layers: Collection[str]) -> list[str]:
    """The multiplications of an exported model that use the weights of these layers.

    Raises:
        UserError: a layer is not there.
    """
    found: dict[str, str] = {}
    for op in model.get_ops():
        name = op.get_friendly_name().removeprefix("self.").removesuffix(".weight")
        if op.get_type_name() == "Constant" and name in layers:
            user = op
            while user.get_type_name() != "MatMul":  # half precision is converted on the way
                user = next(iter(user.output(0).get_target_inputs())).get_node()
            found[name] = user.get_friendly_name()
    missing = sorted(set(layers) - found.keys())
    if missing:
        raise UserError(f"the exported model has no layer '{missing[0]}'; export the checkpoint again.")
    return list(found.values())
