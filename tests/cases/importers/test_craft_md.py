from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import craft_md
from rounds.cases.importers.outcome import NAMED, OTHER_KEY

Write = Callable[..., Path]
STORY = "A gardener has a ring of small red bumps on the back of the left hand that neither itches nor scales."
ROW: dict[str, Any] = {
    "case_id": "case_9",
    "case_vignette": f"{STORY} Which of the following is the most likely diagnosis in this patient?",
    "choice_1": "Granuloma annulare",
    "choice_2": "Tinea",
    "choice_3": "Eczema",
    "choice_4": "",
    "answer": "granuloma annulare",
    "category": "Dermatology",
}


def test_a_question_for_the_diagnosis_is_asked_freely(jsonl: Write) -> None:
    (found,) = craft_md.read(jsonl(ROW))
    assert found.case is not None
    assert (found.case.kind, found.case.vignette, found.case.diagnosis) == ("diagnosis", STORY, "Granuloma annulare")
    assert found.case.options == found.case.right == ()


def test_every_case_can_stay_a_choice(jsonl: Write) -> None:
    (found,) = craft_md.read_choices(jsonl(ROW))
    assert found.case is not None
    assert (found.case.kind, found.case.vignette) == ("choice", ROW["case_vignette"])
    assert (found.case.options, found.case.right) == (("Granuloma annulare", "Tinea", "Eczema"), ("A",))


def test_a_vignette_without_question_asks_for_the_diagnosis(jsonl: Write) -> None:
    (found,) = craft_md.read(jsonl({**ROW, "case_vignette": STORY}))
    assert found.case is not None
    assert (found.case.kind, found.case.vignette) == ("diagnosis", STORY)


@pytest.mark.parametrize(
    "question",
    [
        "Which of the following would confirm the diagnosis?",
        "What is the best next step in diagnosis?",
        "Which drug is best?",
    ],
)
def test_another_question_stays_a_choice(jsonl: Write, question: str) -> None:
    (found,) = craft_md.read(jsonl({**ROW, "case_vignette": f"{STORY} {question}"}))
    assert found.case is not None
    assert found.case.kind == "choice"
    assert found.case.vignette.endswith(question)


def test_refusals(jsonl: Write) -> None:
    other, named = craft_md.read(
        jsonl(
            {**ROW, "answer": "Leprosy"}, {**ROW, "case_id": "b", "case_vignette": f"{STORY} Tinea.", "answer": "Tinea"}
        )
    )
    assert (other.refused, named.refused) == (OTHER_KEY, NAMED)
