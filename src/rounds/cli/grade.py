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
JUDGED, RECORDS = "judged.jsonl", "records.jsonl"


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
        judged=_judged(arguments.out),
        responder=responder,
        keep=lambda judged: _keep(arguments.out, judged),
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
    if "judge" in found:
        lines.append(_judge_line(found))
    return "\n".join(lines)


def _judge_line(found: Figures) -> str:
    """What the judge is worth, and what that means for the figures above."""
    from rounds.grade.judge import LEAST_KAPPA, LEAST_PAIRS

    strict, kappa = found["strict_with_judge"], found["judge_kappa"]
    ends = f"{found['judge_kappa_low']:.3f} to {found['judge_kappa_high']:.3f}" if kappa is not None else ""
    agreed = f"kappa {kappa:.3f} ({ends})" if kappa is not None else "no kappa"
    said = f"judge {found['judge']}: {agreed} with people over {found['judge_pairs']} pairs, "
    if found["judge_admitted"]:
        return said + "so it is admitted and its rulings count"
    extra = "-" if strict is None else f"{100 * float(strict):.1f} %"
    return said + (
        f"so it is not admitted (from {LEAST_KAPPA:.2f} on, lower end, over {LEAST_PAIRS}): its rulings count nowhere; "
        f"with them the strict figure would be {extra}"
    )


def _settled(arguments: argparse.Namespace) -> list[Ruling]:
    """Rulings of people; of two sheets the one given by name wins."""
    from rounds.grade.sheet import read_sheet

    here = [arguments.out / SHEET] if arguments.out is not None and (arguments.out / SHEET).is_file() else []
    given = [arguments.sheet] if arguments.sheet is not None else []
    found = [ruling for sheet in (*here, *given) for ruling in read_sheet(sheet)]
    return list({(ruling.key, ruling.answer): ruling for ruling in found}.values())


def _judged(out: Path | None) -> list[Ruling]:
    from rounds import files
    from rounds.grade.cascade import Ruling

    if out is None or not (out / JUDGED).is_file():
        return []
    return list(files.read_jsonl(out / JUDGED, Ruling))


def _judge(arguments: argparse.Namespace) -> Responder | None:
    if arguments.judge is None:
        return None
    from rounds.engine.choose import open_named

    return open_named(arguments.judge, arguments.judge_name, arguments.key_env, option="--judge-name")


def _keep(out: Path | None, judged: Sequence[Ruling]) -> None:
    """What the judge has ruled so far, so that a broken run asks only for the rest."""
    from rounds import files

    if out is not None:
        files.write_jsonl(out / JUDGED, judged)


def _write(out: Path, graded: Graded, settled: Sequence[Ruling], found: Figures) -> None:
    from rounds import files
    from rounds.grade.sheet import write_sheet

    files.write_jsonl(out / GRADES, graded.grades)
    files.write_jsonl(out / VERDICTS, graded.rulings)
    files.write_text(out / FIGURES, json.dumps(found, indent=1) + "\n")
    write_sheet(out / SHEET, graded.queue, graded.times, settled)
