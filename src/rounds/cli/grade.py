"""`rounds grade --cases C --answers A`: marks answers of any model against the right diagnoses, without a judge model.

With `--records R` the cases are conversations and the answers records, held against those that people wrote.
Exit 0 when the answers were marked, however many are right. Left out on purpose: asking the model under test
(`rounds examine`) and comparing two (`rounds compare` takes the grades written here).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.grade.cascade import Ruling
    from rounds.grade.grading import Graded
    from rounds.records import Case, Figures, Responder

HELP = "mark answers against right diagnoses, options or numbers, no judge model needed"

GRADES, VERDICTS, SHEET, FIGURES = "grades.jsonl", "verdicts.jsonl", "sheet.csv", "figures.json"
RECORDS = "records.jsonl"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--cases", type=Path, required=True, metavar="C", help="JSONL of cases with their right answers"
    )
    parser.add_argument(
        "--answers", type=Path, required=True, metavar="A", help="JSONL of answers: lists, replies, letters or traces"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write grades, verdicts and the sheet for people; a second run reads it"
    )
    parser.add_argument(
        "--records", type=Path, metavar="R", help="JSONL of records people wrote: the cases are conversations then"
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="a filled sheet of another run, read as well")
    parser.add_argument("--judge", metavar="MODEL", help="a checkpoint, or an endpoint's URL, for what no rule decides")
    parser.add_argument("--judge-name", help="the judge's name at its endpoint")
    parser.add_argument("--key-env", default="OPENAI_API_KEY", help="environment variable with the endpoint's key")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Mark, print the figures, write what --out asks for."""
    if arguments.records is not None:
        return _records(arguments)
    from rounds import files
    from rounds.grade.cascade import Cascade
    from rounds.grade.given import read_given
    from rounds.grade.grading import figures, grade
    from rounds.knowledge.base import load
    from rounds.records import Case

    cases = list(files.read_jsonl(arguments.cases, Case))
    settled = _settled(arguments)
    responder = _judge(arguments)
    graded = grade(
        cases,
        read_given(arguments.answers),
        Cascade(load()),
        settled=settled,
        responder=responder,
        keep=lambda judged: _keep(arguments.out, settled, judged),
    )
    found = figures(graded)
    if arguments.out is not None:
        _write(arguments.out, graded, settled, found)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print(as_text(found, cases))
        if arguments.out is not None:
            print(f"grades, verdicts and sheet: {arguments.out}", file=sys.stderr)
    return 0


def _records(arguments: argparse.Namespace) -> int:
    """Score records of conversations by section and by entry."""
    from rounds import files
    from rounds.grade.consultations import as_grades, as_lines, figures, grade_records, read_written
    from rounds.grade.given import read_given
    from rounds.records import Case, UserError

    if arguments.judge is not None or arguments.sheet is not None:
        raise UserError("records are scored by their words; leave out --judge and --sheet.")
    cases = list(files.read_jsonl(arguments.cases, Case))
    graded = grade_records(cases, read_written(arguments.records), read_given(arguments.answers))
    found = figures(graded)
    if arguments.out is not None:
        files.write_jsonl(arguments.out / RECORDS, graded.marked)
        files.write_text(arguments.out / FIGURES, json.dumps(found, indent=1) + "\n")
        files.write_jsonl(arguments.out / GRADES, as_grades(graded, cases))
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(as_lines(found)))
        if arguments.out is not None:
            print(f"scored records and grades: {arguments.out}", file=sys.stderr)
    return 0


def as_text(found: Figures, cases: Sequence[Case]) -> str:
    """The figures in a few lines."""

    def share(name: str) -> str:
        value = found[name]
        return "-" if value is None else f"{100 * float(value):.1f} %"

    lines = [
        f"{found['answers']} answers to {len(cases)} cases",
        f"strict   {share('strict'):>7}  right: {found['right']}; first on the list: {share('first')}",
        f"lenient  {share('lenient'):>7}  with {found['near']} near answers, never counted as right",
        "found by "
        + ", ".join(f"{level} {found[f'by_{level}']}" for level in ("exact", "synonym", "code", "judge", "human")),
        f"unreadable {found['unreadable']}, refused {found['refused']}, abstained {found['abstained']}, "
        f"never events {found['never_events']}",
        f"pairs nobody has decided: {found['open_pairs']} of {found['pairs']}; {found['queue']} of them could make "
        f"{found['waiting']} answers right",
        f"left out: {found['without_case']} answers without a case; {found['without_answer']} cases without an answer",
    ]
    return "\n".join(lines)


def _settled(arguments: argparse.Namespace) -> list[Ruling]:
    """Rulings of an earlier judge, then those of people, who overrule it; of two sheets the one given by name wins."""
    from rounds import files
    from rounds.grade.cascade import Ruling
    from rounds.grade.sheet import read_sheet

    found: list[Ruling] = []
    out: Path | None = arguments.out
    if out is not None and (out / VERDICTS).is_file():
        found += [ruling for ruling in files.read_jsonl(out / VERDICTS, Ruling) if ruling.level == "judge"]
    if out is not None and (out / SHEET).is_file():
        found += read_sheet(out / SHEET)
    if arguments.sheet is not None:
        found += read_sheet(arguments.sheet)
    return found


def _judge(arguments: argparse.Namespace) -> Responder | None:
    if arguments.judge is None:
        return None
    from rounds.engine.choose import open_named

    return open_named(arguments.judge, arguments.judge_name, arguments.key_env, option="--judge-name")


def _keep(out: Path | None, settled: Sequence[Ruling], judged: Sequence[Ruling]) -> None:
    """What the judge has ruled so far, so that a broken run asks only for the rest."""
    from rounds import files

    if out is not None:
        files.write_jsonl(out / VERDICTS, [r for r in (*settled, *judged) if r.level == "judge"])


def _write(out: Path, graded: Graded, settled: Sequence[Ruling], found: Figures) -> None:
    from rounds import files
    from rounds.grade.sheet import write_sheet

    people = list({(r.key, r.answer): r for r in settled if r.level == "human"}.values())
    files.write_jsonl(out / GRADES, graded.grades)
    here = {(r.key, r.answer) for r in graded.rulings}
    elsewhere = [r for r in settled if r.level == "judge" and (r.key, r.answer) not in here]
    files.write_jsonl(out / VERDICTS, [*graded.rulings, *elsewhere])
    files.write_text(out / FIGURES, json.dumps(found, indent=1) + "\n")
    write_sheet(out / SHEET, graded.queue, graded.times, people)
