"""The page of the thinking budgets: four pictures over one axis of budgets, then the figures and the choice.

Lines differ by dashes and marks, not by colour. Made as the page of a run is (`rounds.exam.report`): one static file,
no script. Left out on purpose: measuring, which `rounds.exam.curve` has done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

from rounds.exam import plots, words
from rounds.exam.curve import NO_LIMIT, Curve, Point
from rounds.exam.page import EVIDENCE, page
from rounds.files import write_text
from rounds.records import Evidence

WIDTH, HEIGHT = 420.0, 120.0
DASHES = ("none", "6 3", "2 3", "8 3 2 3", "1 4", "10 4")
MARKS = ("square", "circle", "triangle", "diamond", "cross", "bar")
"""One a curve, in turn."""

HOW = {
    "closed": (
        "The engine closes the thought at the budget and the reply is still written. Only answers whose thoughts "
        "reach the budget are asked for again: it does not touch the others."
    ),
    "cut": (
        "Nobody closed a thought here: an answer that thought longer than the budget counts as no answer, at its share "
        "of the time. That is what a hard limit would do, and less than closing the thought would give."
    ),
}


@dataclass(frozen=True, slots=True)
class Dot:
    """One budget of one curve, in SVG units; low and high are the ends of its interval, None where it has none."""

    x: float
    y: float
    low: float | None
    high: float | None
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a picture."""

    name: str
    path: str
    dash: str
    mark: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: a figure over the budgets."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Told:
    """One curve as a table and its sentences."""

    curve: Curve
    how: str
    rows: tuple[tuple[str, ...], ...]
    exam: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """All that a page shows of some curves."""

    curves: tuple[Told, ...]
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    size: tuple[float, float] = (WIDTH, HEIGHT)


def write_page(title: str, curves: Sequence[Curve], evidence: Evidence, path: Path, notes: Sequence[str] = ()) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: full disk, no permission.
    """
    write_text(path, render(title, curves, evidence, notes))


def render(title: str, curves: Sequence[Curve], evidence: Evidence, notes: Sequence[str] = ()) -> str:
    """The page as text."""
    return page(
        "budget.html.j2",
        title=title,
        evidence=(evidence, EVIDENCE[evidence]),
        shown=shown(curves, notes),
    )


def shown(curves: Sequence[Curve], notes: Sequence[str] = ()) -> Shown:
    """Curves laid out, for their own page and for the report of their run."""
    return Shown(tuple(_told(curve) for curve in curves), panels(curves), tuple(notes))


def panels(curves: Sequence[Curve]) -> tuple[Panel, ...]:
    """Accuracy, time, tokens and step errors over the budget; a picture nobody has figures for is left out."""
    of: Sequence[tuple[str, Callable[[Point], float | None], bool]] = (
        ("right among five" if any(p.top1 is not None for c in curves for p in c.points) else "right", _rate, True),
        ("seconds to the answer, median", lambda point: point.seconds, False),
        ("thinking tokens an answer, mean", lambda point: point.thinking_tokens, False),
        ("reasoning steps in error", lambda point: point.step_error_rate, True),
    )
    made = (_panel(title, curves, figure, share) for title, figure, share in of)
    return tuple(panel for panel in made if panel.lines)


def _rate(point: Point) -> float | None:
    return point.right.events / point.right.chances if point.right.chances else None


def _places(curves: Sequence[Curve]) -> dict[int | None, float]:
    """Where each budget stands: in order and evenly, as those worth trying lie close together; no limit at the end."""
    tried = sorted({point.budget for curve in curves for point in curve.points if point.budget is not None})
    return {budget: round(WIDTH * place / len(tried), 1) for place, budget in enumerate(tried)} | {None: WIDTH}


def _panel(title: str, curves: Sequence[Curve], figure: Callable[[Point], float | None], share: bool) -> Panel:
    values = [value for curve in curves for point in curve.points if (value := figure(point)) is not None]
    accuracy = figure is _rate
    ends = [end for curve in curves for point in curve.points for end in (point.right.low, point.right.high)]
    bottom, top = _scale(values, ends if accuracy else [], share)

    def y(value: float) -> float:
        return round(HEIGHT * (1 - min(1.0, max(0.0, (value - bottom) / (top - bottom)))), 1)

    places = _places(curves)
    lines = []
    for number, curve in enumerate(curves):
        dots = []
        for point in curve.points:
            value = figure(point)
            if value is None:
                continue
            low, high = (y(point.right.low), y(point.right.high)) if accuracy else (None, None)
            label = f"{curve.name}, {_budget(point)}: {words.percent(value) if share else f'{value:,.3g}'}"
            chosen = point.budget is not None and point.budget == curve.chosen
            dots.append(Dot(places[point.budget], y(value), low, high, label, chosen))
        if dots:
            path = "M" + "L".join(f"{dot.x} {dot.y}" for dot in dots)
            style = number % len(MARKS)
            lines.append(Line(curve.name, path, DASHES[style], MARKS[style], tuple(dots)))
    marks = {part: round(bottom + (top - bottom) * part, 10) for part in (0.0, 0.5, 1.0)}
    ticks = ((HEIGHT * (1 - part), f"{100 * at:g} %" if share else f"{at:,g}") for part, at in marks.items())
    return Panel(title, tuple(lines), _x_ticks(places), tuple(ticks))


def _scale(values: Sequence[float], ends: Sequence[float], share: bool) -> tuple[float, float]:
    """Least and largest value drawn: from 0, but where intervals are drawn from tens of percent about them."""
    if ends:
        bottom = floor(10 * min(ends)) / 10
        return bottom, max(bottom + 0.1, min(1.0, ceil(10 * max(ends)) / 10))
    top = plots.round_up(max([1e-6, *values]))
    return 0.0, min(top, 1.0) if share else top


def _x_ticks(places: Mapping[int | None, float]) -> tuple[tuple[float, str], ...]:
    """The budgets tried, those left out that would stand in another's way, and no limit."""
    ticks: list[tuple[float, str]] = []
    for budget, x in places.items():
        if budget is not None and x < WIDTH - 40 and (not ticks or x - ticks[-1][0] > 24):
            ticks.append((x, f"{budget:,}"))
    return (*ticks, (WIDTH, NO_LIMIT))


def _budget(point: Point) -> str:
    return NO_LIMIT if point.budget is None else f"{point.budget:,} tokens"


def _told(curve: Curve) -> Told:
    rows = tuple(_row(point, point.budget is not None and point.budget == curve.chosen) for point in curve.points)
    limit = tuple(
        f"On the exam, {verdict.arm}: {words.verdict_sentence(verdict, curve.margin)}" for verdict in curve.exam
    )
    return Told(curve, HOW[curve.how], rows, limit)


def _row(point: Point, chosen: bool) -> tuple[str, ...]:
    rate = _rate(point)
    right = "–" if rate is None else words.percent(rate)
    findings = ", ".join(
        f"{v.finding} ({v.arm}, {words.points(v.difference)})"
        if v.arm != "accuracy"
        else f"{v.finding} ({words.points(v.difference)}, {words.interval(v)})"
        for v in point.verdicts
    )
    return (
        f"{_budget(point)}{' ✓' if chosen else ''}",
        right,
        "–" if point.top1 is None else words.percent(point.top1),
        f"{point.thinking_tokens:,.1f}",
        "–" if point.seconds is None else f"{point.seconds:,.3g}",
        "–" if point.slow_seconds is None else f"{point.slow_seconds:,.3g}",
        "–" if point.step_error_rate is None else words.percent(point.step_error_rate),
        f"{point.touched:,}",
        findings or "–",
    )
