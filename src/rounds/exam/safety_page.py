"""The safety page: findings by arm, attacks by family and harm area, over-refusal, twins; one static file, no script.

Made as the page of a run is (`rounds.exam.report`). Left out on purpose: the texts of attacks and answers, which are in
the probe's own directory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rounds.exam import plots, words
from rounds.exam.page import page
from rounds.exam.safety_result import BIAS_ARM, GOALS, Probe, told
from rounds.exam.twins import CONTROL
from rounds.exam.twins_flips import KINDS, Flips
from rounds.files import write_text
from rounds.records import Finding, Share, Verdict

ORDER: tuple[Finding, ...] = ("lost", "gained", "kept", "too few cases")


@dataclass(frozen=True, slots=True)
class Arm:
    """One finding of the gate with its bar."""

    verdict: Verdict
    sentence: str
    margin: str
    drawn: plots.Forest


@dataclass(frozen=True, slots=True)
class Drawn:
    """Shares under one heading, and what their judge is worth."""

    title: str
    standing: str
    ranges: plots.Ranges


@dataclass(frozen=True, slots=True)
class Swap:
    """One kind of flip, a row each swap."""

    kind: str
    rows: tuple[tuple[str, str, str, str, str, str], ...]
    """Swap, cases, flipped under the swap, flipped when asked again, excess, p after Holm."""


@dataclass(frozen=True, slots=True)
class Shown:
    """All that a page shows of a probe."""

    probe: Probe
    arms: tuple[Arm, ...]
    """Attacks and over-refusal, against another model."""
    bias: tuple[Arm, ...]
    counted: str
    """How many arms of bias have which finding."""
    decided: bool
    """Any of them is lost or gained."""
    attacks: tuple[Drawn, ...]
    before: tuple[Drawn, ...]
    areas: tuple[Drawn, ...]
    refusals: tuple[Drawn, ...]
    swaps: tuple[Swap, ...]
    omnibus: tuple[tuple[str, ...], ...]
    """Attribute, cases, right by form, Cochran's Q, p, p after Holm."""


def write_page(found: Probe, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: full disk, no permission.
    """
    write_text(path, render(found))


def render(found: Probe) -> str:
    """The page as text."""
    return page("safety.html.j2", shown=shown(found))


def shown(found: Probe) -> Shown:
    """A probe laid out, for its own page and for the report of its run."""
    arms = [_arm(verdict, found) for verdict in found.verdicts]
    bias = tuple(arm for arm in arms if arm.verdict.group.startswith(BIAS_ARM))
    counts = Counter(arm.verdict.finding for arm in bias)
    return Shown(
        probe=found,
        arms=tuple(arm for arm in arms if arm not in bias),
        bias=bias,
        counted=", ".join(f"{counts[finding]} {finding}" for finding in ORDER),
        decided=bool(counts["lost"] or counts["gained"]),
        attacks=_by_place(found.attacks),
        before=_by_place(found.before_attacks),
        areas=_by_place(found.areas),
        refusals=_group("over-refusal", found.refusals),
        swaps=tuple(_swap(kind, found.flips) for kind in KINDS if any(row.kind == kind for row in found.flips)),
        omnibus=tuple(
            (
                row.attribute,
                f"{row.cases:,}",
                ", ".join(f"{form} {right:,}" for form, right in zip(row.forms, row.right, strict=True)),
                f"{row.q:.2f}",
                _p(row.p),
                "–" if row.attribute == CONTROL else _p(row.p_holm),
            )
            for row in found.omnibus
        ),
    )


def _arm(verdict: Verdict, found: Probe) -> Arm:
    margin = found.margins[verdict.group]
    drawn = plots.forest([verdict], margin, plots.FOREST)
    return Arm(verdict, told(verdict, margin), words.points(margin, signed=False), drawn)


def _by_place(shares: Sequence[Share]) -> tuple[Drawn, ...]:
    """Goals apart, answers and thoughts apart: thoughts may say what the answer hides."""
    found: list[Drawn] = []
    for place in ("answers", "thoughts"):
        of = [share for share in shares if share.name.endswith(f", {place}")]
        for goal, standing in dict.fromkeys((_goal(share), share.standing) for share in of):
            some = [share for share in of if (_goal(share), share.standing) == (goal, standing)]
            found += _group(f"{goal}, in {place}" if goal else f"In {place}", some)
    return tuple(found)


def _goal(share: Share) -> str:
    """What an attack wants, '' where the share is of an area."""
    name = re.split("[:,]", share.name)[0]
    return next((title.capitalize() for goal, title in GOALS.items() if goal == name), "")


def _group(title: str, shares: Sequence[Share]) -> tuple[Drawn, ...]:
    if not shares:
        return ()
    rows = [
        (share.name.rpartition(", ")[0] or share.name, f"{share.events:,} of {share.chances:,}", share)
        for share in shares
    ]
    return (Drawn(title, shares[0].standing, plots.ranges(rows, plots.FOREST)),)


def _p(value: float) -> str:
    """For a column of p."""
    return words.p_value(value).removeprefix("= ")


def _swap(kind: str, flips: Sequence[Flips]) -> Swap:
    rows = []
    for row in flips:
        if row.kind == kind:
            holm = "control" if row.attribute == CONTROL else _p(row.p_holm)
            counts = (f"{row.cases:,}", f"{row.swapped:,}", f"{row.retest:,}", words.points(row.excess))
            rows.append((f"{row.attribute}: {row.value}", *counts, holm))
    return Swap(kind, tuple(rows))
