"""A right answer that no reader accepts stops the build and names its case; every other passes untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import formats
from rounds.grade.gold import accepted
from rounds.records import Case, UserError

SHARED = Path(__file__).parents[3] / "shared" / "data"
CHOICE: dict[str, Any] = {"options": ("gout", "flu"), "diagnosis": "gout", "kind": "choice"}


def a_case(**change: Any) -> Case:
    return Case(**{"id": "c7", "vignette": "A hot and swollen joint.", "diagnosis": "gout", **change})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"diagnosis": "Acute tubular necrosis with or without oliguria"},
        {"diagnosis": "痛風", "language": "ja"},
        {"diagnosis": "", "outside": True},
        {**CHOICE, "right": ("A",)},
        {**CHOICE, "right": ("A", "B")},
        {"kind": "number", "diagnosis": "8.5"},
        {"kind": "number", "diagnosis": "3/4/2024"},
        {"diagnosis": "about eight", "limits": (7.9, 8.1)},
    ],
)
def test_what_can_be_given_passes(change: dict[str, Any]) -> None:
    case = a_case(**change)
    assert list(accepted([case])) == [case]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"diagnosis": " "}, r"no reader accepts its right answer ' '"),
        ({"diagnosis": "-"}, r"no reader accepts its right answer '-'"),
        ({"diagnosis": "Unknown"}, r"no reader accepts its right answer 'Unknown', so no answer could be right; name"),
        ({**CHOICE, "right": ()}, "right is empty; give letters A to B"),
        ({**CHOICE, "right": ("C",)}, "right is C; give letters A to B"),
        ({"kind": "number", "diagnosis": "high"}, "the right number is 'high'; give a number or limits"),
        ({"limits": (2.0, 1.0)}, "are no range; give the lowest value first"),
    ],
)
def test_what_cannot_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=rf"^case 'c7': .*{words}"):
        list(accepted([a_case(id="c6"), a_case(**change)]))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("format", "path"),
    [
        ("avey", "01_avey_vignettes_five_ddx/vignettes.jsonl"),
        ("craft-md", "04_craft_md/cases.jsonl.gz"),
        ("medr-bench", "06_medrbench/cases.jsonl.gz"),
        ("igakuqa", "12_igakuqa_ja_en/items_2021.jsonl.gz"),
        ("pubmedqa", "10_pubmedqa/ori_pqal_train_500.json.gz"),
    ],
)
def test_every_right_answer_of_the_real_sets_is_accepted(format: str, path: str) -> None:
    if not (SHARED / path).is_file():
        pytest.skip(f"not here: {path}")
    count = formats.Count()
    assert sum(1 for _ in accepted(formats.cases(formats.outcomes(format, SHARED / path), count))) == count.cases > 100
