"""`rounds bench`: how fast engines run one shape on one machine, each in a process of its own, in turn.

Random weights at a true shape, the same prompts for all, every measurement repeated; engines take turns inside each
repeat, so that a busy minute slows all that are compared alike. The bandwidth of the memory is measured in the same
run, and with it the most tokens a second the bytes of the weights allow. Left out on purpose: quality (`rounds same`).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeVar

import httpx
from pydantic import Field

from rounds import progress
from rounds.chain import bench_model, rates
from rounds.chain.bench_result import Bench, EngineFigures, Row, cells
from rounds.chain.bench_worker import Ask, Fault, Job, Kind, Ready, Told
from rounds.chain.making import CHECKPOINT, EVERYTHING, EXPORT, PACKED, making
from rounds.chain.plan import PROCESS, gigabytes
from rounds.chain.shape import Shape
from rounds.chain.stage import cores, versions
from rounds.engine.cache import free_memory
from rounds.engine.export import CACHE, EXPORTED
from rounds.records import Record, UserError

R = TypeVar("R", bound=Record)


class Engine(NamedTuple):
    """One engine of the house."""

    kind: Kind
    files: str
    """What it reads."""
    needs: str
    """Package."""
    dynamic: bool = False
    named: bool = False
    """Measured only where it is asked for by name."""


ENGINES = {
    "openvino-int4": Engine("openvino", PACKED, "openvino_genai"),
    "openvino-int4-dynamic": Engine("openvino", PACKED, "openvino_genai", dynamic=True),
    "openvino-int4-everything": Engine("openvino", EVERYTHING, "openvino_genai", named=True),
    "openvino-bf16": Engine("openvino", EXPORT, "openvino_genai"),
    "transformers-bf16": Engine("transformers", CHECKPOINT, "transformers"),
}
"""Engines of the house, the first installed one is what the others are held against."""
NONE = ("none",)
"""In place of engines: endpoints alone."""
WORDS = "words"
"""Folder of the tokenizer where endpoints are measured alone."""
TOGETHER = {"openvino": 4096}
"""Tokens of prompts an engine reads at once; the others read all."""


class Settings(Record):
    """What to measure."""

    shape: str
    engines: tuple[str, ...] = ()
    """Empty is every usual one that is installed and runs the structure; ("none",) is endpoints alone."""
    endpoints: dict[str, str] = Field(default_factory=dict)
    """URL by the name it has in the table."""
    prompts: tuple[int, ...] = (128, 2048)
    streams: tuple[int, ...] = (1, 2, 4, 8, 16)
    new_tokens: int = 64
    repeats: int = 3
    threads: int = 0
    """0 is one a core."""
    against: str = ""
    """Engine of the ratios; empty is the first."""
    timeout_s: float = 600.0
    key_env: str = "OPENAI_API_KEY"
    ignore_eos: bool = True


def bench(given: Settings, place: Path | None) -> Bench:
    """Measure. The models are made in `place` and stay there; None makes them in a folder that is removed again.

    Raises:
        UserError: an unknown shape or engine, an engine not installed, too little memory or disk, an endpoint that
            stalls or refuses, a process that died.
    """
    shape = bench_model.shape_named(given.shape)
    threads = given.threads or cores()
    names = _chosen(given, shape)
    made = bench_model.stored(shape, max(given.prompts) + given.new_tokens)
    with ExitStack() as stack:
        home = place or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rounds-bench-")))
        home.mkdir(parents=True, exist_ok=True)
        _enough(given, made, names, home)
        models = {name: _served(given, url, name) for name, url in given.endpoints.items()}
        ready_made = _make(made, names, home, threads)
        total = given.repeats * len(given.prompts) * len(given.streams) * (len(names) + len(models))
        bar = stack.enter_context(progress.bar(f"rounds bench {given.shape}", total))
        words = home / (CHECKPOINT if names else WORDS)
        engines: dict[str, EngineFigures] = {}
        workers: dict[str, _Worker] = {}
        for name in (*names, *models):
            worker = stack.enter_context(_worker(_job(given, name, models, home, words, threads), threads))
            ready = worker.hear(Ready)
            kept = ready_made.sizes[ENGINES[name].files] if name in ENGINES else (None, None)
            engines[name] = EngineFigures(
                load_s=ready.load_s,
                weights_bytes=kept[0],
                read_bytes=kept[1],
                kv_bytes_a_token=2 * shape.kv_values if name in ENGINES else None,
                model=models.get(name, ""),
            )
            workers[name] = worker
        speeds, rows = _rows(given, workers, threads, bar)
    return Bench(
        shape=given.shape,
        structure=shape.structure,
        weights=shape.weights,
        machine=rates.processor(),
        threads=threads,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        new_tokens=given.new_tokens,
        repeats=given.repeats,
        against=given.against or next(iter(workers)),
        bandwidth=tuple(speeds),
        making_peak_bytes=ready_made.peak_bytes,
        making_anonymous_bytes=ready_made.anonymous_bytes,
        engines=engines,
        rows=tuple(rows),
        cells=cells(rows, engines, speeds, given.against or next(iter(workers)), given.new_tokens),
    )


def _chosen(given: Settings, shape: Shape) -> list[str]:
    """The engines of the house to measure; what is named must be there, what is not named may be missing."""
    usual = tuple(name for name, engine in ENGINES.items() if not engine.named)
    wanted = () if given.engines == NONE else given.engines or usual
    unknown = [name for name in wanted if name not in ENGINES]
    if unknown:
        raise UserError(f"engine '{unknown[0]}' is not known; use one of {', '.join(ENGINES)}, or none.")
    found = []
    for name in wanted:
        fault = ""
        if find_spec(ENGINES[name].needs) is None:
            fault = f"engine '{name}' needs {ENGINES[name].needs}, which is not installed; pip install 'rounds[cpu]'."
        elif ENGINES[name].kind == "openvino" and shape.structure not in EXPORTED:
            fault = f"engine '{name}' does not run structure '{shape.structure}'; use transformers-bf16."
        if fault and given.engines:
            raise UserError(fault)
        if not fault:
            found.append(name)
    names = [*found, *given.endpoints]
    if not names:
        raise UserError("no engine is installed and no endpoint given; pip install 'rounds[cpu]', or give --endpoint.")
    if len(set(names)) < len(names):
        raise UserError("an engine or endpoint is named twice; give each a name of its own.")
    if given.against and given.against not in names:
        raise UserError(f"--against '{given.against}' is not measured here; use one of {', '.join(names)}.")
    return found


# What it needs -----------------------------------------------------------------------------------------------------


def needed(given: Settings, shape: Shape, name: str) -> int:
    """Bytes of memory one engine takes at its worst: weights, KV cache, the widest activations, the process."""
    engine = ENGINES[name]
    widest, longest = max(given.streams), max(given.prompts)
    stored = _sizes(shape)[engine.files]
    held = 2 if engine.kind == "openvino" else 1  # read, and laid out anew for the processor
    kv = 2 * shape.kv_values * widest * (longest + given.new_tokens)
    together = min(widest * longest, TOGETHER.get(engine.kind, widest * longest))
    return held * stored + kv + 4 * together * (2 * shape.feed_forward + 4 * shape.width) + PROCESS


def _sizes(shape: Shape) -> dict[str, int]:
    """Bytes of the weights by what an engine reads."""
    packed = {kind: shape.packed_bytes(4, 128, kind == EVERYTHING) for kind in (PACKED, EVERYTHING)}
    return {CHECKPOINT: 2 * shape.weights, EXPORT: 2 * shape.weights, **packed}


def _paths(names: list[str], home: Path) -> dict[str, Path]:
    """Folders of what the engines read, and of what that is made from, in the order of their making."""
    kinds = {ENGINES[name].files for name in names}
    kinds |= {CHECKPOINT} | ({EXPORT} if kinds & {PACKED, EVERYTHING} else set())
    every = {CHECKPOINT: home / CHECKPOINT, EXPORT: home / CHECKPOINT / CACHE}
    every |= {kind: home / kind for kind in (PACKED, EVERYTHING)}
    return {kind: path for kind, path in every.items() if kind in kinds}


def _enough(given: Settings, shape: Shape, names: list[str], home: Path) -> None:
    """Refuse before anything is written."""
    if not names:
        return
    free, there = free_memory(), bench_model.is_made(home / CHECKPOINT, shape)
    missing = [kind for kind, path in _paths(names, home).items() if not (there and path.is_dir())]
    most = making(shape, missing)
    together = sum(needed(given, shape, name) for name in names)
    if max(most, together) > free:
        what = "to make the model" if most > together else f"for {', '.join(names)}"
        raise UserError(
            f"shape '{given.shape}' needs about {gigabytes(max(most, together))} of memory {what} "
            f"and {gigabytes(free)} are free; name fewer engines, fewer streams or a smaller shape."
        )
    disk = sum(_sizes(shape)[kind] for kind in missing)
    room = shutil.disk_usage(home).free
    if disk > room:
        raise UserError(f"{home}: needs {gigabytes(disk)} and has {gigabytes(room)} free; give another --out.")


def _served(given: Settings, url: str, name: str) -> str:
    """What the model is called at an endpoint: the name given where the server has it, else its first.

    Raises:
        UserError: the server cannot be reached or lists no model.
    """
    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(given.key_env, "")) else {}
    try:
        answer = httpx.get(f"{url.rstrip('/')}/models", headers=headers, timeout=min(30.0, given.timeout_s))
        answer.raise_for_status()
        there = [str(model["id"]) for model in answer.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"endpoint {name}: {url} lists no models ({reason}); start it, or check the URL.") from error
    if not there:
        raise UserError(f"endpoint {name}: {url} serves no model; load one there.")
    return name if name in there else there[0]


# The processes -----------------------------------------------------------------------------------------------------


class _Worker:
    """One process that measures one engine."""

    def __init__(self, name: str, process: subprocess.Popen[str], said: Path) -> None:
        self.name = name
        self._process = process
        self._said = said

    def say(self, record: Record) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{record.model_dump_json()}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `hear` says why it ended

    def hear(self, kind: type[R]) -> R:
        """Its next answer.

        Raises:
            UserError: the engine's own sentence, or that the process ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            words = [text for text in self._said.read_text(errors="replace").splitlines() if text.strip()]
            why = signal.Signals(-code).name if code < 0 else words[-1][:200] if words else f"exit code {code}"
            raise UserError(f"engine '{self.name}' ended ({why}); if memory ran out, name fewer engines or streams.")
        if set(json.loads(line)) == {"sentence"}:
            raise UserError(f"engine '{self.name}': {Fault.model_validate_json(line).sentence}")
        return kind.model_validate_json(line)


@contextmanager
def _worker(job: Job, threads: int) -> Iterator[_Worker]:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "rounds.chain.bench_worker"]
    with tempfile.NamedTemporaryFile("w", suffix=".stderr") as said:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )
        try:
            worker = _Worker(job.engine, process, Path(said.name))
            worker.say(job)
            yield worker
        finally:
            process.kill()
            process.communicate()


def _make(shape: Shape, names: list[str], home: Path, threads: int) -> Ready:
    """The models; bytes by kind, and the memory of the process that made them. Endpoints need only words."""
    if not names:
        bench_model.words(shape.vocabulary, home / WORDS)
        return Ready(load_s=0.0, peak_bytes=None)
    paths = _paths(names, home)
    if not bench_model.is_made(home / CHECKPOINT, shape):
        for old in (home / CHECKPOINT, home / PACKED, home / EVERYTHING):
            shutil.rmtree(old, ignore_errors=True)
    job = Job(
        kind="make",
        engine="the model",
        directory=str(home / CHECKPOINT),
        shape=json.dumps(dataclasses.asdict(shape)),
        packed={kind: str(path) for kind, path in paths.items() if kind in (PACKED, EVERYTHING)},
        export=EXPORT in paths,
        words=str(home / CHECKPOINT),
    )
    with progress.bar("making the model of random weights", None), _worker(job, threads) as worker:
        return worker.hear(Ready)


def _job(given: Settings, name: str, models: Mapping[str, str], home: Path, words: Path, threads: int) -> Job:
    streams = max(given.streams)
    if name in models:
        return Job(
            kind="remote",
            engine=name,
            words=str(words),
            streams=streams,
            url=given.endpoints[name],
            model=models[name],
            key_env=given.key_env,
            ignore_eos=given.ignore_eos,
            timeout_s=given.timeout_s,
        )
    engine = ENGINES[name]
    return Job(
        kind=engine.kind,
        engine=name,
        directory=str(_paths([name], home)[engine.files]),
        words=str(words),
        threads=threads,
        streams=streams,
        dynamic=engine.dynamic,
    )


def _rows(
    given: Settings, workers: Mapping[str, _Worker], threads: int, advance: progress.Bar
) -> tuple[list[float], list[Row]]:
    """Every measurement, engines in turn; the one that begins changes from row to row."""
    speeds: list[float] = []
    rows: list[Row] = []
    names = list(workers)
    for repeat in range(given.repeats):
        speeds.append(rates.bandwidth(threads))
        for prompt in given.prompts:
            for streams in given.streams:
                ask = Ask(
                    prompt_tokens=prompt,
                    streams=streams,
                    new_tokens=given.new_tokens,
                    seed=f"{prompt}-{streams}-{repeat}",
                )
                first = (repeat + len(rows)) % len(names)
                for name in (*names[first:], *names[:first]):
                    before = rates.joules()
                    workers[name].say(ask)
                    heard = workers[name].hear(Told)
                    energy = rates.spent(before, rates.joules())
                    rows.append(
                        Row(engine=name, repeat=repeat, prompt=prompt, streams=streams, joules=energy, told=heard)
                    )
                    advance(1, f"{name}, {prompt} tokens, {streams} streams")
    return speeds, rows
