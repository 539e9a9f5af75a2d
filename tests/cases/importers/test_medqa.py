from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rounds.cases.importers import medqa
from rounds.cases.importers.outcome import OTHER_KEY
from rounds.records import UserError

Write = Callable[..., Path]
ROW = {"question": "Which bone?", "options": {"A": "ulna", "B": "rib"}, "answer_idx": "B", "answer": "Rib"}


def test_a_row_is_a_choice(jsonl: Write) -> None:
    (found,) = medqa.read(jsonl({**ROW, "id": 7}))
    assert found.case is not None
    assert (found.id, found.case.options, found.case.right, found.case.diagnosis) == (
        "7",
        ("ulna", "rib"),
        ("B",),
        "rib",
    )


def test_a_row_without_id_gets_one_of_its_content_wherever_it_stands(jsonl: Write) -> None:
    other = {**ROW, "question": "Which joint?"}
    first = [found.id for found in medqa.read(jsonl(ROW, other))]
    assert [found.id for found in medqa.read(jsonl(other, ROW))] == first[::-1]
    assert len(set(first)) == 2


def test_a_key_that_contradicts_itself_is_refused(jsonl: Write) -> None:
    (found,) = medqa.read(jsonl({**ROW, "answer": "ulna"}))
    assert found.refused == OTHER_KEY


def test_letters_with_a_gap_stop_the_reading(jsonl: Write) -> None:
    with pytest.raises(UserError, match=r":1: options are lettered A, C; letter them A, B, C in a row\.$"):
        list(medqa.read(jsonl({**ROW, "options": {"A": "ulna", "C": "rib"}})))
