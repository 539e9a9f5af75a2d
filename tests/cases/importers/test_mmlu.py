from __future__ import annotations

from pathlib import Path

import pytest

from rounds.cases.importers import mmlu
from rounds.records import UserError


def write(tmp_path: Path, text: str, name: str = "clinical_knowledge_test.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_subject_is_in_the_name_and_cells_may_hold_lines(tmp_path: Path) -> None:
    path = write(tmp_path, '"Which,\nif any?",a,b,c,d,D\nAnother?,w,x,y,z,A\n')
    first, second = mmlu.read(path)
    assert first.case is not None
    assert (first.case.vignette, first.case.diagnosis, first.case.specialty) == (
        "Which,\nif any?",
        "d",
        "clinical knowledge",
    )
    assert second.where == f"{path}:3"


def test_a_header_is_no_row(tmp_path: Path) -> None:
    path = write(tmp_path, "question,A,B,C,D,answer\nWhich?,a,b,c,d,B\n")
    assert [found.case.right for found in mmlu.read(path) if found.case] == [("B",)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Which?,a,b,c,D\n", ":1: has 5 cells; expected question, four options and the letter."),
        ("Which?,a,b,c,d,E\n", ":1: the right letter is 'E'; write A, B, C or D."),
        ("question,A,B,C,D,answer\n", ": holds no rows; expected question, four options and the letter on each."),
        ('"Which?,a,b,c,d,A\n', ": is not CSV (unexpected end of data); save it as comma-separated values."),
    ],
)
def test_faults(tmp_path: Path, text: str, sentence: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as raised:
        list(mmlu.read(path))
    assert str(raised.value) == f"{path}{sentence}"
