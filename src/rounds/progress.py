"""Bars of progress on stderr with time left, for every step that takes longer than a breath.

Silent where stderr is not a terminal, so that logs stay readable. Left out on purpose: results, which go to stdout and
are printed by the command line alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


class Bar(Protocol):
    """Told how much was done and, when useful, a word about how it goes."""

    def __call__(self, done: float = 1, note: str = "") -> None: ...


@contextmanager
def bar(label: str, total: float | None) -> Iterator[Bar]:
    """A bar for `total` units of work."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(label, total=total, note="")

        def advance(done: float = 1, note: str = "") -> None:
            progress.update(task, advance=done, note=note)

        yield advance


def track(items: Iterable[T], label: str, total: float | None = None) -> Iterator[T]:
    """Yield the items, moving a bar by one each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(label, total) as advance:
        for item in items:
            yield item
            advance()
