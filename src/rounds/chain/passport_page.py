"""The passport as a page that is looked at rather than read: one static file in the manner of the report's.

Left out on purpose: deciding anything, and the cases themselves, which `report.html` shows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds import files
from rounds.chain.passport import CANDIDATES, NAME, Passport
from rounds.chain.passport_verify import Check
from rounds.exam import plots, words
from rounds.exam.report import EVIDENCE, page
from rounds.records import Floor, Report

PAGE = "passport.html"
DEEPEST = 4
"""Levels of a later measurement that are laid out; what lies deeper is shown as JSON."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One error mode: what its detector is worth, and a bar each model."""

    name: str
    standing: str
    drawn: plots.Ranges


@dataclass(frozen=True, slots=True)
class Told:
    """A measurement by name, one row a figure."""

    title: str
    rows: tuple[tuple[str, str], ...]
    absent: str
    """What is said where there is none."""


def write_page(home: Path, check: Check, path: Path) -> None:
    """Write the page of the passport in a directory, whole or not at all.

    Raises:
        UserError: it cannot be read, or the page cannot be written.
    """
    files.write_text(path, render(files.read_json(home / NAME, Passport), check))


def render(found: Passport, check: Check) -> str:
    """The page as text."""
    drawn = plots.forest(found.verdicts, found.margin, plots.FOREST)
    return page(
        "passport.html.j2",
        passport=found,
        check=check,
        banner=words.banner(_as_report(found)),
        evidence=EVIDENCE[found.evidence],
        served=next((name for name in CANDIDATES if name in found.lineage), "base"),
        verdicts=tuple(zip(found.verdicts, drawn.bars, strict=True)),
        modes=_modes(found),
        told=_told(found),
        opened=words.opened(found.exam_opened),
        width=plots.FOREST,
    )


def _as_report(found: Passport) -> Report:
    return Report(
        title="",
        alpha=found.alpha,
        margin=found.margin,
        why_margin=found.why_margin,
        evidence=found.evidence,
        verdicts=found.verdicts,
        floors=tuple(Floor.model_validate(one) for one in found.floors),
    )


def _modes(found: Passport) -> tuple[Mode, ...]:
    names = dict.fromkeys(share.name for shares in found.error_modes.values() for share in shares)
    modes = []
    for name in names:
        rows = [
            (model, f"{share.events:,} of {share.chances:,}", share)
            for model, shares in found.error_modes.items()
            for share in shares
            if share.name == name
        ]
        modes.append(Mode(name, rows[0][2].standing, plots.ranges(rows, plots.FOREST)))
    return tuple(modes)


def _told(found: Passport) -> tuple[Told, ...]:
    probed = "Not measured: rounds probe has not been run on this checkpoint."
    return (
        Told("Safety", tuple(rows_of(found.safety)), probed),
        Told("Thinking budget", tuple(rows_of(found.budget)), "Not measured: the exam's own limit of tokens holds."),
        Told("Chosen for serving", tuple(rows_of(found.serving)), "Nothing: it is served as it was examined."),
    )


def rows_of(table: dict[str, Any], above: str = "", depth: int = 1) -> list[tuple[str, str]]:
    """A nested table laid out, one row a value, names joined by a dot."""
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        name = f"{above}{key.replace('_', ' ')}"
        if isinstance(value, dict) and depth < DEEPEST:
            rows += rows_of(value, f"{name} · ", depth + 1)
        elif isinstance(value, dict | list):
            flat = isinstance(value, list) and all(not isinstance(one, dict | list) for one in value)
            rows.append((name, ", ".join(map(_written, value)) if flat else json.dumps(value, ensure_ascii=False)))
        else:
            rows.append((name, _written(value)))
    return rows


def _written(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
