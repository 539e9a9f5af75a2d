"""Words of a case for the small parts of FHIR R4: coded concepts, quantities, dates as time gone by, ages.

Dates become distances ("3 days ago"), birth dates become ages, and a text never brings a line break of its own, so that
nothing sent can begin a line of the case. Left out on purpose: translating codes that come without a display.
"""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from typing import Any

LONGEST_TEXT = 160
"""Characters of one coded concept."""
LONGEST_CONCLUSION = 600
OLDEST = 125
"""Years; a birth date before that is a fault of the record."""

SEMANTIC_TAG = re.compile(
    r"\s*\((?:disorder|finding|procedure|situation|regime/therapy|substance|observable entity)\)$"
)
"""SNOMED CT's, at the end of its full names."""
LOINC_DETAIL = re.compile(r"\s*\[[A-Za-z#/ ]+\]| by Automated count\b| - Reported\b")
"""Of LOINC's long names: the property measured and how, which no clinician says."""
DATE = re.compile(r"^(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T[0-9:.+\-Zz]{2,32})?)?)?$")

UNITS = {
    "Cel": "°C",
    "[degF]": "°F",
    "mm[Hg]": "mmHg",
    "/min": "/min",
    "{beats}/min": "/min",
    "{breaths}/min": "/min",
    "{score}": "",
    "1": "",
}
"""UCUM codes that clinicians write otherwise."""

INTERPRETATIONS = {
    "H": "high",
    "HH": "critically high",
    "HU": "high",
    "L": "low",
    "LL": "critically low",
    "LU": "low",
    "A": "abnormal",
    "AA": "critically abnormal",
    "N": "normal",
    "POS": "positive",
    "NEG": "negative",
    "DET": "detected",
    "ND": "not detected",
    "R": "resistant",
    "S": "susceptible",
}
"""https://terminology.hl7.org/CodeSystem-v3-ObservationInterpretation.html"""


def plain(text: Any, longest: int = LONGEST_TEXT) -> str:
    """One line of readable text, '' for anything that is none."""
    if not isinstance(text, str):
        return ""
    kept = text[: 4 * longest]
    if not kept.isprintable():
        # Control, format (right-to-left overrides too), surrogate and private characters are no part of a name.
        kept = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in kept)
    kept = " ".join(kept.split())
    return kept if len(kept) <= longest else kept[: longest - 1].rstrip() + "…"


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; a lone object counts as a list of one."""
    if isinstance(value, dict):
        return [value]
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def codes(concept: Any) -> set[str]:
    """Codes of a CodeableConcept, whatever their system."""
    found = (coding.get("code") for one in dicts(concept) for coding in dicts(one.get("coding")))
    return {code for code in found if isinstance(code, str)}


def concept(value: Any) -> str:
    """A CodeableConcept, or the first of several, in words: its text, else a coding's display; '' for neither."""
    for one in dicts(value):
        displays = (coding.get("display") for coding in dicts(one.get("coding")))
        for text in (one.get("text"), *displays):
            if said := LOINC_DETAIL.sub("", SEMANTIC_TAG.sub("", plain(text))).strip():
                return said
    return ""


def number(value: Any) -> str:
    """Four significant digits; '' when it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(value, int) or value == int(value):
        return f"{int(value)}"
    return f"{value:.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.3e}"


def quantity(value: Any) -> str:
    """A Quantity with its unit; '' without a number."""
    one = value if isinstance(value, dict) else {}
    figure = number(one.get("value"))
    if not figure:
        return ""
    comparator = one.get("comparator")
    sign = f"{comparator} " if comparator in ("<", "<=", ">=", ">") else ""
    code = one.get("code")
    unit = UNITS.get(code) if isinstance(code, str) else None
    unit = plain(one.get("unit"), 40) or plain(code, 40) if unit is None else unit
    return f"{sign}{figure}{unit}" if unit.startswith("%") else f"{sign}{figure} {unit}".rstrip()


def measured(resource: dict[str, Any]) -> str:
    """The value[x] of an Observation or of one of its components; '' when there is none."""
    ratio = resource.get("valueRatio")
    between = resource.get("valueRange")
    if isinstance(ratio, dict):
        return _joined(quantity(ratio.get("numerator")), ":", quantity(ratio.get("denominator")))
    if isinstance(between, dict):
        return _joined(quantity(between.get("low")), " to ", quantity(between.get("high")))
    yes = resource.get("valueBoolean")
    if isinstance(yes, bool):
        return "yes" if yes else "no"
    said = (
        quantity(resource.get("valueQuantity")),
        concept(resource.get("valueCodeableConcept")),
        plain(resource.get("valueString")),
        number(resource.get("valueInteger")),
    )
    return next((text for text in said if text), "")


def _joined(one: str, sign: str, other: str) -> str:
    return f"{one}{sign}{other}" if one and other else one or other


def interpreted(resource: dict[str, Any]) -> str:
    """`high`, `low` …; '' when nothing known is said."""
    found = (INTERPRETATIONS.get(code) for code in sorted(codes(resource.get("interpretation"))))
    return next((word for word in found if word), "")


@dataclass(frozen=True, slots=True)
class Day:
    """A FHIR date, as exactly as it was given."""

    first: date
    """First day it can mean."""
    exact: bool
    """False when only the year, or the month, is known."""

    def ago(self, today: date) -> str:
        """`today`, `3 days ago`, `about 2 years ago`; '' for a day to come."""
        days = (today - self.first).days
        if days < -1:
            return ""
        about = "" if self.exact else "about "
        if days <= 0:
            return "today" if self.exact else ""
        for size, name in ((730, "year"), (60, "month"), (14, "week"), (0, "day")):
            if days >= size:
                count = int(days / {"year": 365.25, "month": 30.44, "week": 7, "day": 1}[name])
                return f"{about}{count} {name}{'s' if count > 1 else ''} ago"
        return ""


def day(value: Any) -> Day | None:
    """The day of a FHIR date, dateTime or instant; None when it is none."""
    match = DATE.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        return Day(date(int(match[1]), int(match[2] or 1), int(match[3] or 1)), match[3] is not None)
    except ValueError:
        return None


def first_day(resource: dict[str, Any], *fields: str) -> Day | None:
    """The first of the fields that holds a date; a Period counts by its start."""
    for field in fields:
        value = resource.get(field)
        found = day(value.get("start") if isinstance(value, dict) else value)
        if found is not None:
            return found
    return None


def age(born: Day, today: date) -> tuple[int, str] | None:
    """Whole years, and the age in words (`7-month-old`); None for a birth date that cannot be."""
    days = (today - born.first).days
    years = today.year - born.first.year - ((today.month, today.day) < (born.first.month, born.first.day))
    if days < -1 or years > OLDEST:
        return None
    if years >= 2 or not born.exact:
        return max(0, years), f"{max(0, years)}-year-old"
    last = monthrange(today.year, today.month)[1]
    months = 12 * (today.year - born.first.year) + today.month - born.first.month
    months -= today.day < min(born.first.day, last)
    return max(0, years), f"{months}-month-old" if months else f"{max(0, days)}-day-old"
