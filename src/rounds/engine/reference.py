"""The reference engine: transformers in this process, for every structure, DeepSeek-V3 included.

One decoding loop over a left-padded batch, so that budgets, seeds and streaming mean the same as in the other engines;
greedy, it gives the tokens of `model.generate`. float32 unless asked otherwise. Left out on purpose: continuous
batching (rows that ended are dropped when half of them have), beam search, and GPUs of several machines. Adapters share
the weights of the model; rows of a batch that name different ones are computed one after the other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rounds import files, progress
from rounds.engine.answering import (
    Answering,
    Beside,
    Pieces,
    begin,
    context_of,
    digest_in,
    forced_ids,
    need_adapters,
    seed_of,
    thinking_cap,
    trace_of,
)
from rounds.engine.grammar import Allowed, Grammars
from rounds.model import checkpoint
from rounds.model.adapter import laid_on, read_adapters
from rounds.model.tokenizer import Codec
from rounds.records import Delta, Prompt, Sampling, Trace

LIKELIEST = 64
"""Tokens looked at first when a nucleus is drawn."""


class Reference:
    """A Responder and Streams over one checkpoint in Hugging Face layout."""

    batch_invariant = False  # a wider batch is padded and blocked differently in float arithmetic

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        model: str = "",
        codec: Codec | None = None,
        dtype: str = "float32",
        threads: int = 0,
        batch: int = 128,
        lanes: int = 0,
        adapters: Mapping[str, Path] | None = None,
    ) -> None:
        """Load `directory`. `threads` 0 leaves torch's setting alone; `batch` is the answers generated together.

        lanes: batches side by side, each on one thread; 0 is one a core, where neither `threads` nor a GPU is. What a
        batch answers does not depend on its neighbours.
        adapters: folders with PEFT adapters for it by the names that requests have for them.

        Raises:
            UserError: the checkpoint or an adapter is faulty.
        """
        self.adapters = read_adapters(adapters or {}, directory)
        self._model = checkpoint.load(directory, dtype)
        import torch

        if threads:
            torch.set_num_threads(threads)
        if self._model.config.model_type == "deepseek_v3":
            # MLA's keys are wider than its values, where SDPA copies the whole cache each token: 2,200 tokens a
            # second of one core against 4,100 at width 128, 128 rows.
            self._model.set_attn_implementation("eager")
        if torch.cuda.is_available():
            self._model.to("cuda")
        laid = {name: laid_on(self._model, one.path) for name, one in self.adapters.items()}
        self._models: dict[str, Any] = {"": self._model, **laid}
        self.codec = codec or Codec.load(directory)
        self.name = name or f"{directory.name} on transformers"
        self.model = model or files.digest(directory)
        self._context = context_of(directory)
        self._batch = batch
        alone = bool(threads) or torch.cuda.is_available()
        self._lanes = lanes or (1 if alone else len(os.sched_getaffinity(0)))
        self._lock = threading.Semaphore(self._lanes)
        self._grammars: Grammars | None = None
        """Made for the first schema."""

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """Yield `sampling.samples` traces for each prompt, in the order of the prompts.

        Raises:
            UserError: a prompt fills the context, or names an adapter that is not here.
        """
        need_adapters(self._models, prompts)
        asked = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        batches = [asked[start : start + self._batch] for start in range(0, len(asked), self._batch)]
        with progress.bar(f"answering ({self.name})", len(asked)) as advance:
            for rows in self._in_lanes(batches, sampling):
                advance(len(rows))
                for row in rows:
                    yield self._trace(row, sampling)

    def _trace(self, row: Answering, sampling: Sampling) -> Trace:
        return trace_of(row, self.codec, sampling, self.model, "transformers", digest_in(self.adapters, row.prompt))

    def _in_lanes(
        self, batches: Sequence[Sequence[tuple[Prompt, int]]], sampling: Sampling
    ) -> Iterator[list[Answering]]:
        """The batches, answered, in their order. Operations of a small model are too small to share out themselves."""
        import torch

        def answered(batch: Sequence[tuple[Prompt, int]]) -> list[Answering]:
            rows = [begin(self.codec, prompt, sample, sampling, self._context) for prompt, sample in batch]
            for name in {row.prompt.adapter: None for row in rows}:  # in the order in which they are first named
                for _ in self._decode([row for row in rows if row.prompt.adapter == name], sampling):
                    pass
            return rows

        if self._lanes == 1 or len(batches) == 1:
            yield from map(answered, batches)
            return
        pool = ThreadPoolExecutor(self._lanes, "rounds-answering", lambda: torch.set_num_threads(1))
        try:
            yield from pool.map(answered, batches)
        finally:
            pool.shutdown(cancel_futures=True)  # whoever stops listening wants no more

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta | Trace]:
        """Yield pieces, then the Trace of the first sample.

        Raises:
            UserError: the prompt fills the context, or names an adapter that is not here.
        """
        need_adapters(self._models, [prompt])
        row = begin(self.codec, prompt, 0, sampling, self._context)
        pieces, beside, seen = Pieces(self.codec), Beside(self.codec, row), 0
        for _ in self._decode([row], sampling):
            yield from beside.put(pieces.take(row.ids[seen:]))
            seen = len(row.ids)
        yield from beside.put(pieces.rest(), last=True)
        yield self._trace(row, sampling)

    def _decode(self, rows: list[Answering], sampling: Sampling) -> Iterator[None]:
        """Fill the rows, which all name the same adapter; control comes back after each token."""
        import torch
        from transformers import DynamicCache

        model, device = self._models[rows[0].prompt.adapter], self._model.device
        cap = thinking_cap(self.codec, sampling)
        seeds = [seed_of(sampling, row.prompt.case_id, row.sample) for row in rows]
        draws = [torch.Generator(device=device).manual_seed(seed) for seed in seeds]
        pending: list[list[int]] = [[] for _ in rows]
        if sampling.json_schema and self._grammars is None:
            self._grammars = Grammars(self.codec, self._model.config.vocab_size)
        allowed = Allowed(self.codec, rows, self._grammars if sampling.json_schema else None)
        ids, mask = _left_padded([row.prompt_ids for row in rows], self.codec.pad_id, device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        alive = list(range(len(rows)))  # rows of the batch, by their place in `rows`
        while True:
            with self._lock, torch.inference_mode():
                logits = (
                    model(
                        input_ids=ids,
                        attention_mask=mask,
                        position_ids=positions,
                        past_key_values=cache,
                        use_cache=True,
                        logits_to_keep=1,
                    )
                    .logits[:, -1]
                    .float()
                )
                chances = logits.log_softmax(-1) if sampling.logprobs else None
                allowed.mask(logits, alive, pending)
                drawn = _draw(logits, sampling, [draws[place] for place in alive])
            for line, (place, token) in enumerate(zip(alive, drawn, strict=True)):
                allowed.took(place, token)
                logprob = () if chances is None else (float(chances[line, token]),)
                _take(rows[place], token, pending[place], self.codec, cap, logprob)
            yield
            keep = [i for i, place in enumerate(alive) if rows[place].finish is None]
            if not keep:
                return
            if 2 * len(keep) <= len(alive):
                chosen = torch.tensor(keep, device=device)
                cache.batch_select_indices(chosen)
                mask, positions = mask[chosen], positions[chosen]
                alive = [alive[i] for i in keep]
            last = [rows[place].ids[-1] for place in alive]
            ids = torch.tensor(last, device=device)[:, None]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=-1)
            positions = positions[:, -1:] + 1


def _take(
    row: Answering, token: int, pending: list[int], codec: Codec, cap: int | None, logprob: tuple[float, ...]
) -> None:
    """Add one token to an open row: the drawn one with its log probability, if asked for, or what the budget forces."""
    if row.finish is not None:
        return
    if cap is not None and not row.forced and len(row.ids) >= cap and codec.thinks_on(row.ids):
        pending += forced_ids(codec, row.ids)
        row.forced = True
    elif token in codec.eos_ids and not pending and row.pattern and row.thinks(codec):
        pending += forced_ids(codec, row.ids)  # a reply under a schema is still to come
    if pending:
        chosen = pending.pop(0)
        row.add([chosen], [None] * len(logprob))
    else:
        chosen = token
        row.add([chosen], logprob)
    if chosen in codec.eos_ids:
        row.end("stop")
    elif len(row.ids) >= row.limit:
        row.end("length")


def _left_padded(prompts: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Ids and mask, both (rows, longest), int64."""
    import torch

    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask


def _draw(logits: Any, sampling: Sampling, draws: Sequence[Any]) -> list[int]:
    """One token a row of `logits` (rows, vocabulary): greedy, or nucleus sampling (arXiv 1904.09751) by row seeds."""
    import torch

    if sampling.temperature == 0:
        return [int(token) for token in logits.argmax(-1)]
    chances = (logits / sampling.temperature).softmax(-1)
    # The nucleus lies among the likeliest few almost always; sorting all of a vocabulary costs half the step.
    ordered, places = chances.topk(min(LIKELIEST, chances.shape[-1]), dim=-1)
    if (ordered.sum(-1) < sampling.top_p).any():
        ordered, places = chances.sort(dim=-1, descending=True)
    # A token stays while the mass before it is below top_p, so the likeliest always stays.
    ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0
    mass = ordered.cumsum(-1)
    points = torch.cat([torch.rand(1, 1, generator=draw, device=logits.device) for draw in draws]) * mass[:, -1:]
    chosen = torch.searchsorted(mass, points).clamp(max=logits.shape[-1] - 1)
    return [int(token) for token in places.gather(-1, chosen)[:, 0]]
