from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import head_qa
from rounds.cases.importers.outcome import NO_KEY, PICTURE
from rounds.records import UserError

Write = Callable[..., Path]
BOTH: dict[str, Any] = {
    "id": "medicine-2016-1",
    "category": "medicine",
    "question_es": "¿Qué hueso?",
    "answers_es": ["cúbito", "costilla"],
    "right": "2",
    "question_en": "Which bone?",
    "answers_en": ["ulna", "rib"],
    "right_en": "2",
    "has_image": False,
}


def test_an_item_is_two_cases_and_the_translation_is_a_twin(jsonl: Write) -> None:
    spanish, english = [found.case for found in head_qa.read(jsonl(BOTH))]
    assert spanish is not None
    assert english is not None
    assert (spanish.id, spanish.language, spanish.right, spanish.diagnosis) == (BOTH["id"], "es", ("B",), "costilla")
    assert (english.id, english.twin_of, english.diagnosis) == ("medicine-2016-1.en", BOTH["id"], "rib")


def test_a_picture_is_refused(jsonl: Write) -> None:
    assert [found.refused for found in head_qa.read(jsonl({**BOTH, "has_image": True}))] == [PICTURE, PICTURE]


@pytest.mark.parametrize(("language", "name"), [("es", "nursing-2014-3"), ("en", "nursing-2014-3.en")])
def test_the_original_document(document: Write, language: str, name: str) -> None:
    item = {"qid": "3", "qtext": "Which?", "ra": "4", "answers": [{"aid": 1, "atext": "a"}, {"aid": 4, "atext": "d"}]}
    none = {**item, "qid": "4", "ra": "0"}
    exam = {"category": "nursing", "year": "2014", "data": [item, none]}
    right, annulled = head_qa.read(document({"language": language, "exams": {"Cuaderno_1": exam}}))
    assert right.case is not None
    assert (right.id, right.case.diagnosis, right.case.language) == (name, "d", language)
    assert annulled.refused == NO_KEY


@pytest.mark.parametrize("right", ["3", "b", "-1"])
def test_a_number_beyond_the_options_stops_the_reading(jsonl: Write, right: str) -> None:
    with pytest.raises(UserError, match=rf":1: the right answer is '{right}'; write a number from 1 to 2\.$"):
        list(head_qa.read(jsonl({**BOTH, "right": right})))
