"""Whatever stops a run (kill -9, Ctrl-C, full disk), nothing half-made bears a final name and the next run goes on."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rounds import files, recipe
from rounds.chain.run import stages
from rounds.chain.stage import Stage, Work, make
from rounds.records import Figures, UserError

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

ALWAYS = ("cases", "base", "traces", "distilled", "packed", "grades/base")
"""Stages killed in every test run, one of each kind; the others take minutes more and are `slow`."""

OTHERS = (
    "tokenizer",
    "teacher/pretrained",
    "teacher/taught",
    "teacher/reasoned",
    "teacher/speed",
    "control-same-cases",
    "control-same-tokens",
    "reasoned",
    "grades/teacher",
    "grades/distilled",
    "grades/reasoned",
    "grades/packed",
    "grades/control-same-cases",
    "grades/control-same-tokens",
    "baselines",
)

TIMES = ("first_token_s", "total_s")
"""Fields of traces and grades that no clock tells twice: why the digests of traces/ and grades/ differ each time."""


def test_every_stage_is_killed_somewhere(toy: Any) -> None:
    assert set(stages(recipe.read(str(toy.recipe)))) == {*ALWAYS, *OTHERS}


@pytest.mark.parametrize("name", [*ALWAYS, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_stage_killed_in_its_middle_is_made_again(toy: Any, tmp_path: Path, name: str) -> None:
    copied = toy.copy(tmp_path)
    if name == "grades/base":  # so that a kill may hit the export of the model too
        shutil.rmtree(copied.run / "base" / ".openvino")
    place = copied.run / name
    first = files.lineage(place)
    assert first is not None
    place.rename(tmp_path / "first")
    before = copied.lineages()
    kill_in_the_middle(copied, name, first.seconds)
    assert not place.exists()
    assert copied.lineages() == before
    ended = copied.again("--stage", name)
    assert ended.returncode == 0, ended.stderr
    again = files.lineage(place)
    assert again is not None
    assert (again.recipe, again.inputs) == (first.recipe, first.inputs)
    assert again.output == files.digest(place)
    assert not partial(copied.run, name).exists()
    same(tmp_path / "first", place)


def kill_in_the_middle(toy: Any, name: str, seconds: float) -> None:
    """SIGKILL a stage while its temporary directory is there, at an instant drawn from its name."""
    share = Random(f"kill-{name}").uniform(0.0, 0.8)
    for _ in range(6):
        process = toy.start("--stage", name)
        while not partial(toy.run, name).exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(share * seconds)
        process.kill()
        if process.wait() == -signal.SIGKILL and not (toy.run / name).exists():
            assert partial(toy.run, name).is_dir()
            return
        # It was over sooner than the first time: take it away, and strike earlier in what it took now.
        step = files.lineage(toy.run / name)
        assert step is not None
        seconds = min(seconds, step.seconds)
        shutil.rmtree(toy.run / name)
        share /= 2
    pytest.fail(f"{name} was always over before the kill")


def partial(run: Path, name: str) -> Path:
    place = run / name
    return place.with_name(f".{place.name}.partial")


def same(first: Path, again: Path) -> None:
    """Both hold the same files with the same content, but for what a clock or a process writes into them."""
    names = [visible(place) for place in (first, again)]
    assert names[0] == names[1]
    for name in names[0]:
        if name == "openvino_model.xml":
            continue  # its layers are numbered by how much the process made before; the weights are in the .bin
        old, new = ((place / name).read_bytes() for place in (first, again))
        if Path(name).name in ("traces.jsonl", "grades.jsonl"):
            old, new = untimed(old), untimed(new)
        assert old == new, name


def visible(place: Path) -> list[str]:
    names = [path.relative_to(place) for path in place.rglob("*") if path.is_file() and path.name != files.LINEAGE]
    return sorted(str(name) for name in names if not any(part.startswith(".") for part in name.parts))


def untimed(content: bytes) -> bytes:
    rows = [json.loads(line) for line in content.splitlines()]
    return json.dumps([{key: value for key, value in row.items() if key not in TIMES} for row in rows]).encode()


def children(process: subprocess.Popen[str]) -> dict[int, str]:
    """Process ids of the stages that run, and their names."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    lines = {int(one): Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0") for one in found}
    return {one: words[words.index(b"--stage") + 1].decode() for one, words in lines.items() if b"--stage" in words}


def test_ctrl_c_ends_the_run_and_its_stages(toy: Any, tmp_path: Path) -> None:
    copied = toy.copy(tmp_path)
    both = ("base", "teacher/taught")
    for name in both:
        shutil.rmtree(copied.run / name)
    before = copied.lineages()
    process = copied.start("--keep-going", "--jobs", "2", stderr=subprocess.PIPE)
    while not all(partial(copied.run, name).exists() for name in both):
        assert process.poll() is None
        time.sleep(0.01)
    running = children(process)
    assert sorted(running.values()) == sorted(both)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "rounds: interrupted; what was finished is kept, the next run goes on from there.\n"
    assert not [one for one in running if Path(f"/proc/{one}").exists()]
    assert not [name for name in both if (copied.run / name).exists()]
    assert copied.lineages() == before


@pytest.mark.parametrize(("name", "kilobytes"), [("cases", 100), ("base", 400), ("packed", 150)])
def test_a_full_disk_is_one_sentence(toy: Any, tmp_path: Path, name: str, kilobytes: int) -> None:
    """A limit on the size of files stands for a disk without space: text, safetensors and OpenVINO each hit it."""
    copied = toy.copy(tmp_path)
    shutil.rmtree(copied.run / name)
    limit = kilobytes * 1024

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = copied.start("--keep-going", "--jobs", "1", stderr=subprocess.PIPE, preexec_fn=narrow)
    _, said = process.communicate()
    assert process.returncode == 2, said
    assert said.startswith(f"rounds: stage {name}: {copied.run}")
    assert said.endswith("free space or choose another place.\n")
    assert said.count("\n") == 1
    assert not (copied.run / name).exists()
    assert not partial(copied.run, name).exists()


@pytest.mark.parametrize(
    "text",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "Error while serializing: I/O error: File too large (os error 27)",
        "basic_ios::clear: iostream error",
    ],
)
def test_what_libraries_say_of_a_full_disk_is_understood(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"one: cannot be written \(the disk is full\); free space or choose"):
        make(tmp_path, failing(RuntimeError(text)))
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_ours_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"):
        make(tmp_path, failing(RuntimeError("shapes differ")))


def failing(fault: Exception) -> Stage:
    def breaks(work: Work) -> Figures:
        (work.out / "half.txt").write_text("half")
        raise fault

    return Stage("one", "cases", (), {"seed": 1}, breaks)


def test_two_stages_may_open_one_checkpoint_at_once(toy: Any, tmp_path: Path) -> None:
    """Both need its export, which neither finds: one makes it, the other waits."""
    copied = toy.copy(tmp_path)
    names = ("packed", "grades/reasoned")
    for place in (*names, "reasoned/.openvino"):
        shutil.rmtree(copied.run / place)
    started = [copied.start("--stage", name, stderr=subprocess.PIPE) for name in names]
    ended = [(process.communicate()[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0, 0], ended
    assert all(files.lineage(copied.run / name) is not None for name in names)
    assert os.listdir(copied.run / "reasoned" / ".openvino")
