"""The front door: help without heavy imports, one sentence for every fault, and the exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import pytest

from rounds import __version__
from rounds.cli import main as door
from rounds.cli.main import VERBS, main
from rounds.records import UserError


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[argparse.Namespace], int]], None]:
    """Put a verb `ask` of the test's own in place of the real one."""

    def put(run: Callable[[argparse.Namespace], int]) -> None:
        module: Any = types.ModuleType("rounds.cli.ask")
        module.HELP = "Ask."
        module.configure = lambda parser: parser.add_argument("--loud", action="store_true", help="loudly")
        module.run = run
        monkeypatch.setitem(sys.modules, "rounds.cli.ask", module)

    return put


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, line in VERBS.items():
        assert f"  {name:<{max(map(len, VERBS))}}  {line}\n" in shown


def test_no_verb_shows_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: rounds VERB" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rounds {__version__}\n"


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys; from rounds.cli.main import main; assert main(['--help']) == 0\n"
        "print(*[name for name in ('torch', 'pydantic', 'numpy', 'fastapi') if name in sys.modules], file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - started)
    assert done.stderr.split() == []
    assert min(seconds) < 0.3, seconds


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["distill"], "rounds: 'distill' is not a verb of rounds; did you mean 'rounds distil'?"),
        (["sevre", "runs/tiny"], "rounds: 'sevre' is not a verb of rounds; did you mean 'rounds serve'?"),
        (["xyzzy"], f"rounds: 'xyzzy' is not a verb of rounds; use one of {', '.join(VERBS)}."),
        (["--quiet"], "rounds: unrecognized arguments: --quiet; see rounds --help."),
        (["ask", "--lou"], "rounds ask: unrecognized arguments: --lou; see rounds ask --help."),
        (["ask", "x"], "rounds ask: unrecognized arguments: x; see rounds ask --help."),
    ],
)
def test_usage_faults_are_one_sentence(
    verb: Any, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    verb(lambda _: 0)
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"{sentence}\n"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("recipe 'x' is not shipped; use tiny."), 2, "rounds: recipe 'x' is not shipped; use tiny."),
        (KeyboardInterrupt(), 130, "rounds: interrupted; what was finished is kept"),
        (MemoryError(), 2, "rounds: out of memory; close other programs"),
        (OSError(errno.ENOSPC, "No space left", "runs/tiny"), 2, "rounds: the disk is full at runs/tiny; free space"),
        (OSError(errno.ENOSPC, "No space left"), 2, "rounds: the disk is full; free space"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "rounds: /x: Permission denied; check the path"),
        (
            ModuleNotFoundError("no", name="torch"),
            2,
            "rounds: 'torch' is not installed; run: pip install \"rounds[cpu]\"",
        ),
        (ModuleNotFoundError("no", name="hypercorn.x"), 2, "rounds: 'hypercorn' is not installed; run: pip install"),
    ],
)
def test_faults_of_user_and_machine_are_one_sentence(
    verb: Any, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, sentence: str
) -> None:
    verb(raising(error))
    assert main(["ask"]) == code
    shown = capsys.readouterr()
    assert shown.err.startswith(sentence)
    assert len(shown.err.splitlines()) == 1
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), ModuleNotFoundError("no", name="rounds.exam.gone")])
def test_our_own_faults_show_where_and_are_no_finding(
    verb: Any, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    verb(raising(error))
    assert main(["ask"]) == 70
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("rounds: this is a fault in Rounds; please report the lines above.\n")


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_exit_code_is_the_verbs(verb: Any, code: int) -> None:
    seen = []
    verb(lambda arguments: seen.append(arguments.loud) or code)
    assert main(["ask", "--loud"]) == code
    assert seen == [True]


def test_a_reader_that_goes_away_is_met_with_silence() -> None:
    code = "import sys; from rounds.cli.main import main; sys.exit(main(['--help']))"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=30)
    assert said == b""
    assert process.returncode == 141


def test_every_optional_package_names_an_extra_that_exists() -> None:
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(door.EXTRAS.values()) <= set(project["optional-dependencies"])
    assert project["version"] == __version__
