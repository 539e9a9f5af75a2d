"""Seconds to a whole answer, made one at a time and in turn, so that a busy minute slows all that are compared alike.

Left out on purpose: throughput of many at once, which is for a benchmark.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rounds.progress import track
from rounds.prompts.template import render
from rounds.records import Case, Sampling, Streams


@dataclass(frozen=True, slots=True)
class Way:
    """One way of answering that is timed."""

    responder: Streams
    sampling: Sampling


def in_turn(ways: Mapping[str, Way], cases: Sequence[Case], template: str) -> dict[str, list[float]]:
    """Seconds of each way to each case, in the order of the cases.

    Every way answers the first case once more before, to warm up; the order of the ways turns by one a case.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for name in names:
        _time(ways[name], cases[0], template)
    for number, case in enumerate(track(cases, "timing answers one at a time", len(cases))):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            seconds[name].append(_time(ways[name], case, template))
    return seconds


def _time(way: Way, case: Case, template: str) -> float:
    prompt = render(case, template)
    started = time.perf_counter()
    for _ in way.responder.stream(prompt, way.sampling):
        pass
    return round(time.perf_counter() - started, 4)
