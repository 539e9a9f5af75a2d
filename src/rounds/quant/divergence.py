"""How far two OpenVINO models lie apart on the same text, measured inside the engine that serves them.

A quantiser can destroy a model without an error; this number is the first to tell. Left out on purpose: accuracy,
which `rounds compare` judges on cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rounds.engine import telemetry
from rounds.engine.openvino import IR


class Divergence(NamedTuple):
    """How far one model is from another on the same tokens."""

    kl: float
    """Mean Kullback-Leibler divergence of the second from the first, nats a token."""
    flips: float
    """Share of tokens whose likeliest next token changes."""
    tokens: int


def divergence(first: Path, second: Path, sequences: Sequence[Sequence[int]]) -> Divergence:
    """Teacher-forced over `sequences`, f32 activations, no dynamic quantisation."""
    import numpy as np

    total, flips, tokens = 0.0, 0, 0
    before, after = _compiled(first), _compiled(second)
    for ids in sequences:
        p, q = _log_softmax(logits_of(before, ids)), _log_softmax(logits_of(after, ids))
        total += float((np.exp(p) * (p - q)).sum())
        flips += int((p.argmax(-1) != q.argmax(-1)).sum())
        tokens += len(ids)
    return Divergence(total / max(1, tokens), flips / max(1, tokens), tokens)


def logits_of(request: Any, ids: Sequence[int]) -> Any:
    """Logits (tokens, vocabulary), float64, of one sequence from an empty cache."""
    import numpy as np

    request.reset_state()
    outputs = request.infer(model_inputs(ids))
    return np.asarray(next(iter(outputs.values()))[0], dtype=np.float64)


def model_inputs(ids: Sequence[int]) -> dict[str, Any]:
    """The inputs of an exported decoder for one whole sequence."""
    import numpy as np

    row = np.array([ids], dtype=np.int64)
    return {
        "input_ids": row,
        "attention_mask": np.ones_like(row),
        "position_ids": np.arange(row.shape[1], dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }


def _compiled(directory: Path) -> Any:
    telemetry.silence()
    import openvino

    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
    return openvino.Core().compile_model(directory / IR, "CPU", exact).create_infer_request()


def _log_softmax(logits: Any) -> Any:
    import numpy as np

    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
