"""What was measured of a run after its exam, for its page: safety, thinking budget, and what thinking less cost.

Each has a page of its own too, drawn by the same code. Left out on purpose: measuring, and deciding anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rounds import files
from rounds.exam import curve_page, safety_page
from rounds.exam.curve import Curve
from rounds.exam.safety_result import Probe
from rounds.exam.shortening import JSON as SHORTEN
from rounds.exam.shortening import Shortening

PROBE, WHOLE = "probe.json", "probe-full.json"
"""What a passport carries of a probe, and all of it."""
BUDGET = "budget.json"
SPECIALISE = "specialise.json"
"""The matrix of forgetting; it names the digest of every adapter and of the checkpoint they began with."""


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the report."""

    shown: safety_page.Shown | curve_page.Shown
    stale: str
    """See `stale`."""


@dataclass(frozen=True, slots=True)
class Later:
    """What there is of it; None was not measured."""

    probe: Probe | None = None
    curve: Curve | None = None
    shortening: Shortening | None = None

    def safety_of(self, digests: Mapping[str, str]) -> Part | None:
        """The section of safety; digests: of the checkpoints of the report."""
        if self.probe is None:
            return None
        return Part(safety_page.shown(self.probe), stale(self.probe.digest, digests, "rounds probe"))

    def budget_of(self, digests: Mapping[str, str]) -> Part | None:
        """The section of thinking budgets."""
        if self.curve is None:
            return None
        return Part(curve_page.shown([self.curve]), stale(self.curve.model, digests, "rounds budget"))

    def shortening_of(self, digests: Mapping[str, str]) -> Part | None:
        """The section of models taught to think less; it speaks of the checkpoint that they began with."""
        if self.shortening is None:
            return None
        curves = self.shortening.curves
        shown = curve_page.shown(curves, [way.sentence for way in self.shortening.ways])
        return Part(shown, stale(curves[0].model, digests, "rounds budget --shorten"))


def stale(digest: str, digests: Mapping[str, str], verb: str) -> str:
    """What is said of a measurement of a checkpoint that is not among these, and which verb makes it anew; else ''."""
    if digest in digests.values():
        return ""
    return f"Measured on another checkpoint than is spoken of here ({digest[:16]}…): run {verb} again."


def read(run: Path) -> Later:
    """What a run's directory holds of it.

    Raises:
        UserError: a file is there and is no such thing.
    """
    probe, curve, shortening = run / WHOLE, run / BUDGET, run / SHORTEN
    return Later(
        files.read_json(probe, Probe) if probe.is_file() else None,
        files.read_json(curve, Curve) if curve.is_file() else None,
        files.read_json(shortening, Shortening) if shortening.is_file() else None,
    )
