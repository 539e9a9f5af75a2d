"""FrenchMedMCQA JSON (https://github.com/qanastek/FrenchMedMCQA): one or several right answers of five.

Left out on purpose: partial credit; all right letters must be chosen and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from rounds.cases.importers.outcome import Outcome, chosen
from rounds.cases.importers.reading import Row, rows
from rounds.records import LETTERS, UserError


class FrenchMedMCQA(Row):
    """One question."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answers: dict[str, str]
    correct_answers: tuple[str, ...]
    nbr_correct_answers: int | None = None
    subject_name: str = ""


def read(path: Path) -> Iterator[Outcome]:
    """One choice a row, French.

    Raises:
        UserError: a row that is none; letters with a gap; as many right answers as the row does not say.
    """
    for where, row in rows(path, FrenchMedMCQA):
        letters = sorted(row.answers)
        if "".join(letters).upper() != LETTERS[: len(letters)]:
            raise UserError(f"{where}: answers are lettered {', '.join(letters)}; letter them a, b, c in a row.")
        if row.nbr_correct_answers is not None and row.nbr_correct_answers != len(set(row.correct_answers)):
            raise UserError(
                f"{where}: has {len(set(row.correct_answers))} right answers but says {row.nbr_correct_answers}; "
                f"mend or remove that row."
            )
        yield chosen(
            where,
            [row.answers[letter] for letter in letters],
            [letter.strip().upper() for letter in row.correct_answers],
            id=row.id,
            vignette=row.question,
            language="fr",
            specialty=row.subject_name,
            source="FrenchMedMCQA",
            licence="Apache-2.0",
        )
