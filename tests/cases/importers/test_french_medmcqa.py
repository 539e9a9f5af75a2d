from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import french_medmcqa
from rounds.records import UserError

Write = Callable[..., Path]
ROW: dict[str, Any] = {
    "id": "f1",
    "question": "Lesquels ?",
    "answers": {"a": "un", "b": "deux", "c": "trois"},
    "correct_answers": ["c", "a"],
    "nbr_correct_answers": 2,
    "subject_name": "pharmacie",
}


def test_several_right_answers(jsonl: Write) -> None:
    (found,) = french_medmcqa.read(jsonl(ROW))
    assert found.case is not None
    assert (found.case.right, found.case.diagnosis, found.case.language) == (("A", "C"), "un; trois", "fr")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nbr_correct_answers": 1}, "has 2 right answers but says 1"),
        ({"answers": {"a": "un", "c": "trois"}}, "are lettered a, c"),
        ({"correct_answers": ["e", "a"]}, "option 'E' does not exist"),
    ],
)
def test_faults(jsonl: Write, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f":1: .*{words}"):
        list(french_medmcqa.read(jsonl({**ROW, **change})))
