"""`rounds label`: people label answers on a local page, blinded to the model, and their agreement gives kappa.

Needs nothing beyond the core. Left out on purpose: the rules themselves (`rounds.grade.modes`).
"""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rounds.exam.label import Row, Sheet

HELP = "Label answers on a local page, two raters blinded to the model; without --rater, print their agreement."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("sheet", type=Path, metavar="SHEET", help="folder of the sheet; made when it is not there yet")
    parser.add_argument("--cases", type=Path, metavar="FILE", help="JSONL of cases, to make the sheet from")
    parser.add_argument(
        "--answers",
        type=Path,
        action="append",
        metavar="FILE",
        help="traces.jsonl of an exam, to make the sheet from; may be given several times",
    )
    parser.add_argument("--count", type=int, help="answers to draw, three in four of them wrong (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--rater", metavar="NAME", help="open the page for this rater, and go on where they stopped")
    parser.add_argument(
        "--port", type=int, default=8766, help="on 127.0.0.1; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the agreement as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make a sheet, open its page, or print agreement; 0 when that was done."""
    from rounds.exam import label
    from rounds.records import UserError

    if arguments.rater is not None:
        label.checked(arguments.rater)
    if (arguments.cases is None) != (arguments.answers is None):
        raise UserError("a sheet is made from both; give --cases and --answers together.")
    sheet = _made(arguments) if arguments.cases is not None else label.read(arguments.sheet)
    if arguments.rater is not None:
        return _serve(sheet, arguments.rater, arguments.port)
    if arguments.cases is not None and not arguments.json:
        print(f"{len(sheet.items)} answers to label: {sheet.directory}")
        return 0
    rows = label.agreement(sheet)
    if arguments.json:
        print(
            json.dumps({"items": len(sheet.items), "raters": sheet.raters(), "agreement": [_json(row) for row in rows]})
        )
    else:
        print("\n".join(_lines(sheet, rows)))
    return 0


def _made(arguments: argparse.Namespace) -> Sheet:
    from rounds.exam import label
    from rounds.files import read_jsonl
    from rounds.grade.mark import Marker
    from rounds.knowledge.base import load
    from rounds.progress import track
    from rounds.records import Case, Trace, UserError

    if arguments.count is not None and arguments.count < 1:
        raise UserError(f"--count {arguments.count} is no number of answers; give 1 or more.")
    cases = list(read_jsonl(arguments.cases, Case))
    traces = [trace for path in arguments.answers for trace in read_jsonl(path, Trace)]
    return label.make(
        arguments.sheet,
        cases,
        list(track(traces, "marking answers")),
        Marker(load()),
        count=arguments.count,
        seed=arguments.seed,
    )


def _serve(sheet: Sheet, rater: str, port: int) -> int:
    from rounds.exam.label_page import Desk, serving

    desk = Desk(sheet, rater)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager stops it as Ctrl-C does
    with serving(desk, port) as (address, server):
        print(f"{len(desk.labels)} of {len(desk.items)} labelled by {rater}. Open {address}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"{len(desk.labels)} of {len(desk.items)} labelled by {rater}; the same command goes on from there.")
    return 0


def _lines(sheet: Sheet, rows: list[Row]) -> list[str]:
    raters = sheet.raters()
    told = [f"{len(sheet.items)} answers, labelled by: {', '.join(raters) or 'nobody yet; start with --rater NAME'}"]
    if len(raters) == 1:
        told.append("one rater has no agreement; ask a second one")
    for row in rows:
        kappa = "not defined (one label only)"
        if row.kappa.value is not None:
            kappa = f"{row.kappa.value:.2f} ({row.kappa.interval.low:.2f} to {row.kappa.interval.high:.2f})"
        told.append(
            f"{row.label}, {row.first} and {row.second}: kappa {kappa}, n {row.n}, yes {row.positive[0]} and "
            f"{row.positive[1]}, PABAK {'-' if row.pabak.value is None else format(row.pabak.value, '.2f')}"
        )
    return told


def _json(row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        "first": row.first,
        "second": row.second,
        "n": row.n,
        "yes": list(row.positive),
        "kappa": row.kappa.value,
        "low": row.kappa.interval.low,
        "high": row.kappa.interval.high,
        "pabak": row.pabak.value,
    }
