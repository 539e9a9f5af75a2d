"""Does routing help? Each case asked three ways, the answers marked alike and paired: the gate of the router.

`off` asks every case as it stands, `one` uses one template for all, `on` lets the router choose. The gate holds *on*
against each of the others under one Holm family; it belongs on the tune split, as what it finds is a choice. Left out
on purpose: writing the choice anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rounds.exam.compare import Comparison, compare_family
from rounds.exam.examine import examine
from rounds.exam.marks import from_grades
from rounds.grade.mark import Marker
from rounds.prompts.router import PLAIN
from rounds.prompts.template import AUTO, newest
from rounds.records import Case, Grade, Responder, Sampling, Verdict


@dataclass(frozen=True, slots=True)
class Gate:
    """What the three ways of asking came to."""

    verdicts: tuple[Verdict, ...]
    """Routing against off, then against one template for all; then their cells, kind by kind."""
    grades: dict[str, list[Grade]]
    """By arm: off, one, on."""
    templates: dict[str, str]
    """Case id to the template that the router chose."""


def gate(
    cases: Sequence[Case],
    responder: Responder,
    marker: Marker,
    *,
    one: str,
    sampling: Sampling,
    margin: float,
    alpha: float,
) -> Gate:
    """Ask every case three ways and pair the marks.

    Raises:
        UserError: no cases, an id twice, a template that is not there, a margin out of range, the engine's own faults.
    """
    kinds = {case.id: case.kind for case in cases}
    arms = {"off": newest(PLAIN), "one": one, "on": AUTO}
    grades: dict[str, list[Grade]] = {}
    chosen: dict[str, str] = {}
    for arm, template in arms.items():
        done = examine(cases, responder, template=template, sampling=sampling, marker=marker)
        grades[arm] = [
            grade.model_copy(update={"groups": grade.groups | {"kind": kinds[grade.case_id]}}) for grade in done.grades
        ]
        if arm == "on":
            chosen = {trace.prompt.case_id: trace.prompt.template for trace in done.traces}
    marks = {arm: from_grades(given) for arm, given in grades.items()}
    pairs = [
        Comparison(f"routing {arm}" if arm == "off" else one, "routing on", marks[arm], marks["on"])
        for arm in ("off", "one")
    ]
    return Gate(compare_family(pairs, margin=margin, alpha=alpha, by=("kind",)), grades, chosen)
