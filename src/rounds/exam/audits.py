"""Reasoning as exam figures: rates of wrong steps and of error modes, with intervals that count clusters, not claims.

Claims of one line of thought, samples of one case and cases of one condition are not independent, so the condition (or
the case, where none is known) is what is counted. Left out on purpose: finding errors (`rounds.grade.steps`, `modes`)
and laying out a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from rounds.grade.counterfactual import Counterfactual
from rounds.grade.modes import MEASURED, MODES, Measured, error_modes
from rounds.grade.steps import check_steps
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Case, Grade, Interval, Trace
from rounds.stats.cluster import Clusters, interval

NOT_VALIDATED = "not validated"


@dataclass(frozen=True, slots=True)
class Rate:
    """Events over chances, with the interval of a ratio between clusters."""

    events: int
    chances: int
    clusters: int
    interval: Interval
    """0..1 when there are fewer than two clusters: nothing can be said."""

    @property
    def value(self) -> float | None:
        """0..1; None without chances."""
        return self.events / self.chances if self.chances else None


@dataclass(frozen=True, slots=True)
class ModeRate:
    """How many answers show a mode, and what its detector is worth."""

    mode: str
    rate: Rate
    measured: Measured | None

    @property
    def standing(self) -> str:
        """The measured kappa in words, or that there is none."""
        if self.measured is None:
            return NOT_VALIDATED
        m = self.measured
        return f"kappa {m.kappa:.2f} ({m.low:.2f} to {m.high:.2f}) on {m.n} planted answers"


@dataclass(frozen=True, slots=True)
class Audit:
    """What the reasoning of one model is worth."""

    step_errors: Rate
    """Claims in error of all claims."""
    hallucinated: Rate
    """Findings stated that the case lacks, of all findings stated."""
    modes: tuple[ModeRate, ...]
    """Answers with the mode, of the answers that could show it; in the order of `MODES`."""


def audit(grades: Sequence[Grade]) -> Audit:
    """The audit of one model's grades; rates have 0 chances where no reasoning was checked."""
    return Audit(
        step_errors=rate(grades, lambda g: (g.steps.errors, g.steps.claims) if g.steps else (0, 0)),
        hallucinated=rate(grades, lambda g: (len(g.steps.invented), g.steps.stated) if g.steps else (0, 0)),
        modes=tuple(ModeRate(mode, rate(grades, _shows(mode)), MEASURED.get(mode)) for mode in MODES),
    )


def audited(case: Case, trace: Trace, grade: Grade, knowledge: KnowledgeBase) -> Grade:
    """The grade with its error modes, and with checked steps where the marking left them out (free case text)."""
    steps = grade.steps
    if steps is None and not case.options and trace.thinking.strip():
        steps = check_steps(trace.thinking, grade.answer, case, knowledge)
    modes = error_modes(case, trace, grade, knowledge)
    return grade.model_copy(update={"steps": steps, "error_modes": modes})


def ignored(found: Iterable[Counterfactual], clusters: Mapping[str, str]) -> Rate:
    """Red flags without which the list stayed the same, of those asked; clusters: case id to its condition."""
    return _gathered((clusters.get(one.case_id) or one.case_id, int(one.ignored), 1) for one in found)


def rate(grades: Iterable[Grade], of: Callable[[Grade], tuple[int, int]]) -> Rate:
    """`of` gives (events, chances) of one grade; grades without a chance count nothing."""
    return _gathered((grade.groups.get("condition") or grade.case_id, *of(grade)) for grade in grades)


def _gathered(parts: Iterable[tuple[str, int, int]]) -> Rate:
    """(cluster, events, chances) of each part."""
    events: dict[str, int] = {}
    chances: dict[str, int] = {}
    for cluster, found, possible in parts:
        if possible:
            events[cluster] = events.get(cluster, 0) + found
            chances[cluster] = chances.get(cluster, 0) + possible
    gathered = Clusters(np.array(list(events.values()), dtype=float), np.array(list(chances.values()), dtype=float))
    ends = interval(gathered)
    return Rate(
        events=sum(events.values()),
        chances=sum(chances.values()),
        clusters=len(chances),
        interval=Interval(low=max(0.0, ends.low), high=max(0.0, ends.high)),
    )


def as_json(found: Audit, flags: Rate | None = None) -> dict[str, object]:
    """The audit as plain JSON; shares 0..1, None where nothing could be counted."""
    asked: dict[str, object] = {} if flags is None else {"ignored_red_flags": _rate_json(flags)}
    return asked | {
        "step_error_rate": _rate_json(found.step_errors),
        "hallucinated_findings": _rate_json(found.hallucinated),
        "error_modes": {
            one.mode: _rate_json(one.rate)
            | {"standing": one.standing, "measured": asdict(one.measured) if one.measured else None}
            for one in found.modes
        },
    }


def lines(found: Audit, flags: Rate | None = None) -> list[str]:
    """The audit as lines of text; flags: what `ignored` gave, where it was asked."""
    told = [
        f"reasoning steps in error: {_said(found.step_errors, 'claims')}",
        f"findings stated that the case lacks: {_said(found.hallucinated, 'findings stated')}",
    ]
    if flags is not None:
        told.append(f"red flags without which the list stayed the same: {_said(flags, 'flags')}")
    return told + [f"{one.mode}: {_said(one.rate, 'answers')} [{one.standing}]" for one in found.modes]


def _shows(mode: str) -> Callable[[Grade], tuple[int, int]]:
    """(answer shows the mode, answer could show it): a list was read, and for red flags the case has some."""

    def counted(grade: Grade) -> tuple[int, int]:
        possible = bool(grade.answer.diagnoses) and (not mode.startswith("red flag") or grade.red_flags_total > 0)
        return int(possible and mode in grade.error_modes), int(possible)

    return counted


def _rate_json(one: Rate) -> dict[str, object]:
    known = one.value is not None
    return {
        "rate": one.value,
        "low": one.interval.low if known else None,
        "high": one.interval.high if known else None,
        "events": one.events,
        "of": one.chances,
        "clusters": one.clusters,
    }


def _said(one: Rate, what: str) -> str:
    if one.value is None:
        return "nothing to count"
    low, high = one.interval.low, one.interval.high
    return f"{one.value:.1%} ({low:.1%} to {high:.1%}), {one.events} of {one.chances} {what}, {one.clusters} clusters"
