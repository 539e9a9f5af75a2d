"""Tiny backbones made from nothing, in the true structure of the families Rounds works with.

Embeddings and head are separate weights, as in R1-Distill-Qwen-7B and DeepSeek-V3: the head can then be quantised
by itself. Left out on purpose: multi-token prediction (transformers builds no such layers) and the update of the
router's bias, which belongs to training (`rounds.train`).
"""

from __future__ import annotations

from typing import Any

from rounds.model.checkpoint import require_transformers
from rounds.recipe import Backbone
from rounds.records import UserError


def build(
    backbone: Backbone, vocabulary: int, seed: int, *, bos: int | None, eos: tuple[int, ...] | int, pad: int
) -> Any:
    """A randomly initialised `PreTrainedModel`, float32, attention by SDPA, experts run one by one (eager).

    `vocabulary` is the number of rows of the embedding (`Codec.size`). The same seed gives the same weights.

    Raises:
        UserError: the width does not divide into heads of even size, or more experts a token than there are.
    """
    require_transformers()
    import torch
    from transformers import AutoModelForCausalLM

    size = backbone.width // backbone.heads
    if backbone.width % backbone.heads or size % 2:
        raise UserError(
            f"width {backbone.width} does not divide into {backbone.heads} heads of even size; "
            f"use a multiple of {2 * backbone.heads}."
        )
    if backbone.structure == "deepseek_v3" and backbone.experts_per_token > backbone.experts:
        raise UserError(
            f"experts_per_token {backbone.experts_per_token} exceeds experts {backbone.experts}; choose fewer a token."
        )
    config = _config(backbone, vocabulary)
    config.bos_token_id, config.pad_token_id = bos, pad
    config.eos_token_id = eos if isinstance(eos, int) or len(eos) > 1 else eos[0]
    # Eager experts are the fastest on a CPU for training; batched_mm never finishes.
    extra = {"experts_implementation": "eager"} if backbone.structure == "deepseek_v3" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa", **extra)


def _config(backbone: Backbone, vocabulary: int) -> Any:
    from transformers import DeepseekV3Config, LlamaConfig, Qwen2Config

    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": backbone.width,
        "intermediate_size": backbone.feed_forward,
        "num_hidden_layers": backbone.layers,
        "num_attention_heads": backbone.heads,
        "max_position_embeddings": backbone.context,
        "tie_word_embeddings": False,
    }
    head = backbone.width // backbone.heads
    if backbone.structure != "deepseek_v3":
        kind = Qwen2Config if backbone.structure == "qwen2" else LlamaConfig
        return kind(**common, num_key_value_heads=backbone.shared_heads)
    rope = max(2, head // 2 // 2 * 2)
    return DeepseekV3Config(
        **common,
        num_key_value_heads=backbone.shared_heads,
        moe_intermediate_size=backbone.expert_width,
        n_routed_experts=backbone.experts,
        num_experts_per_tok=backbone.experts_per_token,
        n_shared_experts=1,
        first_k_dense_replace=min(1, backbone.layers - 1),
        n_group=1,
        topk_group=1,
        routed_scaling_factor=1.0,  # 2.5 in DeepSeek-V3, which scales eight experts of 256
        kv_lora_rank=backbone.kv_rank,
        q_lora_rank=backbone.q_rank,
        qk_nope_head_dim=head,
        qk_rope_head_dim=rope,
        v_head_dim=head,
    )
