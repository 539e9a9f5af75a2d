"""The exam: the same cases, template and sampling for every model; answers are kept as generated, then marked.

A journal makes long exams at an endpoint resumable. Engines whose tokens depend on what else is in the batch get the
whole exam in one fixed order instead. Left out on purpose: comparing (`rounds.exam.compare`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rounds import files
from rounds.exam.audits import audited
from rounds.grade.counterfactual import Counterfactual, counterfactuals
from rounds.grade.mark import Marker
from rounds.knowledge.base import KnowledgeBase
from rounds.progress import track
from rounds.prompts.template import render
from rounds.records import Case, Grade, Prompt, Responder, Sampling, Trace, UserError

TRACES = "traces.jsonl"
GRADES = "grades.jsonl"


@dataclass(slots=True, frozen=True)
class Examined:
    """Answers and their marks, in the same order."""

    traces: list[Trace]
    grades: list[Grade]


def examine(
    cases: Sequence[Case],
    responder: Responder,
    *,
    template: str,
    sampling: Sampling,
    marker: Marker,
    journal: Path | None = None,
) -> Examined:
    """Answer, mark and audit every case; `sampling.samples` answers each.

    Raises:
        UserError: no cases, a case id twice, or the engine's own faults.
    """
    by_id = unique(cases)
    prompts = [render(case, template) for case in cases]
    traces = list(answer(prompts, responder, sampling, journal))
    grades = []
    for trace in traces:
        case = by_id[trace.prompt.case_id]
        grades.append(audited(case, trace, marker.mark(case, trace), marker.knowledge))
    return Examined(traces, grades)


def ask_without_flags(
    cases: Sequence[Case], done: Examined, responder: Responder, *, template: str, knowledge: KnowledgeBase
) -> list[Counterfactual]:
    """Ask about every case with red flags again, each time without one; the first sample is what it is held against.

    Raises:
        UserError: the engine's own faults.
    """
    first = {grade.case_id: grade.answer for grade in reversed(done.grades)}
    flagged = [case for case in cases if case.red_flags and case.id in first]
    if not flagged:
        return []
    asking = counterfactuals(
        flagged,
        [first[case.id] for case in flagged],
        responder,
        template=template,
        sampling=done.traces[0].sampling,
        knowledge=knowledge,
    )
    return list(track(asking, "asking without red flags", sum(len(case.red_flags) for case in flagged)))


def unique(cases: Sequence[Case]) -> dict[str, Case]:
    """Cases by id.

    Raises:
        UserError: no cases, or an id twice.
    """
    by_id: dict[str, Case] = {}
    for case in cases:
        if case.id in by_id:
            raise UserError(f"case id '{case.id}' occurs twice; give every case its own id.")
        by_id[case.id] = case
    if not by_id:
        raise UserError("there are 0 cases to examine; check the file and its split.")
    return by_id


def answer(
    prompts: Sequence[Prompt], responder: Responder, sampling: Sampling, journal: Path | None = None
) -> Iterator[Trace]:
    """Traces in the order of the prompts; those a journal holds for the same model and sampling are not asked again.

    Raises:
        UserError: the journal cannot be read or written, or the engine's own faults.
    """
    if journal is None:
        yield from responder.respond(prompts, sampling)
        return
    kept = _journalled(journal, responder, sampling)
    waiting = [prompt for prompt in prompts if len(kept.get(prompt, ())) < sampling.samples]
    with _appending(journal) as append:
        for trace in responder.respond(waiting, sampling):
            append(trace)
            kept.setdefault(trace.prompt, {})[trace.sample] = trace
    for prompt in prompts:
        yield from (kept[prompt][sample] for sample in range(sampling.samples))


def _journalled(journal: Path, responder: Responder, sampling: Sampling) -> dict[Prompt, dict[int, Trace]]:
    """Traces of the whole lines of a journal by sample; a line that a kill cut short ends it.

    A prompt whose samples are not all there is asked for all of them again, and the later answers count.
    """
    found: dict[Prompt, dict[int, Trace]] = {}
    if not journal.is_file():
        return found
    for number, line in enumerate(files.read_text(journal).splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break
        try:
            trace = Trace.model_validate_json(line)
        except ValidationError as error:
            raise UserError(f"{journal}:{number}: is not a trace; remove the file to ask anew.") from error
        if trace.model == responder.model and trace.sampling == sampling:
            found.setdefault(trace.prompt, {})[trace.sample] = trace
    return found


@contextmanager
def _appending(journal: Path) -> Iterator[Callable[[Trace], None]]:
    text = files.read_text(journal) if journal.is_file() else ""
    # What a kill left of a line is dropped before more is appended to it.
    files.write_text(journal, text[: text.rfind("\n") + 1])
    try:
        out = journal.open("a", encoding="utf-8")
    except OSError as error:
        raise files.unwritable(journal, error) from error

    def append(trace: Trace) -> None:
        try:
            out.write(trace.model_dump_json() + "\n")
            out.flush()
        except OSError as error:
            raise files.unwritable(journal, error) from error

    with out:
        yield append


def save(examined: Examined, directory: Path) -> None:
    """Write traces.jsonl and grades.jsonl."""
    files.write_jsonl(directory / TRACES, examined.traces)
    files.write_jsonl(directory / GRADES, examined.grades)


def read(directory: Path) -> Examined:
    """Read what `save` wrote.

    Raises:
        UserError: missing or not such records.
    """
    traces = list(files.read_jsonl(directory / TRACES, Trace))
    return Examined(traces, list(files.read_jsonl(directory / GRADES, Grade)))
