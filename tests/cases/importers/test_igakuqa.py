"""Options never to choose, a misspelt key, two languages, numbers without options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import igakuqa
from rounds.cases.importers.outcome import PICTURE
from rounds.records import UserError

Write = Callable[..., Path]
ROW: dict[str, Any] = {
    "id": "115A9",
    "problem_ja": "どれか。",
    "choices_ja": ["甲", "乙", "丙"],
    "problem_en": "Which?",
    "choices_en": ["first", "second", "third"],
    "answer": ["b"],
    "text_only": True,
    "category": "内科",
    "kinki": ["ａ", " c"],
}


def test_never_choose_options_and_twins(jsonl: Write) -> None:
    japanese, english = [found.case for found in igakuqa.read(jsonl(ROW))]
    assert japanese is not None
    assert english is not None
    assert (japanese.right, japanese.never, japanese.diagnosis) == (("B",), ("A", "C"), "乙")
    assert (english.id, english.twin_of, english.diagnosis) == ("115A9.en", "115A9", "second")


def test_the_original_rows_with_their_misspelling(jsonl: Write) -> None:
    row = {
        "problem_id": "1",
        "problem_text": "どれか。",
        "choices": ["甲", "乙"],
        "asnwer": ["a", "b"],
        "text_only": True,
    }
    (found,) = igakuqa.read(jsonl(row))
    assert found.case is not None
    assert (found.id, found.case.right) == ("1", ("A", "B"))


def test_a_number_and_a_picture(jsonl: Write) -> None:
    row = {**ROW, "choices_ja": [], "problem_en": None, "answer": ["8.5"]}
    number, picture = igakuqa.read(jsonl(row, {**row, "id": "2", "text_only": False}))
    assert number.case is not None
    assert (number.case.kind, number.case.diagnosis, number.case.options) == ("number", "8.5", ())
    assert picture.refused == PICTURE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": ["d"]}, "option 'D' does not exist; use letters A to C"),
        ({"kinki": ["e"]}, "option 'E' does not exist"),
        ({"choices_ja": [], "answer": ["b"]}, "has no options but the answer 'B'"),
        ({"answer": None}, "field 'answer':"),
    ],
)
def test_faults(jsonl: Write, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f":1: .*{words}"):
        list(igakuqa.read(jsonl({**ROW, **change})))
