"""A model taught to think less, two ways beside each other, and what that costs: the curve before and after.

    shorter/lessons/       the kept traces, cut to what their verifier needs (`rounds.train.shorten`)
    shorter/traces/        the run's model after learning those
    shorter/grpo/          the run's model after GRPO with a reward for short right answers
    shorter/<way>-curve/   tune answers of each at the same thinking budgets; shorter/before-curve/ of the run's model
    shorten.json, shorten.html, and a section of report.html

Compared on tune cases alone. A way that is kept goes into the recipe of the next run ([grpo] length_weight), where the
exam judges it with everything else. Left out on purpose: serving a shortened model without that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rounds import files, recipe
from rounds.chain.budget import RECIPE, Given, curve, of_run
from rounds.chain.learn import LESSONS, learnt
from rounds.chain.prepare import improve, read_cases
from rounds.chain.stage import Stage, Work, fresh, make
from rounds.exam import figures
from rounds.exam.compare import compare_marks
from rounds.exam.curve import Curve
from rounds.exam.curve_page import write_page
from rounds.exam.examine import Examined, read
from rounds.exam.marks import from_grades
from rounds.exam.remake import refresh
from rounds.exam.shortening import JSON, Shortening, Shorter
from rounds.grade.mark import Marker
from rounds.knowledge.base import load as load_knowledge
from rounds.model.tokenizer import Codec
from rounds.progress import track
from rounds.records import Figures, Lesson
from rounds.train.shorten import shortened

PAGE = "shorten.html"
ROOM = "shorter"


def stages(chosen: recipe.Recipe) -> list[Stage]:
    """The stages that make the shortened models of a recipe."""
    settings = chosen.shorten
    whole = chosen.model_dump(mode="json")
    shared = {"seed": chosen.seed, "template": chosen.examine.template, "model": settings.model}
    found = []
    if "traces" in settings.how:
        kept = {**shared, "keep": settings.keep}
        given = ("cases", "traces", settings.model)
        found.append(Stage(f"{ROOM}/lessons", ROOM, given, kept, partial(make_lessons, chosen=chosen)))
        taught = [kept, whole["distil"], settings.epochs, settings.rate]
        cut = (f"{ROOM}/lessons", settings.model)
        found.append(Stage(f"{ROOM}/traces", ROOM, cut, taught, partial(make_taught, chosen=chosen)))
    if "grpo" in settings.how:
        played = [shared, whole["grpo"], settings.steps, settings.length_weight]
        found.append(
            Stage(f"{ROOM}/grpo", ROOM, ("cases", settings.model), played, partial(make_played, chosen=chosen))
        )
    return found


def make_lessons(work: Work, chosen: recipe.Recipe) -> Figures:
    """shorter/lessons/: the lessons of the run with shorter thoughts."""
    lessons = list(files.read_jsonl(work.inputs["traces"] / LESSONS, Lesson))
    cases = {case.id: case for case in read_cases(work.inputs["cases"], "teach")}
    marker = Marker(load_knowledge())
    codec = Codec.load(work.inputs[chosen.shorten.model])

    def count(text: str) -> int:
        return len(codec.encode_text(text))

    done: dict[Lesson, Lesson] = {}  # a lesson may stand there several times
    for lesson in track(lessons, "shortening lessons", len(lessons)):
        if lesson not in done:
            done[lesson] = shortened(lesson, cases[lesson.prompt.case_id], marker, chosen.shorten.keep, count)
    after = [done[lesson] for lesson in lessons]
    files.write_jsonl(work.out / LESSONS, after)
    before, now = (sum(count(one.thinking) for one in some) for some in (lessons, after))
    changed = sum(one.thinking != other.thinking for one, other in zip(lessons, after, strict=True))
    return {"lessons": len(lessons), "changed": changed, "tokens_before": before, "tokens_after": now}


def make_taught(work: Work, chosen: recipe.Recipe) -> Figures:
    """shorter/traces/: the model after the shorter lessons."""
    start, settings = work.inputs[chosen.shorten.model], chosen.shorten
    lessons = list(files.read_jsonl(work.inputs[f"{ROOM}/lessons"] / LESSONS, Lesson))
    update = {"epochs": settings.epochs, "rate": settings.rate, "steps": None}
    learning = chosen.distil.model_copy(update=update)
    return asdict(learnt(start, lessons, learning, work.out, seed=chosen.seed))


def make_played(work: Work, chosen: recipe.Recipe) -> Figures:
    """shorter/grpo/: the model after GRPO with the length reward."""
    update = {"steps": chosen.shorten.steps, "length_weight": chosen.shorten.length_weight}
    settings = chosen.grpo.model_copy(update=update)
    return improve(work, chosen, work.inputs[chosen.shorten.model], settings)


def shorten(run: Path, given: Given, budgets: Sequence[int] | None) -> Shortening:
    """Make the shortened models, answer the tune cases with each, write shorten.json and shorten.html.

    Raises:
        UserError: the run lacks the model or its traces, or a stage's own faults.
    """
    chosen = recipe.read(str(run / RECIPE))
    settings = chosen.shorten
    for stage in stages(chosen):
        if fresh(run, stage) is None:
            make(run, stage)
    given = Given(per_condition=given.per_condition, margin=settings.margin, alpha=given.alpha, timed=given.timed)
    before, answers = _curve(run, given, settings.model, "before", budgets)
    outside = figures.outside_of(read_cases(run / ROOM / "before-curve" / "cases", "tune"))
    curves, ways = [before], []
    tried = [point.budget for point in before.points if point.budget is not None]
    for how in settings.how:
        after, now = _curve(run, given, f"{ROOM}/{how}", how, tried)
        curves.append(after)
        step = files.lineage(run / ROOM / how)
        ways.append(_compared(how, answers, now, before, outside, {} if step is None else step.figures))
    found = Shortening(
        model=settings.model, margin=settings.margin, alpha=before.alpha, ways=tuple(ways), curves=tuple(curves)
    )
    files.write_text(run / JSON, found.model_dump_json(indent=1) + "\n")
    title = f"Shorter reasoning: {settings.model} of {chosen.name}"
    write_page(title, curves, chosen.compare.evidence, run / PAGE, [way.sentence for way in ways])
    refresh(run)
    return found


def _curve(run: Path, given: Given, model: str, name: str, budgets: Sequence[int] | None) -> tuple[Curve, Examined]:
    room = f"{ROOM}/{name}-curve"
    subject = of_run(run, given, model, room)
    return curve(subject, budgets), read(run / room / "free")


def _compared(how: str, before: Examined, after: Examined, rules: Curve, outside: set[str], made: Figures) -> Shorter:
    marks = [from_grades(g for g in done.grades if g.case_id not in outside) for done in (before, after)]
    verdicts = compare_marks(marks[0], marks[1], names=("before", how), margin=rules.margin, alpha=rules.alpha)
    tokens = [sum(t.thinking_tokens for t in done.traces) / len(done.traces) for done in (before, after)]
    return Shorter(
        how=how,
        tokens_before=round(tokens[0], 2),
        tokens_after=round(tokens[1], 2),
        verdicts=verdicts,
        figures=dict(made),
    )
