"""HEAD-QA (https://github.com/aghie/head-qa): Spanish specialty exams, with an English translation of each item.

Reads the original `{"exams": {...}}` documents and rows that hold both languages. The Spanish item keeps its id, the
English one is `ID.en`, a twin of it. Left out on purpose: items with a picture, which are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from rounds.cases.importers.outcome import PICTURE, Outcome, chosen
from rounds.cases.importers.reading import Row, objects, valid
from rounds.records import LETTERS, UserError


class Both(Row):
    """One item in two languages."""

    id: str = Field(min_length=1)
    category: str
    question_es: str = Field(min_length=1)
    answers_es: tuple[str, ...]
    right: str | int
    question_en: str | None = None
    answers_en: tuple[str, ...] = ()
    right_en: str | int | None = None
    has_image: bool = False


class Option(Row):
    """One option of an original item."""

    aid: str | int
    atext: str


class Item(Row):
    """One original item; `ra` is the number of the right option, 0 for an item annulled by the ministry."""

    qid: str | int
    qtext: str = Field(min_length=1)
    ra: str | int
    answers: tuple[Option, ...]
    image: str | dict[str, Any] | None = None


class Exam(Row):
    """One original exam."""

    category: str
    year: str | int
    data: tuple[dict[str, Any], ...]


def read(path: Path) -> Iterator[Outcome]:
    """One choice an item and language.

    Raises:
        UserError: neither of the two layouts, or a number beyond the options.
    """
    for where, value in objects(path):
        exams = value.get("exams")
        if isinstance(exams, dict):
            language = "en" if "en" in str(value.get("language", "")).casefold().split("-") else "es"
            for name, exam in exams.items():
                yield from _exam(f"{where}: exam '{name}'", exam, language)
        elif isinstance(value.get("data"), list):  # a document of exams by name, without the frame
            yield from _exam(where, value, "es")
        else:
            yield from _both(where, valid(value, Both, where))


def _both(where: str, row: Both) -> Iterator[Outcome]:
    common = {"specialty": row.category}
    yield _choice(where, row.question_es, row.answers_es, row.right, row.has_image, id=row.id, language="es", **common)
    if row.question_en is not None:
        right = row.right if row.right_en is None else row.right_en
        twin = {"id": f"{row.id}.en", "language": "en", "twin_of": row.id, **common}
        yield _choice(where, row.question_en, row.answers_en, right, row.has_image, **twin)


def _exam(where: str, value: Any, language: str) -> Iterator[Outcome]:
    exam = valid(value, Exam, where)
    for raw in exam.data:
        item = valid(raw, Item, f"{where}: item '{raw.get('qid')}'")
        name = f"{exam.category}-{exam.year}-{item.qid}"
        twin = {"id": f"{name}.en", "twin_of": name} if language == "en" else {"id": name}
        numbers = [str(option.aid) for option in item.answers]
        right = str(item.ra)
        place = numbers.index(right) + 1 if right in numbers else right
        yield _choice(
            f"{where}: item '{item.qid}'",
            item.qtext,
            tuple(option.atext for option in item.answers),
            place,
            bool(item.image),
            language=language,
            specialty=exam.category,
            **twin,
        )


def _choice(
    where: str, question: str, options: tuple[str, ...], right: str | int, picture: bool, **fields: Any
) -> Outcome:
    number = str(right).strip()
    if not number.isdigit() or int(number) > len(options):
        raise UserError(f"{where}: the right answer is '{right}'; write a number from 1 to {len(options)}.")
    key = [LETTERS[int(number) - 1]] if int(number) else []
    outcome = chosen(where, options, key, vignette=question, source="HEAD-QA", licence="MIT", **fields)
    return Outcome(where, outcome.id, outcome.case, PICTURE) if picture and not outcome.refused else outcome
