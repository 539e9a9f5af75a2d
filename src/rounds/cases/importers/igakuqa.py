"""IgakuQA (https://github.com/jungokasai/IgakuQA): the Japanese licensing examination, with options never to choose.

Reads the original rows and rows that hold both languages. The Japanese item keeps its id, the English one is `ID.en`, a
twin of it. An item without options asks for a number. Left out on purpose: items with a picture, which are refused.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field

from rounds.cases.importers.outcome import NO_KEY, PICTURE, Outcome, chosen
from rounds.cases.importers.reading import Row, rows
from rounds.records import Case, UserError


class IgakuQA(Row):
    """One item; the source spells `answer` as `asnwer` in places."""

    id: str = Field(min_length=1, validation_alias=AliasChoices("id", "problem_id"))
    problem: str = Field(min_length=1, validation_alias=AliasChoices("problem_ja", "problem_text"))
    choices: tuple[str, ...] = Field(default=(), validation_alias=AliasChoices("choices_ja", "choices"))
    answer: tuple[str, ...] | str = Field(validation_alias=AliasChoices("answer", "asnwer"))
    problem_en: str | None = Field(default=None, validation_alias=AliasChoices("problem_en", "problem_text_en"))
    choices_en: tuple[str, ...] | None = None
    text_only: bool = True
    category: str | None = ""
    kinki: tuple[str, ...] | str | None = ()


def read(path: Path) -> Iterator[Outcome]:
    """One choice an item and language; kind `number` where there are no options.

    Raises:
        UserError: a row that is none, or a letter beyond the options.
    """
    for where, row in rows(path, IgakuQA):
        yield _item(where, row, row.problem, row.choices, id=row.id, language="ja")
        if row.problem_en:
            texts = row.choices_en or ()
            yield _item(where, row, row.problem_en, texts, id=f"{row.id}.en", language="en", twin_of=row.id)


def letters_of(value: Iterable[str] | str | None) -> tuple[str, ...]:
    """Letters in one form: full width, spaces and lists in one string are met in the source."""
    parts = [value] if isinstance(value, str) else list(value or ())
    whole = [piece for part in parts for piece in unicodedata.normalize("NFKC", part).replace(",", " ").split()]
    return tuple(piece.upper() for piece in whole)


def _item(where: str, row: IgakuQA, question: str, choices: tuple[str, ...], **fields: Any) -> Outcome:
    common: dict[str, Any] = {"specialty": row.category or "", "source": "IgakuQA", "licence": "none stated"}
    if choices:
        outcome = chosen(
            where, choices, letters_of(row.answer), never=letters_of(row.kinki), vignette=question, **common, **fields
        )
    else:
        number = " ".join(letters_of(row.answer))
        if number and not number.replace(".", "", 1).isdigit():
            raise UserError(f"{where}: has no options but the answer '{number}'; write a number or give the options.")
        case = Case(kind="number", vignette=question, diagnosis=number, **common, **fields)
        outcome = Outcome(where, case.id, case, "" if number else NO_KEY)
    return Outcome(where, outcome.id, outcome.case, PICTURE) if not row.text_only and not outcome.refused else outcome
