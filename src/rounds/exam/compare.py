"""Two models on the same cases: pairs by id, counts what cannot be paired, and decides what was shown.

Findings, in this order: *lost* (exact McNemar, raw p < alpha, worse), *gained* (p < alpha after Holm, better), *kept*
(paired non-inferiority against the margin, one-sided .025), *too few cases*. Holm is taken over the gains of one whole
report: every comparison and arm is a chance to claim a gain, so each one that is not better enters the family with
p = 1. A subgroup's cell has an interval and no finding. Left out on purpose: reading files, and drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rounds.exam.marks import Ids, Mark, Table, table_of
from rounds.records import Arm, Finding, Interval, UserError, Verdict
from rounds.stats import cluster, intervals, multiplicity, noninferior, paired
from rounds.stats.paired import Pairs

Marks = Sequence[Mark] | Table
"""Marks of one model; two tables that share their ids pair a million cases without a second copy of the ids."""

Number = TypeVar("Number", bound=np.generic)

NOT_STATED = "not stated"
"""Value of a column for a case that lacks it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models to hold against each other; one member of a family."""

    before: str
    after: str
    marks_before: Marks
    marks_after: Marks


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
    p_noninferior: float | None = None
    """Against the margin, one-sided, clusters counted; None where no margin was given."""
    seed: int = 0


def compare_marks(
    before: Marks,
    after: Marks,
    *,
    names: tuple[str, str],
    margin: float,
    alpha: float,
    by: Sequence[str] = (),
    others: int = 0,
) -> tuple[Verdict, ...]:
    """Verdicts of one comparison: accuracy, red flags where the marks have them, then a cell for each group.

    by: columns; `specialty*incidence` crosses two. Cells (finding None) are about accuracy.

    Raises:
        UserError: see `compare_family`.
    """
    comparison = Comparison(names[0], names[1], before, after)
    return compare_family([comparison], margin=margin, alpha=alpha, by=by, others=others)


def compare_family(
    comparisons: Sequence[Comparison], *, margin: float, alpha: float, by: Sequence[str] = (), others: int = 0
) -> tuple[Verdict, ...]:
    """Verdicts of several comparisons under one Holm family, then their cells, in the order given.

    Give every comparison of a report at once (each step against its parent, the last against the base). others:
    comparisons of the family that were planned but are not given here; each makes a gain harder to claim.

    Raises:
        UserError: margin or alpha out of range, a repeated id, no case in common, a column no case has, a case in two
            groups at once.
    """
    check_rules(margin, alpha)
    verdicts: list[Verdict] = []
    cells: list[Verdict] = []
    for comparison in comparisons:
        frame = frame_of(comparison.marks_before, comparison.marks_after)
        if not frame.shared:
            raise UserError(
                f"{comparison.before} and {comparison.after} have no case_id in common; "
                "compare marks of the same cases."
            )
        verdicts.append(_verdict(comparison, pair(frame), "accuracy", margin, alpha))
        if any(bool(np.any(table.red_flags >= 0)) for table in (frame.old, frame.new)):
            verdicts.append(_verdict(comparison, pair(frame, "red flags"), "red flags", margin, alpha))
        for column in by:
            for value, within in _grouped(frame, column):
                cells.append(_cell(comparison, pair(frame, within=within), f"{column}={value}"))
    # A member that was planned and is not here yet may still claim a gain: it enters as one that has not.
    arms = len(verdicts) // max(1, len(comparisons))
    adjusted = multiplicity.holm([v.p_exact if v.difference > 0 else 1.0 for v in verdicts] + [1.0] * (others * arms))
    decided = [_decide(verdict, p, margin, alpha) for verdict, p in zip(verdicts, adjusted, strict=False)]
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


def pair(frame: Frame, arm: Arm = "accuracy", within: NDArray[np.bool_] | None = None) -> Paired:
    """Count the pairs of a frame, or of those of its cases that lie `within`, shape (cases,).

    The red-flag arm is over cases that have red flags under either model.
    """
    old, new = frame.marks(arm)
    chosen = np.ones(len(old), dtype=bool) if within is None else within
    if arm == "red flags":
        chosen = chosen & ((old >= 0) | (new >= 0))
    old, new, before, after = old[chosen], new[chosen], frame.before[chosen] >= 0, frame.after[chosen] >= 0
    graded = (old >= 0) & (new >= 0)
    return Paired(
        paired.count(old[graded] > 0, new[graded] > 0),
        unpaired_before=int(np.count_nonzero(before & ~after)),
        unpaired_after=int(np.count_nonzero(after & ~before)),
        ungradable=int(np.count_nonzero(before & after & ~graded)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Two models side by side, one entry for each case that either was marked on; arrays have shape (cases,)."""

    old: Table
    new: Table
    case: NDArray[np.int32]
    """Number of the case in the ids of both tables."""
    before: NDArray[np.int32]
    """Row of the case in `old`, -1 where it is absent."""
    after: NDArray[np.int32]

    def marks(self, arm: Arm) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """1 right, 0 wrong, -1 not gradable or absent."""
        old, new = (t.red_flags if arm == "red flags" else t.correct for t in (self.old, self.new))
        return _taken(old, self.before, -1), _taken(new, self.after, -1)

    def shares(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Share of the samples that are right; NaN where not gradable or absent."""
        return _taken(self.old.share, self.before, np.nan), _taken(self.new.share, self.after, np.nan)

    @property
    def shared(self) -> int:
        """Cases that both models were marked on."""
        return int(np.count_nonzero((self.before >= 0) & (self.after >= 0)))


def frame_of(before: Marks, after: Marks) -> Frame:
    """Pair two models by id.

    Raises:
        UserError: a repeated id.
    """
    ids = next((side.ids for side in (before, after) if isinstance(side, Table)), {})
    old, new = (_as_table(side, ids) for side in (before, after))
    marked = np.zeros(len(ids), dtype=bool)
    marked[old.case] = marked[new.case] = True
    case = np.flatnonzero(marked).astype(np.int32)
    rows = []
    for table in (old, new):
        row = np.full(len(ids), -1, dtype=np.int32)
        row[table.case] = np.arange(len(table), dtype=np.int32)
        rows.append(row[case])
    return Frame(old, new, case, rows[0], rows[1])


def _as_table(marks: Marks, ids: Ids) -> Table:
    if not isinstance(marks, Table):
        return table_of(marks, ids)
    return marks if marks.ids is ids else table_of(marks.marks(), ids)


def _taken(values: NDArray[Number], rows: NDArray[np.int32], absent: float) -> NDArray[Number]:
    """Values by row, `absent` for row -1."""
    return np.append(values, np.array([absent], dtype=values.dtype))[rows]


def clustered(
    before: Marks,
    after: Marks,
    *,
    column: str = "condition",
    seed: int,
    resamples: int = 10_000,
    margin: float | None = None,
) -> Clustered:
    """The paired difference in accuracy with the cases of one `column` value as a cluster.

    Shares are compared, so several samples of a case count by their mean; a case without the column is a cluster of
    its own, so that column '' clusters the samples of each case. p: Obuchowski's test. interval: normal; bootstrap:
    BCa with the seed given.

    Raises:
        UserError: a repeated id.
    """
    frame = frame_of(before, after)
    groups = _clusters(frame, column)
    return Clustered(
        column=column,
        clusters=len(groups.gain),
        difference=groups.difference,
        interval=cluster.interval(groups),
        bootstrap=cluster.bootstrap(groups, seed=seed, resamples=resamples),
        p=cluster.obuchowski(groups).p,
        p_noninferior=None if margin is None else cluster.noninferior(groups, margin),
        seed=seed,
    )


def bootstraps(
    before: Marks, after: Marks, *, by: Sequence[str] = (), column: str = "", seed: int, resamples: int = 10_000
) -> dict[str, Interval]:
    """BCa bootstrap intervals of the difference in accuracy: `all`, and each group under the name of its cell.

    Cases are drawn with all their samples, or whole clusters of `column`; same seed, same intervals.

    Raises:
        UserError: as `compare_family`.
    """
    frame = frame_of(before, after)
    found = {"all": cluster.bootstrap(_clusters(frame, column), seed=seed, resamples=resamples)}
    for name in by:
        for value, within in _grouped(frame, name):
            groups = _clusters(frame, column, within)
            found[f"{name}={value}"] = cluster.bootstrap(groups, seed=seed, resamples=resamples)
    return found


def _clusters(frame: Frame, column: str, within: NDArray[np.bool_] | None = None) -> cluster.Clusters:
    old, new = frame.shares()
    both = ~np.isnan(old) & ~np.isnan(new)
    if within is not None:
        both &= within
    codes, values = _codes(frame, column)
    # A case without the column is a cluster of its own.
    keys = np.where(codes >= 0, codes, len(values) + np.arange(len(codes)))[both]
    _, place = np.unique(keys, return_inverse=True)
    size = int(place.max()) + 1 if len(place) else 0
    gain = np.bincount(place, weights=(new - old)[both], minlength=size).astype(float)
    return cluster.Clusters(gain, np.bincount(place, minlength=size).astype(float))


def _grouped(frame: Frame, column: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """Each value of the column with the cases that have it, values sorted, `not stated` last."""
    parts = [part.strip() for part in column.split("*")]
    crossed = np.zeros(len(frame.case), dtype=np.int64)
    stated = np.ones(len(frame.case), dtype=bool)
    names: list[list[str]] = []
    for part in parts:
        codes, values = _codes(frame, part, agreed=True)
        crossed, stated = crossed * max(1, len(values)) + np.maximum(codes, 0), stated & (codes >= 0)
        names.append(values)
    if not stated.any() and len(stated):
        known = ", ".join(sorted(frame.old.known | frame.new.known))
        use = f"use one of {known}" if known else "there is none to group by"
        raise UserError(f"no case has the column '{column}'; {use}.")
    found = []
    for code in np.unique(crossed[stated]):
        left, value = int(code), []
        for values in reversed(names):
            left, place = divmod(left, max(1, len(values)))
            value.append(values[place])
        found.append((" / ".join(reversed(value)), stated & (crossed == code)))
    found.sort(key=lambda one: one[0])
    return found if stated.all() else [*found, (NOT_STATED, ~stated)]


def _codes(frame: Frame, column: str, *, agreed: bool = False) -> tuple[NDArray[np.int32], list[str]]:
    """Place of each case's value among the values of the column, -1 where neither model's marks have one.

    agreed: refuse a case that has one value under the one model and another under the other.
    """
    places: dict[str, int] = {}
    sides = []
    for table, rows in ((frame.old, frame.before), (frame.new, frame.after)):
        stored = table.columns.get(column)
        if stored is None:
            sides.append(np.full(len(rows), -1, dtype=np.int32))
            continue
        # An empty text states nothing.
        known = [
            places.setdefault(value, len(places)) if value not in ("", NOT_STATED) else -1 for value in stored.values
        ]
        own = np.array([*known, -1], dtype=np.int32)
        sides.append(own[_taken(stored.codes, rows, -1)])
    old, new = sides
    apart = (old >= 0) & (new >= 0) & (old != new)
    if agreed and apart.any():
        first = int(np.flatnonzero(apart)[0])
        case, values = list(frame.old.ids)[frame.case[first]], list(places)
        both = " and ".join(sorted((values[old[first]], values[new[first]])))
        raise UserError(f"case '{case}' has {column} {both}; give both files the same groups.")
    return np.where(old >= 0, old, new), list(places)


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
        "p_noninferior": noninferior.decided(found.pairs, margin),
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
