"""Bars are for people at a terminal: silent elsewhere, never on stdout, and never in the way of the work."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rounds import progress

CODE = (
    "import time\nfrom rounds.progress import bar, track\n"
    "print(sum(track(range(5), 'adding up')))\n"
    "with bar('reading', 10) as advance:\n"
    "    for _ in range(10):\n        advance(1, 'halfway there')\n        time.sleep(0.03)\n"
)


def environment() -> dict[str, str]:
    quiet = {
        key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")
    }
    return {**quiet, "PYTHONPATH": str(Path(progress.__file__).parents[1]), "TERM": "xterm", "COLUMNS": "120"}


def test_everything_is_yielded_once_and_in_order() -> None:
    assert list(progress.track([3, 1, 2], "x")) == [3, 1, 2]
    assert list(progress.track(iter("abc"), "x")) == ["a", "b", "c"]
    assert list(progress.track(iter("abc"), "x", total=3)) == ["a", "b", "c"]
    assert list(progress.track([], "x")) == []


def test_items_are_taken_one_at_a_time() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    first = next(progress.track(source(), "x"))
    assert (first, taken) == (0, [0])


def test_nothing_is_written_where_no_terminal_is(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.bar("label", None) as advance:
        advance()
        advance(2.5, "a word")
    assert list(progress.track(range(3), "label")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")


def test_an_error_inside_passes_through() -> None:
    with pytest.raises(ValueError, match="mine"), progress.bar("label", 3):
        raise ValueError("mine")


def test_results_stay_clean_when_stderr_is_piped() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True, env=environment()
    )
    assert (done.stdout, done.stderr) == ("10\n", "")


def test_a_terminal_sees_the_bar_on_stderr() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment()
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux says EIO when the other end is gone
            break
        if not piece:
            break
        shown += piece
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert out == "10\n"
    text = shown.decode("utf-8", "replace")
    assert "reading" in text
    assert "/10" in text
    assert "halfway there" in text
