from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import pubmedqa
from rounds.cases.importers.outcome import NO_KEY
from rounds.records import UserError

Write = Callable[..., Path]
ROW: dict[str, Any] = {
    "QUESTION": "Does tea help?",
    "CONTEXTS": ["Forty drank tea.", "Thirty slept."],
    "LABELS": ["METHODS", "RESULTS"],
    "LONG_ANSWER": "Tea helps.",
    "final_decision": "maybe",
}


def test_a_question_stands_below_its_abstract_without_the_conclusion(document: Write) -> None:
    (found,) = pubmedqa.read(document({"123": ROW}))
    assert found.case is not None
    assert found.case.vignette == "Methods: Forty drank tea.\nResults: Thirty slept.\nDoes tea help?"
    assert (found.id, found.case.kind, found.case.right, found.case.diagnosis) == (
        "123",
        "yes-no-maybe",
        ("C",),
        "maybe",
    )


def test_an_item_without_decision_is_refused(document: Write) -> None:
    (found,) = pubmedqa.read(document({"123": {**ROW, "final_decision": None}}))
    assert found.refused == NO_KEY


@pytest.mark.parametrize(
    ("change", "words"),
    [({"final_decision": "perhaps"}, "final_decision"), ({"LABELS": ["METHODS"]}, "1 labels for 2 contexts")],
)
def test_a_broken_item_is_named(document: Write, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=rf"row '123': .*{words}"):
        list(pubmedqa.read(document({"123": {**ROW, **change}})))
