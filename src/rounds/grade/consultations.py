"""A whole file of records from conversations, held against those people wrote: by section, and entry by entry.

A case is a conversation; its answer is a record. Figures are sums over statements, with intervals that count
conversations. Left out on purpose: scoring one record (`rounds.grade.dialogue`), and asking a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from rounds import files
from rounds.grade.choice import groups
from rounds.grade.dialogue import (
    SECTIONS,
    Scored,
    read_note,
    score,
    section_of,
    sections_of,
    statements,
    total,
    unknown_headings,
)
from rounds.grade.given import Given
from rounds.prompts.outputs import Consultation, read_output
from rounds.prompts.reader import after_thinking
from rounds.records import Answer, Case, Grade, Interval, Record, UserError
from rounds.stats.cluster import Clusters, interval

Sections = Mapping[str, Sequence[str]]


class Written(Record):
    """What people wrote down of one conversation: entries by section, or a note with its headings."""

    case_id: str
    record: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    note: str = ""


class Marked(Record):
    """One record of a model, scored."""

    case_id: str
    sample: int = 0
    fits: bool
    """The reply was JSON under the schema of a record, every section there."""
    unreadable: bool
    """Neither JSON with sections nor a note with headings: everything is omitted."""
    scored: Scored


@dataclass(frozen=True, slots=True)
class Consultations:
    """What came of one file of records."""

    marked: list[Marked]
    without_case: int
    """Answers whose conversation, or whose record of reference, is not there."""
    without_answer: int
    """Records of reference nobody answered."""
    unknown: tuple[str, ...]
    """Headings of the notes of reference that name no section: what stands below them is not scored."""


def read_written(path: Path) -> dict[str, Written]:
    """Records of reference by case.

    Raises:
        UserError: unreadable, empty, a case twice, both a record and a note or neither, an unknown section, nothing
            said.
    """
    found: dict[str, Written] = {}
    for one in files.read_jsonl(path, Written):
        where = f"{path}: the record of case '{one.case_id}'"
        if one.case_id in found:
            raise UserError(f"{where} stands there twice; keep one.")
        if bool(one.record) == bool(one.note):
            raise UserError(f"{where} needs 'record' with entries by section or 'note' with headings; give one.")
        unknown = [name for name in one.record if _section(name) is None]
        if unknown:
            raise UserError(f"{where} has a section '{unknown[0]}'; use {', '.join(SECTIONS)}.")
        if not any(statements(texts) for texts in wanted_of(one).values()):
            raise UserError(f"{where} says nothing under a known heading; write headings on lines of their own.")
        found[one.case_id] = one
    if not found:
        raise UserError(f"{path}: holds no records; give one JSON object a line with case_id and record or note.")
    return found


def wanted_of(written: Written) -> Sections:
    """The sections of a record of reference."""
    return _named(written.record) if written.record else read_note(written.note)


def grade_records(cases: Sequence[Case], written: Mapping[str, Written], answers: Iterable[Given]) -> Consultations:
    """Score every answer whose conversation and record of reference are there.

    Raises:
        UserError: no conversation has a record of reference.
    """
    dialogues = {case.id: case.vignette for case in cases if case.id in written}
    if not dialogues:
        raise UserError(f"none of {len(cases)} cases has a record of reference; give both files the same case ids.")
    marked, without_case = [], 0
    for given in answers:
        dialogue = dialogues.get(given.case_id)
        if dialogue is None:
            without_case += 1
            continue
        said = said_of(given.reply)
        scored = score(wanted_of(written[given.case_id]), said or {}, dialogue)
        fits = read_output(given.reply, "record") is not None
        marked.append(
            Marked(case_id=given.case_id, sample=given.sample, fits=fits, unreadable=said is None, scored=scored)
        )
    headings = [name for case in dialogues for name in unknown_headings(written[case].note)]
    return Consultations(
        marked, without_case, len(dialogues) - len({one.case_id for one in marked}), tuple(dict.fromkeys(headings))
    )


def said_of(reply: str) -> Sections | None:
    """Sections of a reply: JSON with any of them, or a note with headings; None where there is neither."""
    whole = read_output(reply, "record")
    if isinstance(whole, Consultation):
        return sections_of(whole)
    text = after_thinking(reply)
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        known = {name: _texts(entries) for name, entries in value.items() if _section(name) is not None}
        return _named(known) if known else None
    return read_note(text) or None


def as_grades(found: Consultations, cases: Iterable[Case]) -> list[Grade]:
    """Grades for a comparison: right is a record that was read and invents nothing, whatever it omits."""
    columns = {case.id: groups(case) for case in cases}
    return [
        Grade(
            case_id=one.case_id,
            sample=one.sample,
            answer=Answer(case_id=one.case_id, unreadable=one.unreadable),
            correct=not (one.unreadable or one.scored.hallucinated),
            groups=columns[one.case_id],
        )
        for one in found.marked
    ]


def figures(found: Consultations) -> dict[str, Any]:
    """Counts and shares, whole and by section; shares 0..1, None where nothing was said or wanted."""
    return {
        "records": len(found.marked),
        "fits": sum(one.fits for one in found.marked),
        "unreadable": sum(one.unreadable for one in found.marked),
        "without_case": found.without_case,
        "without_answer": found.without_answer,
        "unknown_headings": list(found.unknown),
        "all": _shares(found.marked, None),
        "sections": {
            name: shares for name in SECTIONS if (shares := _shares(found.marked, name))["wanted"] or shares["said"]
        },
    }


def as_lines(told: Mapping[str, Any]) -> list[str]:
    """The figures as a table."""
    head = ("section", "wanted", "said", "right", "precision", "recall", "F1", "misplaced", "unasked")
    rows = [(*head, "hallucinated", "omitted")]
    for name, one in (*told["sections"].items(), ("all", told["all"])):
        shares = ["-" if one[key] is None else f"{one[key]:.3f}" for key in ("precision", "recall", "f1")]
        counts = [str(one[key]) for key in ("misplaced", "unasked", "hallucinated", "omitted")]
        rows.append((name.replace("_", " "), str(one["wanted"]), str(one["said"]), str(one["right"]), *shares, *counts))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    table = [
        "  ".join(cell.ljust(wide) if place == 0 else cell.rjust(wide) for place, (cell, wide) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    whole = told["all"]
    between = [
        f"{name} {whole[key]:.3f} ({whole[f'{key}_low']:.3f} to {whole[f'{key}_high']:.3f})"
        for name, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
        if whole[key] is not None
    ]
    lines = [
        *table,
        f"{'; '.join(between)}; intervals of 95 % that count conversations",
        f"{told['records']} records: {told['fits']} fit the schema, {told['unreadable']} unreadable",
        f"left out: {told['without_case']} answers without a conversation or a record of reference; "
        f"{told['without_answer']} records of reference without an answer",
    ]
    if told["unknown_headings"]:
        lines.append(f"not scored, under unknown headings: {', '.join(told['unknown_headings'])}")
    return lines


def _shares(marked: Sequence[Marked], section: str | None) -> dict[str, int | float | None]:
    """Figures of one section, or of all."""
    each = [(one.case_id, one.scored.all if section is None else one.scored.sections[section]) for one in marked]
    whole = total(counts for _, counts in each)
    parts = {
        "precision": [(case, counts.right, counts.said) for case, counts in each],
        "recall": [(case, counts.right, counts.wanted) for case, counts in each],
        "f1": [(case, 2 * counts.right, counts.said + counts.wanted) for case, counts in each],
    }
    found: dict[str, int | float | None] = {**whole.model_dump(), "said": whole.said}
    for name in parts:
        found[name] = getattr(whole, name)
        ends = _ends(parts[name]) if found[name] is not None else None
        found[f"{name}_low"], found[f"{name}_high"] = (ends.low, ends.high) if ends else (None, None)
    return found


def _ends(parts: Iterable[tuple[str, int, int]]) -> Interval:
    """95 % interval of a ratio of sums; the conversation is what is counted."""
    events: dict[str, float] = {}
    chances: dict[str, float] = {}
    for case, found, possible in parts:
        if possible:
            events[case] = events.get(case, 0.0) + found
            chances[case] = chances.get(case, 0.0) + possible
    ends = interval(Clusters(np.array(list(events.values())), np.array(list(chances.values()))))
    return Interval(low=max(0.0, ends.low), high=min(1.0, max(0.0, ends.high)))


def _section(name: str) -> str | None:
    """The section of a key: its own name, `plan`, which is scored with assessment, or a heading."""
    plain = name.strip().casefold().replace(" ", "_")
    if plain in SECTIONS:
        return plain
    return section_of(name)


def _named(entries: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, texts in entries.items():
        section = _section(name)
        if section is not None:
            found.setdefault(section, []).extend(texts)
    return found


def _texts(entries: Any) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    return [one for one in entries if isinstance(one, str)] if isinstance(entries, list) else []
