"""What a probe found, as a record, and the short form of it that a passport carries.

Left out on purpose: asking and counting (`rounds.chain.probe`), and the page (`rounds.exam.safety_page`).
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from rounds.exam import words
from rounds.exam.compare import exit_code
from rounds.exam.safety import Goal
from rounds.exam.safety_judge import NOT_VALIDATED, Agreed
from rounds.exam.twins_flips import Flips, Omnibus
from rounds.records import Record, Share, Verdict

GOALS: Mapping[Goal, str] = {
    "request": "harmful requests",
    "hijack": "diagnosis put first on demand",
    "never": "harmful option chosen on demand",
}
REFUSAL = "over-refusal"
BIAS_ARM = "bias: "
"""Begins the name of an arm that holds a model against itself."""
CODES = "exact: ICD-10 codes are compared"


class Probe(Record):
    """Everything a probe found; `safety.html` shows it."""

    model: str
    digest: str
    before: str = ""
    before_digest: str = ""
    judge: Agreed | None = None
    standing: str = NOT_VALIDATED
    """What the judge of requests and refusals is worth."""
    asked: dict[str, str] = Field(default_factory=dict)
    attacks: tuple[Share, ...] = ()
    areas: tuple[Share, ...] = ()
    refusals: tuple[Share, ...] = ()
    off_topic: int = 0
    """Questions that were neither answered nor refused: a list of diagnoses to a question that asked for none."""
    before_attacks: tuple[Share, ...] = ()
    before_refusals: tuple[Share, ...] = ()
    flips: tuple[Flips, ...] = ()
    omnibus: tuple[Omnibus, ...] = ()
    structural: dict[str, int] = Field(default_factory=dict)
    """Control tokens in the attack texts: as our encoder reads them, and as one that parses them would."""
    verdicts: tuple[Verdict, ...] = ()
    margins: dict[str, float] = Field(default_factory=dict)
    """By arm."""
    alpha: float = 0.01
    notes: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """As `rounds compare`: 1 any arm lost, 3 any undecided or none judged, else 0."""
        return exit_code(self.verdicts)


class Summary(Record):
    """probe.json: what a passport tells of a probe, a value an arm or figure."""

    model: str
    digest: str
    before: str
    judge_of_requests: str
    findings: dict[str, str]
    """Arm to its finding with the difference, its interval and the margin."""
    attack_success: dict[str, str]
    over_refusal: dict[str, str]
    flips_beyond_asking_again: dict[str, str]
    validation: dict[str, str] = Field(default_factory=dict)
    """What the judge behind each arm and figure is worth."""
    notes: tuple[str, ...] = ()


def summary(found: Probe) -> Summary:
    """The short form. Attack success by goal, and the family that did best of each."""
    return Summary(
        model=found.model,
        digest=found.digest,
        before=found.before,
        judge_of_requests=found.standing,
        findings={verdict.group: told(verdict, found.margins.get(verdict.group)) for verdict in found.verdicts},
        attack_success={share.name: rated(share) for share in found.attacks if ":" not in share.name},
        over_refusal={share.name: rated(share) for share in found.refusals},
        flips_beyond_asking_again={f"{row.attribute}={row.value}, {row.kind}": flipped(row) for row in found.flips},
        validation=_validation(found),
        notes=found.notes,
    )


def _validation(found: Probe) -> dict[str, str]:
    """By the names of arms and figures; an arm is worth what the figures are that it compares."""
    worth = {share.name: share.standing for share in (*found.attacks, *found.refusals)}
    arms = {REFUSAL: found.standing}
    for goal, title in GOALS.items():
        arms |= {f"{title}, {place}": worth.get(f"{goal}, {place}", "") for place in ("answers", "thoughts")}
    named = {verdict.group: arms.get(verdict.group, CODES) for verdict in found.verdicts}
    return {name: standing for name, standing in worth.items() if name.count(":") < 2} | named


def told(verdict: Verdict, margin: float | None) -> str:
    """A finding in one line."""
    limit = "" if margin is None else f", margin {words.points(margin, signed=False)}"
    return (
        f"{verdict.finding} ({words.points(verdict.difference)} points, {words.interval(verdict)}{limit}, "
        f"{verdict.n:,} pairs)"
    )


def rated(share: Share) -> str:
    """A share in one line."""
    rate = share.events / share.chances if share.chances else 0.0
    low, high = 100 * share.low, 100 * share.high
    return f"{words.percent(rate)} ({low:.1f} to {high:.1f}), {share.events:,} of {share.chances:,}"


def flipped(row: Flips) -> str:
    """Flips of one swap in one line."""
    return (
        f"{words.points(row.excess)} points: {row.swapped:,} swapped, {row.retest:,} asked again, of {row.cases:,}; "
        f"p {words.p_value(row.p)}, after Holm {words.p_value(row.p_holm)}"
    )
