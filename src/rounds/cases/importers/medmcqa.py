"""MedMCQA JSONL: `question`, `opa` to `opd`, `cop` (https://github.com/medmcqa/medmcqa).

`cop` counts from 1 in the original files and from 0 (-1: kept secret) on Hugging Face. The file itself tells which: it
is read twice. Left out on purpose: `exp`, the explanation, which gives the answer away.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from rounds.cases.importers.outcome import Outcome, chosen
from rounds.cases.importers.reading import Row, rows
from rounds.records import LETTERS, UserError


class MedMCQA(Row):
    """One question."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    opa: str
    opb: str
    opc: str
    opd: str
    cop: int | None = Field(default=None, ge=-1, le=4)
    subject_name: str | None = ""


def read(path: Path) -> Iterator[Outcome]:
    """One choice a row; rows without a key are refused.

    Raises:
        UserError: a row that is none, or a file whose `cop` may count from 0 as well as from 1.
    """
    first = _first(path)
    for where, row in rows(path, MedMCQA):
        key = [] if row.cop is None or row.cop < first else [LETTERS[row.cop - first]]
        yield chosen(
            where,
            [row.opa, row.opb, row.opc, row.opd],
            key,
            id=row.id,
            vignette=row.question,
            specialty=row.subject_name or "",
            source="MedMCQA",
            licence="MIT",
        )


def _first(path: Path) -> int:
    seen = {row.cop for _, row in rows(path, MedMCQA) if row.cop is not None}
    zero, one = bool(seen & {0, -1}), 4 in seen
    if zero and one:
        raise UserError(f"{path}: 'cop' has both 0 (or -1) and 4; the file mixes two ways of counting: split it.")
    if seen and not zero and not one:
        raise UserError(f"{path}: 'cop' is never 0, -1 or 4, so it may count from 0 or from 1; import the whole file.")
    return 1 if one else 0
