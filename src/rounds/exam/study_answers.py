"""What every model of a study answered and how it was marked: asked and marked here, or marked elsewhere before.

Answers of a model are kept as generated and never asked again: behind an endpoint each one is journalled, so that a
killed study goes on where it stopped. All models are marked by one cascade that remembers its rulings, so that answers
that agree are marked alike, and what people wrote into the sheet overrules it. Left out on purpose: comparing
(`rounds.exam.study_result`), and making responders, which the caller hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rounds.cases.importers import formats
from rounds.cases.importers.recorded import recorded
from rounds.exam.audits import audited
from rounds.exam.examine import answer, unique
from rounds.exam.marks import Mark, from_grades, read_marks
from rounds.exam.study import CaseSet, Model, Recorded, Study
from rounds.files import digest, file_name, file_names, read_jsonl, write_jsonl
from rounds.grade.cascade import Cascade, Ruling
from rounds.grade.choice import chooses, counts
from rounds.grade.given import Given
from rounds.grade.gold import accepted
from rounds.grade.grading import Graded, discordant_pairs, grade
from rounds.grade.sheet import read_sheet, write_sheet
from rounds.knowledge.base import load
from rounds.prompts.template import render
from rounds.records import Case, Grade, Prompt, Responder, Sampling, Trace, UserError

ANSWERS, GRADES, SHEET = "answers", "grades", "sheet.csv"


@dataclass(slots=True)
class Sat:
    """One model after its exam."""

    marks: list[Mark]
    """Of the cases the study is about."""
    grades: list[Grade] = field(default_factory=list)
    """Empty where only marks are known."""
    traces: list[Trace] | None = None
    """In the order of the grades; None where it was not asked here."""
    graded: Graded | None = None


def cases_of(chosen: CaseSet | None, base: Path) -> list[Case]:
    """The cases of a study, each with a right answer that can be given; none without [cases].

    Raises:
        UserError: unreadable, an id twice, no case, or a right answer that no reader accepts.
    """
    if chosen is None:
        return []
    if chosen.file is not None:
        found: Iterable[Case] = read_jsonl(base / chosen.file, Case)
    else:
        assert chosen.format is not None, "the record asks for one source"
        assert chosen.path is not None, "the record asks for its path"
        columns = base / chosen.columns if chosen.columns is not None else None
        found = formats.cases(formats.outcomes(chosen.format, base / chosen.path, columns), formats.Count())
    wanted = [case for case in found if chosen.language in (None, case.language)]
    return list(unique(list(accepted(wanted))).values())


def prompts_of(cases: Sequence[Case], template: str) -> list[Prompt]:
    """What every model is asked.

    Raises:
        UserError: no such template, or one that does not show the options of a case.
    """
    prompts = [render(case, template) for case in cases]
    for case, prompt in zip(cases, prompts, strict=True):
        if case.options and case.options[-1] not in prompt.messages[-1].content:
            raise UserError(
                f"case '{case.id}' has options, which template '{template}' does not show; use choice@1, "
                "or leave such cases out."
            )
    return prompts


def file_of(model: Model) -> str:
    """The model's name as part of a file name."""
    return file_name(model.name)


def inputs_of(study: Study, base: Path) -> dict[str, str]:
    """Digest of every file and checkpoint a study reads, by its path as the study gives it.

    Raises:
        UserError: one is missing or unreadable.
    """
    named = [study.cases.file, study.cases.path, study.cases.columns] if study.cases else []
    for model in study.model:
        named.append(model.checkpoint)
        named += [model.recorded.path, model.recorded.items] if model.recorded else []
        named += [model.marks.path] if model.marks else []
    paths = list(dict.fromkeys(one for one in named if one is not None))
    # A Hugging Face id is no path: its digest stands in every trace.
    hub = {m.checkpoint for m in study.model if m.checkpoint and not (base / m.checkpoint).exists()}
    return {path: digest(base / path) for path in paths if path not in hub}


def sit(
    study: Study,
    base: Path,
    out: Path,
    cases: Sequence[Case],
    inputs: Mapping[str, str],
    opened: Callable[[Model], Responder],
) -> dict[str, Sat]:
    """Every model by name, in the order of the study; asks only for what `out` does not hold.

    inputs: digests by path, as `inputs_of` gives them.

    Raises:
        UserError: two models that would share a file, answers of another study in `out`, a recorded file without the
            model, or the engine's own faults.
    """
    names = file_names(model.name for model in study.model)
    prompts = prompts_of(cases, study.template) if any(model.asked for model in study.model) else []
    settled = read_sheet(out / SHEET) if (out / SHEET).is_file() else []
    known: dict[tuple[str, str, str | None], dict[str, list[Grade]]] = {}
    cascade = Cascade(load()) if prompts else None
    found: dict[str, Sat] = {}
    for model in study.model:
        if cascade is not None and model.asked:
            identity = inputs.get(model.checkpoint) if model.checkpoint is not None else model.served or model.name
            traces = asked(model, identity, prompts, study.sampling, out, opened)
            found[model.name] = _marked(cases, traces, cascade, settled)
        elif model.recorded is not None:
            found[model.name] = Sat([], _recorded(model.recorded, model.name, base, known))
        else:
            assert model.marks is not None, "the record asks for one source"
            chosen = model.marks
            found[model.name] = Sat(read_marks(base / chosen.path, metric=chosen.metric, right_from=chosen.right_from))
    outside = {case.id for case in cases if case.outside}
    for name, sat in found.items():
        if sat.grades:
            write_jsonl(out / GRADES / f"{names[name]}.jsonl", sat.grades)
            # Cases outside the knowledge base have a floor of their own and are in no pair.
            sat.marks = from_grades(one for one in sat.grades if one.case_id not in outside)
        sat.marks = _only(sat.marks, study.only, name)
    return found


def asked(
    model: Model,
    identity: str | None,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    out: Path,
    opened: Callable[[Model], Responder],
) -> list[Trace]:
    """A model's answers to the prompts, from `out` where they are there already.

    identity: what its traces call the model (name at the endpoint, digest of the checkpoint); None when not known.

    Raises:
        UserError: `out` holds answers to something else, or the engine's own faults.
    """
    done = out / ANSWERS / f"{file_of(model)}.jsonl"
    if done.is_file():
        traces = list(read_jsonl(done, Trace))
        wanted = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        other = any(trace.sampling != sampling or identity not in (None, trace.model) for trace in traces)
        if other or [(trace.prompt, trace.sample) for trace in traces] != wanted:
            raise UserError(
                f"{done}: holds answers of another model, or to other cases, template or sampling; "
                "choose a new directory with --out."
            )
        return traces
    responder = opened(model)
    # An engine whose tokens depend on its batch gets the whole exam in one fixed order: resuming would change them.
    journalled = model.endpoint is not None or responder.batch_invariant
    journal = done.with_name(f".{done.stem}.journal.jsonl") if journalled else None
    traces = list(answer(prompts, responder, sampling, journal))
    write_jsonl(done, traces)
    if journal is not None:
        journal.unlink(missing_ok=True)
    return traces


def write_queue(study: Study, found: Mapping[str, Sat], path: Path) -> int:
    """Write every ruling on which a named pair differs into the sheet for people; gives how many wait for them.

    Raises:
        UserError: the sheet cannot be read or written.
    """
    filled = read_sheet(path) if path.is_file() else []
    seen = {(ruling.key, ruling.answer) for ruling in filled}
    waiting: dict[tuple[str, str], Ruling] = {}
    times: dict[tuple[str, str], int] = {}
    for pair in study.pair:
        old, new = found[pair.before].graded, found[pair.after].graded
        if old is None or new is None:
            continue
        for ruling in discordant_pairs(old, new):
            key = (ruling.key, ruling.answer)
            times[key] = max(times.get(key, 0), old.times.get(key, 0) + new.times.get(key, 0))
            if key not in seen:
                waiting[key] = ruling
    if waiting or filled:
        write_sheet(path, waiting.values(), times, filled)
    return len(waiting)


def _marked(cases: Sequence[Case], traces: Sequence[Trace], cascade: Cascade, settled: Sequence[Ruling]) -> Sat:
    by_id = {case.id: case for case in cases}
    given = [
        Given(trace.prompt.case_id, trace.sample, None, trace.reply, trace.thinking_tokens, trace.total_s)
        for trace in traces
    ]
    graded = grade(cases, given, cascade, settled=settled)
    grades = []
    for trace, mark in zip(traces, graded.grades, strict=True):
        case = by_id[mark.case_id]
        free = not chooses(case) and not counts(case)
        grades.append(audited(case, trace, mark, cascade.marker.knowledge) if free else mark)
    return Sat([], grades, list(traces), graded)


def _recorded(
    chosen: Recorded, name: str, base: Path, known: dict[tuple[str, str, str | None], dict[str, list[Grade]]]
) -> list[Grade]:
    source = (chosen.format, chosen.path, chosen.items)
    if source not in known:
        known[source] = recorded(chosen.format, base / chosen.path, base / chosen.items if chosen.items else None)
    told, wanted = known[source], chosen.model or name
    if wanted not in told:
        raise UserError(f"{base / chosen.path}: has no model '{wanted}'; use one of {', '.join(told)}.")
    grades = [one for one in told[wanted] if chosen.sample in (None, one.sample)]
    if not grades:
        raise UserError(f"{base / chosen.path}: '{wanted}' has no sample {chosen.sample}; samples count from 0.")
    return grades


def _only(marks: list[Mark], wanted: Mapping[str, str], name: str) -> list[Mark]:
    for column, value in wanted.items():
        kept = [mark for mark in marks if mark.groups.get(column) == value]
        if not kept:
            known = ", ".join(sorted({mark.groups[column] for mark in marks if column in mark.groups})) or "none"
            raise UserError(f"only: '{name}' has no case with {column} '{value}'; its values are {known}.")
        marks = kept
    return marks
