"""How far two models lie apart on the same answers, by class of token, measured inside the engine that serves them.

A quantiser can destroy a model without an error; this number is the first to tell. Measured in another engine it can
be eight times too small. Left out on purpose: accuracy, which is judged on cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rounds.engine import telemetry
from rounds.engine.export import exported
from rounds.engine.openvino import IR, KV, kv_cache_of
from rounds.progress import track
from rounds.quant.classes import CLASSES, WEIGHTS, Text

ALL = "all"
ROWS = 64
"""Tokens whose logits are compared at a time: a large vocabulary fills memory."""

Logits = Callable[[Text], Any]
"""Gives the logits, float array (tokens of the answer, vocabulary), that foresee each token of a text's answer."""


class Divergence(NamedTuple):
    """How far one model is from another on the same tokens."""

    kl: float
    """Mean Kullback-Leibler divergence of the second from the first, nats a token."""
    flips: float
    """Share of tokens whose likeliest next token changes."""
    tokens: int


def divergence(
    before: Logits, after: Logits, texts: Sequence[Text], label: str = "divergence"
) -> dict[str, Divergence]:
    """Over all tokens of the answers ("all") and over each class that occurs; teacher-forced, prompts not counted."""
    import numpy as np

    kl, flips, tokens = (np.zeros(len(CLASSES)) for _ in range(3))
    for text in track(texts, label):
        classes = np.array(text.classes)
        apart, flipped = _apart(before(text), after(text))
        kl += np.bincount(classes, weights=apart, minlength=len(CLASSES))
        flips += np.bincount(classes, weights=flipped, minlength=len(CLASSES))
        tokens += np.bincount(classes, minlength=len(CLASSES))
    whole = max(1.0, tokens.sum())
    found = {ALL: Divergence(float(kl.sum() / whole), float(flips.sum() / whole), int(tokens.sum()))}
    for name, a, b, n in zip(CLASSES, kl, flips, tokens, strict=True):
        if n:
            found[name] = Divergence(float(a / n), float(b / n), int(n))
    return found


def weighted(found: dict[str, Divergence]) -> float:
    """One number: the mean KL of the classes that occur, each by its weight, nats a token."""
    classes = [name for name in found if name != ALL]
    return sum(WEIGHTS[name] * found[name].kl for name in classes) / max(1.0, sum(WEIGHTS[name] for name in classes))


def in_openvino(directory: Path) -> Logits:
    """Logits of an export, or of a checkpoint through its export: f32 activations, no dynamic quantisation.

    An export that is served with 8-bit keys and values is fed one token at a time, as in serving: in one pass the
    engine would never read them back.
    """
    folder = directory if (directory / IR).is_file() else exported(directory)
    kv_cache = kv_cache_of(folder)
    stepwise = kv_cache == "u8"
    request = _compiled(folder, kv_cache if stepwise else "f32")

    def logits(text: Text) -> Any:
        import numpy as np

        request.reset_state()
        if not stepwise:
            return _infer(request, text.ids, 0)[text.start - 1 : -1]
        rows = [_infer(request, text.ids[: text.start], 0)[-1:]]
        rows += [_infer(request, [text.ids[place]], place) for place in range(text.start, len(text.ids) - 1)]
        return np.concatenate(rows)

    return logits


def in_transformers(directory: Path) -> Logits:
    """Logits of a checkpoint in torch, float32: for structures that are served there."""
    from rounds.model import checkpoint

    return of_model(checkpoint.load(directory))


def of_model(model: Any) -> Logits:
    """Logits of a model that is loaded in torch."""
    import torch

    def logits(text: Text) -> Any:
        with torch.inference_mode():
            ids = torch.tensor([text.ids], device=model.device)
            return model(input_ids=ids, use_cache=False).logits[0, text.start - 1 : -1].float().cpu().numpy()

    return logits


def model_inputs(ids: Sequence[int], past: int = 0) -> dict[str, Any]:
    """The inputs of an exported decoder for tokens that follow `past` others."""
    import numpy as np

    row = np.array([ids], dtype=np.int64)
    return {
        "input_ids": row,
        "attention_mask": np.ones((1, past + row.shape[1]), dtype=np.int64),
        "position_ids": np.arange(past, past + row.shape[1], dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }


def _infer(request: Any, ids: Sequence[int], past: int) -> Any:
    import numpy as np

    # A copy: the engine writes the next output into the same memory.
    return np.array(next(iter(request.infer(model_inputs(ids, past)).values()))[0])


def _compiled(directory: Path, kv_cache: KV) -> Any:
    telemetry.silence()
    import openvino

    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": kv_cache}
    return openvino.Core().compile_model(directory / IR, "CPU", exact).create_infer_request()


def _apart(first: Any, second: Any) -> tuple[Any, Any]:
    """KL (nats) and whether the likeliest token changes, each (tokens,)."""
    import numpy as np

    kl, flips = [], []
    for start in range(0, len(first), ROWS):
        p, q = (_log_softmax(rows[start : start + ROWS].astype(np.float64)) for rows in (first, second))
        kl.append((np.exp(p) * (p - q)).sum(-1))
        flips.append(p.argmax(-1) != q.argmax(-1))
    return np.concatenate(kl), np.concatenate(flips)


def _log_softmax(logits: Any) -> Any:
    import numpy as np

    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
