"""A stage is skipped when nothing changed, made again when something did, and never half there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rounds import files
from rounds.chain.stage import Stage, Work, fresh, make
from rounds.records import Figures, UserError


class Writer:
    """Writes one file from its input and remembers how often it did."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.calls = 0

    def __call__(self, work: Work) -> Figures:
        self.calls += 1
        text = "".join((path / "a.txt").read_text() for path in work.inputs.values() if path.is_dir())
        (work.out / "a.txt").write_text(text + self.word)
        return {"letters": len(text + self.word)}


def stage(name: str, work: Callable[[Work], Figures], *needs: str, choices: object = None) -> Stage:
    return Stage(name, "cases", needs, choices or {"seed": 1}, work)


def run_if_stale(run: Path, one: Stage) -> bool:
    if fresh(run, one) is not None:
        return False
    make(run, one)
    return True


def test_a_fresh_stage_is_skipped(tmp_path: Path) -> None:
    one = stage("one", Writer("x"))
    assert fresh(tmp_path, one) is None
    step = make(tmp_path, one)
    assert fresh(tmp_path, one) == step == files.lineage(tmp_path / "one")
    assert step.output == files.digest(tmp_path / "one")
    assert step.figures == {"letters": 1}
    assert step.verb == "cases"
    assert step.seconds >= 0
    assert step.peak_memory_mb > 0
    assert "rounds" in step.versions


def test_it_is_remade_when_its_part_of_the_recipe_changes(tmp_path: Path) -> None:
    assert run_if_stale(tmp_path, stage("one", Writer("x"), choices={"rate": 1}))
    assert not run_if_stale(tmp_path, stage("one", Writer("x"), choices={"rate": 1}))
    assert run_if_stale(tmp_path, stage("one", Writer("y"), choices={"rate": 2}))
    assert (tmp_path / "one" / "a.txt").read_text() == "y"


def test_it_is_remade_when_its_code_says_so(tmp_path: Path) -> None:
    one = stage("one", Writer("x"))
    make(tmp_path, one)
    assert fresh(tmp_path, replace(one, code="2")) is None


def test_it_is_remade_when_an_input_changes(tmp_path: Path) -> None:
    make(tmp_path, stage("one", Writer("x")))
    second = stage("deep/two", Writer("z"), "one")
    step = make(tmp_path, second)
    assert step.inputs == {"one": files.digest(tmp_path / "one")}
    assert (tmp_path / "deep" / "two" / "a.txt").read_text() == "xz"
    assert fresh(tmp_path, second) is not None
    make(tmp_path, stage("one", Writer("y"), choices={"seed": 2}))
    assert fresh(tmp_path, second) is None
    make(tmp_path, second)
    assert (tmp_path / "deep" / "two" / "a.txt").read_text() == "yz"


def test_an_input_remade_the_same_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path, stage("one", Writer("x")))
    second = stage("two", Writer("z"), "one")
    make(tmp_path, second)
    make(tmp_path, stage("one", Writer("x"), choices={"seed": 2}))
    assert fresh(tmp_path, second) is not None


def test_it_is_remade_when_a_file_from_outside_changes(tmp_path: Path) -> None:
    given = tmp_path / "cases.jsonl"
    given.write_text("1\n")
    one = replace(stage("one", Writer("x")), more={"cases": given})
    make(tmp_path, one)
    assert fresh(tmp_path, one) is not None
    given.write_text("2\n")
    assert fresh(tmp_path, one) is None


@pytest.mark.parametrize("fault", [UserError("the rate is too high"), KeyboardInterrupt(), MemoryError()])
def test_nothing_bears_the_final_name_after_a_fault(tmp_path: Path, fault: BaseException) -> None:
    def breaks(work: Work) -> Figures:
        (work.out / "half.txt").write_text("half")
        raise fault

    with pytest.raises(type(fault)):
        make(tmp_path, stage("one", breaks))
    assert list(tmp_path.iterdir()) == []


def test_a_fault_leaves_what_was_made_before(tmp_path: Path) -> None:
    def breaks(work: Work) -> Figures:
        raise UserError("no")

    step = make(tmp_path, stage("one", Writer("x")))
    with pytest.raises(UserError):
        make(tmp_path, stage("one", breaks, choices={"seed": 2}))
    assert files.lineage(tmp_path / "one") == step


def test_a_kill_in_the_middle_leaves_nothing_and_the_next_run_makes_it(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom rounds.chain.stage import Stage, make\n"
        "def work(given):\n"
        "    (given.out / 'a.txt').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"make(Path({str(tmp_path)!r}), Stage('one', 'cases', (), {{'seed': 1}}, work))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "one").exists()
    assert run_if_stale(tmp_path, stage("one", Writer("x")))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_directory_without_lineage_is_made_again(tmp_path: Path) -> None:
    one = stage("one", Writer("x"))
    make(tmp_path, one)
    (tmp_path / "one" / files.LINEAGE).unlink()
    assert run_if_stale(tmp_path, one)
