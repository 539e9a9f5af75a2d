"""Two models on the same cases: pairs by id, counts what cannot be paired, and decides what was shown.

Findings, in this order: *lost* (exact McNemar, raw p < alpha, worse), *gained* (p < alpha after Holm, better), *kept*
(paired non-inferiority against the margin, one-sided .025), *too few cases*. Holm is taken over the gains of one whole
report: every comparison and arm is a chance to claim a gain, so each one that is not better enters the family with
p = 1. A subgroup's cell has an interval and no finding. Left out on purpose: reading files, and drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rounds.exam.marks import Mark
from rounds.records import Arm, Finding, Interval, UserError, Verdict
from rounds.stats import cluster, intervals, multiplicity, noninferior, paired
from rounds.stats.paired import Pairs

NOT_STATED = "not stated"
"""Value of a column for a case that lacks it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models to hold against each other; one member of a family."""

    before: str
    after: str
    marks_before: Sequence[Mark]
    marks_after: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Paired:
    """What pairing by id found for one arm."""

    pairs: Pairs
    unpaired_before: int
    unpaired_after: int
    ungradable: int
    """Pairs of which at least one mark is missing (null)."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """The difference with clusters counted instead of cases."""

    column: str
    clusters: int
    difference: float
    interval: Interval
    bootstrap: Interval
    p: float


def compare_marks(
    before: Sequence[Mark],
    after: Sequence[Mark],
    *,
    names: tuple[str, str],
    margin: float,
    alpha: float,
    by: Sequence[str] = (),
) -> tuple[Verdict, ...]:
    """Verdicts of one comparison: accuracy, red flags where the marks have them, then a cell for each group.

    by: columns; `specialty*incidence` crosses two. Cells (finding None) are about accuracy.

    Raises:
        UserError: see `compare_family`.
    """
    comparison = Comparison(names[0], names[1], before, after)
    return compare_family([comparison], margin=margin, alpha=alpha, by=by)


def compare_family(
    comparisons: Sequence[Comparison], *, margin: float, alpha: float, by: Sequence[str] = ()
) -> tuple[Verdict, ...]:
    """Verdicts of several comparisons under one Holm family, then their cells, in the order given.

    Give every comparison of a report at once (each step against its parent, the last against the base).

    Raises:
        UserError: margin or alpha out of range, a repeated id, no case in common, a column no case has, a case in two
            groups at once.
    """
    check_rules(margin, alpha)
    verdicts: list[Verdict] = []
    cells: list[Verdict] = []
    for comparison in comparisons:
        before, after = _by_id(comparison.marks_before), _by_id(comparison.marks_after)
        if before.keys().isdisjoint(after):
            raise UserError(
                f"{comparison.before} and {comparison.after} have no case_id in common; "
                "compare marks of the same cases."
            )
        verdicts.append(_verdict(comparison, pair(before, after, "accuracy"), "accuracy", margin, alpha))
        if any(mark.red_flags is not None for mark in (*before.values(), *after.values())):
            verdicts.append(_verdict(comparison, pair(before, after, "red flags"), "red flags", margin, alpha))
        for column in by:
            for value, (some_before, some_after) in _grouped(before, after, column).items():
                cells.append(_cell(comparison, pair(some_before, some_after, "accuracy"), f"{column}={value}"))
    adjusted = multiplicity.holm([v.p_exact if v.difference > 0 else 1.0 for v in verdicts])
    decided = [_decide(verdict, p, margin, alpha) for verdict, p in zip(verdicts, adjusted, strict=True)]
    return (*decided, *cells)


def check_rules(margin: float, alpha: float) -> None:
    """Raise a UserError unless 0 < margin < 1 and 0 < alpha < .5."""
    if not 0.0 < margin < 1.0:
        raise UserError(f"margin {margin} is not a share between 0 and 1; write 0.02 for two points of a hundred.")
    if not 0.0 < alpha < 0.5:
        raise UserError(f"alpha {alpha} is not between 0 and 0.5; write 0.01 for one in a hundred.")


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """0 all kept or gained, 1 any lost, 3 any undecided (or nothing compared); cells do not count."""
    findings = [verdict.finding for verdict in verdicts if verdict.finding is not None]
    if "lost" in findings:
        return 1
    return 3 if not findings or "too few cases" in findings else 0


def pair(before: Mapping[str, Mark], after: Mapping[str, Mark], arm: Arm) -> Paired:
    """Pair by id. The red-flag arm is over cases that have red flags under either model."""
    if arm == "red flags":
        with_flags = {m.case_id for m in (*before.values(), *after.values()) if m.red_flags is not None}
        before = {name: mark for name, mark in before.items() if name in with_flags}
        after = {name: mark for name, mark in after.items() if name in with_flags}
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    ungradable = shared = 0
    for name, mark in before.items():
        other = after.get(name)
        if other is None:
            continue
        shared += 1
        old, new = _right(mark, arm), _right(other, arm)
        if old is None or new is None:
            ungradable += 1
        else:
            counts[old, new] += 1
    return Paired(
        Pairs(counts[True, True], counts[True, False], counts[False, True], counts[False, False]),
        unpaired_before=len(before) - shared,
        unpaired_after=len(after) - shared,
        ungradable=ungradable,
    )


def clustered(
    before: Sequence[Mark], after: Sequence[Mark], *, column: str = "condition", seed: int, resamples: int = 10_000
) -> Clustered:
    """The paired difference in accuracy with the cases of one `column` value as a cluster.

    Shares are compared, so several samples of a case count by their mean; a case without the column is a cluster of
    its own. p: Obuchowski's test. interval: normal; bootstrap: BCa with the seed given.

    Raises:
        UserError: a repeated id.
    """
    old, new = _by_id(before), _by_id(after)
    keys: list[str] = []
    shares: list[tuple[float, float]] = []
    for name, mark in old.items():
        other = new.get(name)
        if other is not None and mark.share is not None and other.share is not None:
            value = mark.groups.get(column) or other.groups.get(column)
            keys.append(f"={value}" if value else f"case {name}")
            shares.append((mark.share, other.share))
    groups = cluster.clusters(keys, [share[0] for share in shares], [share[1] for share in shares])
    return Clustered(
        column=column,
        clusters=len(groups.gain),
        difference=groups.difference,
        interval=cluster.interval(groups),
        bootstrap=cluster.bootstrap(groups, seed=seed, resamples=resamples),
        p=cluster.obuchowski(groups).p,
    )


def _by_id(marks: Sequence[Mark]) -> dict[str, Mark]:
    found: dict[str, Mark] = {}
    for mark in marks:
        if mark.case_id in found:
            raise UserError(f"case_id '{mark.case_id}' is marked twice for one model; keep one mark for each case.")
        found[mark.case_id] = mark
    return found


def _right(mark: Mark, arm: Arm) -> bool | None:
    return mark.red_flags if arm == "red flags" else mark.correct


def _grouped(
    before: Mapping[str, Mark], after: Mapping[str, Mark], column: str
) -> dict[str, tuple[dict[str, Mark], dict[str, Mark]]]:
    """Marks of both models by value of the column, values sorted, `not stated` last."""
    parts = [part.strip() for part in column.split("*")]
    value_of: dict[str, str] = {}
    for name in {**before, **after}:
        values = [_value(name, (before.get(name), after.get(name)), part) for part in parts]
        value_of[name] = NOT_STATED if NOT_STATED in values else " / ".join(values)
    if all(value == NOT_STATED for value in value_of.values()) and value_of:
        known = sorted({key for mark in (*before.values(), *after.values()) for key in mark.groups})
        raise UserError(f"no case has the column '{column}'; use one of {', '.join(known) or 'none: there are none'}.")
    ordered = sorted(set(value_of.values()), key=lambda value: (value == NOT_STATED, value))
    grouped: dict[str, tuple[dict[str, Mark], dict[str, Mark]]] = {value: ({}, {}) for value in ordered}
    for side, marks in enumerate((before, after)):
        for name, mark in marks.items():
            grouped[value_of[name]][side][name] = mark
    return grouped


def _value(case_id: str, marks: Sequence[Mark | None], column: str) -> str:
    found = {mark.groups[column] for mark in marks if mark is not None and mark.groups.get(column)}
    if len(found) > 1:
        both = " and ".join(sorted(found))
        raise UserError(f"case '{case_id}' has {column} {both}; give both files the same groups.")
    return found.pop() if found else NOT_STATED


def _cell(comparison: Comparison, found: Paired, group: str) -> Verdict:
    pairs = found.pairs
    return Verdict(
        before=comparison.before,
        after=comparison.after,
        group=group,
        n=pairs.n,
        both=pairs.both,
        only_before=pairs.only_before,
        only_after=pairs.only_after,
        neither=pairs.neither,
        unpaired_before=found.unpaired_before,
        unpaired_after=found.unpaired_after,
        ungradable=found.ungradable,
        difference=pairs.difference,
        tango=intervals.tango(pairs),
        newcombe=intervals.newcombe(pairs),
        p_exact=paired.exact(pairs),
        p_midp=paired.midp(pairs),
    )


def _verdict(comparison: Comparison, found: Paired, arm: Arm, margin: float, alpha: float) -> Verdict:
    figures = {
        "arm": arm,
        "p_noninferior": noninferior.noninferior(found.pairs, margin),
        "cases_needed": noninferior.cases_needed(found.pairs, margin),
        "minimum_detectable": noninferior.minimum_detectable(found.pairs, alpha),
    }
    return _cell(comparison, found, "all").model_copy(update=figures)


def _decide(verdict: Verdict, p_holm: float, margin: float, alpha: float) -> Verdict:
    finding: Finding = "too few cases"
    if verdict.p_exact < alpha and verdict.difference < 0:
        finding = "lost"
    elif p_holm < alpha and verdict.difference > 0:
        finding = "gained"
    elif verdict.p_noninferior is not None and verdict.p_noninferior < noninferior.ALPHA:
        finding = "kept"
    inside = verdict.tango.low > -margin if finding == "lost" else None
    return verdict.model_copy(update={"finding": finding, "p_holm": p_holm, "inside_margin": inside})
