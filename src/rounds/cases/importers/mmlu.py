"""MMLU CSV: question, four options, the right letter; no header (https://github.com/hendrycks/test).

The subject is in the name of the file (`clinical_knowledge_test.csv`) and becomes the specialty. Left out on purpose:
MMLU-Pro, whose options are a list (make it MedQA-style JSONL).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from rounds.cases.importers.outcome import Outcome, chosen, id_of
from rounds.cases.importers.reading import lines
from rounds.records import UserError


def read(path: Path) -> Iterator[Outcome]:
    """One choice a row; a first row that says `answer` where the letter stands is a header.

    Raises:
        UserError: a row without six cells, or whose last is no letter A to D.
    """
    stem = path.name.removesuffix(".gz").removesuffix(".csv")
    subject = stem.removesuffix("_test").removesuffix("_val").removesuffix("_dev").replace("_", " ")
    found = False
    try:
        for number, cells in table(path):
            where = f"{path}:{number}"
            if len(cells) != 6:
                raise UserError(f"{where}: has {len(cells)} cells; expected question, four options and the letter.")
            if not found and cells[5].strip().casefold() == "answer":
                continue
            found = True
            question, *options, letter = cells
            if letter.strip() not in {"A", "B", "C", "D"}:
                raise UserError(f"{where}: the right letter is '{letter}'; write A, B, C or D.")
            yield chosen(
                where,
                options,
                [letter.strip()],
                id=id_of("mmlu", *cells[:5]),
                vignette=question,
                specialty=subject,
                source="MMLU",
                licence="MIT",
            )
    except csv.Error as error:
        raise UserError(f"{path}: is not CSV ({error}); save it as comma-separated values.") from error
    if not found:
        raise UserError(f"{path}: holds no rows; expected question, four options and the letter on each.")


def table(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line on which the row ends, cells) of every non-empty row."""
    reader = csv.reader((line for _, line in lines(path)), strict=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells
