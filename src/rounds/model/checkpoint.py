"""Checkpoints on disk: found, checked before anything is loaded, loaded, saved.

Safetensors only: pickled weights run code when read, and so do `auto_map` modules, hence both are refused. Quantised
weights (compressed-tensors) are unpacked, for checks and not for speed. Left out on purpose: other layouts than Hugging
Face's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rounds.model.tokenizer import CHAT_FILE, FILES, Codec, read_object
from rounds.model.weights import tensors
from rounds.records import UserError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
STRUCTURES = ("qwen2", "llama", "deepseek_v3")
"""`model_type` of the families whose whole path is tested."""


def resolve(model: str) -> Path:
    """A local directory, or a Hugging Face id brought by huggingface_hub (only *.safetensors and *.json).

    Raises:
        UserError: neither exists, or there is no connection.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise UserError(f"checkpoint '{model}' does not exist; give a directory or a Hugging Face id such as org/name.")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(model, allow_patterns=["*.safetensors", "*.json"]))
    except ImportError as error:
        raise UserError(f"checkpoint '{model}' is not here; pip install 'rounds[cpu]' to fetch it.") from error
    except Exception as error:  # the library's errors have no common base
        raise UserError(
            f"checkpoint '{model}' is no directory and could not be fetched from Hugging Face "
            f"({type(error).__name__}); check the name and the connection, or download it beforehand."
        ) from error


def check(directory: Path) -> dict[str, Any]:
    """Look before loading; returns config.json.

    Raises:
        UserError: no config, remote code, pickled weights, no weights, a faulty or truncated file, no tokenizer.
    """
    config = directory / "config.json"
    if not config.is_file():
        raise UserError(f"{directory}: has no config.json; give the directory of a Hugging Face checkpoint.")
    settings = read_object(config)
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        if "auto_map" in read_object(directory / name):
            raise UserError(f"{directory / name}: asks for remote code (auto_map); use a structure transformers holds.")
    pickled = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
    if pickled:
        raise UserError(f"{directory}: holds pickled weights ({pickled[0]}); convert them to safetensors, remove them.")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{directory}: holds no *.safetensors; convert the weights to safetensors.")
    for path in weights:
        tensors(path)
    for name in _shards(directory):
        if not (directory / name).is_file():
            raise UserError(f"{directory}: lacks {name} of its index; fetch the checkpoint again.")
    if not (directory / FILES[0]).is_file():
        raise UserError(f"{directory}: has no tokenizer.json; save the model's fast tokenizer beside its weights.")
    return settings


def _shards(directory: Path) -> list[str]:
    """Files the index names, if there is one."""
    index = directory / "model.safetensors.index.json"
    named = read_object(index).get("weight_map", {})
    if not isinstance(named, dict) or not all(
        isinstance(name, str) and name == Path(name).name for name in named.values()
    ):
        raise UserError(f"{index}: does not say which file beside it holds each weight; fetch the checkpoint again.")
    return sorted(set(named.values()))


def load(directory: Path, dtype: str = "float32") -> Any:
    """The model in `directory` as a `PreTrainedModel` in evaluation mode; `dtype` names a torch type.

    Raises:
        UserError: `check` finds a fault, an unknown structure, weights that do not fit it, or a broken torchvision.
    """
    settings = check(directory)
    require_transformers()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    extra = {"experts_implementation": "eager"} if settings.get("model_type") == "deepseek_v3" else {}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            **extra,
        )
    except (ValueError, KeyError, RuntimeError, OSError, ImportError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{directory}: cannot be loaded ({first[:200]}); check that it is a causal model.") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(f"{directory}: lacks the weights '{missing[0]}' of its structure; fetch the checkpoint again.")
    rows = model.get_input_embeddings().weight.shape[0]
    size = Codec.load(directory).size
    if size > rows:
        raise UserError(
            f"{directory}: its tokenizer has {size} entries and its embedding {rows} rows; use the matching tokenizer."
        )
    if "quantization_config" in settings:
        # Packed weights are unpacked in the first pass, where two threads would do it twice.
        with torch.inference_mode():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long))
    return model.eval()


def save(model: Any, codec: Path, out: Path) -> None:
    """Write weights and configuration of `model` with the tokenizer files of the directory `codec` into `out`.

    `out` is made when missing; the caller wraps it in `rounds.files.making`.

    Raises:
        OSError: the disk is full or not writable.
    """
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    copy_tokenizer(codec, out)


def copy_tokenizer(source: Path, out: Path) -> None:
    """Copy tokenizer.json, tokenizer_config.json and chat.json, whichever are there."""
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def bytes_of(directory: Path) -> int:
    """Bytes of the weights in a directory: safetensors, or an OpenVINO model's .bin."""
    kinds = ("*.safetensors", "openvino_model.bin")
    return sum(path.stat().st_size for kind in kinds for path in directory.glob(kind))


def same_vocabulary(a: Path, b: Path) -> None:
    """Whether logits of the two models can be set side by side.

    Raises:
        UserError: their tokenizers or the heights of their heads differ.
    """
    first, second = (_vocabulary(path) for path in (a, b))
    differ = sorted(token for token in first.keys() | second.keys() if first.get(token) != second.get(token))
    if differ:
        raise UserError(
            f"{a} and {b} have different vocabularies ({len(differ)} entries, such as {differ[0]!r}); "
            "token-level distillation needs one vocabulary, use traces instead."
        )
    heights = [read_object(path / "config.json").get("vocab_size") for path in (a, b)]
    if heights[0] != heights[1]:
        raise UserError(
            f"{a} and {b} have heads of {heights[0]} and {heights[1]} tokens; "
            "token-level distillation needs one vocabulary, use traces instead."
        )


def _vocabulary(directory: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    Codec.load(directory)  # says what is wrong with it
    return dict(Tokenizer.from_file(str(directory / FILES[0])).get_vocab(with_added_tokens=True))


def chat_of(directory: Path) -> str:
    """Name of the chat format a checkpoint was taught (chat.json, else recognised by its tokens).

    Raises:
        UserError: none fits.
    """
    named = read_object(directory / CHAT_FILE).get("chat")
    return str(named) if named else Codec.load(directory).chat


def require_transformers() -> None:
    """Import transformers' model classes and silence their bars.

    Raises:
        UserError: it is missing, or an installed torchvision breaks it.
    """
    try:
        from transformers import AutoModelForCausalLM  # noqa: F401
        from transformers.utils import logging

        logging.disable_progress_bar()  # progress is shown by rounds.progress alone
    except (ImportError, RuntimeError) as error:
        text = str(error)
        if "torchvision" in text:
            raise UserError(
                "torchvision is installed and does not load beside this torch; run: pip uninstall torchvision."
            ) from error
        raise UserError(f"transformers cannot be imported ({text[:160]}); pip install 'rounds[cpu]'.") from error
