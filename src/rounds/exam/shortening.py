"""What it costs a model to think less: each way of shortening against the model it began with, and their curves.

Made by `rounds budget RUN --shorten`, shown on a page of its own and on the page of the run. Left out on purpose: the
training itself (`rounds.chain.shorten`), and choosing a way for serving.
"""

from __future__ import annotations

from rounds.exam.curve import Curve
from rounds.records import Finding, Record, Verdict

JSON = "shorten.json"
WANTED = 0.3
"""Share of the thinking tokens that is to be spared."""


class Shorter(Record):
    """One way of shortening, against the model it began with, both without a limit."""

    how: str
    tokens_before: float
    """Mean thinking tokens of an answer."""
    tokens_after: float
    verdicts: tuple[Verdict, ...]
    figures: dict[str, float | int | str | bool | None]
    """What its training measured of itself."""

    @property
    def fewer(self) -> float:
        """Share of the thinking tokens spared."""
        return 1 - self.tokens_after / self.tokens_before if self.tokens_before else 0.0

    @property
    def finding(self) -> Finding:
        """Of all arms: lost, too few cases, kept or gained."""
        found = [verdict.finding for verdict in self.verdicts]
        worst: tuple[Finding, ...] = ("lost", "too few cases", "kept", "gained")
        return next(finding for finding in worst if finding in found)

    @property
    def met(self) -> bool:
        """Kept, and at least so much shorter as is wanted."""
        return self.finding in ("kept", "gained") and self.fewer >= WANTED

    @property
    def sentence(self) -> str:
        """In words."""
        moved = "; ".join(f"{v.arm} {v.finding}, {100 * v.difference:+.1f} points" for v in self.verdicts)
        return (
            f"{self.how}: {100 * self.fewer:.0f} % fewer thinking tokens ({self.tokens_before:.1f} to "
            f"{self.tokens_after:.1f}); {moved}. The target, {100 * WANTED:.0f} % fewer and kept, is "
            f"{'met' if self.met else 'missed'}."
        )


class Shortening(Record):
    """shorten.json."""

    model: str
    margin: float
    alpha: float
    ways: tuple[Shorter, ...]
    curves: tuple[Curve, ...]
    """Before, then each way."""

    @property
    def code(self) -> int:
        """0 when a way is kept, 1 when every one is lost, else 3."""
        found = [way.finding for way in self.ways]
        return 0 if {"kept", "gained"} & {*found} else 1 if set(found) == {"lost"} else 3
