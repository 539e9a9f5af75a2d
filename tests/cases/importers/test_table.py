"""A hospital's own table: columns by name, and every fault by its line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rounds.cases.importers import table
from rounds.cases.importers.outcome import NAMED, NAMED_BY_HISTORY
from rounds.records import UserError

STORY = "Seit drei Tagen schmerzt das linke Knie der Läuferin, es ist warm, geschwollen und kaum zu beugen."
MAP = """
separator = "|"
delimiter = ";"
[columns]
id = "Nr"
vignette = ["Anamnese", "Befund"]
diagnosis = "Diagnose"
also_called = "Auch"
split = "Teil"
[always]
language = "de"
specialty = "surgery"
"""
HEADER = "Nr;Anamnese;Befund;Diagnose;Auch;Teil"


def columns(tmp_path: Path, text: str = MAP) -> table.Map:
    path = tmp_path / "map.toml"
    path.write_text(text, encoding="utf-8")
    return table.read_map(path)


def written(tmp_path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "faelle.csv"
    path.write_bytes("\n".join([HEADER, *lines]).encode(encoding))
    return path


def fault(tmp_path: Path, path: Path, text: str = MAP) -> str:
    with pytest.raises(UserError) as raised:
        list(table.read(path, columns(tmp_path, text)))
    return str(raised.value)


def test_a_row_is_a_case(tmp_path: Path) -> None:
    path = written(tmp_path, f"17;{STORY};Erguss;Gonitis (Kniegelenk);Arthritis | Knieentzündung;tune", ";;;;;")
    (found,) = table.read(path, columns(tmp_path))
    case = found.case
    assert case is not None
    assert case.vignette == f"Anamnese: {STORY}\nBefund: Erguss"
    assert (case.id, case.diagnosis, case.split, case.language, case.specialty) == (
        "17",
        "Gonitis",
        "tune",
        "de",
        "surgery",
    )
    assert case.also_called == ("Kniegelenk", "Arthritis", "Knieentzündung")


def test_the_diagnosis_in_a_column_drops_it_and_in_the_only_column_refuses(tmp_path: Path) -> None:
    (found,) = table.read(written(tmp_path, f"17;{STORY};Gonitis links;Gonitis;;"), columns(tmp_path))
    assert (found.refused, found.dropped) == ("", ("Befund",))
    one = MAP.replace('["Anamnese", "Befund"]', '"Anamnese"')
    (alone,) = table.read(written(tmp_path, f"17;{STORY} Eine Gonitis.;;Gonitis;;"), columns(tmp_path, one))
    assert alone.refused == NAMED
    assert NAMED_BY_HISTORY != NAMED


def test_options_make_a_choice(tmp_path: Path) -> None:
    text = '[columns]\nvignette = "q"\noptions = ["a", "b"]\nright = "key"\nnever = "harm"\n'
    path = tmp_path / "choice.csv"
    path.write_text("q,a,b,key,harm\nWas hilft?,Ruhe,Laufen,a,b\n", encoding="utf-8")
    (found,) = table.read(path, columns(tmp_path, text))
    assert found.case is not None
    assert (found.case.options, found.case.right, found.case.never) == (("Ruhe", "Laufen"), ("A",), ("B",))
    assert found.id.startswith("own-")


def test_a_workbook_reads_as_the_same_table(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Fälle"
    sheet.append(HEADER.split(";"))
    sheet.append([17.0, STORY, "Erguss", "Gonitis", None, "exam"])
    path = tmp_path / "faelle.xlsx"
    book.save(path)
    (found,) = table.read(path, columns(tmp_path, MAP.replace("[columns]", 'sheet = "Fälle"\n[columns]', 1)))
    assert found.case is not None
    assert (found.where, found.id, found.case.diagnosis) == (f"{path}:2", "17", "Gonitis")
    wrong = fault(tmp_path, path, MAP.replace("[columns]", 'sheet = "Tabelle9"\n[columns]', 1))
    assert wrong == f"{path}: has no sheet 'Tabelle9'; its sheets are Fälle."


def test_without_openpyxl_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    path = tmp_path / "faelle.xlsx"
    path.write_bytes(b"PK")
    assert fault(tmp_path, path) == (
        f"{path}: XLSX needs 'openpyxl', which is not installed; "
        f'run: pip install "rounds[tables]", or save it as CSV.'
    )


def test_a_workbook_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path = tmp_path / "faelle.xlsx"
    path.write_bytes(b"not a zip")
    assert "is not an XLSX workbook" in fault(tmp_path, path)
    openpyxl.Workbook().save(path)
    monkeypatch.setattr(table, "LARGEST", 100)
    assert "bytes, more than 100; save it as CSV." in fault(tmp_path, path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"17;{STORY};Erguss;;;", ":2: has no diagnosis under 'Diagnose'; fill it in or remove that row."),
        ("17;;;Gonitis;;", ":2: has nothing under Anamnese, Befund; write a vignette or remove that row."),
        (
            f"17;{STORY};x;Gonitis;;later",
            ":2: field 'split': Input should be 'teach', 'tune' or 'exam'; mend that cell.",
        ),
        ("1;2;3;4;5;6;7", ":2: has 7 cells for 6 columns; quote the separators."),
        ('17;"offen', ": is not CSV (unexpected end of data); save it as comma-separated values."),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = written(tmp_path, line)
    assert fault(tmp_path, path) == f"{path}{words}"


def test_tables_that_are_none(tmp_path: Path) -> None:
    assert "holds no rows below its header" in fault(tmp_path, written(tmp_path))
    latin = written(tmp_path, f"17;{STORY};x;y;;", encoding="cp1252")
    assert fault(tmp_path, latin) == f"{latin}: is not utf-8; save it as UTF-8 or name its encoding."
    found = list(table.read(latin, columns(tmp_path, f'encoding = "cp1252"\n{MAP}')))
    assert found[0].case is not None
    assert "encoding 'klingon' is unknown" in fault(tmp_path, latin, f'encoding = "klingon"\n{MAP}')
    other = fault(tmp_path, written(tmp_path, "1;2;3;4;5;6"), MAP.replace('"Auch"', '"Synonyme"'))
    assert other.endswith("has no column 'Synonyme'; its columns are Nr, Anamnese, Befund, Diagnose, Auch, Teil.")
    twice = tmp_path / "twice.csv"
    twice.write_text("Nr;Nr\n1;2\n", encoding="utf-8")
    assert "column 'Nr' comes twice" in fault(tmp_path, twice)
    assert "cannot be read" in fault(tmp_path, tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[columns\n", "is not valid TOML"),
        ("[columns]\ndiagnosis = 'x'\n", "columns.vignette: Field required"),
        ("[columns]\nvignette = 'x'\nvignete = 'y'\n", "columns.vignete: Extra inputs are not permitted"),
    ],
)
def test_a_broken_map_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        columns(tmp_path, text)


cells = st.lists(
    st.lists(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=6), max_size=7), max_size=4
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells)
def test_any_cells_are_cases_or_one_sentence(tmp_path: Path, rows: list[list[str]]) -> None:
    path = written(tmp_path, *(";".join(row) for row in rows))
    assert verdict(path, columns(tmp_path)).startswith((str(path), "read"))


def verdict(path: Path, columns: table.Map) -> str:
    """What is wrong with a table, 'read' when nothing is."""
    try:
        assert all(found.case is not None for found in table.read(path, columns))
    except UserError as error:
        return str(error)
    return "read"
