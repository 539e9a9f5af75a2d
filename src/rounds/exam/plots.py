"""Where the marks of each picture go: numbers for the page's SVG, never markup, so that every text stays escaped there.

Left out on purpose: colours and shapes (the style sheet and the template), and any plotting library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from statistics import median

from rounds.exam import words
from rounds.records import Share, Verdict

STRIP = 400.0
"""Width of an interval strip, in SVG units."""
FOREST = 200.0
"""Width of one row of a forest plot, in SVG units."""
SCATTER_WIDTH, SCATTER_HEIGHT = 330.0, 120.0
MOST_DOTS = 250
"""Dots drawn for one model: more only darken the cloud."""


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval on a shared axis, in SVG units."""

    label: str
    n: int
    text: str
    low: float
    high: float
    middle: float
    weight: float
    """Half the side of the square: grows with the number of cases."""
    overall: bool


@dataclass(frozen=True, slots=True)
class Axis:
    """A horizontal axis around no difference."""

    zero: float
    margin: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Forest:
    """Intervals of one comparison: overall first, then each group."""

    axis: Axis
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A share with its interval on an axis that begins at nothing, in SVG units."""

    label: str
    note: str
    """Of how many, and what else stands beside the label."""
    text: str
    low: float
    high: float
    middle: float


@dataclass(frozen=True, slots=True)
class Ranges:
    """Shares of one kind below each other."""

    bars: tuple[Range, ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Dots:
    """Answers of one model that thought: (x, y) in SVG units."""

    shown: tuple[tuple[int, int], ...]
    answers: int
    median_tokens: float
    median_seconds: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """Seconds against thinking tokens, every model on the same axes; tokens on a logarithmic one."""

    models: Mapping[str, Dots]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def forest(verdicts: Sequence[Verdict], margin: float, width: float) -> Forest:
    """Bars of the verdicts on one axis wide enough for the margin and every interval, at most -1..1."""
    ends = [abs(end) for verdict in verdicts for end in (verdict.tango.low, verdict.tango.high)]
    reach = min(1.0, max([margin * 1.3, *ends]) * 1.08)

    def x(difference: float) -> float:
        return round(width * (0.5 + 0.5 * max(-1.0, min(1.0, difference / reach))), 1)

    most = max((verdict.n for verdict in verdicts), default=1) or 1
    bars = tuple(
        Bar(
            label="all cases" if verdict.group == "all" else verdict.group.partition("=")[2],
            n=verdict.n,
            text=f"{words.points(verdict.difference)} ({words.interval(verdict)})",
            low=x(verdict.tango.low),
            high=x(verdict.tango.high),
            middle=x(verdict.difference),
            weight=round(2.0 + 3.0 * (verdict.n / most) ** 0.5, 1),
            overall=verdict.group == "all",
        )
        for verdict in verdicts
    )
    step = _step(reach)
    at = [sign * k * step for k in range(1, floor(reach / step + 1e-9) + 1) for sign in (-1, 1)]
    ticks = tuple((x(value), f"{value * 100:+.3g}".replace("-", "−")) for value in sorted(at))
    return Forest(Axis(zero=x(0.0), margin=x(-margin), ticks=ticks), bars)


def ranges(shares: Sequence[tuple[str, str, Share]], width: float, top: float | None = None) -> Ranges:
    """Shares with their labels and notes, on one axis from 0 to `top`; None ends it above the highest interval."""
    reach = top or min(1.0, round_up(max([0.01, *(share.high for _, _, share in shares)])))

    def x(part: float) -> float:
        return round(width * min(1.0, part / reach), 1)

    bars = []
    for label, note, share in shares:
        rate = share.events / share.chances if share.chances else 0.0
        text = f"{words.percent(rate)} ({share.low * 100:.1f} to {share.high * 100:.1f})"
        bars.append(Range(label, note, text, x(share.low), x(share.high), x(rate)))
    return Ranges(tuple(bars), tuple((width * part, f"{reach * part * 100:g} %") for part in (0.0, 0.5, 1.0)))


def scatter(answers: Mapping[str, Iterable[tuple[int, float | None]]]) -> Scatter | None:
    """answers: by model, (thinking tokens, seconds) of each answer; None when no answer with thoughts was timed."""
    timed = {
        model: [(tokens, seconds) for tokens, seconds in pairs if seconds is not None and tokens > 0]
        for model, pairs in answers.items()
    }
    timed = {model: pairs for model, pairs in timed.items() if pairs}
    if not timed:
        return None
    every = [pair for pairs in timed.values() for pair in pairs]
    top = round_up(max(1e-3, *(seconds for _, seconds in every)))
    fewest, most = min(tokens for tokens, _ in every), max(tokens for tokens, _ in every)
    left, right = log10(fewest / 1.1), log10(most * 1.1)

    def x(tokens: float) -> float:
        return SCATTER_WIDTH * (log10(tokens) - left) / (right - left)

    def dots(pairs: Sequence[tuple[int, float]]) -> Dots:
        step = ceil(len(pairs) / MOST_DOTS)
        shown = tuple((round(x(tokens)), round(SCATTER_HEIGHT * (1 - s / top))) for tokens, s in pairs[::step])
        return Dots(shown, len(pairs), median(pair[0] for pair in pairs), median(pair[1] for pair in pairs))

    return Scatter(
        models={model: dots(pairs) for model, pairs in timed.items()},
        x_ticks=tuple((round(x(tokens), 1), f"{tokens:,}") for tokens in _round_numbers(fewest, most)),
        y_ticks=tuple((SCATTER_HEIGHT * (1 - part), f"{top * part:g}") for part in (0.0, 0.5, 1.0)),
    )


def _round_numbers(low: int, high: int) -> list[int]:
    """1, 2, 5, 10, 20 ... from low to high; the ends themselves where none lies between."""
    found = [k * 10**power for power in range(9) for k in (1, 2, 5) if low <= k * 10**power <= high]
    return found or sorted({low, high})


def _step(reach: float) -> float:
    """The largest round distance that gives one to three ticks on each side."""
    power = 10.0 ** floor(log10(reach))
    return next(power * part for part in (5.0, 2.0, 1.0, 0.5) if reach / (power * part) >= 1.4)


def round_up(value: float) -> float:
    """The next round number whose quarters are short to write."""
    power = 10.0 ** floor(log10(value))
    return next(
        power * part for part in (1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0) if power * part >= value * 0.9999
    )
