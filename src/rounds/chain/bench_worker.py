"""One engine of `rounds bench` in a process of its own, so that its peak memory is its own.

Reads a `Job` and then one `Ask` a line on stdin, answers each with one line on stdout: Ready, Told, or Fault. The
parent takes turns between the engines. Left out on purpose: what the figures mean (`rounds.chain.bench`).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from rounds.chain.making import CHECKPOINT, EVERYTHING, EXPORT
from rounds.chain.shape import Shape
from rounds.engine.export import CACHE
from rounds.model.tokenizer import Codec
from rounds.quant.inventory import inventory, total
from rounds.records import Prompt, Record, Sampling, Streams, Trace, UserError

Kind = Literal["make", "openvino", "transformers", "remote"]
LOOK = 0.02
"""Seconds between two looks at the memory."""
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Job(Record):
    """What one process is for."""

    kind: Kind
    engine: str
    directory: str = ""
    """Model folder of an engine; of `make` the checkpoint to write."""
    shape: str = ""
    """For `make`: JSON of the sizes."""
    export: bool = False
    """For `make`: also the 16-bit export."""
    packed: dict[str, str] = Field(default_factory=dict)
    """For `make`: folders of 4-bit exports, by PACKED or EVERYTHING."""
    words: str
    """Folder with the tokenizer of the prompts."""
    url: str = ""
    model: str = ""
    key_env: str = ""
    ignore_eos: bool = True
    threads: int = 1
    streams: int = 1
    """Most streams there will be."""
    dynamic: bool = False
    """8-bit activations."""
    timeout_s: float = 600.0


class Ready(Record):
    """The engine is loaded."""

    load_s: float
    peak_bytes: int | None
    """Largest resident memory so far; of `make` None where everything was there already."""
    anonymous_bytes: int | None = None
    """Of `make`: largest memory not mapped from files, looked at all the time."""
    sizes: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Of `make`, by folder: bytes of all weights, and of those that a token passes."""


class Ask(Record):
    """One measurement."""

    prompt_tokens: int = Field(ge=1)
    streams: int = Field(ge=1)
    new_tokens: int = Field(ge=1)
    seed: str


class Told(Record):
    """What one measurement gave."""

    prompt_tokens: int
    """Of one prompt, as the engine counts."""
    tokens: int
    """Of all answers."""
    seconds: float
    first_token_s: float
    """Median over the streams."""
    decode_tokens_s: float | None
    """Tokens after the first of each answer, over the time from the first token of all to the last of all."""
    peak_bytes: int | None
    """Largest resident memory during it; None for a server elsewhere."""
    anonymous_bytes: int | None
    """Of it not mapped from files, right after it."""
    files_bytes: int | None


class Fault(Record):
    """Why it stopped, in one sentence."""

    sentence: str


def main() -> None:
    """Serve one parent until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not stand among the answers

    def say(record: Record) -> None:
        answers.write(f"{record.model_dump_json()}\n")
        answers.flush()

    try:
        job = Job.model_validate_json(sys.stdin.readline())
        started = time.perf_counter()
        if job.kind == "make":
            say(_make(job))
            return
        measure = _opened(job)
        here = job.kind != "remote"
        say(Ready(load_s=time.perf_counter() - started, peak_bytes=memory("VmHWM") if here else None))
        for line in sys.stdin:
            say(measure(Ask.model_validate_json(line)))
    except UserError as error:
        say(Fault(sentence=str(error)))


def _make(job: Job) -> Ready:
    """The checkpoint and the exports the engines need, each once; their sizes, and the memory that took."""
    from rounds.chain.bench_model import INT4, make
    from rounds.engine.export import exported
    from rounds.quant.openvino import quantize

    directory, shape, started = Path(job.directory), Shape(**json.loads(job.shape)), time.perf_counter()
    found = {CHECKPOINT: directory, **{kind: Path(folder) for kind, folder in job.packed.items()}}
    if job.export:
        found[EXPORT] = directory / CACHE
    missing = [path for path in found.values() if not path.is_dir()]
    with highest("RssAnon") as anonymous:
        if not (directory / "config.json").is_file():
            make(shape, directory)
        if job.export and not found[EXPORT].is_dir():  # one that is there is of this checkpoint, and long to look over
            exported(directory)
        for kind, folder in job.packed.items():
            if not Path(folder).is_dir():
                settings = INT4.model_copy(update={"everything": kind == EVERYTHING})
                quantize(directory, [], settings, Path(folder))
    return Ready(
        load_s=time.perf_counter() - started,
        peak_bytes=memory("VmHWM") if missing else None,
        anonymous_bytes=max(anonymous) if missing else None,
        sizes={name: _sizes(path, shape) for name, path in found.items()},
    )


@contextmanager
def highest(field: str) -> Iterator[list[int]]:
    """Collects new heights of one line of this process's status; the kernel keeps the peak of all memory alone."""
    heights, done = [memory(field)], threading.Event()

    def watch() -> None:
        while not done.wait(LOOK):
            if (now := memory(field)) > heights[-1]:
                heights.append(now)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield heights
    finally:
        done.set()
        watcher.join()


def _sizes(directory: Path, shape: Shape) -> tuple[int, int]:
    """Bytes of the weights in a folder, and of those one token is multiplied with."""
    held = inventory(directory)
    whole = total(held).bytes
    table = 0 if shape.tied or "embeddings" not in held else held["embeddings"].bytes
    passed = shape.weights - (0 if shape.tied else shape.vocabulary * shape.width)
    return whole, round((whole - table) * shape.active / passed)


def _opened(job: Job) -> Callable[[Ask], Told]:
    from rounds.chain.bench_model import prompts_of

    codec = Codec.load(Path(job.words))
    if job.kind == "remote":
        return lambda ask: _over_http(job, prompts_of(codec, ask.prompt_tokens, ask.streams, ask.seed), ask)
    engine = _engine(job, codec)

    def measure(ask: Ask) -> Told:
        prompts = prompts_of(codec, ask.prompt_tokens, ask.streams, ask.seed)
        sampling = Sampling(temperature=0, max_tokens=ask.new_tokens)
        CLEAR.write_text("5")  # the peak begins anew: https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
        started = time.perf_counter()
        traces = list(engine.respond(prompts, sampling))
        return told(traces, ask, time.perf_counter() - started, here=True)

    measure(Ask(prompt_tokens=32, streams=1, new_tokens=2, seed="warm-up"))
    return measure


def _engine(job: Job, codec: Codec) -> Streams:
    """The engine of the house; one thread setting, a batch as wide as the most streams."""
    directory = Path(job.directory)
    if job.kind == "openvino":
        from rounds.engine.openvino import OpenVINO, Settings

        settings = Settings(threads=job.threads, dynamic_quantization=job.dynamic, batch=job.streams)
        return OpenVINO(directory, name=job.engine, model="random", codec=codec, settings=settings)
    from rounds.engine.reference import Reference

    # One lane: all streams are one batch.
    return Reference(
        directory,
        name=job.engine,
        model="random",
        codec=codec,
        dtype="bfloat16",
        threads=job.threads,
        batch=job.streams,
        lanes=1,
    )


def _over_http(job: Job, prompts: Sequence[Prompt], ask: Ask) -> Told:
    """A request a stream at the same moment.

    Raises:
        UserError: the server stalls, refuses, ends early or gives no count of tokens.
    """
    from rounds.engine.remote import Remote

    extra = {"ignore_eos": True} if job.ignore_eos else {}
    key = os.environ.get(job.key_env, "")
    remote = Remote(job.url, job.model, key=key, timeout_s=job.timeout_s, retries=0, extra=extra)
    sampling = Sampling(temperature=0, max_tokens=ask.new_tokens)
    traces: list[Trace] = []
    faults: list[UserError] = []

    def one(prompt: Prompt) -> None:
        try:
            traces.extend(piece for piece in remote.stream(prompt, sampling) if isinstance(piece, Trace))
        except UserError as error:
            faults.append(error)

    threads = [threading.Thread(target=one, args=(prompt,), daemon=True) for prompt in prompts]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if faults:
        raise faults[0]
    return told(traces, ask, seconds, here=False)


def told(traces: Sequence[Trace], ask: Ask, seconds: float, *, here: bool) -> Told:
    """The figures of answers that were asked at the same moment, `seconds` in all.

    Raises:
        UserError: a count of tokens is missing or cannot be true.
    """
    counts = [trace.thinking_tokens + trace.reply_tokens for trace in traces]
    firsts = [trace.first_token_s for trace in traces if trace.first_token_s is not None]
    ends = [trace.total_s for trace in traces if trace.total_s is not None]
    if len(firsts) < len(traces) or not all(counts):
        raise UserError(
            "an answer came without a count of its tokens or without text; use a server that streams usage "
            "(stream_options.include_usage)."
        )
    if max(counts) > ask.new_tokens:
        raise UserError(
            f"an answer has {max(counts)} tokens where at most {ask.new_tokens} were asked; the count lies."
        )
    span = max(ends) - min(firsts)
    after = sum(counts) - len(counts)
    return Told(
        prompt_tokens=round(statistics.mean(trace.prompt_tokens for trace in traces)),
        tokens=sum(counts),
        seconds=seconds,
        first_token_s=statistics.median(firsts),
        decode_tokens_s=after / span if after and span > 0 else None,
        peak_bytes=memory("VmHWM") if here else None,
        anonymous_bytes=memory("RssAnon") if here else None,
        files_bytes=memory("RssFile") if here else None,
    )


def memory(field: str) -> int:
    """Bytes of one line of this process's status."""
    told = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii").splitlines())
    return 1024 * int(told[field].split()[0])


if __name__ == "__main__":
    main()
