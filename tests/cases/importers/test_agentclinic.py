from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import agentclinic
from rounds.records import UserError

Write = Callable[..., Path]
STATION: dict[str, Any] = {
    "Objective_for_Doctor": "Find the scabies",
    "Patient_Actor": {
        "Demographics": "20-year-old student",
        "History": "Itching between the fingers, worse at night, since a journey with a shared bed.",
        "Symptoms": {"Primary_Symptom": "Itching", "Secondary_Symptoms": ["Poor sleep", "Scratch marks"]},
    },
    "Physical_Examination_Findings": {"Vital_Signs": {"Temperature": "36.6"}, "Skin": "Thin grey lines"},
    "Test_Results": {"Skin_Scraping": {"Findings": "Mites: scabies"}},
    "Correct_Diagnosis": "Scabies",
}


def test_every_finding_is_a_line_but_the_one_that_names_it(jsonl: Write) -> None:
    (found,) = agentclinic.read(jsonl({"OSCE_Examination": STATION}))
    assert found.case is not None
    assert found.dropped == ("Skin Scraping, Findings",)
    assert "Symptoms, Secondary Symptoms: Poor sleep; Scratch marks" in found.case.vignette
    assert "Vital Signs, Temperature: 36.6" in found.case.vignette
    assert "scabies" not in found.case.vignette.lower()


def test_a_row_of_something_else_is_named(jsonl: Write) -> None:
    with pytest.raises(UserError, match=r":1: field 'OSCE_Examination': Field required"):
        list(agentclinic.read(jsonl({"question": "x"})))
