"""Marks: one model on each case, read from our own grades, from anyone's plain lines, or from other programs' logs.

Several samples of one case become one mark: right when more than half of the samples that can be graded are right, so
exactly half is a miss; the share is kept for tests that count clusters. Samples are never counted as cases. A file is
read line by line into a `Table` of a few bytes a case, so that a million lines fit beside each other. Left out on
purpose: guessing. An id that comes twice, a mark that is neither true, false nor null, stop the reading.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rounds.exam import logs
from rounds.exam.logs import Choice, Entry
from rounds.files import STRICT, decode, numbered_lines
from rounds.progress import bar
from rounds.records import Grade, UserError

LONGEST_LINE = 1 << 26
"""Bytes of one line; the lines of other programs hold whole prompts and replies."""
EVERY = 4096
"""Lines between two movements of the bar."""


LENIENT = json.JSONDecoder()
"""Takes NaN, as other programs write it."""

Ids = dict[str, int]
"""Case id to its number; tables that are to be compared share one, so that each id is kept once."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The marks of one model as columns: one row a case, in order of first appearance; arrays have shape (rows,)."""

    ids: Ids
    """May hold cases of other tables too."""
    case: NDArray[np.int32]
    """Numbers of the cases in `ids`."""
    correct: NDArray[np.int8]
    """1 right, 0 wrong, -1 cannot be graded."""
    share: NDArray[np.floating]
    """Share of the gradable samples that are right; NaN where no sample can be graded."""
    samples: NDArray[np.integer]
    red_flags: NDArray[np.int8]
    """1 all named, 0 not, -1 a case without red flags."""
    columns: Mapping[str, Column]
    known: frozenset[str]
    """Every column the file has, kept or not."""
    source: str = ""
    """What it was read from: `grades`, `marks`, `lm-evaluation-harness`, `Inspect`."""
    metric: str = ""
    """For a log of another program: the figure that counts, as it can be given to `--metric`."""

    def __len__(self) -> int:
        return len(self.case)

    def marks(self) -> list[Mark]:
        """The rows one by one: for few cases."""
        names = list(self.ids)
        return [self._mark(row, names) for row in range(len(self.case))]

    def _mark(self, row: int, names: Sequence[str]) -> Mark:
        correct, share, flags = int(self.correct[row]), float(self.share[row]), int(self.red_flags[row])
        return Mark(
            case_id=names[self.case[row]],
            correct=None if correct < 0 else bool(correct),
            share=None if correct < 0 else share,
            samples=int(self.samples[row]),
            red_flags=None if flags < 0 else bool(flags),
            groups={
                name: column.values[column.codes[row]]
                for name, column in self.columns.items()
                if column.codes[row] >= 0
            },
        )


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column to group by."""

    codes: NDArray[np.signedinteger]
    """Place of the row's value in `values`; -1 where the row has none."""
    values: Sequence[str]


def read_marks(path: Path, *, metric: str = "", right_from: float | None = None) -> list[Mark]:
    """The marks of a file one by one, every column kept; see `read_table`."""
    return read_table(path, metric=metric, right_from=right_from).marks()


def read_table(
    path: Path,
    ids: Ids | None = None,
    *,
    columns: Collection[str] | None = None,
    metric: str = "",
    right_from: float | None = None,
) -> Table:
    """Read the marks of a file, its kind told by its content: grades, plain marks, or a log of another program.

    Plain lines are `{"case_id": text or whole number, "correct": true|false|null, ...}`; every other text, number or
    true/false is a column to group by, null is an absent one. ids: give the same to tables that are to be compared.
    columns: those to keep; None keeps all. metric, right_from: see `logs.Choice`; for logs of other programs.

    Raises:
        UserError: unreadable, not UTF-8, empty, a line cut short or not such a mark, an id that comes twice; for a log
            of another program also a metric that is not there or not chosen.
    """
    choice = Choice(metric, right_from)
    kind = logs.kind_of(path)
    rows = _Rows({} if ids is None else ids, None if columns is None else frozenset(columns))
    if kind == "lines":
        source, chosen = _read_lines(path, rows, choice)
    else:
        reader = logs.Inspect(choice)
        for sample in logs.inspect_samples(path, kind):
            rows.add(reader.read(sample, path))
        source, chosen = "Inspect", reader.chosen
        if not chosen:
            raise UserError(f"{path}: no sample has a score; score the log with inspect score first.")
    twice = rows.repeated()
    if twice is not None:
        raise _repeated(path, twice, sampled=source in ("grades", "Inspect"))
    return rows.table(source, chosen)


def from_grades(grades: Iterable[Grade]) -> list[Mark]:
    """One mark a case, in order of first appearance; samples of a case are put together.

    Raises:
        UserError: one sample of one case comes twice.
    """
    rows = _filled((_of_grade(grade, 0) for grade in grades), {})
    twice = rows.repeated()
    if twice is not None:
        raise UserError(
            f"case '{twice.case_id}' has sample {twice.sample} twice; keep one grade for each case and sample."
        )
    return rows.table("grades", "").marks()


def table_of(marks: Iterable[Mark], ids: Ids) -> Table:
    """Marks as a table.

    Raises:
        UserError: one case comes twice.
    """
    every = list(marks)
    rows = _filled((Entry(mark.case_id, mark.correct, 0, 0, mark.red_flags, mark.groups) for mark in every), ids)
    twice = rows.repeated()
    if twice is not None:
        raise UserError(f"case_id '{twice.case_id}' is marked twice for one model; keep one mark for each case.")
    share = np.array([np.nan if mark.share is None else mark.share for mark in every])
    return replace(rows.table("", ""), share=share, samples=np.array([mark.samples for mark in every], dtype=np.int64))


def _filled(entries: Iterable[Entry], ids: Ids) -> _Rows:
    rows = _Rows(ids, None)
    for entry in entries:
        rows.add(entry)
    return rows


@dataclass(frozen=True, slots=True)
class _Twice:
    case_id: str
    sample: int
    first: str | int
    second: str | int


class _Rows:
    """Entries while they come in: some 14 bytes each, and four for each column kept."""

    __slots__ = ("codes", "correct", "flags", "ids", "kept", "known", "number", "places", "sample", "where")

    def __init__(self, ids: Ids, kept: frozenset[str] | None) -> None:
        self.ids = ids
        self.kept = kept
        self.known: set[str] = set()
        self.number, self.sample = array("i"), array("i")
        self.correct, self.flags = array("b"), array("b")
        self.where: array[int] | list[str] = array("i")
        self.codes: dict[str, array[int]] = {}
        self.places: dict[str, dict[str, int]] = {}

    def add(self, entry: Entry) -> None:
        """Take one entry."""
        row = len(self.number)
        if isinstance(entry.where, str):
            self.where = self.where if isinstance(self.where, list) else []
            self.where.append(entry.where)
        elif isinstance(self.where, array):
            self.where.append(entry.where)
        number = self.ids.get(entry.case_id)
        if number is None:
            _printable(entry.case_id, entry)
            number = self.ids[entry.case_id] = len(self.ids)
        self.number.append(number)
        self.sample.append(entry.sample)
        self.correct.append(-1 if entry.correct is None else entry.correct)
        self.flags.append(-1 if entry.red_flags is None else entry.red_flags)
        self.known.update(entry.groups)
        for name, value in entry.groups.items():
            if self.kept is None or name in self.kept:
                places = self.places.setdefault(name, {})
                codes = self.codes.setdefault(name, array("i"))
                if len(codes) < row:
                    codes.extend([-1] * (row - len(codes)))
                if value not in places:
                    _printable(name + value, entry)
                codes.append(places.setdefault(value, len(places)))

    def repeated(self) -> _Twice | None:
        """The first entry that comes a second time, None when there is none."""
        number = np.frombuffer(self.number, dtype=np.int32)
        if np.bincount(number, minlength=1).max() < 2:
            return None
        sample = np.frombuffer(self.sample, dtype=np.int32)
        order = np.lexsort((np.arange(len(number)), sample, number))
        same = (np.diff(number[order]) == 0) & (np.diff(sample[order]) == 0)
        if not same.any():
            return None
        again = order[1:][same]
        second = int(again.min())
        first = int(order[:-1][same][again.argmin()])
        return _Twice(self._name(number[second]), int(sample[second]), self.where[first], self.where[second])

    def table(self, source: str, metric: str) -> Table:
        """One row a case."""
        number = np.frombuffer(self.number, dtype=np.int32)
        correct, flags = np.frombuffer(self.correct, dtype=np.int8), np.frombuffer(self.flags, dtype=np.int8)
        # Written backwards, so that the first line of a case stays.
        line = np.full(len(self.ids), -1, dtype=np.int32)
        line[number[::-1]] = np.arange(len(number) - 1, -1, -1, dtype=np.int32)
        first = np.sort(line[line >= 0])
        line[number[first]] = np.arange(len(first), dtype=np.int32)
        row = line[number]

        def counted(chosen: NDArray[np.bool_]) -> NDArray[np.unsignedinteger]:
            times = np.bincount(row[chosen], minlength=len(first))
            # Twice the largest count must fit too.
            return times.astype(np.min_scalar_type(2 * int(times.max(initial=0))))

        right, gradable, samples = counted(correct > 0), counted(correct >= 0), counted(correct >= -1)
        named, flagged = counted(flags > 0), counted(flags >= 0)
        share = np.full(len(first), np.nan)
        np.divide(right, gradable, out=share, where=gradable > 0)
        return Table(
            ids=self.ids,
            case=number[first],
            correct=np.where(gradable > 0, right * 2 > gradable, -1).astype(np.int8),
            # 0, 1 and NaN are exact in two bytes; a share of several samples is not.
            share=share.astype(np.float16) if len(first) == len(number) else share,
            samples=samples,
            red_flags=np.where(flagged > 0, named * 2 > flagged, -1).astype(np.int8),
            columns={name: self._column(name, first) for name in self.codes},
            known=frozenset(self.known),
            source=source,
            metric=metric,
        )

    def _column(self, name: str, first: NDArray[np.int32]) -> Column:
        codes = np.full(len(self.number), -1, dtype=np.int32)
        codes[: len(self.codes[name])] = self.codes[name]
        return Column(codes[first].astype(np.min_scalar_type(-max(1, len(self.places[name])))), list(self.places[name]))

    def _name(self, number: int) -> str:
        return next(islice(self.ids, int(number), None))


def _printable(text: str, entry: Entry) -> None:
    """Refuse half a surrogate pair, which JSON can escape and nothing can print."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"case_id {entry.case_id!a} or a column of it holds {text[error.start]!a}, half a character; "
            "write the file anew as UTF-8."
        ) from error


def _read_lines(path: Path, rows: _Rows, choice: Choice) -> tuple[str, str]:
    """Read a file of lines; gives what it was and, for a log of another program, what counted."""
    lines = _with_bar(path)
    harness: logs.Harness | None = None
    source = ""
    numbers: set[bool] = set()
    for number, text in lines:
        line, where = text.strip().lstrip("\ufeff"), f"{path}:{number}"
        if not source:
            row = _row(line, where, strict=False)
            if logs.is_harness(row):
                source, harness = "lm-evaluation-harness", logs.Harness(choice)
            else:
                source = "grades" if "answer" in row else "marks"
        if harness is not None:
            entry = harness.read(_row(line, where, strict=False), number, path)
            if entry is not None:
                rows.add(entry)
        elif source == "grades":
            rows.add(_of_grade(_grade(line, where), number, where))
        else:
            row = _row(line, where)
            rows.add(_plain(row, number, where))
            numbers.add(isinstance(row["case_id"], int))
            if len(numbers) > 1:
                raise UserError(f"{where}: case_id {row['case_id']!r} mixes text and numbers; write every id as text.")
    if harness is not None and not rows.number:
        found = ", ".join(sorted(harness.others))
        raise UserError(f"{path}: has no line filtered by '{choice.part}'; use one of {found}.")
    if not rows.number:
        raise UserError(f"{path}: holds no marks; expected one JSON object a line.")
    return source, harness.chosen if harness is not None else ""


def _with_bar(path: Path) -> Iterator[tuple[int, str]]:
    total = path.stat().st_size if path.is_file() else None
    with bar(f"reading {path.name}", total) as advance:
        read = 0
        for number, line in numbered_lines(path, LONGEST_LINE):
            yield number, line
            read += len(line)
            if number % EVERY == 0:
                advance(read)
                read = 0


def _row(line: str, where: str, *, strict: bool = True) -> dict[str, Any]:
    """A JSON object; strict: NaN and Infinity, which Python writes and JSON lacks, are refused."""
    row = decode(
        line,
        where,
        remedy="the line may be cut short: make the file anew",
        shape="expected one flat JSON object a line",
        decoder=STRICT if strict else LENIENT,
    )
    if not isinstance(row, dict):
        raise UserError(f"{where}: is not a JSON object; expected {{'case_id': ..., 'correct': true}}.")
    return row


def _grade(line: str, where: str) -> Grade:
    try:
        if "NaN" not in line and "Infinity" not in line:
            return Grade.model_validate_json(line)
        return Grade.model_validate(_row(line, where))
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            _row(line, where)  # says where the JSON breaks
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: is not a Grade (field '{place}': {first['msg']}); mend that line.") from error


def _of_grade(grade: Grade, number: int, where: str = "") -> Entry:
    if not 0 <= grade.sample < 2**31:
        raise UserError(f"{where or grade.case_id}: sample {grade.sample} is not a number from 0 on; number them anew.")
    flags = grade.red_flags_named >= grade.red_flags_total if grade.red_flags_total > 0 else None
    return Entry(grade.case_id, grade.correct, grade.sample, number, flags, grade.groups)


def _plain(row: Mapping[str, Any], number: int, where: str) -> Entry:
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
    return Entry(str(name), correct, 0, number, None, groups)


def _repeated(path: Path, twice: _Twice, *, sampled: bool) -> UserError:
    if isinstance(twice.second, str):
        return UserError(f"{path}: {twice.second} comes twice; write the log anew.")
    what = f"case_id '{twice.case_id}'" + (f", sample {twice.sample}," if sampled else "")
    remedy = "number repeated answers of one case in 'sample'" if sampled else "keep one mark for each case"
    return UserError(f"{path}:{twice.second}: {what} was already on line {twice.first}; {remedy}.")
