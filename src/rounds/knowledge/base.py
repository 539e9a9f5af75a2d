"""The knowledge base a clinician can read and edit: findings and conditions, read from TOML and checked.

A finding is one thing a patient has or a test shows; a condition lists its findings by frequency class, as Orphanet
does (https://www.orphadata.com: obligate, very frequent 80-99 %, frequent 30-79 %, occasional 5-29 %, rare 1-4 %,
excluded 0 %). Left out on purpose: probabilities finer than those classes, and any claim that a clinician has reviewed
an entry before `reviewed_by` names one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from rounds.records import Record, UserError

R = TypeVar("R", bound=Record)

DATA = Path(__file__).parent / "data"

FREQUENCY: Mapping[str, float] = MappingProxyType(
    {"obligate": 0.98, "very_frequent": 0.90, "frequent": 0.55, "occasional": 0.17, "rare": 0.03, "excluded": 0.001}
)
"""Chance of a finding given the condition: the middle of each Orphanet class, kept off 0 and 1."""


class Measure(Record):
    """A number behind a finding."""

    test: str
    unit: str
    above: float | None = None
    """The finding is present above this value."""
    below: float | None = None
    """The finding is present below this value."""
    normal: tuple[float, float]
    typical: tuple[float, float]
    """Range of values seen in patients who have the finding."""
    from_age: float = 0
    """Years from which these limits hold; a younger patient's finding is told in words."""

    @model_validator(mode="after")
    def _one_threshold_outside_normal(self) -> Measure:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"measure '{self.test}' needs exactly one of above, below")
        if self.above is not None and not self.normal[1] <= self.above < self.typical[0]:
            raise ValueError(f"measure '{self.test}': {self.above} must lie between normal and typical")
        if self.below is not None and not self.typical[1] < self.below <= self.normal[0]:
            raise ValueError(f"measure '{self.test}': {self.below} must lie between typical and normal")
        return self


class Finding(Record):
    """One symptom, piece of history, sign or test result."""

    id: str
    kind: Literal["symptom", "history", "sign", "test"]
    says: tuple[str, ...] = Field(min_length=1)
    """How it is written in a vignette; the first is its name."""
    background: float = Field(gt=0, lt=1)
    """Share of unrelated patients who have it."""
    sex: Literal["any", "female", "male"] = "any"
    age: tuple[float, float] = (0, 100)
    """Years in which it can occur at all."""
    measure: Measure | None = None
    red_flag: bool = False
    """It calls for action at once whatever the diagnosis turns out to be: a page that states it must name it."""

    @property
    def name(self) -> str:
        return self.says[0]

    def possible(self, age: float, sex: str) -> bool:
        """Whether a patient of this age (years) and sex can have it."""
        return self.sex in ("any", sex) and self.age[0] <= age <= self.age[1]


class Neighbour(Record):
    """A dangerous condition that belongs beside another on the list."""

    condition: str
    why: str = Field(min_length=10)


class Condition(Record):
    """One condition as the knowledge base holds it."""

    id: str
    name: str
    specialty: str
    incidence: Literal["frequent", "less frequent", "rare"]
    icd10: str = Field(pattern=r"^[A-Z]\d\d(\.\d{1,2})?$")
    also_called: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()
    sex: Literal["any", "female", "male"] = "any"
    age: tuple[float, float]
    """Years: youngest and oldest patient the generator writes."""
    findings: Mapping[str, float]
    """Finding id to its chance given the condition."""
    red_flags: tuple[str, ...] = Field(min_length=1)
    """Findings of this condition that call for action at once in it."""
    must_not_miss: tuple[Neighbour, ...] = Field(min_length=1)
    first_test: str
    first_treatment: str
    sources: tuple[str, ...] = Field(min_length=1)
    """Guideline, Orphanet entry or published table the facts were restated from."""
    reviewed_by: str = ""
    """Empty until a clinician has signed."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every way the condition is called, its name first."""
        return (self.name, *self.also_called, *self.abbreviations)

    @field_validator("findings", mode="before")
    @classmethod
    def _classes_to_chances(cls, value: Any) -> dict[str, float]:
        if not isinstance(value, dict) or any(not isinstance(ids, list) for ids in value.values()):
            raise ValueError('findings must be lists by frequency class, as in: frequent = ["fever"]')
        chances: dict[str, float] = {}
        for name, ids in value.items():
            if name not in FREQUENCY:
                raise ValueError(f"frequency class '{name}' is unknown; use one of {', '.join(FREQUENCY)}")
            for finding in ids:
                if finding in chances:
                    raise ValueError(f"finding '{finding}' is listed twice")
                chances[finding] = FREQUENCY[name]
        return chances

    @model_validator(mode="after")
    def _sound(self) -> Condition:
        if not 0 <= self.age[0] < self.age[1] <= 100:
            raise ValueError(f"age {self.age} must be [youngest, oldest] within 0 to 100")
        present = [f for f, chance in self.findings.items() if chance > FREQUENCY["excluded"]]
        if len(present) < 5:
            raise ValueError(f"has {len(present)} findings; at least 5 are needed")
        for flag in self.red_flags:
            if flag not in present:
                raise ValueError(f"red flag '{flag}' is not among its findings")
        return self


class KnowledgeBase:
    """Findings and conditions by id, checked against each other.

    `conditions` are what models are taught; `outside` are conditions kept out of teaching, for cases on which the
    right answer is to abstain.
    """

    __slots__ = ("conditions", "findings", "outside")

    def __init__(
        self, findings: dict[str, Finding], conditions: dict[str, Condition], outside: dict[str, Condition]
    ) -> None:
        self.findings = findings
        self.conditions = conditions
        self.outside = outside

    def chance(self, finding: str, condition: Condition) -> float:
        """P(finding | condition): its class, or the finding's background rate when the condition does not list it."""
        listed = condition.findings.get(finding)
        return self.findings[finding].background if listed is None else listed


def load(directory: Path = DATA) -> KnowledgeBase:
    """Read and check every file of a knowledge base.

    Raises:
        UserError: one sentence naming the file and the fault.
    """
    return _load(directory.resolve())


@cache
def _load(directory: Path) -> KnowledgeBase:
    findings = _read_findings(directory / "findings.toml")
    conditions: dict[str, Condition] = {}
    outside: dict[str, Condition] = {}
    for folder, kept in (("conditions", conditions), ("outside", outside)):
        for path in sorted((directory / folder).glob("*.toml")):
            for condition in _read_conditions(path):
                if condition.id in conditions or condition.id in outside:
                    raise UserError(f"{path.name}: condition '{condition.id}' is defined twice; remove one.")
                kept[condition.id] = condition
    _check_references(findings, conditions, outside)
    return KnowledgeBase(findings, conditions, outside)


def _check_references(
    findings: dict[str, Finding], conditions: dict[str, Condition], outside: dict[str, Condition]
) -> None:
    called: dict[str, str] = {}
    for condition in [*conditions.values(), *outside.values()]:
        for finding in condition.findings:
            if finding not in findings:
                raise UserError(
                    f"condition '{condition.id}' lists the unknown finding '{finding}'; add it to findings.toml."
                )
        for neighbour in condition.must_not_miss:
            if neighbour.condition not in conditions or neighbour.condition == condition.id:
                raise UserError(
                    f"condition '{condition.id}' names '{neighbour.condition}' as not to be missed; "
                    "use the id of another condition of the knowledge base."
                )
        for name in condition.names:
            key = name.casefold()
            if called.setdefault(key, condition.id) != condition.id:
                raise UserError(f"'{name}' names both '{called[key]}' and '{condition.id}'; keep it for one of them.")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name}: is not valid TOML ({error}); mend that line.") from error


def _read_findings(path: Path) -> dict[str, Finding]:
    found = {}
    said: dict[str, str] = {}
    for key, fields in _read_toml(path).items():
        finding = _valid(Finding, {"id": key, **fields}, f"{path.name}: finding '{key}'")
        for words in finding.says:
            if said.setdefault(words.casefold(), key) != key:
                raise UserError(
                    f"{path.name}: '{words}' is said for both '{said[words.casefold()]}' and '{key}'; change one."
                )
        found[key] = finding
    return found


def _read_conditions(path: Path) -> list[Condition]:
    table = _read_toml(path)
    specialty = table.get("specialty")
    if not isinstance(specialty, str) or set(table) - {"specialty", "condition"}:
        raise UserError(f"{path.name}: needs a line 'specialty = \"…\"' and [[condition]] tables, nothing else.")
    return [
        _valid(Condition, {"specialty": specialty, **fields}, f"{path.name}: condition '{fields.get('id', '?')}'")
        for fields in table.get("condition", [])
    ]


def _valid(kind: type[R], fields: dict[str, Any], where: str) -> R:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {place + ': ' if place else ''}{message}.") from error
