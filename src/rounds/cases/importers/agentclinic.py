"""AgentClinic OSCE records (https://github.com/SamuelSchmidgall/AgentClinic).

Left out on purpose: `Objective_for_Doctor`, which often says where to look.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from rounds.cases.importers.outcome import Outcome, Section, id_of, name_and_brackets, sectioned
from rounds.cases.importers.reading import Row, rows
from rounds.records import Case


class Examination(Row):
    """One station."""

    patient: dict[str, Any] = Field(alias="Patient_Actor")
    examination: dict[str, Any] | str = Field(alias="Physical_Examination_Findings")
    tests: dict[str, Any] | str = Field(alias="Test_Results", default="")
    diagnosis: str = Field(alias="Correct_Diagnosis", min_length=1)


class Osce(Row):
    """One row."""

    station: Examination = Field(alias="OSCE_Examination")


def read(path: Path) -> Iterator[Outcome]:
    """One case a row: history, examination and tests, one finding a line; its id is of its content."""
    for where, row in rows(path, Osce):
        station = row.station
        name, brackets = name_and_brackets(station.diagnosis)
        sections = [*_leaves("", station.patient), *_leaves("", station.examination), *_leaves("", station.tests)]
        case = Case(
            id=id_of("agentclinic", json.dumps(station.model_dump(), sort_keys=True)),
            vignette=" ",
            diagnosis=name,
            also_called=brackets,
            source="AgentClinic MedQA",
            licence="MIT",
        )
        yield sectioned(where, case, sections)


def _leaves(title: str, value: Any) -> Iterator[Section]:
    """Every text below a value, titled by its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            words = str(key).replace("_", " ")
            yield from _leaves(f"{title}, {words}" if title else words, inner)
    elif isinstance(value, list):
        plain = [str(item) for item in value if not isinstance(item, Mapping | list)]
        yield Section(title, "; ".join(plain))
        for item in value:
            if isinstance(item, Mapping | list):
                yield from _leaves(title, item)
    elif value not in (None, ""):
        yield Section(title, str(value))
