from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rounds.cases.importers import avey
from rounds.cases.importers.outcome import NAMED_BY_HISTORY

Write = Callable[..., Path]
ROW: dict[str, Any] = {
    "id": "v-1",
    "correct_diagnosis": "Tennis Elbow (epicondylitis)",
    "demographics": "40 year old Male",
    "chief_complaints": "Elbow pain",
    "presentation": "For five weeks lifting a kettle has hurt on the outer side of the right arm.",
    "absent_findings": "No numbness",
    "physical_history": "-",
    "family_history": "",
    "social_history": "Paints houses",
    "body_system": "Orthopaedic",
}


def test_fields_are_sections_and_nothing_told_is_left_out(jsonl: Write) -> None:
    (found,) = avey.read(jsonl(ROW))
    assert found.case is not None
    assert found.case.vignette.splitlines() == [
        "Patient: 40 year old Male",
        "Chief complaint: Elbow pain",
        f"Presentation: {ROW['presentation']}",
        "Absent findings: No numbness",
        "Social history: Paints houses",
    ]
    assert (found.case.diagnosis, found.case.also_called) == ("Tennis Elbow", ("epicondylitis",))
    assert found.case.specialty == "Orthopaedic"


def test_a_past_history_that_names_it_is_dropped_and_a_presentation_refuses(jsonl: Write) -> None:
    past, present = avey.read(
        jsonl(
            {**ROW, "physical_history": "Tennis elbow two years ago"},
            {
                **ROW,
                "id": "v-2",
                "presentation": "A tennis elbow that came back after he painted the long fence again.",
            },
        )
    )
    assert (past.refused, past.dropped) == ("", ("Past history",))
    assert present.refused == NAMED_BY_HISTORY
