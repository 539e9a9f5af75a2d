"""The human queue: a sheet of pairs that no rule and no judge decided, for a person to fill and for us to read again.

One row a pair, most frequent first, in CSV that any spreadsheet opens: `verdict` takes yes or no (in a few spellings),
near, or nothing yet; `rater` and `remark` are free. What a person wrote overrules every other level, is kept in the
next sheet, and holds for every model that answers so. The sheet says neither which model answered nor what a judge
thought, as the judge is held against it. Left out on purpose: two raters and their agreement (`rounds label`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from rounds import files
from rounds.grade.cascade import Ruling, State
from rounds.records import UserError

COLUMNS = ("right diagnosis", "answer", "times", "verdict", "rater", "remark", "key", "normalised")
VERDICTS: Mapping[str, State] = {
    **dict.fromkeys(("yes", "y", "right", "1", "true", "ja", "oui", "si", "sí"), "right"),
    **dict.fromkeys(("no", "n", "wrong", "0", "false", "nein", "non"), "wrong"),
    "near": "near",
}
RISKY = ("=", "+", "-", "@", "\t", "'")
"""A cell that begins so would be taken for a formula; an apostrophe goes before it, as spreadsheets do."""


def write_sheet(
    path: Path, waiting: Iterable[Ruling], times: Mapping[tuple[str, str], int], filled: Iterable[Ruling]
) -> None:
    """Write the pairs that wait, most frequent first, below them those already filled.

    Raises:
        UserError: full disk, no permission.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    order = sorted(
        waiting, key=lambda ruling: (-times.get((ruling.key, ruling.answer), 0), ruling.right, ruling.answer)
    )
    for ruling in (*order, *filled):
        human = ruling.level == "human"
        verdict = {"right": "yes", "wrong": "no", "near": "near", "open": ""}[ruling.state] if human else ""
        rater, _, remark = ruling.why.partition(": ") if human else ("", "", "")
        count = times.get((ruling.key, ruling.answer), 0)
        row = (ruling.right, ruling.said, count, verdict, rater, remark, ruling.key, ruling.answer)
        writer.writerow([_safe(str(cell)) for cell in row])
    files.write_text(path, out.getvalue())


def read_sheet(path: Path) -> list[Ruling]:
    """Rulings of the rows a person has filled; rows without a verdict still wait.

    Raises:
        UserError: unreadable, a column missing, a verdict that is neither yes, no nor near, a pair ruled both ways.
    """
    reader = csv.DictReader(io.StringIO(files.read_text(path).removeprefix("\ufeff"), newline=""))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path}: has no column '{missing[0]}'; keep the first line of the sheet as it was written.")
    found: dict[tuple[str, str], Ruling] = {}
    for row in reader:
        where = f"{path}:{reader.line_num}"
        cell = {name: _plain(str(value or "")) for name, value in row.items() if name is not None}
        verdict = cell["verdict"].strip().casefold()
        if not verdict:
            continue
        if verdict not in VERDICTS:
            raise UserError(
                f"{where}: verdict '{cell['verdict']}' is unknown; write yes, no or near, or leave it empty."
            )
        rater = cell["rater"].strip().replace(": ", " ") or "person"
        ruling = Ruling(
            key=cell["key"],
            right=cell["right diagnosis"],
            answer=cell["normalised"],
            said=cell["answer"],
            state=VERDICTS[verdict],
            level="human",
            why=f"{rater}: {cell['remark'].strip()}" if cell["remark"].strip() else rater,
        )
        key = (ruling.key, ruling.answer)
        if key in found and found[key].state != ruling.state:
            raise UserError(f"{where}: '{ruling.said}' is ruled both ways for '{ruling.right}'; keep one of the rows.")
        found[key] = ruling
    return list(found.values())


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(RISKY) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(RISKY) else cell
