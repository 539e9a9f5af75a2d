"""Forgetting as a matrix: each specialist (trained on x) against its start, on every specialty (examined on y).

Each cell is a paired comparison with a finding of its own, as it was planned before anybody answered; all of them are
one Holm family. Red flags are held as one arm over all specialties. Left out on purpose: a figure that averages what
was gained in one specialty with what was lost in another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from rounds.exam import plots, words
from rounds.exam.compare import Comparison, compare_family
from rounds.exam.marks import Mark, from_grades
from rounds.exam.page import EVIDENCE, page
from rounds.files import write_text
from rounds.records import Evidence, Figures, Grade, Record, UserError, Verdict

START = "start"
NOT_STATED = "not stated"


class Row(Record):
    """One specialist."""

    trained_on: str
    cells: dict[str, Verdict]
    """By the specialty examined on: this model against the start."""
    over_all: tuple[Verdict, ...]
    """All specialties together: accuracy, and red flags where the cases have any."""
    made: dict[str, float | int | str | bool | None] = Field(default_factory=dict)
    """What its training measured of itself."""
    adapter: str = ""
    """SHA-256 of the folder of its adapter; '' in a matrix of an older version."""

    @property
    def own(self) -> Verdict:
        return self.cells[self.trained_on]

    @property
    def others(self) -> tuple[Verdict, ...]:
        return tuple(verdict for name, verdict in self.cells.items() if name != self.trained_on)

    @property
    def arms(self) -> tuple[Verdict, ...]:
        """What must not be lost besides the cells."""
        return tuple(verdict for verdict in self.over_all if verdict.arm != "accuracy")

    @property
    def sentence(self) -> str:
        """In words: what was gained at home, and what became of the others."""
        away = ", ".join(f"{name} {v.finding} ({words.points(v.difference)})" for name, v in self._away())
        arms = "".join(f"; {v.arm} over all {v.finding} ({words.points(v.difference)})" for v in self.arms)
        return f"{self.trained_on}: {self.own.finding} at home ({words.points(self.own.difference)}); {away}{arms}."

    def _away(self) -> list[tuple[str, Verdict]]:
        return [(name, verdict) for name, verdict in self.cells.items() if name != self.trained_on]


class Matrix(Record):
    """specialise.json."""

    start: str
    """What every specialist began with."""
    start_digest: str = ""
    """SHA-256 of that checkpoint's directory; '' in a matrix of an older version."""
    thinned: str = ""
    """The specialty it was taught too little of on purpose, and how little; '' where it was not."""
    margin: float
    alpha: float
    evidence: Evidence
    cases: dict[str, int]
    """Exam cases by specialty."""
    rows: tuple[Row, ...]
    separate: dict[str, float | int | str | bool | None] = Field(default_factory=dict)
    """Adapter beside the model against merged, where it was measured."""

    @property
    def code(self) -> int:
        """0 nothing lost or open, 1 something lost somewhere, 3 too few cases to tell."""
        found = {v.finding for row in self.rows for v in (*row.cells.values(), *row.arms)}
        return 1 if "lost" in found else 3 if "too few cases" in found else 0


def matrix(
    start: Sequence[Grade],
    specialists: Mapping[str, Sequence[Grade]],
    *,
    margin: float,
    alpha: float,
) -> tuple[Row, ...]:
    """A row each specialist, in the order given.

    Raises:
        UserError: cases without a specialty alone, or rules out of range.
    """
    before = _by_specialty(start)
    if not before:
        raise UserError("no exam case has a specialty, so there is no matrix; give cases with a specialty.")
    family: list[Comparison] = []
    places: list[tuple[str, str | None]] = []
    for trained_on, grades in specialists.items():
        after = _by_specialty(grades)
        for specialty, marks in before.items():
            family.append(Comparison(START, trained_on, _bare(marks), _bare(after[specialty])))
            places.append((trained_on, specialty))
        family.append(Comparison(START, trained_on, from_grades(start), from_grades(grades)))
        places.append((trained_on, None))
    verdicts = iter(compare_family(family, margin=margin, alpha=alpha))
    cells: dict[str, dict[str, Verdict]] = {name: {} for name in specialists}
    whole: dict[str, list[Verdict]] = {name: [] for name in specialists}
    for trained_on, examined_on in places:
        verdict = next(verdicts)
        if examined_on is not None:
            cells[trained_on][examined_on] = verdict.model_copy(update={"group": f"specialty={examined_on}"})
            continue
        whole[trained_on].append(verdict)
        if any(mark.red_flags is not None for mark in from_grades(start)):
            whole[trained_on].append(next(verdicts))
    return tuple(Row(trained_on=name, cells=cells[name], over_all=tuple(whole[name])) for name in specialists)


def _by_specialty(grades: Sequence[Grade]) -> dict[str, list[Mark]]:
    by: dict[str, list[Mark]] = {}
    for mark in from_grades(grades):
        name = mark.groups.get("specialty", "")
        if name:
            by.setdefault(name, []).append(mark)
    return dict(sorted(by.items()))


def _bare(marks: Sequence[Mark]) -> list[Mark]:
    """Without red flags: those are one arm over all specialties."""
    return [replace(mark, red_flags=None) for mark in marks]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row of the page."""

    row: Row
    cells: tuple[tuple[str, bool, Verdict, str, str], ...]
    """(specialty, at home, verdict, share before and after, interval)."""
    forest: plots.Forest


def render(found: Matrix, title: str) -> str:
    """The page as text."""
    return page(
        "specialise.html.j2",
        title=title,
        found=found,
        evidence=EVIDENCE[found.evidence],
        specialties=tuple(found.cases),
        rows=tuple(_drawn(row, found.margin) for row in found.rows),
        separate=separate_sentences(found.separate),
        width=plots.FOREST,
    )


def write_page(found: Matrix, title: str, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: full disk, no permission.
    """
    write_text(path, render(found, title))


def _drawn(row: Row, margin: float) -> Drawn:
    cells = tuple(
        (name, name == row.trained_on, verdict, shares(verdict), words.interval(verdict))
        for name, verdict in row.cells.items()
    )
    return Drawn(row, cells, plots.forest(list(row.cells.values()), margin, plots.FOREST))


def shares(verdict: Verdict) -> str:
    """What was right before and after."""
    before = (verdict.both + verdict.only_before) / max(1, verdict.n)
    after = (verdict.both + verdict.only_after) / max(1, verdict.n)
    return f"{words.percent(before)} to {words.percent(after)}"


def separate_sentences(made: Figures) -> tuple[str, ...]:
    """Adapter beside the model against merged into it, in words; nothing where it was not measured."""
    if not made:
        return ()
    cases = made["cases"]
    return (
        f"{made['specialty']}: of {cases} cases the merged model and the adapter beside its model gave the same text "
        f"to {made['same_text']} and the same answer to {made['same_five']}; right {made['right_merged']} and "
        f"{made['right_beside']}.",
        f"Median of an answer by itself: {made['seconds_merged']} s merged, {made['seconds_beside']} s "
        f"beside; {made['bytes_merged']:,} bytes a specialty merged, {made['bytes_adapter']:,} for the adapter alone.",
    )
