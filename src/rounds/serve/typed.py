"""What a form of the page holds: fields of bounded number and length, and a case typed in words or pasted as FHIR.

Left out on purpose: file uploads in forms (the page's script reads a file into the field), and XML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

from rounds.records import UserError
from rounds.serve.fhir import Chart, read_chart
from rounds.serve.fhir_json import BadFhir, read_strict
from rounds.serve.wording import Wording

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 8

RECORD = re.compile(r'\s*\{\s*"')
"""How a JSON object begins, and no case told in words."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A case as it came in."""

    case: str
    """In words, whatever it came as."""
    from_fhir: str = ""
    """For a record: a sentence about what was read and what was left out."""


def fields_of(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a form, each once.

    Raises:
        UserError: not such a form.
    """
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise UserError(f"this page takes a form of type {FORM}; use the page itself, or the API.")
    try:
        fields = parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MOST_FIELDS,
            errors="strict",
            strict_parsing=bool(body),
        )
    except ValueError:
        raise UserError("the form cannot be read; use the page itself, or the API.") from None
    # Browsers send line ends as CR LF; models have learnt LF.
    return {name: values[0].replace("\r\n", "\n") for name, values in fields.items()}


def case_of(fields: Mapping[str, str], say: Wording) -> Typed:
    """The case of a form; a FHIR resource or Bundle in its place is read into words. Not for the event loop.

    Raises:
        UserError: it looks like JSON and is no record of one patient that can be read.
    """
    text = fields.get("case", "")
    if not RECORD.match(text):
        return Typed(text)
    try:
        # A form ends lines with CR LF and a field may be surrounded by blanks: neither is the record's.
        chart = read_chart(read_strict(text.strip().encode()), datetime.now(UTC).date())
    except BadFhir as error:
        raise UserError(f"the record cannot be read: {error}") from error
    if not chart.clinical:
        raise UserError("the record tells nothing but who the patient is; add what is known, or type the case.")
    return Typed(chart.text, note_of(chart, say))


def note_of(chart: Chart, say: Wording) -> str:
    """What was read of a record, and what was left out."""
    note = say("form.from_fhir", lines=len(chart.lines))
    if not chart.left_out:
        return note
    reasons = ", ".join(f"{count} {reason}" for reason, count in chart.left_out.items())
    return f"{note} {say('form.fhir_left_out', reasons=reasons)}"
