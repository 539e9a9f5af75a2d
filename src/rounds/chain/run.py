"""The whole chain: which stages a recipe needs, in what order, side by side where they do not depend on each other.

Every stage runs in a process of its own, so that memory comes back and a kill harms one stage. What is fresh is
skipped; what was half made is made again. Left out on purpose: several machines.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rounds import files, recipe
from rounds.chain import judge, learn, prepare
from rounds.chain.speed import make_speed
from rounds.chain.stage import Stage, Work, cores, fresh, make
from rounds.exam.compare import exit_code
from rounds.knowledge.base import DATA as KNOWLEDGE
from rounds.model import checkpoint
from rounds.progress import bar
from rounds.records import Figures, Step, UserError

RECIPE = "recipe.toml"
OPENED = "opened.json"
PARENT = "ROUNDS_RUN"
"""Environment variable of a stage's process: the process id of its run."""
PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/prctl.2.html"""
PACKED_GPU = "packed-gpu"
"""The export for servers with a GPU."""
CONTROLS = ("control-same-cases", "control-same-tokens")
NEW_LESSONS = "3"
"""Code of the stages that write lessons and begin models: since decision 0010 they make others of the same inputs."""


def stages(chosen: recipe.Recipe) -> dict[str, Stage]:
    """The stages of a recipe by name, each after those it needs."""
    listed = [*_making(chosen), *_examining(chosen)]
    return {stage.name: stage for stage in listed}


def beside(chosen: recipe.Recipe) -> dict[str, Stage]:
    """Stages that no run makes by itself, as they need another environment."""
    judged = ["quantize", "examine", "compare"]
    made = _stage(chosen, PACKED_GPU, "quantize", ["cases", "reasoned"], judged, learn.make_packed_gpu)
    return {made.name: made}


def _stage(
    chosen: recipe.Recipe, name: str, verb: str, needs: Iterable[str], sections: Sequence[str], work: Any
) -> Stage:
    """A stage that reads some sections of the recipe; every stage reads the seed and the template of the exam."""
    whole = chosen.model_dump(mode="json")
    choices = {section: whole[section] for section in sections}
    choices |= {"seed": chosen.seed, "template": chosen.examine.template}
    return Stage(name, verb, tuple(needs), choices, partial(_call, work, chosen))


def _call(work: Any, chosen: recipe.Recipe, given: Work) -> Figures:
    result: Figures = work(given, chosen)
    return result


def _making(chosen: recipe.Recipe) -> list[Stage]:
    stage = partial(_stage, chosen)
    # What lies outside the run is an input by its content: a changed file is noticed.
    own = {"file": Path(chosen.cases.file)} if chosen.cases.file is not None else {"knowledge": KNOWLEDGE}
    found = [replace(stage("cases", "cases", (), ["cases"], prepare.make_cases), more=own, code=NEW_LESSONS)]
    made_here = chosen.student.backbone is not None or chosen.teacher.backbone is not None
    if made_here:
        found.append(stage("tokenizer", "pretrain", ["cases"], ["pretrain", "student"], prepare.make_tokenizer))
    roots = ["cases", "tokenizer"]
    base_needs = roots if chosen.student.backbone is not None else []
    local = Path(chosen.student.checkpoint or "").expanduser()
    given = {"checkpoint": local} if chosen.student.checkpoint is not None and local.is_dir() else {}
    base = stage("base", "pretrain", base_needs, ["pretrain", "student"], prepare.make_base)
    found.append(replace(base, more=given, code=NEW_LESSONS))
    teacher = ["teacher", "teach"]
    traced = []
    if chosen.teacher.backbone is not None:
        arc = ("teacher/pretrained", "teacher/taught", "teacher/reasoned")
        pretrained = stage(arc[0], "teach", roots, teacher, prepare.make_teacher_pretrained)
        found.append(replace(pretrained, code=NEW_LESSONS))
        found.append(stage(arc[1], "teach", ["cases", arc[0]], teacher, prepare.make_teacher_taught))
        found.append(stage(arc[2], "teach", ["cases", arc[1]], [*teacher, "grpo"], prepare.make_teacher_reasoned))
        found.append(stage("teacher/speed", "teach", [arc[2]], teacher, make_speed))
        traced.append(arc[2])
    found.append(stage("traces", "trace", ["cases", *traced], ["trace", "teacher"], learn.make_traces))
    learnt = ["cases", "base", "traces"]
    if chosen.distil.token_level:
        found.append(stage("distilled", "distil", [*learnt, *traced], ["distil", "teacher"], learn.make_distilled))
    else:
        found.append(stage("distilled", "distil", learnt, ["distil"], learn.make_distilled))
    if chosen.distil.controls:
        found.append(stage(CONTROLS[0], "distil", learnt, ["distil"], learn.make_same_cases))
        if chosen.cases.file is None:
            found.append(stage(CONTROLS[1], "distil", learnt, ["distil"], learn.make_same_tokens))
    found.append(stage("reasoned", "grpo", ["cases", "distilled"], ["grpo"], learn.make_reasoned))
    judged = ["quantize", "examine", "compare"]  # the ladder holds its rungs to the margin
    found.append(stage("packed", "quantize", ["cases", "reasoned"], judged, learn.make_packed))
    return found


def _examining(chosen: recipe.Recipe) -> list[Stage]:
    stage = partial(_stage, chosen)
    models = ["base", "distilled", "reasoned", "packed"]
    if chosen.distil.controls:
        models += CONTROLS if chosen.cases.file is None else CONTROLS[:1]
    found = [
        stage(f"grades/{name}", "examine", ["cases", name], ["examine"], partial(_examine, name)) for name in models
    ]
    if chosen.teacher.backbone is not None:
        # Not the student's engine, so no pair of the gate: its errors are shown beside those of whom it taught.
        needs = ["cases", prepare.TEACHER]
        found.insert(0, stage("grades/teacher", "examine", needs, ["examine"], partial(_examine, prepare.TEACHER)))
    if chosen.cases.file is None:
        found.append(stage("baselines", "examine", ["cases"], ["cases"], judge.make_baselines))
    return found


def _examine(model: str, work: Work, chosen: recipe.Recipe) -> Figures:
    return judge.make_grades(work, chosen, model)


@dataclass(slots=True)
class Outcome:
    """How a run ended."""

    judgement: judge.Judgement
    steps: dict[str, Step]
    made: list[str]
    """Stages that ran; the others were fresh."""
    seconds: float
    code: int
    """0 all kept or gained, 1 lost, 3 too few cases."""
    lost: str | None = None
    """The step that stopped the run and the cases it lost; None when the run came to its end."""


def start(chosen: recipe.Recipe, source: Path, run: Path) -> None:
    """Make the run's directory and keep the recipe in it.

    Raises:
        UserError: the directory cannot be made.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.unwritable(run, error) from error
    text = files.read_text(source)
    if not (run / RECIPE).is_file() or files.read_text(run / RECIPE) != text:
        files.write_text(run / RECIPE, text)


def run_all(chosen: recipe.Recipe, source: Path, run: Path, *, keep_going: bool = False, jobs: int = 0) -> Outcome:
    """Every stage that is not fresh, then the report.

    A step that is *lost* against its parent stops the run, unless `keep_going`; what was examined is reported.

    Raises:
        UserError: what a stage found wrong.
    """
    started = time.monotonic()
    start(chosen, source, run)
    planned = stages(chosen)
    _fetch(chosen)
    made: list[str] = []
    lost = None
    try:
        _run_stages(planned, run, jobs or _side_by_side(chosen), chosen, keep_going, made)
    except StepLost as stop:
        lost = str(stop)
    steps = {name: step for name, stage in planned.items() if (step := fresh(run, stage)) is not None}
    opened = _openings(run, made)
    judgement = judge.judge(run, chosen, steps, opened)
    code = 1 if lost else exit_code(judgement.gates)
    return Outcome(judgement, steps, made, time.monotonic() - started, code, lost)


def _fetch(chosen: recipe.Recipe) -> None:
    """Bring checkpoints named by their Hugging Face id: the stages themselves work offline."""
    for model in (chosen.student, chosen.teacher):
        if model.checkpoint is not None:
            checkpoint.resolve(model.checkpoint)


def _side_by_side(chosen: recipe.Recipe) -> int:
    """Two stages at a time, but one where a checkpoint fills the memory that `rounds plan` counts for one."""
    return 1 if chosen.student.checkpoint or chosen.teacher.checkpoint else min(2, cores())


def run_one(chosen: recipe.Recipe, source: Path, run: Path, name: str) -> Step:
    """One stage in this process; what it needs must be there.

    Raises:
        UserError: no such stage, an input missing, or what the stage found wrong.
    """
    _end_with_parent()
    planned = stages(chosen)
    if name not in planned and name in (other := beside(chosen)):
        planned = other
    if name not in planned:
        raise UserError(f"stage '{name}' is not part of recipe '{chosen.name}'; use one of {', '.join(planned)}.")
    start(chosen, source, run)
    stage = planned[name]
    for need in stage.needs:
        if files.lineage(run / need) is None:
            raise UserError(f"stage '{name}' needs {run / need}, which is not made yet; run that stage first.")
    step = fresh(run, stage)
    return step if step is not None else make(run, stage)


def _end_with_parent() -> None:
    """Die with the run that started this stage: an orphan would write beside the run that resumes (Linux only)."""
    parent = os.environ.get(PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it went before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def _openings(run: Path, made: Sequence[str]) -> int:
    """How often an exam of this run was sat with a changed last candidate."""
    path = run / OPENED
    count = int(files.read_text(path)) if path.is_file() else 0
    if "grades/packed" in made or count == 0:
        count += 1
        files.write_text(path, str(count))
    return count


def _run_stages(
    planned: dict[str, Stage], run: Path, jobs: int, chosen: recipe.Recipe, keep_going: bool, made: list[str]
) -> None:
    """Make what is not fresh; names of what was made are added to `made`, also when a lost step stops it."""
    done: set[str] = set()
    running: dict[str, subprocess.Popen[bytes]] = {}
    with bar(f"rounds run {chosen.name}", len(planned)) as advance:
        try:
            for name, stage in planned.items():
                if done.issuperset(stage.needs) and fresh(run, stage) is not None:
                    done.add(name)
                    advance(1, f"{name} is fresh")
            if not keep_going and len(done) < len(planned):
                # A run that stopped for a lost step stops again, and does not make one stage more each time.
                _stop_when_lost(run, chosen, done)
            while len(done) < len(planned):
                for name, stage in planned.items():
                    if name in done or name in running or len(running) >= jobs or not done.issuperset(stage.needs):
                        continue
                    if fresh(run, stage) is not None:
                        done.add(name)
                        advance(1, f"{name} is fresh")
                    else:
                        running[name] = _spawn(run, name)
                for name in _finished(run, running):
                    done.add(name)
                    made.append(name)
                    advance(1, f"{name} made")
                    if not keep_going:
                        _stop_when_lost(run, chosen, done)
                if running:
                    time.sleep(0.05)
        except BaseException:
            _kill(running.values())
            raise


def _spawn(run: Path, name: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    environment |= {PARENT: str(os.getpid())}
    command = [sys.executable, "-m", "rounds.cli.main", "run", str(run / RECIPE), "--out", str(run), "--stage", name]
    # A file, not a pipe: nobody reads while the stage runs, and a full pipe would stop it for good.
    with _said(run, name).open("wb") as said:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)


def _said(run: Path, name: str) -> Path:
    return run / f".{name.replace('/', '-')}.stderr"


def _finished(run: Path, running: dict[str, subprocess.Popen[bytes]]) -> list[str]:
    """Names of stages that ended well; one that failed stops all.

    Raises:
        UserError: the sentence the stage ended with.
    """
    ended = [name for name, process in running.items() if process.poll() is not None]
    for name in ended:
        process = running[name]
        text = _said(run, name).read_text(encoding="utf-8", errors="replace")
        _said(run, name).unlink()
        if process.returncode == 0:
            continue
        lines = [line for line in text.strip().splitlines() if line.strip()]
        if process.returncode == 2 and lines:
            raise UserError(f"stage {name}: {lines[-1].removeprefix('rounds: ')}")
        if process.returncode < 0:
            signalled = signal.Signals(-process.returncode).name
            raise UserError(f"stage {name} was ended by {signalled}; run the same command again to resume.")
        raise UserError(f"stage {name} failed ({lines[-1] if lines else process.returncode}); run it alone to see why.")
    return [name for name in ended if running.pop(name) is not None]


def _kill(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def _stop_when_lost(run: Path, chosen: recipe.Recipe, done: set[str]) -> None:
    """Raise when a gate whose exams are done is lost."""
    lost = judge.first_lost(run, chosen, done)
    if lost is not None:
        raise StepLost(lost)


class StepLost(Exception):
    """A step lost cases that its parent had: the run stops with exit code 1."""
