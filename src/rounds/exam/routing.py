"""Does routing help, and does a strategy? Each case asked in several ways, marked alike and paired: the gate.

`off` asks every case as it stands, `one` uses one template for all, `on` lets the router choose. The gate holds *on*
against each of the others, and each strategy around the one template against that template alone, under one Holm
family; it belongs on the tune split, as what it finds is a choice. Left out on purpose: writing the choice anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rounds.exam.asking import Asking, around
from rounds.exam.compare import Comparison, compare_family
from rounds.exam.examine import examine
from rounds.exam.marks import from_grades
from rounds.grade.mark import Marker
from rounds.prompts.router import PLAIN
from rounds.prompts.strategies import Cost
from rounds.prompts.template import AUTO, newest
from rounds.records import Case, Grade, Responder, Sampling, Verdict


@dataclass(frozen=True, slots=True)
class Gate:
    """What the ways of asking came to."""

    verdicts: tuple[Verdict, ...]
    """Routing against off, then against one template for all, then each strategy against that template alone; then
    their cells, kind by kind."""
    grades: dict[str, list[Grade]]
    """By arm: off, one, on, and the strategies by name."""
    costs: dict[str, Cost]
    """By arm."""
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
    strategies: Sequence[tuple[Asking, Sampling]] = (),
) -> Gate:
    """Ask every case three ways, and once more with each strategy, and pair the marks.

    Raises:
        UserError: no cases, an id twice, a template that is not there, a margin out of range, the faults of a strategy
            or of the engine.
    """
    # What cannot be asked is said before hours of asking.
    wrapped = [(how.strategy, around(responder, cases, marker, how), drawn) for how, drawn in strategies]
    arms = {"off": newest(PLAIN), "one": one, "on": AUTO}
    grades: dict[str, list[Grade]] = {}
    costs: dict[str, Cost] = {}

    for arm, template in arms.items():
        done = examine(cases, responder, template=template, sampling=sampling, marker=marker)
        grades[arm] = done.grades
        costs[arm] = Cost(cases=len(cases))
        costs[arm].add(done.traces)
    chosen = {trace.prompt.case_id: trace.prompt.template for trace in done.traces}
    for name, strategy, drawn in wrapped:
        grades[name] = examine(cases, strategy, template=one, sampling=drawn, marker=marker).grades
        costs[name] = strategy.cost
    marks = {arm: from_grades(given) for arm, given in grades.items()}
    pairs = [
        Comparison("routing off", "routing on", marks["off"], marks["on"]),
        Comparison(one, "routing on", marks["one"], marks["on"]),
        *(Comparison(one, name, marks["one"], marks[name]) for name, _, _ in wrapped),
    ]
    return Gate(compare_family(pairs, margin=margin, alpha=alpha, by=("kind",)), grades, costs, chosen)
