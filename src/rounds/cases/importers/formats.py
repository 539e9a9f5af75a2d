"""Format by name: the one table of importers, and the laws that hold for all of them.

Ids are unique in a file. A refused row is an outcome with its reason, never dropped in silence. Left out on purpose:
formats found out by looking at the file; the user says which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rounds.cases.importers import (
    agentclinic,
    avey,
    craft_md,
    fhir,
    french_medmcqa,
    head_qa,
    igakuqa,
    medmcqa,
    medqa,
    medrbench,
    mmlu,
    orphapackets,
    phenopackets,
    pubmedqa,
    table,
)
from rounds.cases.importers.outcome import Outcome
from rounds.records import Case, UserError

FORMATS: dict[str, Callable[[Path], Iterator[Outcome]]] = {
    "agentclinic": agentclinic.read,
    "avey": avey.read,
    "craft-md": craft_md.read,
    "craft-md-choice": craft_md.read_choices,
    "fhir": fhir.read,
    "french-medmcqa": french_medmcqa.read,
    "head-qa": head_qa.read,
    "igakuqa": igakuqa.read,
    "medmcqa": medmcqa.read,
    "medqa": medqa.read,
    "medr-bench": medrbench.read,
    "mmlu": mmlu.read,
    "orphapackets": orphapackets.read,
    "phenopackets": phenopackets.read,
    "pubmedqa": pubmedqa.read,
}
"""Format to the function that reads it."""

TABLE = "table"
"""A table of one's own, which needs its columns named."""


@dataclass(slots=True)
class Count:
    """What an import came to; filled while the outcomes pass."""

    rows: int = 0
    cases: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Reason to rows."""
    first: dict[str, str] = field(default_factory=dict)
    """Reason to the place of the first such row."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Title of a section to the cases that lost it because it named the diagnosis."""
    shortened: int = 0
    """Cases that lost a section."""


def outcomes(format: str, path: Path, columns: Path | None = None) -> Iterator[Outcome]:
    """Every row of a file as what became of it.

    Raises:
        UserError: an unknown format, columns missing or not wanted, a broken row, an id that comes twice.
    """
    if format == TABLE:
        if columns is None:
            raise UserError("a table needs --columns MAP.toml, which says what each column holds; see docs/cases.md.")
        reader: Callable[[Path], Iterator[Outcome]] = partial(table.read, columns=table.read_map(columns))
    elif format not in FORMATS:
        raise UserError(f"format '{format}' is unknown; use one of {', '.join([*FORMATS, TABLE])}.")
    elif columns is not None:
        raise UserError(f"--columns is for format '{TABLE}'; '{format}' knows its own columns.")
    else:
        reader = FORMATS[format]
    seen: dict[str, str] = {}
    for outcome in reader(path):
        if outcome.id in seen:
            raise UserError(
                f"{outcome.where}: id '{outcome.id}' was already given at {seen[outcome.id]}; keep one row for each id."
            )
        seen[outcome.id] = outcome.where
        yield outcome


def cases(found: Iterable[Outcome], count: Count) -> Iterator[Case]:
    """The cases among outcomes, counting what passes."""
    for outcome in found:
        count.rows += 1
        if outcome.refused or outcome.case is None:
            count.refused[outcome.refused] += 1
            count.first.setdefault(outcome.refused, outcome.where)
            continue
        count.cases += 1
        count.shortened += bool(outcome.dropped)
        count.dropped.update(set(outcome.dropped))
        yield outcome.case


def key(format: str, path: Path) -> dict[str, Case]:
    """Everything a source's items say, by id, refused ones included: the key and groups for recorded answers.

    Raises:
        UserError: as `outcomes`.
    """
    return {outcome.id: outcome.case for outcome in outcomes(format, path) if outcome.case is not None}
