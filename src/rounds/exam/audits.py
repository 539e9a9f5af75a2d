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
from rounds.grade.modes import DRIFT, MEASURED, MODES, Measured, error_modes
from rounds.grade.steps import check_steps
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Case, Grade, Interval, Share, Trace
from rounds.stats.cluster import Clusters, interval

NOT_VALIDATED = "not validated"

STEP_ERRORS = "reasoning steps in error"
HALLUCINATED = "findings stated that the case lacks"
STEPS = (STEP_ERRORS, HALLUCINATED)
STEPS_MEASURED = {STEP_ERRORS: Measured(0.995, 0.988, 1.000, 800), HALLUCINATED: Measured(0.998, 0.993, 1.000, 800)}
"""As `MEASURED` for the modes; of the four kinds of a step in error, the kappa of the worst, links without support."""


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
        return standing(self.measured)


@dataclass(frozen=True, slots=True)
class Audit:
    """What the reasoning of one model is worth."""

    step_errors: Rate
    """Claims in error of all claims."""
    hallucinated: Rate
    """Findings stated that the case lacks, of all findings stated."""
    modes: tuple[ModeRate, ...]
    """Answers with the mode, of the answers that could show it; in the order of `MODES`."""


def standing(measured: Measured | None) -> str:
    """What a detector is worth, in words."""
    if measured is None:
        return NOT_VALIDATED
    m = measured
    return f"kappa {m.kappa:.2f} ({m.low:.2f} to {m.high:.2f}) on {m.n} planted answers"


def audit(grades: Sequence[Grade]) -> Audit:
    """The audit of one model's grades; rates have 0 chances where no reasoning was checked."""
    return Audit(
        step_errors=rate(grades, lambda g: (g.steps.errors, g.steps.claims) if g.steps else (0, 0)),
        hallucinated=rate(grades, lambda g: (len(g.steps.invented), g.steps.stated) if g.steps else (0, 0)),
        modes=tuple(ModeRate(mode, rate(grades, _shows(mode)), MEASURED.get(mode)) for mode in MODES),
    )


def shares(found: Audit) -> tuple[Share, ...]:
    """The audit as records, in the order it is shown; what had no chances is left out."""
    steps = zip(STEPS, (found.step_errors, found.hallucinated), strict=True)
    named = [
        *((name, one, STEPS_MEASURED.get(name)) for name, one in steps),
        *((one.mode, one.rate, one.measured) for one in found.modes),
    ]
    return tuple(share(name, one, standing(measured)) for name, one, measured in named if one.chances)


def share(name: str, one: Rate, worth: str = "") -> Share:
    """A rate as a record."""
    return Share(
        name=name,
        events=one.events,
        chances=one.chances,
        clusters=one.clusters,
        low=one.interval.low,
        high=one.interval.high,
        standing=worth,
    )


def audited(case: Case, trace: Trace, grade: Grade, knowledge: KnowledgeBase) -> Grade:
    """The grade with its error modes, and with checked steps where the marking left them out (free case text).

    Modes that another reader found, such as an option never to choose, stay.
    """
    steps = grade.steps
    if steps is None and not case.options and trace.thinking.strip():
        steps = check_steps(trace.thinking, grade.answer, case, knowledge)
    found = tuple(dict.fromkeys(mode for mode in grade.error_modes if mode not in MODES))
    modes = (*found, *error_modes(case, trace, grade, knowledge))
    return grade.model_copy(update={"steps": steps, "error_modes": modes})


def ignored(found: Iterable[Counterfactual], clusters: Mapping[str, str]) -> Rate:
    """Red flags without which the list stayed the same, of those asked; clusters: case id to its condition."""
    return gathered((clusters.get(one.case_id) or one.case_id, int(one.ignored), 1) for one in found)


def rate(grades: Iterable[Grade], of: Callable[[Grade], tuple[int, int]]) -> Rate:
    """`of` gives (events, chances) of one grade; grades without a chance count nothing."""
    return gathered((grade.groups.get("condition") or grade.case_id, *of(grade)) for grade in grades)


def gathered(parts: Iterable[tuple[str, int, int]]) -> Rate:
    """(cluster, events, chances) of each part."""
    events: dict[str, int] = {}
    chances: dict[str, int] = {}
    for cluster, found, possible in parts:
        if possible:
            events[cluster] = events.get(cluster, 0) + found
            chances[cluster] = chances.get(cluster, 0) + possible
    groups = Clusters(np.array(list(events.values()), dtype=float), np.array(list(chances.values()), dtype=float))
    ends = interval(groups)
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
        f"{STEP_ERRORS}: {_said(found.step_errors, 'claims')}",
        f"{HALLUCINATED}: {_said(found.hallucinated, 'findings stated')}",
    ]
    if flags is not None:
        told.append(f"red flags without which the list stayed the same: {_said(flags, 'flags')}")
    return told + [f"{one.mode}: {_said(one.rate, 'answers')} [{one.standing}]" for one in found.modes]


def _shows(mode: str) -> Callable[[Grade], tuple[int, int]]:
    """(answer shows the mode, answer could show it).

    A list was read, for red flags the case has some, and for drift there were thoughts that could.
    """

    def counted(grade: Grade) -> tuple[int, int]:
        possible = bool(grade.answer.diagnoses) and (not mode.startswith("red flag") or grade.red_flags_total > 0)
        if mode == DRIFT:
            possible = possible and (grade.thinking_tokens > 0 or bool(grade.steps and grade.steps.claims))
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
