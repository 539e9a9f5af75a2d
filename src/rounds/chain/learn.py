"""Stages in which reasoning is passed on: traces, the distilled student and its two controls, GRPO, 4 bits."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import accumulate, cycle
from pathlib import Path
from random import Random

from rounds import files, recipe
from rounds.chain.judge import exam_sampling
from rounds.chain.ladder import CPU, GPU, Parent, Target, climb
from rounds.chain.policy import lessons_beside
from rounds.chain.prepare import ORACLE, TEACHER, direct, improve, part, read_cases, read_oracle
from rounds.chain.same import Rules
from rounds.chain.stage import Work, alone
from rounds.engine.choose import open_responder
from rounds.exam.examine import answer, examine
from rounds.grade.mark import Marker
from rounds.knowledge.base import load as load_knowledge
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.prompts.template import render
from rounds.quant import calibration
from rounds.quant.compressed import require
from rounds.records import Case, Figures, Lesson, Responder, Sampling, Trace
from rounds.train.batches import Example, Soft
from rounds.train.distil import distil
from rounds.train.lessons import examples, respelled
from rounds.train.pretrain import Trained, step_count
from rounds.train.soft_targets import refuse_other_words, with_soft_targets
from rounds.train.trace import balanced, collect

LESSONS = "lessons.jsonl"
KEPT = "traces.jsonl"


def make_traces(work: Work, chosen: recipe.Recipe) -> Figures:
    """traces/: the kept traces, the balanced lessons, and acceptance by cell."""
    pool = read_cases(work.inputs["cases"], "teach")
    pool = part(pool, "traces") if chosen.cases.file is None else pool
    Random(f"{chosen.seed}-trace").shuffle(pool)
    teacher = _teacher(work, chosen)
    journal = work.run / ".traces.journal.jsonl" if chosen.teacher.endpoint else None

    def ask(cases: Sequence[Case]) -> Iterable[Trace]:
        prompts = [render(case, chosen.examine.template) for case in cases]
        return answer(prompts, teacher, trace_sampling(chosen), journal)

    found = collect(pool, ask, Marker(load_knowledge()), chosen.trace)
    lessons = balanced(found, pool[: chosen.trace.cases], chosen.seed)
    files.write_jsonl(work.out / KEPT, [one.trace for one in found.kept])
    files.write_jsonl(work.out / LESSONS, lessons)
    files.write_text(work.out / "acceptance.json", json.dumps(found.acceptance(), indent=1, ensure_ascii=False))
    rejected = {f"rejected: {reason}": count for reason, count in found.rejected.most_common()}
    return {
        "asked": found.asked.total(),
        "kept": len(found.kept),
        "lessons": len(lessons),
        "step_error_rate": round(found.errors / found.claims, 4) if found.claims else None,
        **rejected,
    }


def trace_sampling(chosen: recipe.Recipe) -> Sampling:
    """How the teacher is asked."""
    return Sampling(
        temperature=chosen.trace.temperature,
        top_p=chosen.trace.top_p,
        max_tokens=chosen.trace.max_tokens,
        samples=chosen.trace.samples,
        seed=chosen.seed,
    )


def _teacher(work: Work, chosen: recipe.Recipe) -> Responder:
    teacher = chosen.teacher if chosen.teacher.backbone is None else work.inputs[TEACHER]
    return open_responder(teacher, "auto", read_once=chosen.trace.samples > 1)


def make_distilled(work: Work, chosen: recipe.Recipe) -> Figures:
    """distilled/: the student after the kept traces, with the teacher's distributions where they are asked for."""
    lessons = list(files.read_jsonl(work.inputs["traces"] / LESSONS, Lesson))
    policy = _policy(work, chosen, lessons)
    if not chosen.distil.token_level:
        return {**_told(policy), **_learn(work, chosen, [*lessons, *policy], chosen.distil)}
    made_here = chosen.teacher.backbone is not None
    teacher = work.inputs[TEACHER] if made_here else checkpoint.resolve(str(chosen.teacher.checkpoint))
    refuse_other_words(teacher, work.inputs["base"])
    soft = [one.soft for one in with_soft_targets(teacher, examples(lessons, Codec.load(teacher)))]
    soft += [None] * len(policy)  # what the teacher would say to those is what they are there to change
    both = [*lessons, *policy]
    trained = learnt(work.inputs["base"], both, chosen.distil, work.out, seed=chosen.seed, soft=soft)
    return {**_told(policy), **asdict(trained)}


def make_same_cases(work: Work, chosen: recipe.Recipe) -> Figures:
    """controls/same-cases/: the same student, the same cases and steps, answers only."""
    lessons = direct(files.read_jsonl(work.inputs["traces"] / LESSONS, Lesson))
    policy = direct(_policy(work, chosen, lessons))
    return {**_told(policy), **_learn(work, chosen, [*_right_answers(work, lessons), *policy], chosen.distil)}


def make_same_tokens(work: Work, chosen: recipe.Recipe) -> Figures:
    """controls/same-tokens/: as many training tokens, on fresh cases with answers only."""
    codec = Codec.load(work.inputs["base"])
    lessons = list(files.read_jsonl(work.inputs["traces"] / LESSONS, Lesson))
    policy = _policy(work, chosen, lessons)
    taught = _spelled([*lessons, *policy], codec, chosen)
    tokens = sum(len(one.ids) for one in taught) * chosen.distil.epochs
    (oracle,) = read_oracle(work.inputs["cases"], "fresh")
    fresh = direct([*policy, *oracle])
    spelled = _spelled(fresh, codec, chosen)
    lengths = [len(one.ids) for one in spelled]
    passes = tokens / sum(lengths)
    if passes < 1:
        enough = bisect_left(list(accumulate(lengths)), tokens) + 1
        fresh, spelled = fresh[:enough], spelled[:enough]
    settings = chosen.distil.model_copy(update={"epochs": max(1.0, passes), "steps": None})
    trained = learnt(work.inputs["base"], fresh, settings, work.out, seed=chosen.seed, spelled=spelled)
    return {**_told(policy), **asdict(trained), "passes_over_fresh_cases": round(passes, 3)}


def _policy(work: Work, chosen: recipe.Recipe, lessons: Sequence[Lesson]) -> list[Lesson]:
    """The recipe's share of policy; the controls get it too, as they are to differ in the reasoning on cases alone."""
    return lessons_beside(len(lessons), chosen.distil, work.inputs["base"], chosen.seed)


def _told(policy: Sequence[Lesson]) -> Figures:
    return {"policy_lessons": len(policy)} if policy else {}


def _right_answers(work: Work, lessons: Sequence[Lesson]) -> list[Lesson]:
    """The oracle's answer for each case where there is one, so that the control is not taught the teacher's order."""
    if not (work.inputs["cases"] / ORACLE).is_file():
        return list(lessons)
    (traced,) = read_oracle(work.inputs["cases"], "traces")
    known = {one.prompt.case_id: one.reply for one in traced}
    return [one.model_copy(update={"reply": known.get(one.prompt.case_id, one.reply)}) for one in lessons]


def _learn(work: Work, chosen: recipe.Recipe, lessons: Sequence[Lesson], settings: recipe.Distil) -> Figures:
    """Train the base on lessons."""
    return asdict(learnt(work.inputs["base"], lessons, settings, work.out, seed=chosen.seed))


def learnt(
    student: Path,
    lessons: Sequence[Lesson],
    settings: recipe.Distil,
    out: Path,
    *,
    seed: int,
    soft: Sequence[Soft | None] = (),
    spelled: Sequence[Example] = (),
) -> Trained:
    """Train a checkpoint on lessons, respelled at each pass, and save it to `out`.

    soft: what a teacher would have said, by lesson; strange words are in prompts alone, so it holds for each pass.
    spelled: the first pass, where it is spelled already.

    Raises:
        UserError: as `distil`.
    """
    codec = Codec.load(student)
    steps = step_count(len(lessons), settings)
    passes = steps * settings.batch / len(lessons)
    every = respelled(lessons, codec, strange=settings.strange, seed=seed, passes=passes, first=spelled)
    if soft:
        every = [replace(one, soft=said) for one, said in zip(every, cycle(soft), strict=False)]
    settings = settings.model_copy(update={"steps": steps})
    model, trained = distil(student, every, settings, seed=seed, scratch=out / ".scratch")
    checkpoint.save(model, student, out)
    return trained


def _spelled(lessons: Iterable[Lesson], codec: Codec, chosen: recipe.Recipe) -> list[Example]:
    return examples(lessons, codec, strange=chosen.distil.strange, seed=chosen.seed)


def make_reasoned(work: Work, chosen: recipe.Recipe) -> Figures:
    """reasoned/: the student after GRPO."""
    return improve(work, chosen, work.inputs["distilled"], chosen.grpo)


def make_packed(work: Work, chosen: recipe.Recipe) -> Figures:
    """packed/: the smallest export that is held on tune cases, calibrated on the model's own answers to teach cases."""
    return _packed(work, chosen, CPU)


def make_packed_gpu(work: Work, chosen: recipe.Recipe) -> Figures:
    """packed-gpu/: the same for servers with a GPU, in the environment of llmcompressor."""
    require()
    return _packed(work, chosen, GPU)


def _packed(work: Work, chosen: recipe.Recipe, target: Target) -> Figures:
    source = work.inputs["reasoned"]
    pool = read_cases(work.inputs["cases"], "teach")
    pool = part(pool, "traces") if chosen.cases.file is None else pool
    cases = Random(f"{chosen.seed}-calibrate").sample(pool, min(len(pool), 2 * chosen.quantize.calibration))
    prompts = [render(case, chosen.examine.template) for case in cases]
    with alone(source):
        student = open_responder(source, target.engine)
    traces = list(student.respond(prompts, Sampling(temperature=0, max_tokens=chosen.examine.max_tokens)))
    exam = read_cases(work.inputs["cases"], "exam")
    tune = read_cases(work.inputs["cases"], "tune")
    rules = Rules(chosen.compare.margin, chosen.compare.alpha, chosen.examine.template, exam_sampling(chosen))
    marker = Marker(load_knowledge())
    parent = Parent(
        directory=source,
        answers=examine(tune, student, template=rules.template, sampling=rules.sampling, marker=marker),
        cases=tune,
        calibration=calibration.choose(traces, cases, chosen.quantize.calibration, exam=exam, seed=chosen.seed),
        marker=marker,
        rules=rules,
        target=target,
    )
    del student  # its weights and its cache would lie beside those of every rung
    return climb(parent, chosen.quantize, work.out)
