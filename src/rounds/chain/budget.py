"""How long a model should think: its tune cases at several thinking budgets, and the choice that serving uses.

    budget/cases/   the tune cases that are answered, drawn anew where more are asked for
    budget/free/    answers without a limit
    budget/<n>/     answers with at most n thinking tokens
    budget/seconds/ seconds of some answers, made one at a time at every budget in turn
    budget.json, budget.html, serving.toml

Each is skipped when fresh, so a run that was killed goes on. Everything is chosen on tune cases; the exam is opened
only for the budget that was chosen, and only when asked for. Left out on purpose: budgets by kind of question.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rounds import __version__, files, recipe
from rounds.cases.generate import generate
from rounds.chain.judge import exam_sampling
from rounds.chain.prepare import read_cases
from rounds.chain.same import Rules, spread
from rounds.chain.stage import Stage, Work, alone, cores, fresh, make
from rounds.chain.timing import Way, in_turn
from rounds.engine.choose import Engine, is_endpoint, open_named, open_responder
from rounds.exam import figures
from rounds.exam.asking import sampling_of
from rounds.exam.compare import check_rules, compare_marks
from rounds.exam.curve import Curve, check_budgets, choose, closed, cut_curve, judged, lengths, point, touches
from rounds.exam.examine import Examined, examine, read, save, unique
from rounds.exam.marks import from_grades
from rounds.grade.mark import Marker
from rounds.knowledge.base import load as load_knowledge
from rounds.model import checkpoint
from rounds.records import Case, Figures, Streams, UserError, Verdict

PAGE = "budget.html"
ROOM = "budget"
SECONDS = "seconds.json"
TIMED = 16
"""Answers a budget that are made one at a time for their seconds."""
TEMPLATE, MOST_TOKENS = "differential@1", 4096
"""How a model outside a run is asked, as `rounds examine` asks."""
RECIPE, OPENED = "recipe.toml", "opened.json"


@dataclass(frozen=True, slots=True)
class Subject:
    """The model under test and where its answers go."""

    name: str
    home: Path
    """Directory that holds budget/, a run's own."""
    room: str
    """`budget`, or another name beside it for a second model of the same run."""
    source: dict[str, Path]
    """What it is read from, an input by content; empty for an endpoint."""
    opened: Callable[[], Streams]
    """Opens it once."""
    rules: Rules
    cases: Sequence[Case]
    closes: bool
    """The engine can close a thought; else answers that are longer count as cut."""
    timed: int = TIMED


@dataclass(frozen=True, slots=True)
class Given:
    """What a command line gives beside the model; None is the run's own, or the default."""

    cases: Path | None = None
    per_condition: int | None = None
    margin: float | None = None
    alpha: float | None = None
    timed: int | None = None
    out: Path | None = None
    template: str | None = None
    """This and the next two are for a model outside a run: a run asks as its exam asked."""
    temperature: float | None = None
    max_tokens: int | None = None


def of_run(run: Path, given: Given, model: str = "packed", room: str = ROOM) -> Subject:
    """A checkpoint of a finished run, asked as its exam asked and judged by its recipe's rules.

    Raises:
        UserError: the run has no such checkpoint yet, or its recipe is faulty.
    """
    if given.template is not None or given.temperature is not None or given.max_tokens is not None:
        raise UserError("a run asks as its exam asked; leave --template, --temperature and --max-tokens out.")
    if not (run / model).is_dir():
        raise UserError(f"{run}: has no {model}/ yet; finish the run first, or give one of its checkpoints.")
    chosen = recipe.read(str(run / RECIPE))
    rules = chosen.compare
    margin = rules.margin if given.margin is None else given.margin
    alpha = rules.alpha if given.alpha is None else given.alpha
    check_rules(margin, alpha)
    cases = _own(given.cases) if given.cases is not None else tune_cases(run, chosen, given.per_condition)
    return Subject(
        name=f"{model} of {chosen.name}",
        home=given.out or run,
        room=room,
        source={"model": run / model},
        opened=_once(lambda: _alone(run / model, chosen.examine.engine)),
        rules=Rules(margin, alpha, chosen.examine.template, exam_sampling(chosen)),
        cases=cases,
        closes=True,
        timed=_timed(given),
    )


def of_model(place: str, name: str | None, key_env: str, given: Given) -> Subject:
    """A checkpoint outside a run, or an endpoint.

    Raises:
        UserError: cases, margin or the place for results are missing, or there is no such model.
    """
    needed = {"--cases": given.cases, "--margin": given.margin, "--out": given.out}
    missing = [option for option, value in needed.items() if value is None]
    if missing:
        raise UserError(f"{place}: is no run, so {' and '.join(missing)} must be given; see rounds budget --help.")
    assert given.cases is not None
    assert given.margin is not None
    assert given.out is not None
    alpha = 0.01 if given.alpha is None else given.alpha
    check_rules(given.margin, alpha)
    most = MOST_TOKENS if given.max_tokens is None else given.max_tokens
    sampling = sampling_of(temperature=given.temperature or 0.0, max_tokens=most)
    remote = is_endpoint(place)
    source = {} if remote else {"model": checkpoint.resolve(place)}
    return Subject(
        name=name or Path(place).resolve().name,
        home=given.out,
        room=ROOM,
        source=source,
        opened=_once(lambda: open_named(place, name, key_env, option="--name")),
        rules=Rules(given.margin, alpha, given.template or TEMPLATE, sampling),
        cases=_own(given.cases),
        closes=not remote,
        timed=_timed(given),
    )


def _own(path: Path) -> list[Case]:
    """Cases of a file, none of the exam split.

    Raises:
        UserError: one is, or there are none.
    """
    cases = list(unique(list(files.read_jsonl(path, Case))).values())
    examined = next((case.id for case in cases if case.split == "exam"), None)
    if examined is not None:
        raise UserError(f"case '{examined}' is of the exam split, which opens once a candidate; give tune cases.")
    return cases


def _timed(given: Given) -> int:
    if given.timed is not None and given.timed < 1:
        raise UserError(f"--timed {given.timed} is below 1; give how many answers to time, such as 16.")
    return TIMED if given.timed is None else given.timed


def _alone(directory: Path, engine: Engine) -> Streams:
    with alone(directory):
        return open_responder(directory, engine)


def _once(opening: Callable[[], Streams]) -> Callable[[], Streams]:
    """Opens at the first call: what is fresh needs no model."""
    held: list[Streams] = []

    def opened() -> Streams:
        if not held:
            held.append(opening())
        return held[0]

    return opened


def tune_cases(run: Path, chosen: recipe.Recipe, per_condition: int | None) -> list[Case]:
    """The tune cases of a run, or `per_condition` of each condition drawn as those were.

    Of these, one with the present findings of a taught case is left out.

    Raises:
        UserError: more are asked for of a run whose cases came from a file.
    """
    own = read_cases(run / "cases", "tune")
    if per_condition is None:
        return own
    if chosen.cases.file is not None:
        raise UserError("--per-condition writes cases from the knowledge base, and this run has its own; leave it out.")
    settings = chosen.cases.model_copy(update={"tune_per_condition": per_condition, "teach": 1})
    drawn = [one.case for one in generate(load_knowledge(), settings, chosen.seed)["tune"]]
    taught = {frozenset(case.present) for case in read_cases(run / "cases", "teach")}
    return [case for case in drawn if frozenset(case.present) not in taught]


def curve(subject: Subject, budgets: Sequence[int] | None) -> Curve:
    """The whole curve of a model, from what is there already and what is still to be asked.

    Raises:
        UserError: no thoughts to limit, budgets out of range, or the engine's own faults.
    """
    chosen = None if budgets is None else check_budgets(budgets)
    marker = Marker(load_knowledge())
    subject.home.mkdir(parents=True, exist_ok=True)
    _make(subject, _cases_stage(subject))
    _make(subject, _sitting(subject, None, marker))
    free = read(subject.home / subject.room / "free")
    outside = figures.outside_of(subject.cases)
    if not subject.closes:
        name, rules = subject.name, subject.rules
        assert rules.margin is not None
        found = cut_curve(
            name, free.grades, chosen or (), margin=rules.margin, alpha=rules.alpha, outside=outside, split="tune"
        )
        return found.model_copy(update=_told(free, 0))
    tried = lengths(free.grades) if chosen is None else chosen
    for budget in tried:
        _make(subject, _sitting(subject, budget, marker))
    sat = [read(subject.home / subject.room / str(budget)) for budget in tried]
    timing = _timing(subject, tried)
    _make(subject, timing)
    seconds: dict[str, list[float]] = json.loads(files.read_text(subject.home / timing.name / SECONDS))
    points = [
        point(
            done.grades,
            budget=budget,
            touched=0 if budget is None else sum(touches(trace, budget) for trace in free.traces),
            outside=outside,
            traces=done.traces,
            seconds=seconds[_name(budget)],
        )
        for budget, done in zip([*tried, None], [*sat, free], strict=True)
    ]
    rules = subject.rules
    assert rules.margin is not None
    grades = [done.grades for done in (*sat, free)]
    shown = judged(points, grades, margin=rules.margin, alpha=rules.alpha, outside=outside)
    best, why = choose(shown)
    found = Curve(
        name=subject.name,
        model="",
        how="closed",
        cases=len(subject.cases),
        margin=rules.margin,
        alpha=rules.alpha,
        points=shown,
        chosen=best,
        why=why,
    )
    return found.model_copy(update=_told(free, min(subject.timed, len(subject.cases))))


def _told(free: Examined, timed: int) -> dict[str, object]:
    """Fields of a curve that say how it came about."""
    asked = figures.sitting([(trace, grade) for trace, grade in zip(free.traces, free.grades, strict=True)]).asked
    asked.pop("thinking tokens at most", None)
    machine = {"processor": f"{platform.machine()}, {cores()} cores", "rounds": __version__}
    return {"model": free.traces[0].model, "timed": timed, "machine": machine, "asked": asked}


def _make(subject: Subject, stage: Stage) -> None:
    if fresh(subject.home, stage) is None:
        make(subject.home, stage)


def _cases_stage(subject: Subject) -> Stage:
    ids = files.digest_of([case.model_dump(mode="json") for case in subject.cases])

    def write(work: Work) -> Figures:
        files.write_jsonl(work.out / "tune.jsonl", subject.cases)
        return {"tune": len(subject.cases)}

    return Stage(f"{subject.room}/cases", ROOM, (), ids, write)


def _sitting(subject: Subject, budget: int | None, marker: Marker) -> Stage:
    rules = subject.rules
    choices = [rules.template, rules.sampling.model_dump(mode="json"), subject.name]
    needs = [f"{subject.room}/cases", *([] if budget is None else [f"{subject.room}/free"])]
    work = partial(_sit, subject=subject, budget=budget, marker=marker)
    return Stage(f"{subject.room}/{_name(budget)}", ROOM, tuple(needs), choices, work, more=subject.source)


def _name(budget: int | None) -> str:
    return "free" if budget is None else str(budget)


def _timing(subject: Subject, tried: Sequence[int]) -> Stage:
    """Every budget in turn on the same cases: a busy minute slows all of them."""
    rules = subject.rules

    def clock(work: Work) -> Figures:
        responder = subject.opened()
        ways = {
            _name(budget): Way(responder, rules.sampling.model_copy(update={"thinking_budget": budget, "samples": 1}))
            for budget in (*tried, None)
        }
        seconds = in_turn(ways, spread(subject.cases, subject.timed), rules.template)
        files.write_text(work.out / SECONDS, json.dumps(seconds))
        return {"answers": sum(map(len, seconds.values()))}

    choices = [rules.template, rules.sampling.model_dump(mode="json"), subject.timed, list(tried)]
    return Stage(f"{subject.room}/seconds", ROOM, (f"{subject.room}/cases",), choices, clock, more=subject.source)


def _sit(work: Work, subject: Subject, budget: int | None, marker: Marker) -> Figures:
    cases, rules = subject.cases, subject.rules
    responder = subject.opened()
    if budget is None:
        # An endpoint's answers cost: those a kill left in the journal are not asked for again.
        journal = None if subject.closes else subject.home / f".{subject.room}.journal.jsonl"
        done = examine(
            cases, responder, template=rules.template, sampling=rules.sampling, marker=marker, journal=journal
        )
    else:
        free = read(work.inputs[f"{subject.room}/free"])
        done = closed(cases, free, budget, responder, template=rules.template, sampling=rules.sampling, marker=marker)
    save(done, work.out)
    return {"answers": len(done.traces), "right": sum(bool(grade.correct) for grade in done.grades)}


def open_exam(subject: Subject, run: Path, budget: int, margin: float, alpha: float) -> tuple[Verdict, ...]:
    """The chosen budget on the exam split, against the answers without a limit; one more opening is counted.

    The run's own answers serve as those without a limit where they are this model's.
    """
    cases = read_cases(run / "cases", "exam")
    rules, marker = subject.rules, Marker(load_knowledge())
    responder = subject.opened()
    place = run / "grades" / "packed"
    there = read(place) if (place / "traces.jsonl").is_file() else None
    if there is None or there.traces[0].model != responder.model or there.traces[0].sampling != rules.sampling:
        there = examine(cases, responder, template=rules.template, sampling=rules.sampling, marker=marker)
    count = int(files.read_text(run / OPENED)) if (run / OPENED).is_file() else 0
    files.write_text(run / OPENED, str(count + 1))
    held = closed(cases, there, budget, responder, template=rules.template, sampling=rules.sampling, marker=marker)
    outside = figures.outside_of(cases)
    marks = [from_grades(g for g in done.grades if g.case_id not in outside) for done in (there, held)]
    return compare_marks(marks[0], marks[1], names=("no limit", f"{budget} tokens"), margin=margin, alpha=alpha)
