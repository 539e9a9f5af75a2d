"""Avey vignettes as SymptomCheck Bench keeps them (https://github.com/medaks/symptomcheck-bench).

Left out on purpose: what the source's simulated patient says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from rounds.cases.importers.outcome import Outcome, Section, id_of, name_and_brackets, sectioned
from rounds.cases.importers.reading import Row, rows
from rounds.records import Case


class Avey(Row):
    """One vignette; '-' and '' are nothing told."""

    id: str | None = None
    correct_diagnosis: str = Field(min_length=1)
    demographics: str = Field(min_length=1)
    chief_complaints: str = ""
    presentation: str = Field(min_length=1)
    absent_findings: str = ""
    physical_history: str = ""
    family_history: str = ""
    social_history: str = ""
    body_system: str = ""


def read(path: Path) -> Iterator[Outcome]:
    """One case a row; what is absent is told as absent."""
    for where, row in rows(path, Avey):
        name, brackets = name_and_brackets(row.correct_diagnosis)
        case = Case(
            id=row.id or id_of("avey", row.demographics, row.presentation),
            vignette=row.presentation,
            diagnosis=name,
            also_called=brackets,
            specialty=row.body_system,
            source="Avey",
            licence="MIT",
        )
        sections = [
            Section("Patient", row.demographics),
            Section("Chief complaint", row.chief_complaints),
            Section("Presentation", row.presentation),
            Section("Absent findings", row.absent_findings),
            Section("Past history", row.physical_history),
            Section("Family history", row.family_history),
            Section("Social history", row.social_history),
        ]
        yield sectioned(where, case, sections)
