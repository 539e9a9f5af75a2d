from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rounds.cases.importers import medrbench

Write = Callable[..., Path]
SUMMARY = """- **Patient Information:** A man of 60.
- Chief Complaint: A lump on the shin that has grown for a year.
- **Physical Examination**: Firm, not tender.
- **Ancillary Tests:**
  - **MRI:** A mass of fat.
  - **Histology:** A lipoma.
"""
ROW: dict[str, Any] = {
    "id": "r1",
    "case_summary": SUMMARY,
    "diagnosis_results": "**Lipoma of the shin (LOS).**",
    "body_category": ["Skin"],
    "checked_rare_disease": [],
}


def test_titled_lines_are_sections(jsonl: Write) -> None:
    (found,) = medrbench.read(jsonl({**ROW, "checked_rare_disease": ["x"]}))
    assert found.case is not None
    assert found.case.vignette.splitlines() == [
        "Patient Information: A man of 60.",
        "Chief Complaint: A lump on the shin that has grown for a year.",
        "Physical Examination: Firm, not tender.",
        "Ancillary Tests: see below",
        "MRI: A mass of fat.",
        "Histology: A lipoma.",
    ]
    assert (found.case.diagnosis, found.case.also_called) == ("Lipoma of the shin", ("LOS",))
    assert (found.case.specialty, found.case.incidence) == ("Skin", "rare")


def test_a_line_that_names_it_is_dropped(jsonl: Write) -> None:
    (found,) = medrbench.read(jsonl({**ROW, "diagnosis_results": "Lipoma"}))
    assert found.dropped == ("Histology",)
    assert found.case is not None
    assert found.case.incidence == "not rare"


def test_several_diagnoses_are_refused_and_still_in_the_key(jsonl: Write) -> None:
    (found,) = medrbench.read(jsonl({**ROW, "diagnosis_results": "1. Lipoma\n2. Gout"}))
    assert found.refused == medrbench.SEVERAL
    assert found.case is not None
    assert found.case.incidence == "not rare"
