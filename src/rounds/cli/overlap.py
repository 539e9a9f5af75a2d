"""`rounds overlap TRAIN EXAM`: is the exam in the training data? Exit 0 no, 1 yes, 2 usage.

Left out on purpose: mending. Which of the two files gives way is for the person to decide.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.cases.overlap import Leak, Passage

HELP = "find exam cases in training data: copies, near copies, paraphrases"
FOUND = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "train", metavar="TRAIN", type=Path, help="what a model learnt from: JSONL, JSON or text, or .gz"
    )
    parser.add_argument("exam", metavar="EXAM", type=Path, help="the exam: cases as JSONL, or any such file")
    parser.add_argument("--show", type=int, default=20, metavar="N", help="pairs to show, surest first (20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with every pair")


def run(arguments: argparse.Namespace) -> int:
    """Look, print what was found, and give 1 when anything was."""
    from rounds.cases.overlap import SURE, leaks, passages
    from rounds.progress import track
    from rounds.records import UserError

    if arguments.show < 0:
        raise UserError(f"--show {arguments.show} is below 0; write how many pairs to show.")
    if arguments.train.absolute() == arguments.exam.absolute():
        raise UserError(f"{arguments.train}: is given twice; name the training data and then the exam.")
    rows = Counter[str]()
    labels = iter(("counting words", "looking"))

    def train() -> Iterator[Passage]:
        rows.clear()
        for passage in track(passages(arguments.train), next(labels)):
            rows["train"] += 1
            yield passage

    exam = list(passages(arguments.exam))
    found = leaks(train, exam)
    if not rows["train"]:
        raise UserError(f"{arguments.train}: holds no rows; expected one JSON object or one text a line.")
    kinds = Counter(leak.kind for leak in found)
    if arguments.json:
        figures = {
            "train_rows": rows["train"],
            "exam_items": len(exam),
            "found": len(found),
            "kinds": {kind: kinds[kind] for kind in SURE if kinds[kind]},
            "pairs": [leak.model_dump() for leak in found],
        }
        print(json.dumps(figures, indent=1, ensure_ascii=False))
    else:
        print(_text(found, rows["train"], len(exam), arguments.show))
    return FOUND if found else 0


def _text(found: Sequence[Leak], rows: int, items: int, show: int) -> str:
    from rounds.cases.overlap import SURE

    if not found:
        return f"no overlap: none of {items} exam items was found in {rows} training rows"
    lines = [f"overlap: {len(found)} of {items} exam items were found in {rows} training rows"]
    lines += [
        f"  {kind}: {sum(leak.kind == kind for leak in found)}"
        for kind in SURE
        if any(leak.kind == kind for leak in found)
    ]
    surest = sorted(found, key=lambda leak: (SURE.index(leak.kind), -leak.likeness))[:show]
    for leak in surest:
        more = f", and {leak.rows - 1} more rows" if leak.rows > 1 else ""
        lines.append(f"{leak.held} <- {leak.where} ({leak.kind}, {leak.likeness:.2f}{more}): {leak.shown[:160]}")
    if len(found) > len(surest):
        lines.append(f"... {len(found) - len(surest)} more; --json shows all")
    return "\n".join(lines)
