"""Stages that judge: the exam of every model, the baselines, the report and the passport."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from rounds import files, recipe
from rounds.cases import baselines, oracle
from rounds.cases.generate import generate, world_for
from rounds.chain import account
from rounds.chain.ladder import LADDER, Ladder, rows
from rounds.chain.passport import passport, write_passport
from rounds.chain.prepare import TEACHER, read_cases
from rounds.chain.stage import Work, alone
from rounds.engine.choose import open_responder
from rounds.exam import figures, later
from rounds.exam.compare import Comparison, clustered, compare_family
from rounds.exam.examine import Examined, examine, read, save
from rounds.exam.marks import Mark, from_grades
from rounds.exam.report import write_json, write_report
from rounds.grade.mark import Marker
from rounds.knowledge.base import load as load_knowledge
from rounds.model import checkpoint
from rounds.records import Answer, Case, Figures, Floor, Grade, Noise, Report, Sampling, Step, Trace, Verdict

RERUN = "rerun"
FIRST, AGAIN = "first", "again"
RERUN_CASES = 240
"""Tune cases that the last model answers twice, for the run-to-run noise."""

GATES = (("base", "distilled"), ("distilled", "reasoned"), ("reasoned", "packed"), ("base", "packed"))
"""Each step against its parent, and the last against the base."""

CONTROLS = (("control-same-cases", "distilled"), ("control-same-tokens", "distilled"))
"""Whether reasoning earned its tokens: shown, not gates."""


class Judgement(NamedTuple):
    """What a run ended with."""

    report: Report
    gates: tuple[Verdict, ...]


def exam_sampling(chosen: recipe.Recipe) -> Sampling:
    """How every model is asked."""
    settings = chosen.examine
    return Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        samples=settings.samples,
        seed=chosen.seed,
    )


def make_grades(work: Work, chosen: recipe.Recipe, model: str) -> Figures:
    """Answers and marks of the model of one stage on the exam; the last model also answers tune cases twice."""
    cases = read_cases(work.inputs["cases"], "exam")
    with alone(work.inputs[model]):
        # A mixture of experts runs on one engine alone, whatever the students are examined on.
        responder = open_responder(work.inputs[model], "auto" if model == TEACHER else chosen.examine.engine)
    marker = Marker(load_knowledge())

    def sit(cases: Sequence[Case], sampling: Sampling) -> Examined:
        return examine(cases, responder, template=chosen.examine.template, sampling=sampling, marker=marker)

    sampling = exam_sampling(chosen)
    first = sit(cases, sampling)
    save(first, work.out)
    if chosen.examine.rerun and model == "packed":
        # Tune cases, since an exam that is opened for the noise has been opened.
        tune = read_cases(work.inputs["cases"], "tune")[:RERUN_CASES]
        again = Random(chosen.seed).sample(tune, len(tune))
        other = sampling if sampling.temperature == 0 else sampling.model_copy(update={"seed": sampling.seed + 1})
        for name, order, drawn in ((FIRST, tune, sampling), (AGAIN, again, other)):
            (work.out / RERUN / name).mkdir(parents=True)
            save(sit(order, drawn), work.out / RERUN / name)
    noise = _noise(work.out)
    outside = figures.outside_of(cases)
    seconds = sum(trace.total_s or 0 for trace in first.traces)
    return {
        **figures.model_figures(first.grades, outside),
        **({} if noise is None else {"rerun_changed_answers": noise.changed}),
        "engine": first.traces[0].engine,
        "batch_invariant": responder.batch_invariant,
        "bytes": checkpoint.bytes_of(work.inputs[model]),
        "answer_seconds": round(seconds, 2),
    }


def make_baselines(work: Work, chosen: recipe.Recipe) -> Figures:
    """baselines/: the oracle, a bag of words, and the most frequent five of the specialty on the same exam."""
    directory = work.inputs["cases"]
    exam = read_cases(directory, "exam")
    inside = [case for case in exam if not case.outside]
    teach, tune = read_cases(directory, "teach"), read_cases(directory, "tune")
    marker = Marker(load_knowledge())
    # The bag of words learns what the base learns from: more would be another study.
    few = [case for case in teach if not case.outside][:12000]
    answers: dict[str, Sequence[Answer]] = {
        "most frequent five of the specialty": baselines.most_frequent_five(teach, inside),
        "bag of words, logistic regression": baselines.bag_of_words(few, [c for c in tune if not c.outside], inside),
    }
    table: dict[str, dict[str, float]] = {}
    if chosen.cases.file is None:
        table["oracle (ceiling)"] = _oracle(chosen)
    for name, given in answers.items():
        marks = [marker.mark_answer(case, answer) for case, answer in zip(inside, given, strict=True)]
        table[name] = {
            "top1": round(sum(mark.rank == 1 for mark in marks) / len(marks), 4),
            "top5": round(sum(bool(mark.correct) for mark in marks) / len(marks), 4),
        }
    files.write_text(work.out / "baselines.json", json.dumps(table, indent=1))
    return {f"{name}: {key}": value for name, row in table.items() for key, value in row.items()}


def _oracle(chosen: recipe.Recipe) -> dict[str, float]:
    knowledge = load_knowledge()
    settings = chosen.cases.model_copy(update={"teach": 1})
    drawn = generate(knowledge, settings, chosen.seed)
    ceiling = oracle.ceiling(world_for(knowledge, chosen.cases), drawn["exam"])
    return {"top1": round(ceiling["top1"], 4), "top5": round(ceiling["top5"], 4)}


def judge(run: Path, chosen: recipe.Recipe, steps: Mapping[str, Step], opened: int) -> Judgement:
    """Compare, and write report.json, report.html and passport.json into the run."""
    cases = read_cases(run / "cases", "exam")
    inside = [case for case in cases if not case.outside]
    models = [name.removeprefix("grades/") for name in steps if name.startswith("grades/")]
    exams = {name: read(run / "grades" / name) for name in models}
    marks = {name: _marks(exam.grades, inside) for name, exam in exams.items()}
    pairs = [pair for pair in GATES if pair[0] in marks and pair[1] in marks]
    rules = chosen.compare
    gates = compare_family(
        [Comparison(a, b, marks[a], marks[b]) for a, b in pairs], margin=rules.margin, alpha=rules.alpha, by=rules.by
    )
    shown: tuple[Verdict, ...] = ()
    extra = [pair for pair in CONTROLS if pair[0] in marks and pair[1] in marks]
    if extra:
        family = [Comparison(a, b, marks[a], marks[b]) for a, b in extra]
        shown = tuple(v for v in compare_family(family, margin=rules.margin, alpha=rules.alpha) if v.arm == "accuracy")
    decided = tuple(v for v in gates if v.finding is not None)
    report = Report(
        title=f"rounds run {chosen.name}",
        alpha=rules.alpha,
        margin=rules.margin,
        why_margin=rules.why_margin,
        evidence=rules.evidence,
        verdicts=(*decided, *shown),
        cells=tuple(v for v in gates if v.finding is None),
        floors=_floors(exams, cases, chosen),
        models={name: _model_row(steps, name) for name in models},
        baselines=_baselines(run),
        ladder=_ladder(run),
        noise=_noise(run / "grades" / "packed"),
        made=account.made(chosen, steps),
        notes=(*_notes(run, chosen, steps, shown), *_clustered(pairs, marks, chosen.seed)),
        machine=account.machine(chosen),
        digests={name: step.output for name, step in steps.items()},
        exam_opened=opened,
    )
    everything = {name: list(zip(exam.traces, exam.grades, strict=True)) for name, exam in exams.items()}
    report = figures.with_sittings(report, everything, figures.outside_of(cases))
    write_json(report, run / "report.json")
    answers = {name: _pairs(exam, {case.id for case in inside}) for name, exam in exams.items()}
    write_report(report, inside, answers, run / "report.html", later=later.read(run))
    write_passport(passport(report, decided, steps, chosen, run), run / "passport.json")
    return Judgement(report, decided)


def first_lost(run: Path, chosen: recipe.Recipe, done: set[str]) -> str | None:
    """The first lost gate among the exams done so far, in one sentence with its lost cases; None when none is."""
    ready = [pair for pair in GATES if {f"grades/{name}" for name in pair} <= done]
    inside = [case for case in read_cases(run / "cases", "exam") if not case.outside] if ready else []
    rules = chosen.compare
    for before, after in ready:
        old, new = (_marks(read(run / "grades" / name).grades, inside) for name in (before, after))
        family = [Comparison(before, after, old, new)]
        for verdict in compare_family(family, margin=rules.margin, alpha=rules.alpha):
            if verdict.finding == "lost":
                cases = _lost_cases(old, new, verdict.arm)
                return (
                    f"{after} is lost against {before} on {verdict.arm}: {100 * verdict.difference:+.1f} points, "
                    f"p {verdict.p_exact:.4f}; {len(cases)} cases lost: {', '.join(cases[:20])}"
                    + (" …" if len(cases) > 20 else "")
                )
    return None


def _lost_cases(before: Sequence[Mark], after: Sequence[Mark], arm: str) -> list[str]:
    def right(mark: Mark) -> bool:
        return bool(mark.red_flags if arm == "red flags" else mark.correct)

    later = {mark.case_id: right(mark) for mark in after}
    return [mark.case_id for mark in before if right(mark) and not later.get(mark.case_id, True)]


def _marks(grades: Sequence[Grade], inside: Sequence[Case]) -> list[Mark]:
    """Marks on cases inside the knowledge base: abstention has figures of its own."""
    ids = {case.id for case in inside}
    return from_grades(grade for grade in grades if grade.case_id in ids)


def _pairs(exam: Examined, ids: set[str]) -> list[tuple[Trace | None, Grade]]:
    return [(t, g) for t, g in zip(exam.traces, exam.grades, strict=True) if g.case_id in ids]


def _floors(exams: Mapping[str, Examined], cases: Sequence[Case], chosen: recipe.Recipe) -> tuple[Floor, ...]:
    last = "packed" if "packed" in exams else list(exams)[-1]
    outside = figures.outside_of(cases)
    grades = exams[last].grades
    inside = [grade for grade in grades if grade.case_id not in outside]
    away = [grade for grade in grades if grade.case_id in outside]
    rules = chosen.compare
    floors = [figures.floor("top five", last, sum(bool(g.correct) for g in inside), len(inside), rules.floor_top5)]
    danger = sum(g.must_not_miss_total for g in inside)
    if danger:
        named = sum(g.must_not_miss_named for g in inside)
        floors.append(figures.floor("must-not-miss named", last, named, danger, rules.floor_must_not_miss))
    if away:
        right = sum(bool(g.correct) for g in away)
        floors.append(figures.floor("abstention outside", last, right, len(away), rules.floor_abstention))
    # A floor of nothing is no floor, and must not be shown as met.
    return tuple(one for one in floors if one.floor > 0)


def _model_row(steps: Mapping[str, Step], name: str) -> dict[str, Any]:
    skip = {"batch_invariant", "engine", "rerun_changed_answers", "answer_seconds"}
    return {key: value for key, value in steps[f"grades/{name}"].figures.items() if key not in skip}


def _ladder(run: Path) -> tuple[dict[str, float | int | str | bool | None], ...]:
    path = run / "packed" / LADDER
    return tuple(rows(files.read_json(path, Ladder))) if path.is_file() else ()


def _noise(grades: Path) -> Noise | None:
    """What changed when the last model answered tune cases twice; None where it did not. grades: its directory."""
    place = grades / RERUN
    if not (place / AGAIN).is_dir():
        return None
    first, again = read(place / FIRST), read(place / AGAIN)
    how = "in another order, so in other batches"
    if first.traces[0].sampling.seed != again.traces[0].sampling.seed:
        how += ", with another seed"
    return figures.noise("packed", how, first.grades, again.grades)


def _baselines(run: Path) -> dict[str, dict[str, float | int | str | None]]:
    path = run / "baselines" / "baselines.json"
    found: dict[str, dict[str, float | int | str | None]] = json.loads(files.read_text(path)) if path.is_file() else {}
    return found


def _clustered(pairs: Sequence[tuple[str, str]], marks: Mapping[str, Sequence[Mark]], seed: int) -> tuple[str, ...]:
    """Each comparison with the cases of one condition counted as a cluster, as they are no independent patients."""
    notes = []
    for before, after in pairs:
        found = clustered(marks[before], marks[after], seed=seed)
        low, high = 100 * found.bootstrap.low, 100 * found.bootstrap.high
        notes.append(
            f"{before} to {after} with {found.clusters} conditions as clusters: {100 * found.difference:+.1f} points "
            f"(95 % {low:+.1f} to {high:+.1f}, bootstrap BCa of conditions, seed {seed}; p {found.p:.2g})."
        )
    return tuple(notes)


def _notes(run: Path, chosen: recipe.Recipe, steps: Mapping[str, Step], controls: Sequence[Verdict]) -> tuple[str, ...]:
    notes = []
    made = steps["cases"].figures
    if "conditions" in made:
        notes.append(
            f"{made['reviewed']} of {made['conditions']} conditions of the knowledge base reviewed by a clinician."
        )
    traces = steps.get("traces")
    if traces is not None:
        asked, kept = traces.figures.get("asked"), traces.figures.get("kept")
        notes.append(f"The teacher gave {asked} answers to teach cases; {kept} passed verification.")
    path = run / "traces" / "acceptance.json"
    if path.is_file():
        rates = json.loads(files.read_text(path))
        notes.append("Acceptance by cell: " + "; ".join(f"{name} {rate:.0%}" for name, rate in rates.items()) + ".")
    for name in ("teacher/reasoned", "reasoned"):
        step = steps.get(name)
        if step is not None and step.figures.get("stopped"):
            notes.append(f"GRPO of {name} was stopped by a monitor: {step.figures['stopped']}.")
    for verdict in controls:
        points = 100 * verdict.difference
        notes.append(
            f"Reasoning against {verdict.before.removeprefix('control-').replace('-', ' ')}, answers only: "
            f"{points:+.1f} points, {verdict.finding}."
        )
    load = steps.get("teacher/taught")
    if load is not None and load.figures.get("expert_load_max_over_mean") is not None:
        notes.append(f"Busiest expert of the teacher over the mean: {load.figures['expert_load_max_over_mean']}.")
    speed = steps.get("teacher/speed")
    if speed is not None:
        made = speed.figures
        notes.append(
            f"A token costs the teacher {made['mixture_us_per_token']} µs in a forward pass and a dense model of equal "
            f"active size {made['dense_us_per_token']} µs ({made['mixture_over_dense']} times), one thread."
        )
    seconds = round(sum(step.seconds for step in steps.values()))
    notes.append(f"Seed {chosen.seed}; {seconds} s of work in all stages.")
    return tuple(notes)
