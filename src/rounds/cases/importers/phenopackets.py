"""GA4GH phenopackets, version 2 (https://phenopacket-schema.readthedocs.io): observed and excluded findings, a disease.

A file holds one packet, a list, or one a line; a folder holds files. Left out on purpose: genomic interpretations,
which give the disease away, and measurements, which few packets have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from rounds.cases.importers.outcome import Outcome, gives_away, names_of
from rounds.cases.importers.reading import Row, rows
from rounds.records import Case

NO_DISEASE = "names no disease"
SEVERAL = "names several diseases"
FEW = "fewer than three findings are observed"
FEWEST = 3
SEX = {"MALE": "male", "FEMALE": "female", "OTHER_SEX": "of other sex"}
DURATION = re.compile(r"P(?:(\d+(?:\.\d+)?)Y)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?(?:T.*)?")


class Term(Row):
    """An ontology class."""

    id: str = ""
    label: str = ""


class Age(Row):
    """An age, ISO 8601 duration."""

    iso8601duration: str = ""


class Time(Row):
    """When: an age or a named time of life."""

    age: Age | None = None
    ontology: Term | None = Field(default=None, alias="ontologyClass")


class Feature(Row):
    """One finding."""

    type: Term
    excluded: bool = False
    severity: Term | None = None


class Subject(Row):
    """The patient."""

    id: str = ""
    sex: str = ""
    last: Time | None = Field(default=None, alias="timeAtLastEncounter")


class Diagnosis(Row):
    """What the case was found to be."""

    disease: Term | None = None


class Interpretation(Row):
    """One interpretation."""

    diagnosis: Diagnosis | None = None


class Disease(Row):
    """A disease of the patient."""

    term: Term
    excluded: bool = False


class Phenopacket(Row):
    """One packet."""

    id: str = Field(min_length=1)
    subject: Subject = Subject()
    features: tuple[Feature, ...] = Field(default=(), alias="phenotypicFeatures")
    interpretations: tuple[Interpretation, ...] = ()
    diseases: tuple[Disease, ...] = ()


def read(path: Path) -> Iterator[Outcome]:
    """One rare case a packet; present and absent hold HPO ids; the disease's id is its condition."""
    for where, packet in rows(path, Phenopacket):
        yield _outcome(where, packet)


def _outcome(where: str, packet: Phenopacket) -> Outcome:
    solved = [one.diagnosis.disease for one in packet.interpretations if one.diagnosis and one.diagnosis.disease]
    named = solved or [one.term for one in packet.diseases if not one.excluded]
    diseases = {term.id or term.label: term for term in named if term.label}
    if len(diseases) != 1:
        return Outcome(where, packet.id, None, SEVERAL if diseases else NO_DISEASE)
    (disease,) = diseases.values()
    case = Case(
        id=packet.id,
        vignette=" ",
        diagnosis=disease.label,
        condition=disease.id,
        incidence="rare",
        source="phenopacket-store",
        licence="BSD-3-Clause",
    )
    names = names_of(case)
    features = {one.type.id or one.type.label: one for one in packet.features if one.type.label}
    seen = [f for f in features.values() if not f.excluded and not gives_away(f.type.label, names)]
    dropped = [f.type.label for f in features.values() if not f.excluded and f not in seen]
    missing = [f for f in features.values() if f.excluded]
    lines = [f"Patient: {_who(packet.subject)}.", f"Present: {'; '.join(map(_say, seen))}."]
    if missing:
        lines.append(f"Looked for and absent: {'; '.join(map(_say, missing))}.")
    whole = case.model_copy(
        update={
            "vignette": "\n".join(lines),
            "present": tuple(f.type.id for f in seen if f.type.id),
            "absent": tuple(f.type.id for f in missing if f.type.id),
        }
    )
    few = len(seen) < FEWEST
    return Outcome(where, packet.id, whole, FEW if few else "", () if few else tuple(dropped))


def _say(feature: Feature) -> str:
    severity = feature.severity.label.lower() if feature.severity and feature.severity.label else ""
    return f"{severity} {feature.type.label}".strip()


def _who(subject: Subject) -> str:
    sex = SEX.get(subject.sex, "sex not told")
    return f"{age_of(subject.last)}, {sex}"


def age_of(time: Time | None) -> str:
    """An age in words; 'age not told' without one."""
    if time and time.age:
        match = DURATION.fullmatch(time.age.iso8601duration)
        parts = [(amount, unit) for amount, unit in zip(match.groups() if match else (), UNITS, strict=False) if amount]
        # Twelve years and three days are twelve years.
        largest = [(amount, unit) for amount, unit in parts if float(amount)][:1]
        if largest:
            amount, unit = largest[0]
            return f"{amount} {unit}{'' if float(amount) == 1 else 's'} old"
        if match and parts:
            return "newborn"
    if time and time.ontology and time.ontology.label:
        return time.ontology.label.lower()
    return "age not told"


UNITS = ("year", "month", "week", "day")
