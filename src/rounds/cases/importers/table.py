"""A hospital's own table, CSV or XLSX, with its columns named in a TOML file. Nothing of it leaves the machine.

    separator = ";"          # between several names in one cell
    delimiter = ","          # of a CSV
    encoding = "utf-8"
    sheet = "Cases"          # of an XLSX; the first when not given
    [columns]                # field of a case = column, or several columns that make the vignette
    id = "Case number"
    vignette = ["History", "Examination"]
    diagnosis = "Final diagnosis"
    [always]                 # the same for every case
    specialty = "neurology"
    split = "exam"

Left out on purpose: guessing which column is which, dates, and de-identification, which the hospital does before.
"""

from __future__ import annotations

import csv
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from rounds.cases.importers.outcome import Outcome, Section, chosen, id_of, name_and_brackets, sectioned, told
from rounds.files import read_text, unreadable
from rounds.records import Case, Record, UserError

LISTS = ("also_called", "red_flags", "must_not_miss", "options", "right", "never")
"""Fields that hold several texts, set apart by the separator."""

LARGEST = 512 * 2**20
"""Bytes an XLSX may unpack to; more is refused as a mistake or an attack."""


class Columns(Record):
    """[columns]: which column holds which field of a case."""

    vignette: str | tuple[str, ...]
    diagnosis: str = ""
    id: str = ""
    language: str = ""
    also_called: str = ""
    icd10: str = ""
    red_flags: str = ""
    must_not_miss: str = ""
    condition: str = ""
    specialty: str = ""
    incidence: str = ""
    split: str = ""
    options: str | tuple[str, ...] = ()
    right: str = ""
    never: str = ""


class Always(Record):
    """[always]: the same for every case."""

    language: str = "en"
    specialty: str = ""
    incidence: str = ""
    split: Literal["teach", "tune", "exam"] = "exam"
    source: str = "own table"
    licence: str = ""


class Map(Record):
    """The whole file of columns."""

    columns: Columns
    always: Always = Always()
    separator: str = Field(default=";", min_length=1)
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    sheet: str = ""


def read_map(path: Path) -> Map:
    """Read the TOML file of columns.

    Raises:
        UserError: missing, not TOML, an unknown or missing field (named).
    """
    try:
        return Map.model_validate(tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is not valid TOML ({error}); mend that line.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {place}: {first['msg']}; see docs/cases.md for the fields.") from error


def read(path: Path, columns: Map) -> Iterator[Outcome]:
    """One case a row.

    Raises:
        UserError: a column that is not there, a row without vignette or diagnosis, a value no case can have.
    """
    cells = _xlsx(path, columns) if path.suffix.lower() in (".xlsx", ".xlsm") else _csv(path, columns)
    wanted = _wanted(columns.columns)
    found = False
    for number, row in cells:
        missing = [name for name in wanted if name not in row]
        if missing:
            known = ", ".join(name for name in row if name)
            raise UserError(f"{path}: has no column '{missing[0]}'; its columns are {known}.")
        if any(row[name] for name in wanted):
            found = True
            yield _outcome(f"{path}:{number}", row, columns)
    if not found:
        raise UserError(f"{path}: holds no rows below its header; expected one case a row.")


def _outcome(where: str, row: Mapping[str, str], columns: Map) -> Outcome:
    names = columns.columns
    parts = (names.vignette,) if isinstance(names.vignette, str) else names.vignette
    sections = [Section(part, row[part]) for part in parts if row[part]]
    if not sections:
        raise UserError(f"{where}: has nothing under {', '.join(parts)}; write a vignette or remove that row.")
    fields = _fields(row, columns)
    fields["id"] = fields.get("id") or id_of("own", *(section.text for section in sections))
    whole = sections[0].text if len(parts) == 1 else "\n".join(map(str, sections))
    try:
        if names.options:
            return chosen(where, fields.pop("options", ()), fields.pop("right", ()), vignette=whole, **fields)
        if not fields.get("diagnosis"):
            raise UserError(f"{where}: has no diagnosis under '{names.diagnosis}'; fill it in or remove that row.")
        fields["diagnosis"], brackets = name_and_brackets(str(fields["diagnosis"]))
        fields["also_called"] = (*brackets, *fields.get("also_called", ()))
        case = Case(vignette=whole, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: field '{field}': {first['msg']}; mend that cell.") from error
    return told(where, case) if len(parts) == 1 else sectioned(where, case, sections)


def _fields(row: Mapping[str, str], columns: Map) -> dict[str, Any]:
    """Every field but the vignette: the constants, then what the row says."""
    fields: dict[str, Any] = columns.always.model_dump()
    for field, name in columns.columns:
        if field == "vignette" or not name:
            continue
        if field == "options" and not isinstance(name, str):
            fields[field] = tuple(row[one] for one in name if row[one])
        elif field in LISTS:
            fields[field] = tuple(part.strip() for part in row[name].split(columns.separator) if part.strip())
        elif row[name]:
            fields[field] = row[name]
    for field in ("right", "never"):
        fields[field] = tuple(letter.upper() for letter in fields.get(field, ()))
    if not columns.columns.options:
        fields.pop("options", None)
    else:
        fields.pop("diagnosis", None)  # the right options are the diagnosis
    return fields


def _wanted(columns: Columns) -> list[str]:
    wanted: list[str] = []
    for _, name in columns:
        wanted += [name] if isinstance(name, str) else list(name)
    return [name for name in dict.fromkeys(wanted) if name]


def _csv(path: Path, columns: Map) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding=columns.encoding.replace("utf-8", "utf-8-sig"), newline="") as content:
            reader = csv.reader(content, delimiter=columns.delimiter, strict=True)
            yield from _with_header(path, ((reader.line_num, cells) for cells in reader))
    except LookupError as error:
        raise UserError(f"{path}: encoding '{columns.encoding}' is unknown; write utf-8 or cp1252.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not {columns.encoding}; save it as UTF-8 or name its encoding.") from error
    except csv.Error as error:
        raise UserError(f"{path}: is not CSV ({error}); save it as comma-separated values.") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _xlsx(path: Path, columns: Map) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        from openpyxl import load_workbook
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: XLSX needs 'openpyxl', which is not installed; "
            f'run: pip install "rounds[tables]", or save it as CSV.'
        ) from error
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(one.file_size for one in packed.infolist())
        if size > LARGEST:
            raise UserError(f"{path}: unpacks to {size:,} bytes, more than {LARGEST:,}; save it as CSV.")
        book = load_workbook(path, read_only=True, data_only=True)
    except OSError as error:
        raise unreadable(path, error) from error
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path}: is not an XLSX workbook ({error}); save it as XLSX or CSV.") from error
    try:
        if columns.sheet and columns.sheet not in book.sheetnames:
            raise UserError(f"{path}: has no sheet '{columns.sheet}'; its sheets are {', '.join(book.sheetnames)}.")
        sheet = book[columns.sheet or book.sheetnames[0]]
        rows = enumerate(sheet.iter_rows(values_only=True), start=1)
        yield from _with_header(path, ((number, [_say(cell) for cell in cells]) for number, cells in rows))
    finally:
        book.close()


def _with_header(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, str]]]:
    header: list[str] | None = None
    for number, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            twice = [name for name in header if name and header.count(name) > 1]
            if twice:
                raise UserError(f"{path}:{number}: column '{twice[0]}' comes twice; give each its own name.")
        elif len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
            raise UserError(f"{path}:{number}: has {len(cells)} cells for {len(header)} columns; quote the separators.")
        else:
            filled = [*cells, *[""] * (len(header) - len(cells))]
            yield number, {name: cell.strip() for name, cell in zip(header, filled, strict=False)}


def _say(cell: object) -> str:
    """A cell as text; whole numbers without a point."""
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
