"""MedQA-style JSONL: `question`, `options` by letter, `answer_idx` (https://github.com/jind11/MedQA).

Left out on purpose: `metamap_phrases` and other columns of single releases.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from rounds.cases.importers.outcome import OTHER_KEY, Outcome, chosen, fold, id_of
from rounds.cases.importers.reading import Row, rows
from rounds.records import LETTERS, UserError


class MedQA(Row):
    """One question."""

    id: str | int | None = None
    question: str = Field(min_length=1)
    options: dict[str, str]
    answer_idx: str
    answer: str | None = None
    meta_info: str = ""


def read(path: Path) -> Iterator[Outcome]:
    """One choice a row; options must be lettered A, B, C ... without a gap; a row without id gets one of its content.

    Raises:
        UserError: a row that is none, or letters that are not in a row.
    """
    for where, row in rows(path, MedQA):
        letters = sorted(row.options)
        if "".join(letters) != LETTERS[: len(letters)]:
            raise UserError(f"{where}: options are lettered {', '.join(letters)}; letter them A, B, C in a row.")
        texts = [row.options[letter] for letter in letters]
        name = str(row.id) if row.id not in (None, "") else id_of("medqa", row.question, *texts)
        outcome = chosen(
            where,
            texts,
            [row.answer_idx.strip().upper()],
            id=name,
            vignette=row.question,
            source="MedQA",
            licence="MIT",
        )
        if row.answer is not None and outcome.case and fold(row.answer) != fold(outcome.case.diagnosis):
            outcome = Outcome(where, name, outcome.case, OTHER_KEY)
        yield outcome
