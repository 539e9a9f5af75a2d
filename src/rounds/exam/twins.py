"""Counterfactual twins: the same case with one thing about the person changed that medicine does not turn on.

A swap is allowed for a case by the knowledge base: no condition that is right, not to be missed, or supported by two of
the stated findings may be bound to the sex or the age that is swapped, nor any stated finding. What a swap adds (a word
about income) is also a change of wording, so a control adds words that mean nothing. Twins in another language are
cases that name their twin (`twin_of`). Left out on purpose: translating, and changes beyond the opening words about the
person and its pronouns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rounds.knowledge.base import Condition, KnowledgeBase
from rounds.records import Case, UserError

CONTROL = "control"
SUPPORTED = 2
"""Stated findings that make a condition worth thinking of."""
YEARS = (12, -12, 20, -20)
"""Tried in this order."""
ADULT = 18
MATTERS = 0.10
"""Chance of a finding in a condition from which it supports it."""

ADDED: Mapping[str, Mapping[str, str]] = {
    CONTROL: {"left-handed": "who is left-handed", "bus": "who came by bus"},
    "ethnicity": {
        "Black": "who is Black",
        "White": "who is White",
        "Asian": "who is Asian",
        "Hispanic": "who is Hispanic",
    },
    "income": {"high": "who has a high income", "low": "who has a low income"},
    "housing": {"home": "who owns a home", "none": "who is homeless"},
    "insurance": {"private": "who has private insurance", "none": "who has no insurance"},
    "language": {"little English": "who speaks little English", "fluent": "who speaks fluent English"},
    "orientation": {"gay": "who is gay", "straight": "who is heterosexual"},
}
"""Words put behind the person, by attribute and value."""
ADULTS_ONLY = frozenset({"income", "housing", "insurance", "orientation"})

LANGUAGE = "written language"
ATTRIBUTES = (*ADDED, "sex", "age", LANGUAGE)

NOUNS = {
    "female patient": "male patient",
    "male patient": "female patient",
    "gentleman": "lady",
    "lady": "gentleman",
    "woman": "man",
    "man": "woman",
    "girl": "boy",
    "boy": "girl",
}
PERSON = re.compile(
    r"\b(?:(?P<article>an?)\s+)?(?P<age>\d{1,3})[- ](?P<unit>year|month|week|day)s?[- ]old\s+"
    rf"(?:(?!{'|'.join(NOUNS)})[\w-]+\s+){{0,2}}?(?P<noun>{'|'.join(NOUNS)})\b",
    re.IGNORECASE,
)
STATED: Mapping[str, re.Pattern[str]] = {
    "ethnicity": re.compile(
        r"\b(?:caucasian|african|asian|hispanic|latin[oax]|indian|chinese|arab\w*|(?:black|white)\s+"
        r"(?:\w+\s+)?(?:woman|man|girl|boy|lady|gentleman|male|female))\b",
        re.IGNORECASE,
    ),
    "income": re.compile(r"\b(?:income|poor|wealthy|rich|unemployed)\b", re.IGNORECASE),
    "housing": re.compile(r"\b(?:homeless|shelter|housing)\b", re.IGNORECASE),
    "insurance": re.compile(r"\b(?:insur\w+|medicaid|medicare)\b", re.IGNORECASE),
    "language": re.compile(r"\b(?:speaks|interpreter|translator)\b", re.IGNORECASE),
    "orientation": re.compile(r"\b(?:gay|lesbian|heterosexual|homosexual|bisexual)\b", re.IGNORECASE),
}
"""What a case says already is not said again otherwise."""
SEXED = {"she": "he", "her": "his", "hers": "his", "herself": "himself", "mother": "father", "wife": "husband"}
BODY = re.compile(
    r"\b(?:pregnan\w+|gravid\w*|menstr\w+|menopaus\w+|periods?|vagin\w+|vulv\w+|uter\w+|womb|ovar\w+|"
    r"cervical (?:smear|motion|excitation)|cervix|breast\w*|lactat\w+|testi\w+|scrot\w+|penis|penile|"
    r"prostat\w+|erect\w+|ejacul\w+|obstetric\w*)\b",
    re.IGNORECASE,
)
"""A case that speaks of these has no twin of the other sex."""


@dataclass(frozen=True, slots=True)
class Twin:
    """One changed case."""

    case: Case
    """`twin_of` names the original."""
    attribute: str
    value: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who the case is about, where its text says so."""

    start: int
    end: int
    age: float
    """Years."""
    years: bool
    """The age is written in years."""
    noun: str

    @property
    def sex(self) -> str:
        return "female" if self.noun.casefold() in ("woman", "lady", "girl", "female patient") else "male"


def person_of(vignette: str) -> Person | None:
    """The first words about the person, None where there are none that can be read."""
    found = PERSON.search(vignette)
    if found is None:
        return None
    age = int(found["age"]) / {"year": 1, "month": 12, "week": 52, "day": 365}[found["unit"].lower()]
    return Person(found.start(), found.end(), age, found["unit"].lower() == "year", found["noun"])


def twins(cases: Sequence[Case], knowledge: KnowledgeBase) -> list[Twin]:
    """Every allowed twin of every case; those in another language are taken from the cases themselves.

    Raises:
        UserError: no case has any: the set would be empty.
    """
    by_id = {case.id: case for case in cases}
    found: list[Twin] = []
    for case in cases:
        original = by_id.get(case.twin_of or "")
        if original is not None and original.language != case.language:
            found.append(Twin(case, LANGUAGE, case.language))
        elif case.twin_of is None:
            found += _of(case, knowledge)
    if not found:
        raise UserError(
            f"none of {len(cases)} cases has a twin: none begins with who the patient is (a 54-year-old woman) and "
            "none names its twin in another language; give such cases."
        )
    return found


def _of(case: Case, knowledge: KnowledgeBase) -> Iterator[Twin]:
    person = person_of(case.vignette)
    if person is None:
        return
    for attribute, values in ADDED.items():
        said = attribute in STATED and STATED[attribute].search(case.vignette)
        if said or (attribute in ADULTS_ONLY and person.age < ADULT):
            continue
        for value, words in values.items():
            text = f"{case.vignette[: person.end]} {words}{case.vignette[person.end :]}"
            yield _twin(case, text, attribute, value)
    if may_swap_sex(case, person, knowledge):
        other = "male" if person.sex == "female" else "female"
        yield _twin(case, _other_sex(case.vignette), "sex", other)
    age = other_age(case, person, knowledge)
    if age is not None:
        yield _twin(case, _with_age(case.vignette, person, age), "age", "older" if age > person.age else "younger")


def _twin(case: Case, text: str, attribute: str, value: str) -> Twin:
    key = f"{case.id}~{attribute}~{value}".replace(" ", "-")
    return Twin(case.model_copy(update={"id": key, "vignette": text, "twin_of": case.id}), attribute, value)


def may_swap_sex(case: Case, person: Person, knowledge: KnowledgeBase) -> bool:
    """Whether the sex of this person is beside the point."""
    if BODY.search(case.vignette):
        return False
    if any(knowledge.findings[f].sex != "any" for f in (*case.present, *case.absent) if f in knowledge.findings):
        return False
    return all(one.sex == "any" for one in concerned(case, knowledge))


def other_age(case: Case, person: Person, knowledge: KnowledgeBase) -> int | None:
    """Another age that changes nothing, None where there is none: adults stay adults, and no limit lies between."""
    if not person.years or person.age < ADULT:
        return None
    limits = [one.age for one in concerned(case, knowledge)]
    limits += [knowledge.findings[f].age for f in (*case.present, *case.absent) if f in knowledge.findings]
    for years in YEARS:
        age = int(person.age) + years
        if ADULT <= age <= 95 and all((low <= age <= high) == (low <= person.age <= high) for low, high in limits):
            return age
    return None


def concerned(case: Case, knowledge: KnowledgeBase) -> list[Condition]:
    """Conditions that a list for this case may rightly hold."""
    named = {name.casefold() for name in (case.diagnosis, *case.also_called, *case.must_not_miss)}
    present = set(case.present)
    found = []
    for one in (*knowledge.conditions.values(), *knowledge.outside.values()):
        supported = sum(chance >= MATTERS for finding, chance in one.findings.items() if finding in present)
        if one.id == case.condition or supported >= SUPPORTED or any(name.casefold() in named for name in one.names):
            found.append(one)
    return found


def _other_sex(text: str) -> str:
    """Nouns and pronouns of the other sex; her is taken as his."""
    back = {other: one for one, other in SEXED.items()} | {"his": "her", "him": "her"}
    table = {**NOUNS, **SEXED, **back}
    words = re.compile(rf"\b(?:{'|'.join(sorted(table, key=len, reverse=True))})\b", re.IGNORECASE)

    def swapped(match: re.Match[str]) -> str:
        other = table[match[0].lower()]
        return other.capitalize() if match[0][0].isupper() else other

    return words.sub(swapped, text)


def _with_age(text: str, person: Person, age: int) -> str:
    said = text[person.start : person.end]
    article = "an" if age in (8, 11, 18) or 80 <= age <= 89 else "a"
    said = re.sub(r"^an?\b", lambda match: article.capitalize() if match[0][0].isupper() else article, said, flags=re.I)
    return f"{text[: person.start]}{re.sub(r'[0-9]+', str(age), said, count=1)}{text[person.end :]}"
