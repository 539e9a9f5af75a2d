"""MedR-Bench (https://github.com/MAGIC-AI4Med/MedRBench): summaries of published case reports, checked for rarity.

The summary is a list of titled lines; a line that names the diagnosis (often the histology) is dropped. Left out on
purpose: `differential_diagnosis` and `final_diagnosis`, the authors' reasoning, and reports of several diagnoses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from rounds.cases.importers.outcome import Outcome, Section, name_and_brackets, sectioned
from rounds.cases.importers.reading import Row, rows
from rounds.records import Case

SEVERAL = "names several diagnoses"
TITLE = re.compile(r"^[\s*•-]*(?P<title>[^:*]{2,60}?)\s*(?:\*\*)?\s*:\s*(?:\*\*)?\s*(?P<text>.*)$")
NUMBERED = re.compile(r"^\s*\d\s*[.)]\s", re.MULTILINE)


class MedRBench(Row):
    """One report."""

    id: str = Field(min_length=1)
    case_summary: str = Field(min_length=1)
    diagnosis_results: str = Field(min_length=1)
    body_category: tuple[str, ...] = ()
    disorder_category: tuple[str, ...] = ()
    checked_rare_disease: tuple[Any, ...] = ()


def read(path: Path) -> Iterator[Outcome]:
    """One case a row; incidence is `rare` or `not rare`, as the source checked it."""
    for where, row in rows(path, MedRBench):
        name, brackets = name_and_brackets(row.diagnosis_results.replace("*", " ").strip())
        case = Case(
            id=row.id,
            vignette=row.case_summary,
            diagnosis=name,
            also_called=brackets,
            specialty=row.body_category[0] if row.body_category else "",
            incidence="rare" if row.checked_rare_disease else "not rare",
            source="MedR-Bench",
            licence="CC BY-SA",
        )
        if len(NUMBERED.findall(row.diagnosis_results)) > 1:
            yield Outcome(where, row.id, case, SEVERAL)
        else:
            yield sectioned(where, case, list(_sections(row.case_summary)))


def _sections(summary: str) -> Iterator[Section]:
    for line in summary.splitlines():
        match = TITLE.match(line)
        if match:
            yield Section(match["title"].strip(), match["text"].replace("**", "").strip() or "see below")
        elif line.strip():
            yield Section("", line.replace("**", "").strip(" -"))
