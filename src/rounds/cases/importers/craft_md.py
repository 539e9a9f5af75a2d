"""CRAFT-MD cases (https://github.com/rajpurkarlab/craft-md): a vignette, four options, twelve specialties.

`read` asks freely where the last question asks for the diagnosis: that question and the options are taken off; a case
that asks for something else (a test, a drug) stays a choice. `read_choices` leaves every case a choice. Left out on
purpose: the conversations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from rounds.cases.importers.outcome import OTHER_KEY, Outcome, chosen, fold, name_and_brackets, told
from rounds.cases.importers.reading import Row, rows
from rounds.records import LETTERS, Case

QUESTION = re.compile(r"(?:^|(?<=[.!?\n\"”])\s+)(?P<asked>[^.!?\n]*\?)\s*$")
DIAGNOSIS = re.compile(r"\bdiagnosis\b", re.IGNORECASE)
OTHER = re.compile(
    r"\b(?:step|confirm\w*|establish\w*|risk|associated|feature|findings|treatment|therapy|pharmacotherapy|management|"
    r"suspicion|different|test|method|methods|helpful|complication|mechanism|prevent\w*)\b",
    re.IGNORECASE,
)


class CraftMD(Row):
    """One case."""

    case_id: str = Field(min_length=1)
    case_vignette: str = Field(min_length=1)
    choice_1: str
    choice_2: str
    choice_3: str | None = None
    choice_4: str | None = None
    answer: str = Field(min_length=1)
    category: str = ""
    dataset: str = ""


def read(path: Path) -> Iterator[Outcome]:
    """One case a row, asked freely where it asks for the diagnosis."""
    for outcome in read_choices(path):
        case = outcome.case
        question = QUESTION.search(case.vignette) if case else None
        if case and not outcome.refused and _asks_diagnosis(question["asked"] if question else ""):
            outcome = told(outcome.where, _free(case, question.start("asked") if question else None))
        yield outcome


def read_choices(path: Path) -> Iterator[Outcome]:
    """One choice a row; an answer that is none of the options is refused."""
    for where, row in rows(path, CraftMD):
        given = (row.choice_1, row.choice_2, row.choice_3, row.choice_4)
        options = [choice.strip() for choice in given if choice and choice.strip()]
        places = [i for i, option in enumerate(options) if fold(option) == fold(row.answer)]
        outcome = chosen(
            where,
            options,
            [LETTERS[i] for i in places[:1]],
            id=row.case_id,
            vignette=row.case_vignette,
            specialty=row.category,
            source="CRAFT-MD",
            licence="MIT",
        )
        yield outcome if places else Outcome(where, row.case_id, outcome.case, OTHER_KEY)


def _asks_diagnosis(asks: str) -> bool:
    """Whether the last question asks for the diagnosis; a vignette without a question does."""
    return not asks or bool(DIAGNOSIS.search(asks) and not OTHER.search(asks))


def _free(case: Case, end: int | None) -> Case:
    name, brackets = name_and_brackets(case.diagnosis)
    return case.model_copy(
        update={
            "kind": "diagnosis",
            "vignette": case.vignette[:end].strip() or " ",
            "diagnosis": name,
            "also_called": brackets,
            "options": (),
            "right": (),
        }
    )
