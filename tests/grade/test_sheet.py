"""The sheet for people: written, filled, read again, and safe to open."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from rounds.grade.cascade import Ruling
from rounds.grade.sheet import COLUMNS, read_sheet, write_sheet
from rounds.records import UserError


def waiting(answer: str, right: str = "gout") -> Ruling:
    return Ruling(key=f"key of {right}", right=right, answer=answer.casefold(), said=answer, state="open")


def cells(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def fill(path: Path, **verdicts: str) -> None:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in cells(path)[1:]]
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"verdict": verdicts.get(row["normalised"], row["verdict"]), "rater": "AB"})


def test_a_sheet_goes_round(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    pairs = [waiting("Rare"), waiting("Frequent"), waiting("Left")]
    write_sheet(path, pairs, {("key of gout", "frequent"): 9, ("key of gout", "rare"): 1}, ())
    assert [row[1] for row in cells(path)] == ["answer", "Frequent", "Rare", "Left"]
    assert read_sheet(path) == []
    fill(path, frequent="Yes", rare="near")
    found = read_sheet(path)
    assert [(r.answer, r.state, r.level, r.why) for r in found] == [
        ("frequent", "right", "human", "AB"),
        ("rare", "near", "human", "AB"),
    ]
    write_sheet(path, [waiting("Left")], {}, found)
    assert read_sheet(path) == found, "what people wrote survives the next sheet"


@pytest.mark.parametrize(
    ("word", "state"), [("y", "right"), ("TRUE", "right"), ("oui", "right"), ("No", "wrong"), ("0", "wrong")]
)
def test_spellings_of_a_verdict(tmp_path: Path, word: str, state: str) -> None:
    path = tmp_path / "sheet.csv"
    write_sheet(path, [waiting("x")], {}, ())
    fill(path, x=word)
    assert read_sheet(path)[0].state == state


def test_remarks_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    human = waiting("x").model_copy(update={"state": "wrong", "level": "human", "why": "AB: another organ, see atlas"})
    write_sheet(path, (), {}, [human])
    assert read_sheet(path) == [human]


@pytest.mark.parametrize("answer", ["=1+1", "+cmd", "-x", "@sum", "'quoted", "a, b", 'say "ah"', "two\nlines", "痛風"])
def test_no_cell_is_a_formula_and_every_cell_comes_back(tmp_path: Path, answer: str) -> None:
    path = tmp_path / "sheet.csv"
    human = Ruling(key="k", right="gout", answer=answer, said=answer, state="right", level="human", why="AB")
    write_sheet(path, (), {}, [human])
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in cells(path) for cell in row)
    assert read_sheet(path) == [human]


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    write_sheet(path, [waiting("x")], {}, ())
    fill(path, x="yes")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_sheet(path)) == 1


def test_faults_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("right diagnosis,answer\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_sheet(path)
    assert str(caught.value) == f"{path}: has no column 'times'; keep the first line of the sheet as it was written."
    write_sheet(path, [waiting("x"), waiting("x")], {}, ())
    fill(path, x="perhaps")
    with pytest.raises(UserError) as caught:
        read_sheet(path)
    assert str(caught.value) == f"{path}:2: verdict 'perhaps' is unknown; write yes, no or near, or leave it empty."
    fill(path, x="yes")
    text = path.read_text(encoding="utf-8").replace("yes", "no", 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_sheet(path)
    assert str(caught.value) == f"{path}:3: 'x' is ruled both ways for 'gout'; keep one of the rows."
    with pytest.raises(UserError, match="cannot be read"):
        read_sheet(tmp_path / "none.csv")
