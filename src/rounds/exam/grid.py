"""The grid of cases of one comparison: who was right on each, and what both said where it matters.

The whole text stands only where it is worth opening, and at most `DETAILED` times a comparison: lost cases first, then
gained, then those both got wrong. Left out on purpose: the whole text of every other case, which is in the run's
`grades/` directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rounds.exam.marks import Mark
from rounds.records import Case, Grade, Trace

Answers = Mapping[str, Sequence[tuple[Trace | None, Grade]]]
"""By name of the model: every answer with its grade; the trace is None where only grades were kept."""

Outcome = Literal["lost", "gained", "neither", "both"]
ORDER: tuple[Outcome, ...] = ("lost", "gained", "neither", "both")
LABEL: Mapping[Outcome, str] = {
    "lost": "lost",
    "gained": "gained",
    "neither": "both wrong",
    "both": "both right",
}

DETAILED = 100
"""Cases of one comparison that open to their whole text."""
LONGEST = 3000
"""Characters shown of one vignette, reasoning or reply."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one model said about a case; for several samples, the first."""

    model: str
    mark: str
    rank: int | None
    diagnoses: tuple[str, ...]
    remark: str
    """Why there is no list: abstained, refused, unreadable; '' otherwise."""
    flags: str
    thinking: str
    figures: str


@dataclass(frozen=True, slots=True)
class Detail:
    """A case as it opens."""

    vignette: str
    diagnosis: str
    red_flags: tuple[str, ...]
    must_not_miss: tuple[str, ...]
    sides: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One case of the grid."""

    case_id: str
    outcome: Outcome
    name: str
    detail: Detail | None


@dataclass(frozen=True, slots=True)
class Row:
    """The cases of one specialty."""

    label: str
    cells: tuple[Cell, ...]

    def count(self, outcome: Outcome) -> int:
        """Cases with that outcome."""
        return sum(cell.outcome == outcome for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Grid:
    """All cases of one comparison that both models were graded on."""

    rows: tuple[Row, ...]
    detailed: int
    openable: int
    """Cases worth opening: lost, gained and both wrong."""

    def count(self, outcome: Outcome) -> int:
        """Cases with that outcome."""
        return sum(row.count(outcome) for row in self.rows)


def grid(
    names: tuple[str, str],
    before: Sequence[Mark],
    after: Sequence[Mark],
    cases: Mapping[str, Case],
    answers: Answers,
) -> Grid:
    """Rows by specialty; within a row lost, gained, both wrong, both right."""
    newer = {mark.case_id: mark for mark in after}
    outcomes: dict[str, Outcome] = {}
    specialty: dict[str, str] = {}
    for mark in before:
        other = newer.get(mark.case_id)
        if other is None or mark.correct is None or other.correct is None:
            continue
        outcomes[mark.case_id] = _outcome(mark.correct, other.correct)
        case = cases.get(mark.case_id)
        specialty[mark.case_id] = (case.specialty if case else "") or mark.groups.get("specialty", "")
    ordered = sorted(outcomes, key=lambda name: ORDER.index(outcomes[name]))
    worth = [name for name in ordered if outcomes[name] != "both" and (name in cases or any(answers.values()))]
    detailed = set(worth[:DETAILED])
    by_model = [_first_answers(answers.get(name, ())) for name in names]
    rows: dict[str, list[Cell]] = {label: [] for label in sorted(set(specialty.values()))}
    for name in ordered:
        case = cases.get(name)
        detail = _detail(name, case, names, by_model) if name in detailed else None
        rows[specialty[name]].append(Cell(name, outcomes[name], case.diagnosis if case else "", detail))
    return Grid(
        rows=tuple(Row(label or "all cases", tuple(cells)) for label, cells in rows.items()),
        detailed=len(detailed),
        openable=len(worth),
    )


def _outcome(before: bool, after: bool) -> Outcome:
    if before:
        return "both" if after else "lost"
    return "gained" if after else "neither"


@dataclass(frozen=True, slots=True)
class _First:
    trace: Trace | None
    grade: Grade
    right: int
    samples: int


def _first_answers(pairs: Iterable[tuple[Trace | None, Grade]]) -> dict[str, _First]:
    found: dict[str, _First] = {}
    for trace, grade in pairs:
        seen = found.get(grade.case_id)
        right = int(grade.correct is True)
        if seen is None:
            found[grade.case_id] = _First(trace, grade, right, 1)
        else:
            found[grade.case_id] = _First(seen.trace, seen.grade, seen.right + right, seen.samples + 1)
    return found


def _detail(
    name: str, case: Case | None, names: tuple[str, str], by_model: Sequence[Mapping[str, _First]]
) -> Detail | None:
    sides = [_side(model, found[name]) for model, found in zip(names, by_model, strict=True) if name in found]
    if case is None and not sides:
        return None
    if case is None:
        return Detail("", "", (), (), tuple(sides))
    diagnosis = (
        f"outside the knowledge base ({case.diagnosis}): abstaining is right" if case.outside else case.diagnosis
    )
    return Detail(_cut(case.vignette), diagnosis, case.red_flags, case.must_not_miss, tuple(sides))


def _side(model: str, first: _First) -> Side:
    grade, answer = first.grade, first.grade.answer
    remarks = {"abstained": answer.abstained, "refused": answer.refused, "unreadable": answer.unreadable}
    mark = {True: "right", False: "wrong", None: "not gradable"}[grade.correct]
    if first.samples > 1:
        mark = f"{mark}; {first.right} of {first.samples} samples right"
    figures = [f"{grade.thinking_tokens:,} thinking tokens"]
    seconds = grade.total_s if grade.total_s is not None else (first.trace.total_s if first.trace else None)
    if seconds is not None:
        figures.append(f"{seconds:.2f} s")
    if grade.steps is not None and grade.steps.claims:
        figures.append(f"{grade.steps.errors} of {grade.steps.claims} steps in error")
    flags = f"{grade.red_flags_named} of {grade.red_flags_total} red flags named" if grade.red_flags_total else ""
    return Side(
        model=model,
        mark=mark,
        rank=grade.rank,
        diagnoses=answer.diagnoses,
        remark=", ".join(word for word, said in remarks.items() if said),
        flags=flags,
        thinking=_cut(first.trace.thinking) if first.trace else "",
        figures=", ".join([*figures, *grade.error_modes]),
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … (cut here, {len(text):,} characters in all)"
