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
    budget: int | None = None,
) -> Examined:
    """Answer, mark and audit every case; `sampling.samples` answers each.

    budget: most tokens of a prompt, as `render` takes it.

    Raises:
        UserError: no cases, a case id twice, a case that does not fit the budget, or the engine's own faults.
    """
    by_id = unique(cases)
    prompts = [render(case, template, budget=budget) for case in cases]
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


class Journalled:
    """A Responder that keeps each answer in a file as it comes and does not ask for it again: a broken exam goes on.

    A strategy around it is resumed as well, as all it asks goes through here. What the file holds of another model is
    left alone. A prompt whose samples are not all there is asked for all of them again, and the later answers count.
    """

    def __init__(self, inner: Responder, journal: Path) -> None:
        """
        Raises:
            UserError: the journal cannot be read, or holds something else.
        """
        self.name, self.model, self.batch_invariant = inner.name, inner.model, inner.batch_invariant
        self._inner, self._journal = inner, journal
        self._kept: dict[tuple[Prompt, Sampling], dict[int, Trace]] = {}
        for number, line in enumerate(_whole_lines(journal), start=1):
            try:
                trace = Trace.model_validate_json(line)
            except ValidationError as error:
                raise UserError(f"{journal}:{number}: is not a trace; remove the file to ask anew.") from error
            if trace.model == self.model:
                self._keep(trace)

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """As the model's own, in the order of the prompts, once all are answered.

        Raises:
            UserError: the journal cannot be written, or the engine's own faults.
        """
        kept = [self._kept.setdefault((prompt, sampling), {}) for prompt in prompts]
        waiting = [p for p, found in zip(prompts, kept, strict=True) if len(found) < sampling.samples]
        if waiting:
            with _appending(self._journal) as append:
                for trace in self._inner.respond(waiting, sampling):
                    append(trace)
                    self._keep(trace)
        for found in kept:
            yield from (found[sample] for sample in range(sampling.samples))

    def _keep(self, trace: Trace) -> None:
        self._kept.setdefault((trace.prompt, trace.sampling), {})[trace.sample] = trace


def answer(
    prompts: Sequence[Prompt], responder: Responder, sampling: Sampling, journal: Path | None = None
) -> Iterator[Trace]:
    """Traces in the order of the prompts; those a journal holds for the same model and sampling are not asked again.

    Raises:
        UserError: the journal cannot be read or written, or the engine's own faults.
    """
    yield from (responder if journal is None else Journalled(responder, journal)).respond(prompts, sampling)


def _whole_lines(journal: Path) -> list[bytes]:
    """Lines of a journal; what a kill left of one, perhaps within a character, is cut off before more is appended."""
    try:
        held = journal.read_bytes() if journal.is_file() else b""
    except OSError as error:
        raise files.unreadable(journal, error) from error
    whole = held[: held.rfind(b"\n") + 1]
    if whole != held:
        files.write_bytes(journal, whole)
    return whole.split(b"\n")[:-1]


@contextmanager
def _appending(journal: Path) -> Iterator[Callable[[Trace], None]]:
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
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
