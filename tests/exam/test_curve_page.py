"""The page of the budgets: every point is drawn inside its picture, and text of a model's name stays text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rounds.exam.curve import Curve, cut_curve, point
from rounds.exam.curve_page import DASHES, HEIGHT, MARKS, WIDTH, panels, render, write_page
from rounds.records import Answer, Grade, StepCheck


def grades(right: int, tokens: int) -> list[Grade]:
    return [
        Grade(
            case_id=f"c{n}",
            answer=Answer(case_id=f"c{n}", diagnoses=("gout",)),
            correct=n < right,
            rank=1 if n < right else None,
            level="exact" if n < right else None,
            thinking_tokens=tokens + n,
            total_s=0.1 * n,
            steps=StepCheck(claims=4, stated=2, invented=("rash",) if n % 2 else ()),
        )
        for n in range(30)
    ]


@pytest.fixture(scope="module")
def curves() -> list[Curve]:
    return [
        cut_curve(name, grades(right, tokens), (0, tokens + 10, tokens + 40), margin=0.1, alpha=0.01)
        for name, right, tokens in (("<b>one</b>", 25, 20), ("two", 15, 90))
    ]


def test_every_dot_lies_inside_its_picture(curves: list[Curve]) -> None:
    drawn = panels(curves)
    assert [panel.title for panel in drawn] == [
        "right among five",
        "seconds to the answer, median",
        "thinking tokens an answer, mean",
        "reasoning steps in error",
    ]
    for panel in drawn:
        for line in panel.lines:
            assert [dot.x for dot in line.dots] == sorted(dot.x for dot in line.dots)
            assert line.dots[-1].x == WIDTH  # no limit
            for dot in line.dots:
                assert 0 <= dot.x <= WIDTH
                assert 0 <= dot.y <= HEIGHT
                if dot.low is not None and dot.high is not None:
                    assert dot.high <= dot.y <= dot.low  # down the page is less


def test_accuracy_is_drawn_about_its_intervals_and_the_rest_from_nothing(curves: list[Curve]) -> None:
    first, *others = panels([curve.model_copy(update={"points": curve.points[-1:]}) for curve in curves[:1]])
    assert curves[0].points[-1].right.low > 0.5
    assert [label for _, label in first.y_ticks] == ["60 %", "80 %", "100 %"]
    assert all(panel.y_ticks[0][1] in ("0", "0 %") for panel in others)


def test_no_thought_has_no_rate_of_wrong_steps(curves: list[Curve]) -> None:
    closed = point(grades(25, 0), budget=0, touched=30)
    assert closed.step_error_rate is None
    assert point(grades(25, 20), budget=20, touched=30).step_error_rate == 0.125


def test_the_chosen_budget_alone_is_marked(curves: list[Curve]) -> None:
    for curve, line in zip(curves, panels(curves)[0].lines, strict=True):
        budgets = [point.budget for point in curve.points]
        assert [dot.chosen for dot in line.dots] == [b is not None and b == curve.chosen for b in budgets]


def test_lines_differ_without_colour(curves: list[Curve]) -> None:
    assert len(set(DASHES)) == len(set(MARKS)) == len(MARKS) == len(DASHES)
    assert len({(line.dash, line.mark) for line in panels(curves)[0].lines}) == 2


def test_a_picture_nobody_has_figures_for_is_left_out(curves: list[Curve]) -> None:
    bare = curves[0].model_copy(
        update={"points": tuple(p.model_copy(update={"seconds": None, "top1": None}) for p in curves[0].points)}
    )
    assert [panel.title for panel in panels([bare])] == [
        "right",
        "thinking tokens an answer, mean",
        "reasoning steps in error",
    ]


def test_the_page_is_whole_static_and_escaped(curves: list[Curve], tmp_path: Path) -> None:
    write_page("Budgets", curves, "synthetic", tmp_path / "budget.html", ["2 < 3"])
    text = (tmp_path / "budget.html").read_text(encoding="utf-8")
    assert text == render("Budgets", curves, "synthetic", ["2 < 3"])
    assert "<script" not in text
    assert "<b>one</b>" not in text
    assert "&lt;b&gt;one&lt;/b&gt;" in text
    assert "2 &lt; 3" in text
    assert 'style="' not in text  # the page's own policy would refuse it
    assert "Demonstration, not for patients" in text
    assert len(re.findall("<svg", text)) == 2 + 4  # two marks of the legend, four pictures
