"""The passport as a page that is looked at rather than read: one static file in the manner of the report's.

Left out on purpose: deciding anything, and the cases themselves, which `report.html` shows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rounds import files
from rounds.chain.passport import CANDIDATES, NAME, Passport
from rounds.chain.passport_verify import Check
from rounds.exam import plots, words
from rounds.exam.curve import Curve
from rounds.exam.later import Later, stale
from rounds.exam.page import EVIDENCE, page
from rounds.exam.safety_result import Summary
from rounds.records import Floor, Record, Report

Made = TypeVar("Made", bound=Record)

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
class Figure:
    """One figure of a probe, and what its judge is worth."""

    name: str
    finding: str
    """The word of the gate, or ''."""
    text: str
    standing: str


@dataclass(frozen=True, slots=True)
class Folded:
    """A probe in short: what counts on the page, the rest folded under it."""

    of: str
    stale: str
    arms: tuple[Figure, ...]
    rates: tuple[Figure, ...]
    topics: tuple[Figure, ...]
    """Over-refusal by topic."""
    kinds: tuple[str, ...]
    """Of flips: the columns of the next."""
    swaps: tuple[tuple[str, tuple[str, ...]], ...]
    """Swap, and its flips of each kind."""
    notes: tuple[str, ...]


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
        probed=_probed(found),
        budget=Later(curve=_as(Curve, found.budget)).budget_of({"checkpoint": found.checkpoint}),
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
    """What is not laid out in a way of its own."""
    probed = "Not measured: rounds probe has not been run on this checkpoint."
    listed = []
    if _as(Summary, found.safety) is None:
        listed.append(Told("Safety", tuple(rows_of(found.safety)), probed))
    if _as(Curve, found.budget) is None:
        unlimited = "Not measured: the exam's own limit of tokens holds."
        listed.append(Told("Thinking budget", tuple(rows_of(found.budget)), unlimited))
    served = "Nothing: it is served as it was examined."
    return (*listed, Told("Chosen for serving", tuple(rows_of(found.serving)), served))


def _as(kind: type[Made], table: dict[str, Any]) -> Made | None:
    """The record that a table is; None for another version's, which is shown row by row."""
    try:
        return kind.model_validate_json(json.dumps(table))
    except ValidationError:
        return None


def _probed(found: Passport) -> Folded | None:
    short = _as(Summary, found.safety)
    if short is None:
        return None

    def figure(name: str, text: str, finding: str = "") -> Figure:
        return Figure(name, finding, text, short.validation.get(name, ""))

    refusals = [figure(name, text) for name, text in short.over_refusal.items()]
    arms = [(name, *text.partition(" (")) for name, text in short.findings.items()]
    flips = [(*name.rpartition(", ")[::2], text) for name, text in short.flips_beyond_asking_again.items()]
    kinds = tuple(dict.fromkeys(kind for _, kind, _ in flips))
    by = {(swap, kind): text for swap, kind, text in flips}
    return Folded(
        of=f"{short.model} against {short.before}" if short.before else short.model,
        stale=stale(short.digest, {"checkpoint": found.checkpoint}, "rounds probe"),
        arms=tuple(figure(name, rest.removesuffix(")"), word) for name, word, _, rest in arms),
        rates=(*(figure(name, text) for name, text in short.attack_success.items()), *refusals[:1]),
        topics=tuple(refusals[1:]),
        kinds=kinds,
        swaps=tuple(
            (swap.replace("=", ": "), tuple(by.get((swap, kind), "–") for kind in kinds))
            for swap in dict.fromkeys(swap for swap, _, _ in flips)
        ),
        notes=short.notes,
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
