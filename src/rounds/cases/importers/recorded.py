"""Answers that others recorded, as grades and traces: published studies run again without asking a model anything.

Marks are those of the source (its judge, its key), never ours. Answers are known by their case's id, never by their
row: an id that comes twice for one model and sample stops the reading, and `gaps` counts what single models lack. Left
out on purpose: the formats themselves (`rounds.cases.importers.answers`), and marking again (`rounds.grade`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rounds.cases.importers import answers, formats
from rounds.cases.importers.answers import Key, Told
from rounds.records import Answer, Case, Grade, Prompt, Sampling, Trace, UserError

TEMPLATE = "recorded@1"
"""Template name of recorded traces: what was asked is not told."""


RECORDED: dict[str, Callable[[Path, Key], Iterator[Told]]] = {
    "afrimedqa": answers.afrimedqa,
    "amqa": answers.amqa,
    "avey": answers.avey,
    "craft-md": answers.craft_md,
    "craft-md-choice": answers.craft_md_choice,
    "igakuqa": answers.igakuqa,
    "medagents": answers.medagents,
    "medr-bench": answers.medr_bench,
    "pcdt": answers.pcdt,
    "pubmedqa": answers.pubmedqa,
    "triage": answers.triage,
    "xstest": answers.xstest,
}
"""Format to the function that reads it."""

ITEMS = {
    "avey": "avey",
    "craft-md": "craft-md",
    "craft-md-choice": "craft-md-choice",
    "igakuqa": "igakuqa",
    "medagents": "medqa",
    "medr-bench": "medr-bench",
    "pubmedqa": "pubmedqa",
}
"""Recorded format to the format of the items that were answered."""


def recorded(format: str, path: Path, items: Path | None = None) -> dict[str, list[Grade]]:
    """Grades of each model of a file of recorded answers, in the order of the file.

    `items` is the file of what was asked, in its own format: the key where the answers have none (igakuqa), and
    specialty, incidence and condition for the groups. Items that would make no case serve as well.

    Raises:
        UserError: an unknown format, a row that is none of it, one model's answer to one sample of a case given twice.
    """
    key = _key(format, items)
    grades: dict[str, list[Grade]] = {}
    for told in told_by(format, path, key):
        grades.setdefault(told.model, []).append(_grade(told, key.get(told.case_id)))
    return grades


def recorded_traces(format: str, path: Path, items: Path | None = None) -> dict[str, list[Trace]]:
    """Traces of each model whose words the file keeps; what was asked and how is not told, so it stays empty.

    Raises:
        UserError: as `recorded`.
    """
    traces: dict[str, list[Trace]] = {}
    for told in told_by(format, path, _key(format, items)):
        if told.reply is not None:
            traces.setdefault(told.model, []).append(_trace(told))
    return traces


def told_by(format: str, path: Path, key: Key) -> Iterator[Told]:
    """Everything one file tells, answer by answer.

    Raises:
        UserError: as `recorded`.
    """
    if format not in RECORDED:
        raise UserError(f"recorded format '{format}' is unknown; use one of {', '.join(RECORDED)}.")
    seen: dict[tuple[str, str, int], str] = {}
    for told in RECORDED[format](path, key):
        name = (told.model, told.case_id, told.sample)
        if name in seen:
            raise UserError(
                f"{told.where}: '{told.model}' answers case '{told.case_id}', sample {told.sample}, twice "
                f"(first at {seen[name]}); keep one of them."
            )
        seen[name] = told.where
        yield told


def gaps(grades: dict[str, list[Grade]]) -> dict[str, int]:
    """How many (case, sample) pairs each model lacks that another model of the same file answered."""
    have = {model: {(grade.case_id, grade.sample) for grade in given} for model, given in grades.items()}
    every = set().union(*have.values()) if have else set()
    return {model: len(every - own) for model, own in have.items()}


def _key(format: str, items: Path | None) -> Key:
    if items is None:
        return {}
    if format not in ITEMS:
        raise UserError(f"recorded format '{format}' takes no items; leave --items out.")
    return formats.key(ITEMS[format], items)


def _grade(told: Told, case: Case | None) -> Grade:
    columns = {"specialty": case.specialty, "incidence": case.incidence, "condition": case.condition} if case else {}
    return Grade(
        case_id=told.case_id,
        sample=told.sample,
        answer=Answer(case_id=told.case_id, diagnoses=told.diagnoses, choices=told.choices, unreadable=told.unreadable),
        correct=told.correct,
        rank=told.rank,
        thinking_tokens=told.thinking_tokens,
        total_s=told.seconds,
        groups={**told.groups, **{column: value for column, value in columns.items() if value}},
    )


def _trace(told: Told) -> Trace:
    return Trace(
        prompt=Prompt(case_id=told.case_id, template=TEMPLATE, messages=()),
        model=told.model,
        engine="recorded",
        sampling=Sampling(),
        sample=told.sample,
        thinking=told.thinking,
        reply=told.reply or "",
        finish="stop",
        thinking_tokens=told.thinking_tokens,
        reply_tokens=0,
        total_s=told.seconds,
    )
