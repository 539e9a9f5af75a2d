"""The TRIPOD-LLM checklist (Gallifant et al. 2025, doi.org/10.1038/s41591-024-03425-5), answered where the run can.

The items stand in pages/tripod_llm.toml, their numbers as published, their texts in our own words. An answer is a
sentence with gaps; it stands only when the run fills every gap. Left out on purpose: claiming that a study complies.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rounds.exam import words
from rounds.records import Case, Report

ITEMS = Path(__file__).parent / "pages" / "tripod_llm.toml"
MOST = 12
"""Names listed of one column; more are counted."""

Status = Literal["from this run", "in part", "for the hospital", "not applicable"]
STATUSES: tuple[Status, ...] = ("from this run", "in part", "for the hospital", "not applicable")


@dataclass(frozen=True, slots=True)
class Asked:
    """One item as the file has it."""

    number: str
    section: str
    asks: str
    void: str = ""
    """Why it does not apply, when its gaps can be filled."""
    run: str = ""
    """What the run answers, when its gaps can be filled."""
    hospital: str = ""
    """What only people can add; '' when the run answers all of it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item with its answer."""

    number: str
    section: str
    asks: str
    status: Status
    answer: str
    hospital: str
    """What is left for the hospital, '' for nothing."""


def checklist(report: Report, cases: Sequence[Case]) -> tuple[Item, ...]:
    """Every item of the checklist. cases: those of the exam, for their columns; may be none."""
    known = facts(report, cases)
    return tuple(_answered(item, known) for item in asked())


def counts(items: Sequence[Item]) -> tuple[tuple[Status, int], ...]:
    """How many items have each status."""
    found = Counter(item.status for item in items)
    return tuple((status, found[status]) for status in STATUSES)


@cache
def asked() -> tuple[Asked, ...]:
    """The items in the order of the statement."""
    return tuple(Asked(**item) for item in tomllib.loads(ITEMS.read_text(encoding="utf-8"))["item"])


def facts(report: Report, cases: Sequence[Case]) -> dict[str, str]:
    """What the run tells, by the name of the gap it fills; what it does not tell is absent."""
    sat = report.sittings.values()
    names = dict.fromkeys(name for verdict in report.verdicts for name in (verdict.before, verdict.after))
    accuracy = [verdict for verdict in report.verdicts if verdict.arm == "accuracy"]
    found = {
        **_of_cases(cases),
        **{f"made_{name.replace(' ', '_')}": value for name, value in report.made.items()},
        "models": ", ".join(names),
        "pairs": "; ".join(f"{verdict.after} against {verdict.before}" for verdict in accuracy),
        "findings": "; ".join(f"{v.after} against {v.before} ({v.arm}): {v.finding}" for v in report.verdicts),
        "arms": " and ".join(dict.fromkeys(verdict.arm for verdict in report.verdicts)),
        "subgroups": " and ".join(dict.fromkeys(cell.group.partition("=")[0] for cell in report.cells)),
        "margin": f"{words.points(report.margin, signed=False)} points: {report.why_margin}",
        "alpha": f"{report.alpha:g}",
        "evidence": report.evidence,
        "opened": words.opened(report.exam_opened),
        "baselines": ", ".join(report.baselines),
        "floors": "; ".join(f"{floor.name} at least {words.percent(floor.floor)}" for floor in report.floors),
        "versions": ", ".join(f"{name} {value}" for name, value in report.machine.items()),
        "digests": f"{len(report.digests)}" if report.digests else "",
        "asked": _asked(report),
        "outcomes": _outcomes(report),
        "seconds": ", ".join(f"{k} {v['seconds']:.2f} s" for k, v in report.models.items() if v.get("seconds")),
        "consistency": _consistency(report),
        "invented": "every case was invented, none is a patient's" if report.evidence == "synthetic" else "",
        "unlabelled": "no person labelled an answer" if sat and not _by(report, "human") else "",
        "unjudged": "rules alone decided every hit" if sat and not _by(report, "human", "judge") else "",
        "modes": ", ".join(dict.fromkeys(share.name for one in sat for share in one.reasoning)),
    }
    return {name: value for name, value in found.items() if value}


def _of_cases(cases: Sequence[Case]) -> dict[str, str]:
    if not cases:
        return {}
    sources = dict.fromkeys(f"{case.source} ({case.licence or 'licence not stated'})" for case in cases if case.source)
    lengths = sorted(len(case.vignette) for case in cases)
    return {
        "cases": f"{len(cases):,}",
        "conditions": f"{len({case.condition or case.diagnosis for case in cases}):,}",
        "languages": _counted([case.language for case in cases]),
        "specialties": _counted([case.specialty for case in cases if case.specialty]),
        "incidences": _counted([case.incidence for case in cases if case.incidence]),
        "sources": "; ".join(list(sources)[:MOST]),
        "length": f"{lengths[0]:,} to {lengths[-1]:,} characters, median {lengths[len(lengths) // 2]:,}",
    }


def _counted(values: Sequence[str]) -> str:
    found = Counter(values).most_common()
    listed = ", ".join(f"{name} {count:,}" for name, count in found[:MOST])
    return listed if len(found) <= MOST else f"{listed} and {len(found) - MOST} more"


def _asked(report: Report) -> str:
    told = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in sat.asked.items())
        for sat in report.sittings.values()
        if sat.asked
    )
    return "; or ".join(told)


def _by(report: Report, *outcomes: str) -> int:
    return sum(sat.outcomes.get(outcome, 0) for sat in report.sittings.values() for outcome in outcomes)


def _outcomes(report: Report) -> str:
    parts = [f"{_by(report, name):,} {name}" for name in ("unreadable", "refused", "not gradable")]
    return ", ".join(parts) if report.sittings else ""


def _consistency(report: Report) -> str:
    twice = report.noise
    if twice is None:
        return "Run-to-run noise is not recorded here"
    return f"{twice.changed:,} of {twice.cases:,} answers changed when {twice.model} was asked twice, {twice.how}"


def _answered(item: Asked, known: Mapping[str, str]) -> Item:
    void, run = _filled(item.void, known), _filled(item.run, known)
    status: Status = "for the hospital"
    if void:
        status = "not applicable"
    elif run:
        status = "in part" if item.hospital else "from this run"
    left = "" if void else item.hospital or ("" if run else "State it: this run does not tell.")
    return Item(item.number, item.section, item.asks, status, void or run, left)


def _filled(text: str, known: Mapping[str, str]) -> str:
    """The sentence with its gaps filled; '' where a gap cannot be."""
    try:
        return text.format_map(known)
    except KeyError:
        return ""
