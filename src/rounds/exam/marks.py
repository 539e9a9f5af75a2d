"""Marks read from a file: our own Grade JSONL, or plain JSONL of anyone's `{"case_id", "correct"}`.

Several samples of one case become one mark: right when more than half of the samples that can be graded are right, so
exactly half is a miss; the share is kept for tests that count clusters. Samples are never counted as cases. Left out
on purpose: guessing. An id that comes twice, a mark that is neither true, false nor null, stop the reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from rounds.files import numbered_lines
from rounds.records import Grade, UserError


@dataclass(frozen=True, slots=True)
class Mark:
    """One model on one case."""

    case_id: str
    correct: bool | None
    """None: cannot be graded."""
    share: float | None
    """Share of the gradable samples that are right, 0..1; None when none is gradable."""
    samples: int = 1
    """Samples read, ungradable ones included."""
    red_flags: bool | None = None
    """All red flags of the case named (in more than half of the samples); None for a case without red flags."""
    groups: Mapping[str, str] = field(default_factory=dict)


def read_marks(path: Path) -> list[Mark]:
    """Read Grade JSONL or plain JSONL, told apart by the first line; the order of the file is kept.

    Plain lines are `{"case_id": text or whole number, "correct": true|false|null, ...}`; every other text, number or
    true/false is a column to group by, null is an absent one.

    Raises:
        UserError: unreadable, not UTF-8, empty, a line cut short or not such a mark, an id that comes twice.
    """
    grades: list[Grade] = []
    plain: list[Mark] = []
    first_line: dict[tuple[str, int], int] = {}
    kinds: set[type] = set()
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        row = _row(line.strip().lstrip("\ufeff"), where)
        if grades or (not plain and "answer" in row):
            grade = _grade(row, where)
            grades.append(grade)
            key = (grade.case_id, grade.sample)
        else:
            mark = _plain(row, where)
            plain.append(mark)
            kinds.add(type(row["case_id"]))
            key = (mark.case_id, 0)
        if len(kinds) > 1:
            raise UserError(f"{where}: case_id {row['case_id']!r} mixes text and numbers; write every id as text.")
        if key in first_line:
            raise _repeated(key, first_line[key], where, sampled=bool(grades))
        first_line[key] = number
    if not first_line:
        raise UserError(f"{path}: holds no marks; expected one JSON object a line.")
    return from_grades(grades) if grades else plain


def from_grades(grades: Iterable[Grade]) -> list[Mark]:
    """One mark a case, in order of first appearance; samples of a case are put together.

    Raises:
        UserError: one sample of one case comes twice.
    """
    by_case: dict[str, dict[int, Grade]] = {}
    for grade in grades:
        samples = by_case.setdefault(grade.case_id, {})
        if grade.sample in samples:
            raise UserError(
                f"case '{grade.case_id}' has sample {grade.sample} twice; keep one grade for each case and sample."
            )
        samples[grade.sample] = grade
    return [_together(list(samples.values())) for samples in by_case.values()]


def _together(samples: Sequence[Grade]) -> Mark:
    right = [grade.correct for grade in samples if grade.correct is not None]
    flagged = [grade.red_flags_named >= grade.red_flags_total for grade in samples if grade.red_flags_total > 0]
    return Mark(
        case_id=samples[0].case_id,
        correct=sum(right) * 2 > len(right) if right else None,
        share=sum(right) / len(right) if right else None,
        samples=len(samples),
        red_flags=sum(flagged) * 2 > len(flagged) if flagged else None,
        groups=samples[0].groups,
    )


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_refuse_constant)
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: is not JSON ({why}); the line may be cut short: make the file anew.") from error
    except RecursionError as error:
        raise UserError(f"{where}: is nested too deeply; expected one flat JSON object a line.") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: is not a JSON object; expected {{'case_id': ..., 'correct': true}}.")
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _grade(row: Mapping[str, Any], where: str) -> Grade:
    try:
        return Grade.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: is not a Grade (field '{place}': {first['msg']}); mend that line.") from error


def _plain(row: Mapping[str, Any], where: str) -> Mark:
    name = row.get("case_id")
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise UserError(f"{where}: case_id {name!r} is not an id; give each line a case_id of text or a whole number.")
    if "correct" not in row:
        raise UserError(f"{where}: has no 'correct'; write true, false, or null for what cannot be graded.")
    correct = row["correct"]
    if correct is not None and not isinstance(correct, bool):
        raise UserError(f"{where}: correct is {correct!r}; write true, false, or null for what cannot be graded.")
    groups = {
        column: str(value).lower() if isinstance(value, bool) else str(value)
        for column, value in row.items()
        if column not in ("case_id", "correct") and isinstance(value, str | int | float)
    }
    return Mark(str(name), correct, None if correct is None else float(correct), groups=groups)


def _repeated(key: tuple[str, int], first: int, where: str, *, sampled: bool) -> UserError:
    what = f"case_id '{key[0]}'" + (f", sample {key[1]}," if sampled else "")
    remedy = "number repeated answers of one case in 'sample'" if sampled else "keep one mark for each case"
    return UserError(f"{where}: {what} was already on line {first}; {remedy}.")
