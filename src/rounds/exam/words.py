"""Findings and figures in plain words, the same on the page and in the terminal.

"Not significant" is never put as "equal": where nothing was shown, the sentence says so and says what would decide.
Left out on purpose: markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rounds.records import Report, Verdict


@dataclass(frozen=True, slots=True)
class Banner:
    """What stands at the top of a page about a run."""

    kind: Literal["proven", "passed", "demonstration", "unproven"]
    headline: str
    why: str


def points(share: float, *, signed: bool = True) -> str:
    """A share as points of a hundred, one decimal: `+3.2`."""
    text = f"{abs(share) * 100:.1f}"
    if text == "0.0":
        return text
    return ("−" if share < 0 else "+" if signed else "") + text


def percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def p_value(p: float) -> str:
    """`= .0078`, `< .0001`, `= 1`: to stand after a `p`."""
    if p < 0.0001:
        return "< .0001"
    return "= 1" if p > 0.99995 else f"= {p:.4f}".replace("0.", ".", 1)


def interval(verdict: Verdict) -> str:
    return f"{points(verdict.tango.low)} to {points(verdict.tango.high)}"


def verdict_sentence(verdict: Verdict, margin: float) -> str:
    """One comparison in plain words; a cell of a subgroup has no such sentence and gets its interval only."""
    before, after = verdict.before, verdict.after
    task = "named every red flag on" if verdict.arm == "red flags" else "was right on"
    limit = points(margin, signed=False)
    if verdict.finding == "lost":
        reach = (
            f"The whole interval lies inside the margin of {limit} points, but a shown loss is never called kept."
            if verdict.inside_margin
            else f"The loss may be larger than the margin of {limit} points."
        )
        return f"{after} {task} fewer cases than {before}, by more than chance explains. {reach}"
    if verdict.finding == "gained":
        return (
            f"{after} {task} more cases than {before}, by more than chance explains, "
            "also after correction for the other comparisons."
        )
    if verdict.finding == "kept":
        return (
            f"A loss of {limit} points or more from {before} to {after} is ruled out. "
            "This does not say that the two are equal."
        )
    if verdict.finding == "too few cases":
        return f"{_nothing_shown(verdict, limit)} {_what_would_decide(verdict)}"
    return f"{points(verdict.difference)} points ({interval(verdict)}) on {verdict.n} cases."


def _nothing_shown(verdict: Verdict, limit: str) -> str:
    if verdict.n == 0:
        return f"No case was graded for both {verdict.before} and {verdict.after}, so nothing was shown."
    return (
        f"Nothing was shown between {verdict.before} and {verdict.after}: no loss, no gain, and a loss of {limit} "
        "points or more is not ruled out. This does not say that the two are equal."
    )


def _what_would_decide(verdict: Verdict) -> str:
    if verdict.n == 0:
        # Nothing was seen, so the number is of models that differ on every case.
        return f"About {verdict.cases_needed or 0:,} cases would decide whatever the two differ on."
    if verdict.cases_needed is None:
        decide = "The difference seen lies at or beyond the margin: more cases would more likely show a loss."
    else:
        decide = f"About {verdict.cases_needed:,} cases would decide at the disagreement seen."
    return f"{decide} {detectable(verdict)}"


def detectable(verdict: Verdict) -> str:
    """What these cases can see at all."""
    if verdict.minimum_detectable is None:
        return f"With {verdict.n:,} cases not even a total loss would reliably be seen."
    smallest = points(verdict.minimum_detectable, signed=False)
    return (
        f"With these {verdict.n:,} cases a true loss below {smallest} points "
        "would be missed more than one time in five."
    )


def banner(report: Report) -> Banner:
    """The one line about the whole run, by its evidence, findings and floors."""
    lost = [verdict for verdict in report.verdicts if verdict.finding == "lost"]
    undecided = [verdict for verdict in report.verdicts if verdict.finding == "too few cases"]
    below = [floor for floor in report.floors if not floor.met]
    if lost:
        named = ", ".join(f"{verdict.after} against {verdict.before} ({verdict.arm})" for verdict in lost)
        return Banner("unproven", "Unproven: something was lost", f"Lost: {named}.")
    if undecided or not report.verdicts:
        why = f"{len(undecided)} of {len(report.verdicts)} comparisons had too few cases to decide."
        return Banner("unproven", "Unproven: too few cases", why if report.verdicts else "Nothing was compared.")
    if below:
        named = ", ".join(f"{floor.model}, {floor.name}" for floor in below)
        return Banner("unproven", "Unproven: below an absolute floor", f"Passing the pairs is not being good: {named}.")
    if report.evidence == "local-reviewed":
        why = "Every comparison was gained or kept, on local cases reviewed by clinicians."
        return Banner("proven", "Proven on local, reviewed cases", why)
    if report.evidence == "public":
        why = "Every comparison was gained or kept, on public cases. That proves nothing about your own patients."
        return Banner("passed", "Passed on public cases", why)
    why = "Every comparison was gained or kept, on invented cases. That proves nothing about patients."
    return Banner("demonstration", "Passed on invented cases", why)


def opened(times: int) -> str:
    """How often the exam was looked at, and what that means."""
    if times <= 1:
        return "The exam was opened once for this candidate."
    return f"The exam was opened {times} times for this candidate: figures may flatter it."
