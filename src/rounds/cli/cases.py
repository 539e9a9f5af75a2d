"""`rounds cases`: the cases of a run; or other people's cases and recorded answers, brought into our form.

Left out on purpose: fetching anything. The files are on this machine already.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rounds.cli import stages

if TYPE_CHECKING:
    from rounds.cases.importers.formats import Count
    from rounds.records import Case

HELP = "Write the teach, tune and exam cases of a recipe; or import cases (--from) and recorded answers (--recorded)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE|PATH",
        help="name or path of a recipe; with --from or --recorded the file or folder to read",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--from", dest="format", metavar="FORMAT", help="import cases of this format from PATH")
    what.add_argument(
        "--recorded", metavar="FORMAT", help="turn the recorded answers of PATH into grades, a file a model"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="OUT",
        help="run directory (default: runs/NAME); file of --from; folder of --recorded",
    )
    parser.add_argument("--columns", type=Path, metavar="MAP.toml", help="which column holds what, for --from table")
    parser.add_argument("--split", choices=("teach", "tune", "exam"), help="put all imported cases into this split")
    parser.add_argument("--language", metavar="CODE", help="import the cases of this language only, such as en")
    parser.add_argument("--items", type=Path, metavar="PATH", help="what was asked, beside --recorded: key and groups")
    parser.add_argument("--traces", action="store_true", help="write the recorded words as traces instead of grades")
    parser.add_argument("--json", action="store_true", help="print lineage or counts as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make what is not fresh, or import; 0 when all is made."""
    from rounds.records import UserError

    importing, replaying = arguments.format is not None, arguments.recorded is not None
    for option, value, fits in (
        ("--columns", arguments.columns, importing),
        ("--split", arguments.split, importing),
        ("--language", arguments.language, importing),
        ("--items", arguments.items, replaying),
        ("--traces", arguments.traces or None, replaying),
    ):
        if value is not None and not fits:
            raise UserError(
                f"{option} goes with {'--recorded' if option in ('--items', '--traces') else '--from'} FORMAT."
            )
    if not importing and not replaying:
        _check_own(arguments.recipe)
        return stages.run_stages(arguments, "cases")
    if arguments.out is None:
        raise UserError(f"--out is missing; name the {'file' if importing else 'folder'} to write.")
    return import_cases(arguments) if importing else import_recorded(arguments)


def _check_own(name: str) -> None:
    """A hospital's own file of cases is held to the readers before anything is made of it."""
    from rounds import files, recipe
    from rounds.grade.gold import accepted
    from rounds.records import Case

    own = recipe.read(name).cases.file
    if own is not None:
        for _ in accepted(files.read_jsonl(Path(own), Case)):
            pass


def import_cases(arguments: argparse.Namespace) -> int:
    """Write every case of a file, and say what was refused and why."""
    from rounds import files, progress
    from rounds.cases.importers.formats import Count, cases, outcomes
    from rounds.grade.gold import accepted
    from rounds.records import UserError

    count = Count()
    written = 0

    def chosen() -> Iterator[Case]:
        nonlocal written
        found = outcomes(arguments.format, Path(arguments.recipe), arguments.columns)
        for case in accepted(cases(progress.track(found, "importing"), count)):
            if arguments.language in (None, case.language):
                written += 1
                yield case if arguments.split is None else case.model_copy(update={"split": arguments.split})
        if not written:
            why = "; ".join(f"{reason} ({rows})" for reason, rows in count.refused.most_common(3)) or "other languages"
            raise UserError(f"{arguments.recipe}: none of {count.rows} rows makes a case: {why}; nothing was written.")

    files.write_jsonl(arguments.out, chosen())
    figures = {
        "out": str(arguments.out),
        "rows": count.rows,
        "cases": written,
        "other_languages": count.cases - written,
        "shortened": count.shortened,
        "dropped": dict(count.dropped.most_common()),
        "refused": dict(count.refused.most_common()),
        "first_refused": count.first,
    }
    print(json.dumps(figures, indent=1, ensure_ascii=False) if arguments.json else _text(arguments.out, written, count))
    return 0


def import_recorded(arguments: argparse.Namespace) -> int:
    """Write the grades (or traces) of each model of a file of recorded answers, and count what is missing."""
    from rounds import files
    from rounds.cases.importers.recorded import gaps, recorded, recorded_traces
    from rounds.records import UserError

    path = Path(arguments.recipe)
    grades = recorded(arguments.recorded, path, arguments.items)
    traces = recorded_traces(arguments.recorded, path, arguments.items) if arguments.traces else {}
    if arguments.traces and not traces:
        raise UserError(f"{path}: keeps no words of a model; leave --traces out.")
    names = files.file_names(traces or grades, f"{path}: ")
    for model, name in names.items():
        files.write_jsonl(arguments.out / f"{name}.jsonl", traces[model] if arguments.traces else grades[model])
    lacking = gaps(grades)
    figures = {
        model: {
            "file": str(arguments.out / f"{name}.jsonl"),
            "answers": len(grades[model]),
            "right": sum(grade.correct is True for grade in grades[model]),
            "ungradable": sum(grade.correct is None for grade in grades[model]),
            "unreadable": sum(grade.answer.unreadable for grade in grades[model]),
            "missing": lacking[model],
        }
        for model, name in names.items()
    }
    if arguments.json:
        print(json.dumps(figures, indent=1, ensure_ascii=False))
    else:
        for model, row in figures.items():
            print(
                f"{model}: {row['answers']} answers, {row['right']} right, {row['ungradable']} not gradable, "
                f"{row['unreadable']} unreadable, {row['missing']} missing that another model has -> {row['file']}"
            )
    return 0


def _text(out: Path, written: int, count: Count) -> str:
    lines = [f"{out}: {written} cases of {count.rows} rows"]
    if count.cases > written:
        lines.append(f"left out: {count.cases - written} in other languages")
    if count.shortened:
        titles = ", ".join(f"{title or 'untitled'} {n}" for title, n in count.dropped.most_common(5))
        more = ", ..." if len(count.dropped) > 5 else ""
        lines.append(f"without the sections that name the diagnosis: {count.shortened} cases ({titles}{more})")
    lines += [f"refused: {n} rows, {why} (first at {count.first[why]})" for why, n in count.refused.most_common()]
    return "\n".join(lines)
