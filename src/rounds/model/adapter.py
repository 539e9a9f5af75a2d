"""A LoRA adapter on disk in PEFT's layout: looked at before anything is loaded, and laid on a model.

adapter_config.json and adapter_model.safetensors, as https://huggingface.co/docs/peft writes them. What the files say
is held against the checkpoint: which linear layers, of which shape. Left out on purpose: other kinds than LoRA (DoRA
and rsLoRA are its own), and whether an adapter does any good (`rounds.chain.specialise`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds import files
from rounds.model.checkpoint import PICKLES
from rounds.model.tokenizer import read_object
from rounds.model.weights import Tensor, tensors
from rounds.records import UserError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOLD = frozenset(
    (
        "peft_type", "task_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r",
        "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "target_modules", "exclude_modules", "modules_to_save",
        "init_lora_weights", "loftq_config", "megatron_core", "qalora_group_size", "layers_to_transform",
        "layers_pattern",
    )
)  # fmt: skip
"""Fields of a configuration that are read here, or that change nothing in an answer; any other must be empty."""
BEFORE = "base_model.model."
A, B, MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter that was looked at, and fits its checkpoint."""

    name: str
    """By which a request asks for it."""
    path: Path
    digest: str
    scale: float
    """What its product of two matrices is multiplied by: alpha / r, with rsLoRA alpha / sqrt(r)."""
    rank: int
    """Columns of its narrow side, r."""
    plain: bool
    """LoRA and nothing else: no DoRA, no layer saved whole."""


def read_adapters(folders: Mapping[str, Path], checkpoint: Path) -> dict[str, Adapter]:
    """The adapters of some folders by the name of each, all for one checkpoint.

    Raises:
        UserError: as `read_adapter`, or a name that is empty.
    """
    if "" in folders:
        raise UserError(f"{folders['']}: an adapter needs a name, as the empty one is the model itself; give it one.")
    return {name: read_adapter(name, path, checkpoint) for name, path in folders.items()}


def read_adapter(name: str, path: Path, checkpoint: Path) -> Adapter:
    """The adapter in a folder, held against the checkpoint it is for.

    Raises:
        UserError: no adapter there, pickled or damaged weights, another kind than LoRA, a checkpoint without its
            weights in safetensors, or layers that the checkpoint lacks or has in another shape.
    """
    pickled = sorted(found.name for pattern in PICKLES for found in path.glob(pattern))
    if pickled:
        raise UserError(f"{path}: holds pickled weights ({pickled[0]}); save the adapter as safetensors, remove them.")
    if not (path / CONFIG).is_file() or not (path / WEIGHTS).is_file():
        raise UserError(f"{path}: holds no adapter ({CONFIG}, {WEIGHTS}); check the path.")
    told = read_object(path / CONFIG)
    rank, alpha = told.get("r"), told.get("lora_alpha")
    if told.get("peft_type") != "LORA" or type(rank) is not int or rank < 1 or not isinstance(alpha, int | float):
        raise UserError(f"{path / CONFIG}: is not that of a LoRA adapter (peft_type, r, lora_alpha); make it anew.")
    odd = sorted(field for field, value in told.items() if field not in TOLD and value not in _EMPTY)
    if odd:
        raise UserError(f"{path / CONFIG}: asks for '{odd[0]}', which is not known here; make the adapter without it.")
    held = tensors(path / WEIGHTS)
    _fits(path, held, rank, checkpoint)
    plain = not told.get("use_dora") and all(one.name.endswith((A, B)) for one in held)
    scale = alpha / (rank**0.5 if told.get("use_rslora") else rank)
    return Adapter(name, path, files.digest(path), float(scale), rank, plain)


_EMPTY: tuple[object, ...] = (None, False, "none", "", {}, [])


def _fits(path: Path, held: list[Tensor], rank: int, checkpoint: Path) -> None:
    """Hold every pair of matrices against the layer it is for.

    Raises:
        UserError: they do not fit, or the checkpoint's weights are not there to tell.
    """
    layers = {one.name: one.shape for file in sorted(checkpoint.glob("*.safetensors")) for one in tensors(file)}
    if not layers:
        raise UserError(
            f"{checkpoint}: has no weights in safetensors, and an adapter belongs on those it was trained on; give "
            "that checkpoint."
        )
    matrices = {one.name: one.shape for one in held}
    sides = [name for name in matrices if name.endswith((A, B))]
    for name in sides:
        layer = name.removesuffix(A).removesuffix(B)
        shape = layers.get(f"{layer.removeprefix(BEFORE)}.weight", ())
        pair = (matrices.get(layer + A), matrices.get(layer + B))
        if len(shape) != 2 or pair != ((rank, shape[1]), (shape[0], rank)):
            raise UserError(
                f"{path}: does not fit {checkpoint} at {layer.removeprefix(BEFORE)}; give the checkpoint it was "
                "trained on."
            )
    if not sides:
        raise UserError(f"{path / WEIGHTS}: holds no matrices of a LoRA adapter; make it anew.")


def laid_on(model: Any, adapter: Path) -> Any:
    """The model with a PEFT adapter on it, in evaluation mode; `model` itself stays as it is and shares its weights.

    Raises:
        UserError: the adapter does not fit the model.
    """
    from peft import PeftModel

    # A copy of the modules alone: every weight and buffer is the model's own tensor.
    shared = {id(one): one for one in (*model.parameters(), *model.buffers())}
    view = copy.deepcopy(model, shared)
    try:
        return PeftModel.from_pretrained(view, adapter, use_safetensors=True).eval()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{adapter}: does not fit this model ({str(error).strip()[:160]}); give its own.") from error
