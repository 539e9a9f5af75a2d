"""What thinking is worth to published models: curves from answers that others recorded, with tokens and seconds.

    python benchmarks/budget.py ../shared/data/09_medagents_recorded_mcq [PAGE]

Nobody closed a thought there, so a longer answer counts as none (`rounds.exam.curve`, *cut*). Models whose answers are
a letter have no thoughts to limit and are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rounds.cases.importers.recorded import recorded
from rounds.cli.budget import lines
from rounds.exam.curve import Curve, cut_curve
from rounds.exam.curve_page import write_page

BUDGETS = (128, 256, 512, 1024, 2048, 4096)
MARGIN, ALPHA = 0.02, 0.01
FEWEST = 100
"""Median tokens of an answer that reasons."""


def curves(place: Path) -> list[Curve]:
    """One for each model that reasons."""
    graded = recorded("medagents", place / "medqa.answers.jsonl.gz", place / "medqa.items.jsonl.gz")
    found = []
    for model, grades in sorted(graded.items()):
        tokens = sorted(grade.thinking_tokens for grade in grades)
        if tokens[len(tokens) // 2] >= FEWEST:
            found.append(cut_curve(model, grades, BUDGETS, margin=MARGIN, alpha=ALPHA))
    return found


def main() -> None:
    """Print the tables, and write the page where one is asked for."""
    drawn = curves(Path(sys.argv[1]))
    page = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    for curve in drawn:
        print("\n".join(lines(curve, Path("."))[:-1]))
    if page is not None:
        write_page("Published models by their recorded answers", drawn, "public", page)


if __name__ == "__main__":
    main()
