"""What a study showed: do the models differ at all, then the named pairs, then every pair if asked.

Cochran's Q comes first and decides nothing: a loss in a named pair is shown whatever Q says. The named pairs are one
family (`rounds.exam.compare`: findings, their order, Holm over gains). All pairs are there to explore: an interval and
a p after Holm over all of them, both ways, and no finding. Left out on purpose: reading and asking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean, median

from rounds.exam import figures, words
from rounds.exam.compare import Comparison, clustered, compare_family, compare_marks
from rounds.exam.marks import Mark
from rounds.exam.study import Study
from rounds.exam.study_answers import Sat
from rounds.prompts.template import AUTO
from rounds.records import Case, Floor, Grade, Record, Report, Verdict
from rounds.stats.intervals import wilson
from rounds.stats.multiplicity import cochran_q, holm


class Omnibus(Record):
    """Cochran's Q over all models."""

    models: int
    cases: int
    """Cases that every model was graded on."""
    left_out: int
    """Cases that only some were."""
    q: float
    degrees: int
    p: float


class Result(Record):
    """Everything a study's page and its readers need; report.json of a study."""

    report: Report
    omnibus: Omnibus
    all_pairs: tuple[Verdict, ...] = ()
    """Every pair of models, before the earlier in the file; `p_holm` is over all of them, both ways."""


def judge(
    study: Study,
    found: Mapping[str, Sat],
    cases: Sequence[Case],
    *,
    machine: Mapping[str, str],
    digests: Mapping[str, str],
) -> Result:
    """Compare what the models did.

    Raises:
        UserError: two models without a case in common, a column no case has, a case in two groups at once.
    """
    family = [Comparison(p.before, p.after, found[p.before].marks, found[p.after].marks) for p in study.pair]
    verdicts = compare_family(family, margin=study.margin, alpha=study.alpha, by=_columns(study, cases))
    report = Report(
        title=study.title,
        alpha=study.alpha,
        margin=study.margin,
        why_margin=study.why_margin,
        evidence=study.evidence,
        verdicts=tuple(verdict for verdict in verdicts if verdict.finding is not None),
        cells=tuple(verdict for verdict in verdicts if verdict.finding is None),
        floors=_floors(study, found, cases),
        models={name: _row(sat) for name, sat in found.items()},
        notes=_clusters(study, found),
        machine=dict(machine),
        digests=dict(digests),
    )
    pairs = _all_pairs(study, found) if study.all_pairs else ()
    return Result(report=report, omnibus=omnibus({name: sat.marks for name, sat in found.items()}), all_pairs=pairs)


def _columns(study: Study, cases: Sequence[Case]) -> tuple[str, ...]:
    """What to report by: kinds of question that the router asked in different forms are shown apart unasked."""
    routed = study.template == AUTO and any(model.asked for model in study.model)
    several = len({case.kind for case in cases}) > 1
    return (*study.by, "kind") if routed and several and "kind" not in study.by else study.by


def omnibus(marks: Mapping[str, Sequence[Mark]]) -> Omnibus:
    """Cochran's Q over the cases that every model was graded on."""
    graded = [{mark.case_id: mark.correct for mark in side if mark.correct is not None} for side in marks.values()]
    every = set().union(*graded)
    shared = sorted(set(graded[0]).intersection(*graded))
    found = cochran_q([[side[case] for side in graded] for case in shared])
    return Omnibus(
        models=len(graded),
        cases=len(shared),
        left_out=len(every) - len(shared),
        q=found.value,
        degrees=len(graded) - 1,
        p=found.p,
    )


def _all_pairs(study: Study, found: Mapping[str, Sat]) -> tuple[Verdict, ...]:
    shown = []
    for before, after in combinations(found, 2):
        marks = found[before].marks, found[after].marks
        shown.append(compare_marks(*marks, names=(before, after), margin=study.margin, alpha=study.alpha)[0])
    adjusted = holm([verdict.p_exact for verdict in shown])
    bare = {"finding": None, "inside_margin": None}
    return tuple(v.model_copy(update={**bare, "p_holm": p}) for v, p in zip(shown, adjusted, strict=True))


def _row(sat: Sat) -> dict[str, float | int | str | None]:
    """One model's figures: shares over cases with a 95 % Wilson interval, tokens and seconds over answers."""
    graded = [mark for mark in sat.marks if mark.correct is not None]
    right = sum(mark.correct is True for mark in graded)
    ends = wilson(right, len(graded))
    row: dict[str, float | int | str | None] = {
        "cases": len(graded),
        "right": right / len(graded) if graded else None,
        "low": ends.low,
        "high": ends.high,
        "ungradable": len(sat.marks) - len(graded),
    }
    mine = {mark.case_id for mark in sat.marks}
    grades = [grade for grade in sat.grades if grade.case_id in mine]
    if not grades:
        return row
    seconds = [grade.total_s for grade in grades if grade.total_s is not None]
    return row | {
        "top1": _first(grades),
        "unreadable": sum(grade.answer.unreadable for grade in grades),
        "thinking_tokens": fmean(grade.thinking_tokens for grade in grades) or None,
        "seconds": median(seconds) if seconds else None,
    }


def _first(grades: Sequence[Grade]) -> float | None:
    """Share of the answers whose first diagnosis is right; None where the answers are no lists."""
    if all(grade.rank is None for grade in grades):
        return None
    return sum(grade.rank == 1 for grade in grades) / len(grades)


def _floors(study: Study, found: Mapping[str, Sat], cases: Sequence[Case]) -> tuple[Floor, ...]:
    outside = figures.outside_of(cases)
    floors = []
    for name in dict.fromkeys(pair.after for pair in study.pair):
        sat = found[name]
        graded = [mark for mark in sat.marks if mark.correct is not None]
        right = sum(mark.correct is True for mark in graded)
        floors.append(figures.floor("right", name, right, len(graded), study.floors.right))
        inside = [grade for grade in sat.grades if grade.case_id not in outside]
        danger = sum(grade.must_not_miss_total for grade in inside)
        named = sum(grade.must_not_miss_named for grade in inside)
        floors.append(figures.floor("must-not-miss named", name, named, danger, study.floors.must_not_miss))
        away = [grade for grade in sat.grades if grade.case_id in outside]
        kept = sum(grade.correct is True for grade in away)
        floors.append(figures.floor("abstention outside", name, kept, len(away), study.floors.abstention))
    # A floor of nothing is no floor, and must not be shown as met.
    return tuple(one for one in floors if one.floor > 0)


def _clusters(study: Study, found: Mapping[str, Sat]) -> tuple[str, ...]:
    """Each pair with the values of a column, or the samples of a case, counted as one cluster."""
    notes = []
    for pair in study.pair:
        before, after = found[pair.before].marks, found[pair.after].marks
        if not (study.cluster or any(mark.samples > 1 for mark in (*before, *after))):
            continue
        seed = study.sampling.seed
        together = clustered(before, after, column=study.cluster, seed=seed, margin=study.margin)
        what = f"values of {study.cluster}" if study.cluster else "cases with their samples"
        low, high = (words.points(end) for end in (together.bootstrap.low, together.bootstrap.high))
        notes.append(
            f"{pair.before} to {pair.after} with {together.clusters:,} {what} as clusters: "
            f"{words.points(together.difference)} points (95 % {low} to {high}, bootstrap BCa, seed {seed}), "
            f"p {words.p_value(together.p)}."
        )
    return tuple(notes)
