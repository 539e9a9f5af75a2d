"""The model `rounds bench` measures: random weights at a true shape, and prompts of an exact length.

Memory and time do not depend on the values of the weights. Left out on purpose: quality, of which random weights say
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from rounds import files, recipe
from rounds.chain.shape import KNOWN, Shape, of_config, shape_of
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec, read_object, train_tokenizer
from rounds.records import Message, Prompt, UserError

PRESETS = {
    "1.5b": KNOWN["deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"],
    "7b": KNOWN["deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"],
    "8b": KNOWN["deepseek-ai/DeepSeek-R1-Distill-Llama-8B"],
}
"""Shapes by name; every other is read from a recipe or a config.json."""
COMMON = """the of to in is that for it was on are as at be this have from by not but what all were when we there can an
your which their said if do will each about how up out them then she many some so these would other into has more her
two like him see time could no make than first been its who now people my made over did down only way find use may
water long little very after words called just where most know get through back much before go good new write"""
WORDS = tuple(COMMON.split())
"""Common words: a token each here and in nearly every tokenizer."""
PIECE = 2**24
"""Weights that are drawn at once: 64 MB in float32."""
INT4 = recipe.Quantize(bits=4, group=128, gptq=False, ladder=False)
"""Data-free: the calibration of GPTQ changes values, not sizes."""


def shape_named(name: str) -> Shape:
    """The shape of a preset, of a recipe's student, or of a config.json (a file, or in a folder).

    Raises:
        UserError: none of these, or a structure Rounds does not know.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name).expanduser()
    if path.is_dir() or path.suffix == ".json":
        file = path / "config.json" if path.is_dir() else path
        if not file.is_file():
            raise UserError(f"{file}: does not exist; give a folder with a config.json, or one of {_known()}.")
        return of_config(read_object(file), file)
    try:
        chosen = recipe.read(name)
    except UserError as error:
        if path.suffix == ".toml":
            raise
        raise UserError(f"shape '{name}' is not known; use one of {_known()}, or a config.json.") from error
    shape = shape_of(chosen.student, chosen.pretrain.vocabulary)
    if shape is None:
        raise UserError(f"recipe '{name}' has its student at an endpoint; bench that endpoint, or name another shape.")
    return shape


def _known() -> str:
    return f"{', '.join(PRESETS)}, the name of a recipe"


def config_of(shape: Shape) -> dict[str, Any]:
    """config.json of a shape: `of_config` gives the shape again."""
    config: dict[str, Any] = {
        "model_type": shape.structure,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.feed_forward,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": shape.context,
    }
    if shape.structure != "deepseek_v3":
        return config | {"head_dim": shape.head}
    return config | {
        "qk_nope_head_dim": shape.head,
        "n_routed_experts": shape.experts,
        "num_experts_per_tok": shape.experts_per_token,
        "moe_intermediate_size": shape.expert_width,
        "n_shared_experts": shape.shared,
        "first_k_dense_replace": shape.dense,
        "n_group": 1,
        "topk_group": 1,
        "kv_lora_rank": shape.kv_rank,
        "q_lora_rank": shape.q_rank,
        "qk_rope_head_dim": shape.rope,
        "v_head_dim": shape.value,
    }


def stored(shape: Shape, longest: int) -> Shape:
    """The shape as it is made: 16 bit, with room for the longest prompt and answer."""
    return replace(shape, stored_bytes=2, context=max(shape.context, longest))


def is_made(directory: Path, shape: Shape) -> bool:
    """Whether a folder holds a checkpoint of this very shape."""
    file = directory / "config.json"
    return file.is_file() and of_config(read_object(file), directory) == shape


def words(vocabulary: int, directory: Path) -> Codec:
    """A tokenizer, written to `directory`, in which each of WORDS is one token and no two are merged.

    Raises:
        UserError: the vocabulary is too small for it.
    """
    # Each word by itself, so that no two are merged; nine times, so that every word is merged whole.
    train_tokenizer([f" {word}" for word in WORDS] * 9, min(vocabulary, 2048), directory, "deepseek-r1")
    codec = Codec.load(directory)
    if any(len(codec.encode_text(f" {word}")) > 1 for word in WORDS):
        raise UserError(f"a vocabulary of {vocabulary} is too small for the words of the prompts; use 1,000 or more.")
    return codec


def make(shape: Shape, out: Path, seed: int = 1) -> None:
    """Write a checkpoint of random bfloat16 weights with a small tokenizer to `out`, all or nothing.

    The weights never stand in memory together: they are drawn and written PIECE by PIECE. The head's rows of control
    tokens are zero, so that a greedy answer never ends before it is cut.

    Raises:
        UserError: the vocabulary is too small for the words of the prompts, or the disk is full.
    """
    checkpoint.require_transformers()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with files.making(out) as partial:
        codec = words(shape.vocabulary, partial)
        told = config_of(shape)
        kind = told.pop("model_type")
        told |= {"bos_token_id": codec.bos_id, "eos_token_id": codec.eos_ids[0], "pad_token_id": codec.pad_id}
        config = AutoConfig.for_model(kind, **told, dtype="bfloat16")
        extra = {"experts_implementation": "eager"} if kind == "deepseek_v3" else {}
        with torch.device("meta"):  # names and sizes, no numbers
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa", **extra)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(partial)
        model.generation_config.save_pretrained(partial)
        _write(partial / "model.safetensors", model, sorted(codec.control_ids), seed)


def _write(file: Path, model: Any, silent: Sequence[int], seed: int) -> None:
    """Random weights for a model without any, in bfloat16: https://huggingface.co/docs/safetensors.

    Matrices are drawn as transformers does (normal, 0.02), norms are one, biases zero; so are the head's rows `silent`.
    """
    import torch

    # A matrix that is both table and head is one parameter with two names, and stored once.
    named = {id(tensor): (name, tensor) for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
    head, draw = model.get_output_embeddings().weight, torch.Generator().manual_seed(seed)
    told: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in named.values():
        start, end = end, end + 2 * tensor.numel()
        told[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in named.values():
            begun = stream.tell()
            for start in range(0, tensor.numel(), PIECE):
                piece = torch.full((min(PIECE, tensor.numel() - start),), float(not name.endswith("bias")))
                if tensor.dim() > 1:
                    piece.normal_(0, 0.02, generator=draw)
                stream.write(piece.bfloat16().view(torch.int16).numpy().data)
            if tensor is head:
                for row in silent:
                    stream.seek(begun + 2 * row * tensor.shape[1])
                    stream.write(bytes(2 * tensor.shape[1]))
                stream.seek(0, 2)


def prompts_of(codec: Codec, tokens: int, number: int, seed: str) -> list[Prompt]:
    """`number` prompts of exactly `tokens` tokens each, different from their first word on, the same for one seed.

    Raises:
        UserError: the chat format alone is longer.
    """
    draw = Random(seed)
    frame = len(codec.encode_prompt((Message(role="user", content=""),)))
    if tokens <= frame:
        raise UserError(f"prompts of {tokens} tokens are no longer than the chat format's {frame}; use more.")
    found = []
    for place in range(number):
        text = "".join(f" {word}" for word in draw.choices(WORDS, k=tokens - frame))
        prompt = Prompt(case_id=f"{seed}-{place}", template="bench", messages=(Message(role="user", content=text),))
        assert len(codec.encode_prompt(prompt.messages)) == tokens, "a word is a token"
        found.append(prompt)
    return found
