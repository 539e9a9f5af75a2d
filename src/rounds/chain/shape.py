"""The shape of a model and what it weighs, from a recipe or a config.json: no weights are read, no torch.

Counts are exact for the three structures (a test builds each and counts). Left out on purpose: other structures, and
quantised checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from rounds import recipe
from rounds.model.tokenizer import read_object
from rounds.records import UserError


class Matrix(NamedTuple):
    """Linear layers of one kind: how many there are, and their size."""

    name: str
    inputs: int
    outputs: int
    number: int

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs * self.number


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one model; the names are those of config.json in words."""

    structure: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    """Width of a head."""
    feed_forward: int
    vocabulary: int
    tied: bool = False
    """Embeddings and head are one matrix."""
    context: int = 131072
    experts: int = 0
    experts_per_token: int = 0
    expert_width: int = 0
    shared: int = 0
    """Shared experts of a layer."""
    dense: int = 0
    """Layers before the first with experts."""
    kv_rank: int = 0
    q_rank: int = 0
    rope: int = 0
    """Width of the part of a head that carries the position (MLA)."""
    value: int = 0
    """Width of a value head (MLA)."""
    stored_bytes: int = 2
    """Bytes of a weight on the disk."""

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """Every linear layer but embeddings, head and router."""
        return (*_attention(self), *_feed_forward(self))

    @property
    def body(self) -> int:
        """Weights of the linear layers: what 4 bits are for."""
        return sum(matrix.weights for matrix in self.matrices)

    @property
    def embeddings(self) -> int:
        """Weights of embeddings and head together."""
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def small(self) -> int:
        """Norms, biases and routers."""
        norms = 2 * self.width * self.layers + self.width
        if self.structure == "qwen2":
            norms += self.layers * self.head * (self.heads + 2 * self.kv_heads)
        if self.structure == "deepseek_v3":
            norms += self.layers * (self.kv_rank + self.q_rank)
            norms += (self.layers - self.dense) * self.experts * self.width
        return norms

    @property
    def weights(self) -> int:
        """All of them."""
        return self.body + self.embeddings + self.small

    @property
    def active(self) -> int:
        """Weights that one token is multiplied with: all but the table of embeddings and the experts it passes by."""
        table = 0 if self.tied else self.vocabulary * self.width
        passed = (self.layers - self.dense) * (self.experts - self.experts_per_token) * 3 * self.width
        return self.weights - table - passed * self.expert_width

    @property
    def kv_values(self) -> int:
        """Numbers the engines keep for each token of context (transformers expands MLA's latent)."""
        if self.structure == "deepseek_v3":
            return self.layers * self.heads * (self.head + self.rope + self.value)
        return 2 * self.layers * self.kv_heads * self.head

    def activations(self, frozen: bool = False) -> int:
        """Numbers kept for the backward pass for each token, all layers, and `3 (width + vocabulary)` for the head.

        A norm keeps its input, the normal form and the output; attention its queries, keys, values and output; a gated
        feed-forward four times its width. Attention scores are not kept (SDPA). With an adapter on attention alone
        (`frozen`: the rest stays) a norm keeps its input, and the feed-forward three times its width.
        """
        norms, gated = (3, 3) if frozen else (6, 4)
        attention = norms * self.width
        if self.structure == "deepseek_v3":
            attention += 3 * (self.q_rank + self.kv_rank)
            attention += self.heads * (3 * self.head + 2 * self.rope + 2 * self.value)
            experts = self.experts_per_token * (3 * self.width + (gated + 1) * self.expert_width)
            sparse = attention + experts + gated * self.shared * self.expert_width + 3 * self.width
            layers = self.dense * (attention + gated * self.feed_forward) + (self.layers - self.dense) * sparse
        else:
            layers = self.layers * (attention + 4 * self.heads * self.head + gated * self.feed_forward)
        return layers + 3 * (self.width + self.vocabulary)

    def packed_bytes(self, bits: int, group: int, everything: bool) -> int:
        """Bytes in `bits` with a 16-bit scale a group (-1: a row); embeddings and head in 8 unless `everything`."""
        rows = self.vocabulary * (1 if self.tied else 2)
        scales = sum(matrix.weights // (matrix.inputs if group == -1 else group) for matrix in self.matrices)
        body = self.body * bits // 8 + 2 * (scales if bits == 4 else sum(m.outputs * m.number for m in self.matrices))
        if everything and bits == 4:
            outer = self.embeddings // 2 + 2 * (rows if group == -1 else self.embeddings // group)
        else:
            outer = self.embeddings + 2 * rows
        return body + outer + 2 * self.small


def _attention(shape: Shape) -> tuple[Matrix, ...]:
    width, layers, heads, head = shape.width, shape.layers, shape.heads, shape.head
    if shape.structure == "deepseek_v3":
        return (
            Matrix("q_a_proj", width, shape.q_rank, layers),
            Matrix("q_b_proj", shape.q_rank, heads * (head + shape.rope), layers),
            Matrix("kv_a_proj_with_mqa", width, shape.kv_rank + shape.rope, layers),
            Matrix("kv_b_proj", shape.kv_rank, heads * (head + shape.value), layers),
            Matrix("o_proj", heads * shape.value, width, layers),
        )
    return (
        Matrix("q_proj", width, heads * head, layers),
        Matrix("k_proj", width, shape.kv_heads * head, layers),
        Matrix("v_proj", width, shape.kv_heads * head, layers),
        Matrix("o_proj", heads * head, width, layers),
    )


def _feed_forward(shape: Shape) -> tuple[Matrix, ...]:
    def gated(width: int, count: int) -> tuple[Matrix, ...]:
        up = tuple(Matrix(name, shape.width, width, count) for name in ("gate_proj", "up_proj"))
        return (*up, Matrix("down_proj", width, shape.width, count))

    if shape.structure != "deepseek_v3":
        return gated(shape.feed_forward, shape.layers)
    sparse = shape.layers - shape.dense
    return (
        *gated(shape.feed_forward, shape.dense),
        *gated(shape.expert_width * shape.shared, sparse),
        *gated(shape.expert_width, sparse * shape.experts),
    )


QWEN_7B = Shape("qwen2", 3584, 28, 28, 4, 128, 18944, 152064)
KNOWN = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": Shape("qwen2", 1536, 28, 12, 2, 128, 8960, 151936),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": QWEN_7B,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": Shape("llama", 4096, 32, 32, 8, 128, 14336, 128256),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": Shape("llama", 8192, 80, 64, 8, 128, 28672, 128256),
}
"""Published shapes, for a checkpoint that is not on this disk yet."""


def shape_of(model: recipe.Model, vocabulary: int) -> Shape | None:
    """The shape of a recipe's model; None for a model at an endpoint whose shape is not known.

    `vocabulary` is that of a backbone made here, at most.

    Raises:
        UserError: no config.json, a structure that is not supported, or a checkpoint neither here nor known.
    """
    if model.backbone is not None:
        return of_backbone(model.backbone, vocabulary)
    if model.endpoint is not None:
        return KNOWN.get(model.name or "")
    path = Path(str(model.checkpoint)).expanduser()
    if path.is_dir():
        return of_config(read_object(path / "config.json"), path)
    if model.checkpoint not in KNOWN:
        raise UserError(
            f"checkpoint '{model.checkpoint}' is not on this disk and its shape is not known; download it first, "
            f"or use one of {', '.join(KNOWN)}."
        )
    return KNOWN[str(model.checkpoint)]


def of_backbone(backbone: recipe.Backbone, vocabulary: int) -> Shape:
    """The shape `rounds.model.backbone.build` gives a backbone."""
    head = backbone.width // backbone.heads
    plain = Shape(
        backbone.structure,
        backbone.width,
        backbone.layers,
        backbone.heads,
        backbone.shared_heads,
        head,
        backbone.feed_forward,
        vocabulary,
        context=backbone.context,
        stored_bytes=4,
    )
    if backbone.structure != "deepseek_v3":
        return plain
    return replace(
        plain,
        experts=backbone.experts,
        experts_per_token=backbone.experts_per_token,
        expert_width=backbone.expert_width,
        shared=1,
        dense=min(1, backbone.layers - 1),
        kv_rank=backbone.kv_rank,
        q_rank=backbone.q_rank,
        rope=max(2, head // 2 // 2 * 2),
        value=head,
    )


def of_config(config: dict[str, Any], where: Path) -> Shape:
    """The shape a config.json tells.

    Raises:
        UserError: a structure that is not supported, or a size missing.
    """
    structure = str(config.get("model_type"))
    if structure not in ("qwen2", "llama", "deepseek_v3"):
        raise UserError(f"{where}: structure '{structure}' cannot be planned; use qwen2, llama or deepseek_v3.")
    try:
        heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        plain = Shape(
            structure,
            width,
            int(config["num_hidden_layers"]),
            heads,
            int(config.get("num_key_value_heads") or heads),
            int(config.get("head_dim") or width // heads),
            int(config["intermediate_size"]),
            int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            context=int(config.get("max_position_embeddings") or 4096),
            stored_bytes=2 if "16" in stored else 4,
        )
        if structure != "deepseek_v3":
            return plain
        return replace(
            plain,
            head=int(config["qk_nope_head_dim"]),
            experts=int(config["n_routed_experts"]),
            experts_per_token=int(config["num_experts_per_tok"]),
            expert_width=int(config["moe_intermediate_size"]),
            shared=int(config["n_shared_experts"]),
            dense=int(config["first_k_dense_replace"]),
            kv_rank=int(config["kv_lora_rank"]),
            q_rank=int(config["q_lora_rank"]),
            rope=int(config["qk_rope_head_dim"]),
            value=int(config["v_head_dim"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: config.json lacks a size ({error}); fetch the checkpoint again.") from error
