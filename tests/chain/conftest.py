"""A toy world and its whole chain, made once by the real command: small enough for minutes, true in every part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rounds.prompts.template import render
from rounds.records import Case, Lesson

TOY = """
name = "toy"
seed = 3

[student.backbone]
structure = "qwen2"
width = 64
layers = 2
heads = 4
feed_forward = 128
context = 640

[teacher.backbone]
structure = "deepseek_v3"
width = 96
layers = 2
heads = 4
feed_forward = 192
experts = 4
expert_width = 48
kv_rank = 24
q_rank = 48
context = 640

[cases]  # few conditions and few findings a page: a teacher that has seen little gets some of them right
teach = 1600
conditions = 6
outside = 6
exam_per_condition = 8
volunteer = 0.5
asked = 0

[pretrain]
steps = 60
batch = 16
vocabulary = 1800

[teach]
pretrain_steps = 1
steps = 320
batch = 12
rate = 5e-3
grpo_steps = 1

[trace]
cases = 100
samples = 8

[distil]
epochs = 2
batch = 8

[grpo]
steps = 1
prompts = 4
samples = 4

[quantize]
group = 32
calibration = 12

[compare]
margin = 0.1
why_margin = "a toy: only the machinery is tested"
"""


@dataclass(slots=True, frozen=True)
class Toy:
    """A finished run of the toy recipe. Tests read it, and change copies only."""

    recipe: Path
    run: Path
    ended: subprocess.CompletedProcess[str]

    def copy(self, to: Path) -> Toy:
        """The same run at another place."""
        shutil.copytree(self.run, to / "run", symlinks=True)
        shutil.copyfile(self.recipe, to / "toy.toml")
        return Toy(to / "toy.toml", to / "run", self.ended)

    def again(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`rounds run` on this run."""
        return rounds("run", self.recipe, "--out", self.run, *words)

    def start(self, *words: str, **given: Any) -> subprocess.Popen[str]:
        """`rounds run` on this run, not waited for."""
        line = command("run", self.recipe, "--out", self.run, *words)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(line, env=environment(), text=True, **{**quiet, **given})

    def lineages(self) -> dict[str, str]:
        """The text of every lineage.json by stage."""
        return {
            path.parent.relative_to(self.run).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(self.run.rglob("lineage.json"))
            if ".partial" not in str(path)
        }


def command(*words: str | Path) -> list[str]:
    """The command line of `rounds` in this environment."""
    return [sys.executable, "-m", "rounds.cli.main", *map(str, words)]


def environment() -> dict[str, str]:
    """What a stage gets from `rounds run`, for a stage that a test starts itself."""
    return os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def rounds(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(command(*words), env=environment(), capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The whole chain from nothing, two stages side by side."""
    place = tmp_path_factory.mktemp("toy")
    recipe = place / "toy.toml"
    recipe.write_text(TOY, encoding="utf-8")
    ended = rounds("run", recipe, "--out", place / "run", "--keep-going", "--json", "--jobs", "2")
    assert ended.returncode in (0, 1, 3), ended.stderr
    return Toy(recipe, place / "run", ended)


@pytest.fixture(scope="session")
def call() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`rounds` with any words."""
    return rounds


SPOKEN = [
    "A man of 54 with chest pain, troponin 1.25 ng/mL and ST elevation. Five diagnoses?",
    "Chest pain suggests: acute myocardial infarction. No fever, so less likely: pneumonia. Give aspirin 300 mg once.",
    "1. Acute myocardial infarction\n2. Pulmonary embolism\n3. Aortic dissection\nRed flags: chest pain",
] * 9


@pytest.fixture(scope="session")
def babbler(tmp_path_factory: pytest.TempPathFactory, make_babbler: Callable[..., Path]) -> Path:
    """A tiny random Qwen2: four bits visibly change it."""
    return make_babbler(tmp_path_factory.mktemp("babbler"), SPOKEN, 340, 320)


@pytest.fixture(scope="session")
def tune() -> list[Case]:
    """Short cases to answer badly."""
    return [
        Case(
            id=f"tune-{i}",
            vignette=f"A man of {40 + i} has chest pain.",
            diagnosis="Acute myocardial infarction",
            red_flags=("chest pain",),
            split="tune",
        )
        for i in range(24)
    ]


@pytest.fixture(scope="session")
def told(tune: list[Case]) -> list[Lesson]:
    """Answers to those cases, with a token of every class."""
    thinking, reply = SPOKEN[1], SPOKEN[2]
    return [
        Lesson(
            prompt=render(case, "differential-brief@1"),
            thinking=f"{case.id} has 3. {thinking}",
            reply=reply,
            teacher="t",
        )
        for case in tune
    ]
