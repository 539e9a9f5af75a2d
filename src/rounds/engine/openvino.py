"""The CPU engine: OpenVINO GenAI with continuous batching, in this process.

Fed with token ids by our own Codec, so that two tokenizers cannot drift apart (no OpenVINO tokenizer is needed in the
folder). The defaults are those of an exam: f32 activations, a 16-bit KV cache, no dynamic quantisation, no prefix
cache, requests added in the order of the prompts, one seed each. An adapter has a pipeline of its own over the same
files: requests that are added one by one get the adapter their pipeline was built with
(https://github.com/openvinotoolkit/openvino.genai/pull/3798). Left out on purpose: beam search, DoRA, which the library
does not know, and other devices.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rounds import files, progress
from rounds.engine import cache, telemetry
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
from rounds.engine.grammar import COMPILED, Kept, no_bytes, tokenizer_for
from rounds.model.adapter import WEIGHTS, Adapter
from rounds.model.tokenizer import Codec, read_object
from rounds.records import Delta, Prompt, Sampling, Trace, UserError

IR = "openvino_model.xml"
ENGINE_FILE = "engine.json"
"""What an export was measured with and is to be served with: {"kv_cache": "u8"}."""
KV = Literal["f32", "f16", "u8"]
KERNELS = "64"
"""Kernels of each kind that are kept, the ones used last.

OpenVINO makes kernels anew for every number of tokens in a step and keeps 5,000 (oneDNN below it 1,024 more): a server
that reads prompts of every length would grow for days, the tiny model's by half a gigabyte in 3,000 answers.
https://github.com/openvinotoolkit/openvino/issues/23316
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the engine computes. Pairs of an exam must share these."""

    threads: int = 0
    """0 lets the engine choose."""
    activations: Literal["f32", "bf16"] = "f32"
    kv_cache: KV | None = None
    """None is what the model was packed for (engine.json beside it), f16 where nothing says."""
    dynamic_quantization: bool = False
    """8-bit activations in groups of 32, faster and less exact."""
    prefix_caching: bool = False
    """Keep the KV cache of earlier prompts: several samples of a case then read its prompt once."""
    batch: int = 256
    """Requests in flight."""
    cache_gb: float | None = None
    """Most the KV caches may take, GiB; None is half the memory that is free beside the weights."""
    pipelines: int = 0
    """Pipelines of this process that share that memory, and that of grammars; 0 is as many as this engine has: one, and
    one an adapter."""
    bare: bool = True
    """Whether the model itself answers too; False spares its pipeline where only adapters are asked."""


@dataclass(slots=True)
class _Request:
    answering: Answering
    handle: Any
    thoughts: bool = False
    """Ends at `</think>`: a grammar cannot be switched on in mid-request, so a ruled reply is a request of its own."""


class OpenVINO:
    """A Responder and Streams over one OpenVINO folder. Threads may stream side by side: they share the batch."""

    batch_invariant = False  # kernels may block a larger batch differently, though no difference was seen at f32

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        model: str = "",
        codec: Codec | None = None,
        settings: Settings = Settings(),
        adapters: Mapping[str, Adapter] | None = None,
    ) -> None:
        """Load `directory` (openvino_model.xml, tokenizer.json). `model` is the digest shown in traces.

        adapters: by name, read against the checkpoint that `directory` was exported from.

        Raises:
            UserError: the folder is no such model, OpenVINO GenAI is not installed or cannot read it, or an adapter is
                more than plain LoRA.
        """
        if not (directory / IR).is_file():
            raise UserError(f"{directory}: has no {IR}; export or quantise the checkpoint first.")
        telemetry.silence()
        # Read once, when the library makes its first kernel; it has no setting for it.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KERNELS)
        try:
            import openvino_genai
        except ImportError as error:
            raise UserError("OpenVINO GenAI is not installed; pip install 'rounds[cpu]'.") from error
        self._genai = openvino_genai
        self.codec = codec or Codec.load(directory)
        self.name = name or f"{directory.name} on openvino"
        self.model = model or files.digest(directory)
        self.settings = settings
        self._context = context_of(directory)
        self._lock = threading.Lock()
        self._next = 0
        self.adapters = dict(adapters or {})
        vocabulary = tokenizer_for(self.codec)
        self._has_grammars = vocabulary is not None
        names = [*([""] if settings.bare else []), *self.adapters]
        pipelines = settings.pipelines or len(names)
        self._kept = Kept(COMPILED * len(names) // pipelines)
        made = self._maker(directory, vocabulary, pipelines)
        self._pipes: dict[str, Any] = {name: made(self.adapters.get(name)) for name in names}
        """By the adapter that answers; '' is the model itself."""

    def _maker(self, directory: Path, vocabulary: Any, pipelines: int) -> Callable[[Adapter | None], Any]:
        """What builds a pipeline over `directory`, for an adapter or the model itself."""
        genai, settings = self._genai, self.settings
        scheduler = genai.SchedulerConfig()
        scheduler.max_num_seqs = settings.batch
        scheduler.max_num_batched_tokens = 4096
        kv_cache = settings.kv_cache or kv_cache_of(directory)
        scheduler.num_kv_blocks = cache.blocks(
            directory, kv_cache, settings.batch, self._context, settings.cache_gb, pipelines
        )
        scheduler.enable_prefix_caching = settings.prefix_caching
        new = genai.ContinuousBatchingPipeline

        def made(adapter: Adapter | None) -> Any:
            properties = _properties(settings, kv_cache)
            if adapter is not None:
                properties["adapters"] = _configured(genai, adapter)
            try:
                if vocabulary is None:
                    return new(str(directory), scheduler, "CPU", properties)
                return new(str(directory), vocabulary, scheduler, "CPU", **properties)
            except RuntimeError as error:
                raise UserError(
                    f"{directory}: OpenVINO cannot load it ({_first_line(error)}); export it again."
                ) from error

        return made

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """Yield `sampling.samples` traces for each prompt, in the order of the prompts.

        Raises:
            UserError: a prompt fills the context or names an adapter that is not here, or the engine runs out of
                memory.
        """
        need_adapters(self._pipes, prompts)
        waiting = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        waiting.reverse()
        line: list[_Request] = []  # in order; the head is yielded when it has ended
        running = 0
        try:
            with progress.bar(f"answering ({self.name})", len(waiting)) as advance:
                while waiting or line:
                    while waiting and running < self.settings.batch:
                        prompt, sample = waiting.pop()
                        if sample == 1 and self.settings.prefix_caching:
                            self._step(prompt.adapter)  # reads the prompt for sample 0; the cache has it for the others
                        line.append(self._start(prompt, sample, sampling))
                        running += 1
                    ended = self._advance([request for request in line if _open(request)], sampling)
                    running -= ended
                    if ended:
                        advance(ended)
                    while line and not _open(line[0]):
                        yield self._trace(line.pop(0), sampling)
                    for name in {_pipe_of(request): None for request in line if _open(request)}:
                        self._step(name)
        finally:
            self._cancel(line)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta | Trace]:
        """Yield pieces, then the Trace of the first sample. Closing the iterator frees the engine's slot.

        Raises:
            UserError: the prompt fills the context or names an adapter that is not here, or the engine runs out of
                memory.
        """
        need_adapters(self._pipes, [prompt])
        request = self._start(prompt, 0, sampling)
        pieces, beside, seen = Pieces(self.codec), Beside(self.codec, request.answering), 0
        try:
            while _open(request):
                self._step(_pipe_of(request))
                self._advance([request], sampling)
                yield from beside.put(pieces.take(request.answering.ids[seen:]))
                seen = len(request.answering.ids)
            yield from beside.put(pieces.rest(), last=True)
            yield self._trace(request, sampling)
        finally:
            self._cancel([request])

    def _trace(self, request: _Request, sampling: Sampling) -> Trace:
        answering = request.answering
        adapter = digest_in(self.adapters, answering.prompt)
        return trace_of(answering, self.codec, sampling, self.model, "openvino", adapter)

    def _start(self, prompt: Prompt, sample: int, sampling: Sampling) -> _Request:
        answering = begin(self.codec, prompt, sample, sampling, self._context)
        if answering.pattern and not self._has_grammars:
            raise no_bytes()
        if answering.pattern:
            # Every pipeline compiles it for itself.
            self._kept.admit(f"{prompt.adapter}\0{answering.pattern}", sampling.json_schema)
        cap = thinking_cap(self.codec, sampling)
        if cap == 0:
            self._force(answering, sampling)
        request = _Request(answering, None)
        if answering.finish is None:
            left = answering.limit - len(answering.ids)
            self._add(request, left if cap is None or answering.forced else min(cap, left), sampling)
        return request

    def _advance(self, requests: Sequence[_Request], sampling: Sampling) -> int:
        """Read new tokens of open requests; how many answers have ended. Runs once a token: kept lean."""
        genai, ended = self._genai, 0
        going, cut = genai.GenerationFinishReason.NONE, genai.GenerationFinishReason.LENGTH
        with self._lock:
            read = [(request, request.handle.read()) for request in requests if request.handle.can_read()]
        if not read:
            self._check_memory(requests)
        for request, outputs in read:
            answering = request.answering
            for output in outputs.values():
                answering.add(output.generated_ids, output.generated_log_probs if sampling.logprobs else ())
                reason = output.finish_reason
                if reason == going:
                    continue
                if len(answering.ids) >= answering.limit and (reason == cut or request.thoughts):
                    answering.end("length")
                elif reason != cut and not request.thoughts:
                    answering.end("stop")
                else:
                    self._go_on(request, sampling)
                ended += answering.finish is not None
        return ended

    def _go_on(self, request: _Request, sampling: Sampling) -> None:
        """The thinking budget is spent, or thoughts ended: close them if they are still open, and ask for the rest."""
        answering = request.answering
        if request.thoughts and answering.ids[-1] in self.codec.eos_ids:
            answering.take_back()  # a reply under a schema is still to come
        if self.codec.thinks_on(answering.ids):
            self._force(answering, sampling)
        if answering.finish is None:
            self._add(request, answering.limit - len(answering.ids), sampling)

    def _check_memory(self, requests: Sequence[_Request]) -> None:
        with self._lock:
            ignored = any(r.handle.get_status() == self._genai.GenerationStatus.IGNORED for r in requests)
        if ignored:
            raise UserError("the engine ran out of KV cache; ask for fewer tokens or give it more memory (cache_gb).")

    def _force(self, answering: Answering, sampling: Sampling) -> None:
        forced = forced_ids(self.codec, answering.ids)
        answering.ids += forced
        answering.logprobs += [None] * len(forced) if sampling.logprobs else []
        answering.forced = True
        if len(answering.ids) >= answering.limit:
            answering.end("length")

    def _add(self, request: _Request, most: int, sampling: Sampling) -> None:
        """Ask the engine for at most so many tokens more."""
        import numpy as np
        import openvino

        answering = request.answering
        config = self._genai.GenerationConfig()
        config.max_new_tokens = most
        config.eos_token_id = self.codec.eos_ids[0]
        stops = set(self.codec.eos_ids)
        request.thoughts = bool(answering.pattern) and answering.thinks(self.codec)
        if request.thoughts:
            assert self.codec.end_think_id is not None
            stops.add(self.codec.end_think_id)
        elif answering.pattern:
            config.structured_output_config = self._genai.StructuredOutputConfig(regex=answering.pattern)
        config.stop_token_ids = stops
        config.logprobs = int(sampling.logprobs)
        config.do_sample = sampling.temperature > 0
        if config.do_sample:
            config.temperature, config.top_p = sampling.temperature, sampling.top_p
            # Another seed after a forced marker, or the same draws would be made twice.
            seed = seed_of(sampling, answering.prompt.case_id, answering.sample)
            config.rng_seed = (seed + len(answering.ids)) % 2**32
        ids = np.array([answering.prompt_ids + answering.ids], dtype=np.int64)
        with self._lock:
            self._next += 1
            pipe = self._pipes[_pipe_of(request)]
            request.handle = pipe.add_request(self._next, openvino.Tensor(ids), config)

    def _step(self, name: str) -> None:
        pipe = self._pipes[name]
        with self._lock:
            if pipe.has_non_finished_requests():
                try:
                    pipe.step()
                except RuntimeError as error:
                    raise UserError(f"the engine stopped ({_first_line(error)}); ask for fewer tokens.") from error
        time.sleep(0)  # lets another thread that waits for the lock read its tokens

    def _cancel(self, requests: Sequence[_Request]) -> None:
        left = [request for request in requests if _open(request)]
        with self._lock:
            for request in left:
                request.handle.cancel()
            for pipe in (self._pipes[name] for name in {_pipe_of(request): None for request in left}):
                if pipe.has_non_finished_requests():
                    pipe.step()  # a cancelled request gives its cache back at the next step


def _open(request: _Request) -> bool:
    return request.answering.finish is None


def _pipe_of(request: _Request) -> str:
    return request.answering.prompt.adapter


def _configured(genai: Any, adapter: Adapter) -> Any:
    """The library's own description of an adapter, whose product is computed beside the weights.

    Raises:
        UserError: it is more than plain LoRA, or cannot be read.
    """
    if not adapter.plain:
        raise UserError(
            f"{adapter.path}: has DoRA or layers saved whole, which OpenVINO does not know; use transformers."
        )
    config = genai.AdapterConfig
    try:
        # Its alpha is the whole factor, not divided by the rank.
        return config(genai.Adapter(str(adapter.path / WEIGHTS)), adapter.scale, config.Mode.MODE_STATIC)
    except RuntimeError as error:
        raise UserError(f"{adapter.path}: OpenVINO cannot load it ({_first_line(error)}); make it anew.") from error


def kv_cache_of(directory: Path) -> KV:
    """Precision of the KV cache an export is served with.

    Raises:
        UserError: engine.json names none that there is.
    """
    named = read_object(directory / ENGINE_FILE).get("kv_cache", "f16")
    if named not in get_args(KV):
        raise UserError(f"{directory / ENGINE_FILE}: kv_cache '{named}' is none of {', '.join(get_args(KV))}.")
    found: KV = named
    return found


def _properties(settings: Settings, kv_cache: KV) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": settings.activations,
        "KV_CACHE_PRECISION": kv_cache,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32" if settings.dynamic_quantization else "0",
        "CPU_RUNTIME_CACHE_CAPACITY": KERNELS,
    }
    if settings.threads:
        properties["INFERENCE_NUM_THREADS"] = settings.threads
    return properties


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
