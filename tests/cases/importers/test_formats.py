from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import formats
from rounds.cases.importers.formats import FORMATS, Count, cases, key, outcomes
from rounds.cases.importers.outcome import EMPTY_OPTION, NO_KEY
from rounds.records import UserError

Write = Callable[..., Path]
SHARED = Path(__file__).parents[4] / "shared" / "data"


def row(name: str, **change: Any) -> dict[str, Any]:
    return {"id": name, "question": "Which?", "answers": {"a": "un", "b": "deux"}, "correct_answers": ["a"], **change}


def test_outcomes_are_counted_and_nothing_is_dropped_in_silence(jsonl: Write) -> None:
    path = jsonl(
        row("1"), row("2", correct_answers=[]), row("3", correct_answers=[]), row("4", answers={"a": "un", "b": ""})
    )
    count = Count()
    assert [case.id for case in cases(outcomes("french-medmcqa", path), count)] == ["1"]
    assert (count.rows, count.cases, dict(count.refused)) == (4, 1, {NO_KEY: 2, EMPTY_OPTION: 1})
    assert count.first == {NO_KEY: f"{path}:2", EMPTY_OPTION: f"{path}:4"}
    assert list(key("french-medmcqa", path)) == ["1", "2", "3", "4"]


def test_an_id_that_comes_twice_stops_the_reading(jsonl: Write) -> None:
    path = jsonl(row("1"), row("2"), row("1"))
    with pytest.raises(UserError, match=rf":3: id '1' was already given at {path}:1; keep one row for each id\.$"):
        list(outcomes("french-medmcqa", path))


@pytest.mark.parametrize(
    ("format", "columns", "words"),
    [
        ("medqq", None, "format 'medqq' is unknown; use one of agentclinic, avey,"),
        ("table", None, "a table needs --columns MAP.toml"),
        ("avey", Path("map.toml"), "--columns is for format 'table'; 'avey' knows its own columns."),
    ],
)
def test_faults(format: str, columns: Path | None, words: str) -> None:
    with pytest.raises(UserError) as raised:
        list(outcomes(format, Path("x.jsonl"), columns))
    assert str(raised.value).startswith(words)


def test_the_table_of_formats_is_in_order() -> None:
    assert list(FORMATS) == sorted(FORMATS)
    assert formats.TABLE not in FORMATS


@pytest.mark.shared
@pytest.mark.parametrize(
    ("format", "file", "rows", "least"),
    [
        ("agentclinic", "05_agentclinic_medqa/agentclinic_medqa.jsonl", 107, 107),
        ("avey", "01_avey_vignettes_five_ddx/vignettes.jsonl", 153, 153),
        ("craft-md", "04_craft_md/cases.jsonl.gz", 802, 800),
        ("fhir", "28_fhir_synthea_r4", 14, 4),
        ("french-medmcqa", "16_french_medmcqa/test_part.jsonl", 201, 201),
        ("head-qa", "33_head_qa_es_en/test_medicine_nursing.jsonl.gz", 612, 584),
        ("igakuqa", "12_igakuqa_ja_en/items_2021.jsonl.gz", 800, 600),
        ("medqa", "09_medagents_recorded_mcq/medqa.items.jsonl.gz", 642, 642),
        ("medr-bench", "06_medrbench/cases.jsonl.gz", 346, 330),
        ("orphapackets", "08_orphapacket_kb/disorders_with_phenotypes.jsonl.gz", 4327, 4150),
        ("phenopackets", "07_phenopackets_rare/phenopackets.jsonl.gz", 233, 230),
        ("pubmedqa", "10_pubmedqa/ori_pqal_train_500.json.gz", 500, 500),
    ],
)
def test_real_files(format: str, file: str, rows: int, least: int) -> None:
    if not (SHARED / file).exists():
        pytest.skip(f"not here: {file}")
    count = Count()
    assert sum(1 for _ in cases(outcomes(format, SHARED / file), count)) >= least
    assert count.rows == rows
