"""A stage is a function of directories: inputs in, one new directory with lineage.json out.

Skipped when recipe, inputs and output are what the lineage says; made under a temporary name otherwise, so that a kill
at any instant leaves the next run to resume. Left out on purpose: an orchestrator.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rounds import files
from rounds.records import Figures, Step, UserError

PACKAGES = (
    "rounds",
    "torch",
    "transformers",
    "trl",
    "peft",
    "openvino",
    "openvino-genai",
    "nncf",
    "optimum-intel",
    "llmcompressor",
    "compressed-tensors",
)

DISK_FULL = ("(os error 27)", "(os error 28)", "(os error 122)", "iostream error")
"""How safetensors and OpenVINO say that a file may not grow, or the disk or a quota is full: they raise no OSError."""


@dataclass(slots=True, frozen=True)
class Work:
    """What a stage is given."""

    run: Path
    """The run's directory."""
    out: Path
    """The directory to fill; it takes its final name when the stage ends well."""
    inputs: Mapping[str, Path]


@dataclass(slots=True, frozen=True)
class Stage:
    """One stage of the chain."""

    name: str
    """Also the directory it makes, relative to the run."""
    verb: str
    needs: tuple[str, ...]
    choices: object
    """The part of the recipe it reads, as JSON."""
    make: Callable[[Work], Figures]
    code: str = "1"
    """Raised when the stage would make something else from the same inputs."""
    more: Mapping[str, Path] = field(default_factory=dict)
    """Inputs from outside the run."""


def fresh(run: Path, stage: Stage) -> Step | None:
    """The lineage of a stage that need not run: same recipe part, same inputs, output untouched; else None.

    Inputs are compared by the digests their own lineage holds: a directory made by Rounds is never changed in place.
    """
    step = files.lineage(run / stage.name)
    if step is None or step.recipe != _choices(stage) or step.inputs != _inputs(run, stage):
        return None
    return step


def make(run: Path, stage: Stage) -> Step:
    """Run a stage now, in this process.

    Raises:
        UserError: what the stage found wrong, or a full disk; nothing is left under its final name.
    """
    try:
        return _make(run, stage)
    except UserError:
        raise
    except Exception as error:
        if any(sign in str(error) for sign in DISK_FULL):
            raise files.unwritable(run / stage.name, OSError(errno.ENOSPC, "the disk is full")) from error
        raise


def _make(run: Path, stage: Stage) -> Step:
    started = time.monotonic()
    inputs = _inputs(run, stage)
    paths = {name: run / name for name in stage.needs} | dict(stage.more)
    (run / stage.name).parent.mkdir(parents=True, exist_ok=True)
    with files.making(run / stage.name) as out:
        figures = stage.make(Work(run, out, paths))
        step = Step(
            verb=stage.verb,
            recipe=_choices(stage),
            inputs=inputs,
            output=files.digest(out),
            versions=versions(),
            seconds=round(time.monotonic() - started, 2),
            peak_memory_mb=round(peak_memory_mb(), 1),
            figures=dict(figures),
        )
        files.write_text(out / files.LINEAGE, step.model_dump_json(indent=1))
    return step


def _choices(stage: Stage) -> str:
    return files.digest_of({"stage": stage.name, "code": stage.code, "choices": stage.choices})


def _inputs(run: Path, stage: Stage) -> dict[str, str]:
    digests = {}
    for name in stage.needs:
        step = files.lineage(run / name)
        digests[name] = step.output if step is not None else ""
    return digests | {name: files.digest(path) for name, path in stage.more.items()}


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold a directory while one opens it: two stages that open a checkpoint side by side would both write its export.

    The end of the process frees it, a kill too. A disk that knows no locks goes without.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def versions() -> dict[str, str]:
    """Installed versions of what the figures depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_mb() -> float:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))
