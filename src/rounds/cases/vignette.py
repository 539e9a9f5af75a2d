"""Writes a case as a clinician would: who, complaint, history, examination, tests with numbers, what is not there.

Sentence frames come in three sets, one a split: an exam sentence was never a lesson's, and what is chosen on tune is
chosen on sentences as new to the model as the exam's. The words for a finding are shared, as they are the language
itself. Lessons also carry remarks that mean nothing (`rounds.cases.asides`). Left out on purpose: style beyond that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from rounds.cases.asides import SHARE, remark, sentence
from rounds.cases.world import Patient
from rounds.knowledge.base import Finding, Measure
from rounds.records import Split

SECTIONS = ("symptom", "history", "sign", "test")
"""Kinds of finding in the order a page tells them."""

SPOKEN = 0.3
"""Share of measured findings that are told in words instead of a number."""


@dataclass(slots=True, frozen=True)
class Frames:
    """Sentence patterns of one set of splits. {who} {list} {text} are filled in."""

    opening: tuple[str, ...]
    history: tuple[str, ...]
    signs: tuple[str, ...]
    tests: tuple[str, ...]
    absent: tuple[str, ...]
    asides: float = 0.0
    """Share of the pages with a remark about the person that medicine does not turn on."""


LESSON_FRAMES = Frames(
    opening=(
        "{who} reports {list}.",
        "{who} comes in with {list}.",
        "{who} presents with {list}.",
        "{who}. Complaint: {list}.",
        "{who} tells of {list}.",
        "Today: {who}, with {list}.",
        "{who} asks for help with {list}.",
        "{who} arrives with {list}.",
        "Main problem of {who}: {list}.",
        "{who} turns to us with {list}.",
        "{who} is worried about {list}.",
        "In the clinic, {who} with {list}.",
        "Consultation for {list} in {who}.",
        "Patient: {who}. Symptoms: {list}.",
        "Reason for the visit of {who}: {list}.",
        "{who} was admitted with {list}.",
        "{who} suffers from {list}.",
        "{who} talks of {list}.",
        "Emergency department: {who}, {list}.",
        "{who} has noticed {list}.",
        "Your opinion please on {who} with {list}.",
        "{who} calls the practice over {list}.",
        "Transferred to us is {who}, whose problems are {list}.",
        "Question about {who}: {list}, what could it be?",
    ),
    history=(
        "History: {list}.",
        "In the history: {list}.",
        "Background of {list}.",
        "Known: {list}.",
        "Previous history: {list}.",
        "Medical history includes {list}.",
        "Risk factors: {list}.",
        "The record lists {list}.",
        "Other facts: {list}.",
        "On asking, {list}.",
        "It is known: {list}.",
        "Context: {list}.",
        "To be considered: {list}.",
        "Also true of this patient: {list}.",
    ),
    signs=(
        "On examination {list}.",
        "Examination: {list}.",
        "Found: {list}.",
        "The examination shows {list}.",
        "Signs: {list}.",
        "On inspection and palpation: {list}.",
        "Examined: {list}.",
        "We find {list}.",
        "The patient shows {list}.",
        "Examination reveals {list}.",
        "Status: {list}.",
        "O/E {list}.",
        "Visible or palpable: {list}.",
        "Observed: {list}.",
    ),
    tests=(
        "Tests: {list}.",
        "Results: {list}.",
        "Laboratory and imaging: {list}.",
        "The reports show {list}.",
        "Labs: {list}.",
        "Test results: {list}.",
        "Laboratory: {list}.",
        "Diagnostics: {list}.",
        "Reports: {list}.",
        "Available results: {list}.",
        "The tests show {list}.",
        "Testing reveals {list}.",
        "The laboratory reports {list}.",
        "Further tests: {list}.",
    ),
    absent=(
        "No {list}.",
        "Not present: {list}.",
        "Denied or not found: {list}.",
        "Without {list}.",
        "Negative: {list}.",
        "Negative for {list}.",
        "Not found: {list}.",
        "Denies {list}.",
        "The patient does not have {list}.",
        "Neither reported nor found: {list}.",
        "Lacks {list}.",
        "Lacking: {list}.",
        "We found no {list}.",
        "Denying {list}.",
    ),
    asides=SHARE,
)

EXAM_FRAMES = Frames(
    opening=(
        "{who} is seen because of {list}.",
        "{who} attends complaining of {list}.",
        "Referred: {who}, who describes {list}.",
    ),
    history=("Past and circumstances: {list}.", "Of note: {list}."),
    signs=("Clinically {list}.", "The physical findings are {list}."),
    tests=("Work-up: {list}.", "The investigations gave {list}."),
    absent=("There is no {list}.", "Absent: {list}."),
)

TUNE_FRAMES = Frames(
    opening=(
        "{who} was brought in for {list}.",
        "We saw {who} about {list}.",
        "This is {who}, who has been troubled by {list}.",
        "An ambulance brought {who} because of {list}.",
    ),
    history=("Earlier: {list}.", "The notes mention {list}.", "The family adds {list}."),
    signs=("The doctor noted {list}.", "When looked at, {list}.", "At the bedside there are {list}."),
    tests=("Values returned: {list}.", "Numbers so far: {list}.", "What was measured: {list}."),
    absent=("Nobody saw {list}.", "Asked for and not had: {list}.", "Free of {list}.", "Nothing speaks for {list}."),
)

FRAMES: Mapping[Split, Frames] = MappingProxyType({"teach": LESSON_FRAMES, "tune": TUNE_FRAMES, "exam": EXAM_FRAMES})

NOTHING_SAID = {"symptom": "feeling unwell"}


def in_page_order(findings: Sequence[Finding], random: Random) -> list[Finding]:
    """The findings as a page tells them: section by section, shuffled within each."""
    shuffled = random.sample(findings, len(findings))
    return sorted(shuffled, key=lambda finding: SECTIONS.index(finding.kind))


def who(patient: Patient, random: Random) -> str:
    """The patient in words, to stand inside a sentence."""
    age, female = patient.age, patient.sex == "female"
    if age < 1 / 12:
        number, unit = max(1, round(age * 52)), "week"
    elif age < 2:
        number, unit = max(1, round(age * 12)), "month"
    else:
        number, unit = int(age), "year"
    article = "an" if number in (8, 11, 18) or 80 <= number <= 89 else "a"
    if age < 18:
        noun = "girl" if female else "boy"
    else:
        noun = random.choice(("woman", "lady", "female patient") if female else ("man", "gentleman", "male patient"))
    return f"{article} {number}-{unit}-old {noun}"


def say(finding: Finding, age: float, random: Random) -> str:
    """A finding that is there: words, or a number on the far side of its threshold."""
    measure = _measured(finding, age, random)
    return random.choice(finding.says) if measure is None else reading(measure, measure.typical, random)


def _measured(finding: Finding, age: float, random: Random) -> Measure | None:
    """The measure to write a number from, None when the finding is told in words."""
    measure = finding.measure
    return None if measure is None or age < measure.from_age or random.random() < SPOKEN else measure


def reading(measure: Measure, span: tuple[float, float], random: Random) -> str:
    """A value drawn from `span`, written with its test and unit, as exact as the knowledge base writes the span.

    The ends of the span can be written so, hence rounding never carries a value out of it.
    """
    low, high = span
    # Laboratory values spread over decades: draw on a log scale where the span is wide.
    value = low * (high / low) ** random.random() if low > 0 and high / low > 4 else random.uniform(low, high)
    # One decimal where the other span has some: lactate 5.3, though its typical range is written 3 to 14.
    digits = max(*map(_decimals, span), min(1, max(map(_decimals, (*measure.normal, *measure.typical)))))
    return f"{measure.test} {min(max(value, low), high):.{digits}f} {measure.unit}".rstrip()


def _decimals(value: float) -> int:
    """Digits after the point that write a number out: 2 for 7.36, 0 for 5.0."""
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])


def write(
    patient: Patient, present: Sequence[Finding], absent: Sequence[Finding], frames: Frames, random: Random
) -> str:
    """The vignette. Sections follow clinical order; findings stand in them in the order given (see `in_page_order`)."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in SECTIONS}
    for finding in present:
        by_kind[finding.kind].append(say(finding, patient.age, random))
    missing: list[str] = []
    for finding in absent:
        measure = _measured(finding, patient.age, random)
        if measure is None:
            missing.append(finding.name)
        else:
            by_kind[finding.kind].append(reading(measure, measure.normal, random))
    complaint = by_kind["symptom"] or [NOTHING_SAID["symptom"]]
    frame, person = random.choice(frames.opening), who(patient, random)
    aside = remark(patient.age, random) if frames.asides and random.random() < frames.asides else None
    behind = aside is not None and random.random() < 0.5
    opening = frame.format(who=f"{person} {aside}" if behind else person, list=_join(complaint))
    lines = [opening[0].upper() + opening[1:]]
    for kind, patterns in (("history", frames.history), ("sign", frames.signs), ("test", frames.tests)):
        if by_kind[kind]:
            lines.append(random.choice(patterns).format(list=_join(by_kind[kind])))
    if missing:
        lines.append(random.choice(frames.absent).format(list=_join(missing, "or")))
    if aside is not None and not behind:
        lines.insert(random.randint(1, len(lines)), sentence(aside))
    return " ".join(lines)


def _join(parts: Sequence[str], last: str = "and") -> str:
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + f" {last} " + parts[-1]
