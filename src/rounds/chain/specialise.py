"""One specialty at a time: what an adapter gains there and what it costs elsewhere, as stages of a finished run.

    specialise/cases/           an exam of its own, at least so many cases a specialty; the run's exam stays closed
    specialise/base/, start/    only where a specialty is thinned on purpose: the model taught too little of it and,
                                unless answers alone are learnt, the same after the kept traces
    specialise/on/<name>/       the merged model, and adapter/ beside it
    specialise/grades/<name>/   its answers to that exam
    specialise/separate/<name>/ adapter beside the model against the two merged, on the same cases
    specialise.json, specialise.html

Every stage is skipped when fresh and made anew when half made, as in `rounds.chain.stage`. Left out on purpose:
choosing rank or replay by these figures, which would be choosing on an exam.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rounds import files, recipe
from rounds.cases.generate import generate, world_for
from rounds.cases.overlap import refuse_overlap
from rounds.chain.judge import exam_sampling
from rounds.chain.learn import LESSONS, learnt
from rounds.chain.prepare import direct, from_nothing, read_cases, read_oracle
from rounds.chain.separate import ADAPTER, make_separate
from rounds.chain.stage import Stage, Work, alone, fresh, make
from rounds.engine.choose import open_responder
from rounds.exam.examine import examine, read, save, unique
from rounds.exam.later import SPECIALISE
from rounds.exam.specialties import Matrix, matrix, write_page
from rounds.grade.mark import Marker
from rounds.knowledge.base import load as load_knowledge
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.progress import track
from rounds.records import Case, Figures, Lesson, UserError
from rounds.train.specialise import mixed, specialise, thinned

PAGE, RECIPE = "specialise.html", "recipe.toml"
ROOM = "specialise"
BASE, START = f"{ROOM}/base", f"{ROOM}/start"
SEED = 7919
"""Added to the run's seed: another exam of the same kind."""
SPARE = 1.3
"""Drawn for each case that is wanted, as one with the findings of a taught case is left out."""


def slug(specialty: str) -> str:
    """A specialty as a directory's name."""
    return files.file_name(specialty.replace(" ", "-"))


def start_of(chosen: recipe.Recipe) -> str:
    """The stage whose checkpoint the adapters start from."""
    if not chosen.specialise.thinned:
        return chosen.specialise.model
    return BASE if chosen.specialise.direct else START


def specialties_of(chosen: recipe.Recipe, run: Path) -> list[str]:
    """The specialties to specialise in.

    Raises:
        UserError: one that no lesson of the run is of, or a run without lessons.
    """
    found = sorted(set(_by_case(run / "cases").values()) - {""})
    settings = chosen.specialise
    asked = [*settings.specialties, *([settings.thinned] if settings.thinned else [])]
    wrong = next((name for name in asked if name not in found), None)
    if wrong is not None:
        raise UserError(f"no teach case is of the specialty '{wrong}'; use one of {', '.join(found) or 'none'}.")
    return list(settings.specialties) or found


def stages(chosen: recipe.Recipe, specialties: Sequence[str]) -> list[Stage]:
    """All stages, each after those it needs."""
    settings = chosen.specialise
    whole = chosen.model_dump(mode="json")
    own = whole["specialise"]
    exam = {name: own[name] for name in ("exam_cases", "file")}
    thin = {name: own[name] for name in ("thinned", "thinned_share")}
    taught = {k: v for k, v in own.items() if k not in {*exam, *thin, "specialties", "margin", "separate"}}

    def stage(name: str, needs: Sequence[str], choices: object, work: Callable[..., Figures]) -> Stage:
        shared = {"seed": chosen.seed, "template": chosen.examine.template}
        return Stage(f"{ROOM}/{name}", ROOM, tuple(needs), [choices, shared], partial(work, chosen=chosen))

    cases, start = f"{ROOM}/cases", start_of(chosen)
    given = {} if settings.file is None else {"file": Path(settings.file)}
    made = stage("cases", ["cases"], [exam, whole["cases"]], make_cases)
    found = [Stage(made.name, made.verb, made.needs, made.choices, made.make, more=given)]
    if settings.thinned:
        if chosen.student.backbone is None:
            raise UserError(
                f"specialise.thinned is '{settings.thinned}' but the student is a checkpoint, which was taught "
                "elsewhere; leave it out."
            )
        sections = [thin, whole["pretrain"], whole["student"]]
        found.append(stage("base", ["cases", "tokenizer"], sections, make_thin_base))
        if start == START:
            needs = ["cases", "traces", BASE]
            found.append(stage("start", needs, [thin, whole["distil"]], make_thin_start))
    exams = [whole["examine"], exam]
    found.append(stage("grades/start", [cases, start], exams, partial(make_grades, model=start)))
    for name in specialties:
        model = f"{ROOM}/on/{slug(name)}"
        learn = partial(make_adapter, specialty=name)
        found.append(stage(f"on/{slug(name)}", ["cases", "traces", start], [taught, name], learn))
        sat = partial(make_grades, model=model)
        found.append(stage(f"grades/{slug(name)}", [cases, model], exams, sat))
    if settings.separate and specialties:
        name = settings.thinned or specialties[0]
        needs = [cases, start, f"{ROOM}/on/{slug(name)}"]
        apart = partial(make_separate, specialty=name, start=start, model=needs[2])
        found.append(stage(f"separate/{slug(name)}", needs, [whole["examine"], settings.separate], apart))
    return found


def make_cases(work: Work, chosen: recipe.Recipe) -> Figures:
    """specialise/cases/: exam.jsonl, none of whose cases shares its present findings with a case of the run."""
    settings = chosen.specialise
    if settings.file is not None:
        exam = list(unique(list(files.read_jsonl(work.inputs["file"], Case))).values())
        refuse_overlap(exam, read_cases(work.inputs["cases"], "teach"))
        refuse_overlap(exam, read_cases(work.inputs["cases"], "exam"))
    else:
        fewest = min(Counter(c.specialty for c in world_for(load_knowledge(), chosen.cases).conditions).values())
        exam = drawn(work.inputs["cases"], chosen, -(-round(SPARE * settings.exam_cases) // fewest))
    counts = Counter(case.specialty for case in exam)
    short = next((name for name, count in sorted(counts.items()) if count < settings.exam_cases), None)
    if short is not None:
        raise UserError(
            f"specialty '{short}' has {counts[short]} exam cases where specialise.exam_cases asks for "
            f"{settings.exam_cases}; give more of them, or ask for fewer and expect wider intervals."
        )
    files.write_jsonl(work.out / "exam.jsonl", exam)
    return {"exam": len(exam), **dict(sorted(counts.items()))}


def drawn(cases: Path, chosen: recipe.Recipe, per_condition: int) -> list[Case]:
    """Another exam of the same kind as a run's, no case of it with the findings of one in its `cases`."""
    update = {"exam_per_condition": per_condition, "tune_per_condition": 1, "teach": 1, "outside": 0}
    found = generate(load_knowledge(), chosen.cases.model_copy(update=update), chosen.seed + SEED)["exam"]
    known = {frozenset(case.present) for split in ("teach", "tune", "exam") for case in read_cases(cases, split)}
    fresh = [one.case for one in found if frozenset(one.case.present) not in known]
    exam = [case.model_copy(update={"id": f"{ROOM}-{case.id}"}) for case in fresh]
    refuse_overlap(exam, read_cases(cases, "teach"))
    return exam


def _by_case(cases: Path) -> dict[str, str]:
    """Specialty by the id of a teach case; '' where abstaining is right."""
    return {case.id: "" if case.outside else case.specialty for case in read_cases(cases, "teach")}


def make_thin_base(work: Work, chosen: recipe.Recipe) -> Figures:
    """specialise/base/: a student from nothing that saw little of one specialty."""
    backbone = chosen.student.backbone
    assert backbone is not None
    codec = Codec.load(work.inputs["tokenizer"])
    lessons = _thinned(work, chosen, direct(*read_oracle(work.inputs["cases"], "lessons")))
    model, trained = from_nothing(chosen, backbone, codec, lessons, chosen.pretrain)
    checkpoint.save(model, work.inputs["tokenizer"], work.out)
    return asdict(trained) | {"lessons": len(lessons)}


def make_thin_start(work: Work, chosen: recipe.Recipe) -> Figures:
    """specialise/start/: that student after the kept traces, thinned alike."""
    base = work.inputs[BASE]
    lessons = _thinned(work, chosen, list(files.read_jsonl(work.inputs["traces"] / LESSONS, Lesson)))
    return asdict(learnt(base, lessons, chosen.distil, work.out, seed=chosen.seed)) | {"lessons": len(lessons)}


def _thinned(work: Work, chosen: recipe.Recipe, lessons: Sequence[Lesson]) -> list[Lesson]:
    settings = chosen.specialise
    by = _by_case(work.inputs["cases"])
    return thinned(lessons, by, settings.thinned, settings.thinned_share, chosen.seed)


def make_adapter(work: Work, chosen: recipe.Recipe, specialty: str) -> Figures:
    """specialise/on/<name>/: the start with an adapter on one specialty, merged, and the adapter itself."""
    start = work.inputs[start_of(chosen)]
    lessons = list(files.read_jsonl(work.inputs["traces"] / LESSONS, Lesson))
    lessons = direct(lessons) if chosen.specialise.direct else lessons
    by: Mapping[str, str] = _by_case(work.inputs["cases"])
    chosen_lessons = mixed(lessons, by, specialty, chosen.specialise.replay, chosen.seed)
    own = sum(by.get(lesson.prompt.case_id) == specialty for lesson in chosen_lessons)
    model, trained = specialise(
        start,
        chosen_lessons,
        chosen.specialise,
        seed=chosen.seed,
        scratch=work.out / ".scratch",
        keep=work.out / ADAPTER,
    )
    checkpoint.save(model, start, work.out)
    return asdict(trained) | {"lessons": own, "replayed": len(chosen_lessons) - own}


def make_grades(work: Work, chosen: recipe.Recipe, model: str) -> Figures:
    """specialise/grades/<name>/: one model's answers to the exam of the specialties."""
    cases = read_cases(work.inputs[f"{ROOM}/cases"], "exam")
    with alone(work.inputs[model]):
        responder = open_responder(work.inputs[model], chosen.examine.engine)
    marker = Marker(load_knowledge())
    done = examine(cases, responder, template=chosen.examine.template, sampling=exam_sampling(chosen), marker=marker)
    save(done, work.out)
    return {"cases": len(cases), "engine": done.traces[0].engine, "right": sum(bool(g.correct) for g in done.grades)}


def specialise_run(run: Path, only: Sequence[str] = ()) -> Matrix:
    """Every stage that is not fresh, then specialise.json and specialise.html.

    only: specialties in place of the recipe's.

    Raises:
        UserError: the run lacks what is needed, or a stage's own faults.
    """
    chosen = recipe.read(str(run / RECIPE))
    if only:
        chosen = chosen.model_copy(
            update={"specialise": chosen.specialise.model_copy(update={"specialties": tuple(only)})}
        )
    names = specialties_of(chosen, run)
    planned = stages(chosen, names)
    made = {stage.name for stage in planned}
    for stage in planned:
        missing = next((need for need in stage.needs if need not in made and files.lineage(run / need) is None), None)
        if missing is not None:
            raise UserError(f"{run / missing} is not made yet and rounds specialise needs it; finish the run first.")
    for stage in track(planned, "rounds specialise", len(planned)):
        if fresh(run, stage) is None:
            make(run, stage)
    settings = chosen.specialise
    grades = {name: read(run / ROOM / "grades" / slug(name)).grades for name in names}
    rows = matrix(
        read(run / ROOM / "grades" / "start").grades, grades, margin=settings.margin, alpha=chosen.compare.alpha
    )
    found = Matrix(
        start=start_of(chosen),
        start_digest=files.digest(run / start_of(chosen)),
        thinned=_thinned_words(chosen),
        margin=settings.margin,
        alpha=chosen.compare.alpha,
        evidence=chosen.compare.evidence,
        cases=dict(sorted(Counter(c.specialty for c in read_cases(run / ROOM / "cases", "exam")).items())),
        rows=tuple(row.model_copy(update=_made(run, slug(row.trained_on))) for row in rows),
        separate=_figures(run, f"separate/{slug(settings.thinned or names[0])}") if settings.separate else {},
    )
    files.write_text(run / SPECIALISE, found.model_dump_json(indent=1) + "\n")
    write_page(found, f"Specialists of {chosen.name}", run / PAGE)
    return found


def _made(run: Path, name: str) -> dict[str, object]:
    """What its training measured, and which adapter it is."""
    return {"made": _figures(run, f"on/{name}"), "adapter": files.digest(run / ROOM / "on" / name / ADAPTER)}


def _figures(run: Path, name: str) -> dict[str, float | int | str | bool | None]:
    step = files.lineage(run / ROOM / name)
    return {} if step is None else dict(step.figures)


def _thinned_words(chosen: recipe.Recipe) -> str:
    settings = chosen.specialise
    if not settings.thinned:
        return ""
    return (
        f"It was taught only {settings.thinned_share:.0%} of the lessons on {settings.thinned}, on purpose: a "
        "demonstration of a specialty that was taught too little."
    )
