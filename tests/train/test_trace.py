"""Verification on real cases with the oracle as teacher: right traces pass, each planted fault is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

import pytest

from rounds import recipe
from rounds.cases import oracle
from rounds.cases.generate import Drawn, generate, world_for
from rounds.cases.world import World
from rounds.grade.mark import Marker
from rounds.knowledge.base import load
from rounds.prompts.template import render
from rounds.records import Case, Sampling, Trace, UserError
from rounds.train.trace import Collected, Kept, balanced, cell, collect

SETTINGS = recipe.Trace(cases=30, samples=1, rounds=1)
Spoil = Callable[[Case, Trace], Trace]


class Clinic(NamedTuple):
    world: World
    drawn: dict[str, Drawn]
    marker: Marker

    @property
    def cases(self) -> list[Case]:
        return [one.case for one in self.drawn.values()]


@pytest.fixture(scope="module")
def clinic() -> Clinic:
    """Cases the oracle gets right and lists five for, so that what is rejected was spoilt here."""
    knowledge = load()
    settings = recipe.Cases(teach=160, conditions=15, outside=2, exam_per_condition=1, tune_per_condition=1)
    world = world_for(knowledge, settings)
    marker = Marker(knowledge)
    drawn = {one.case.id: one for one in generate(knowledge, settings, 1)["teach"]}
    clinic = Clinic(world, drawn, marker)
    found = collect(clinic.cases, teacher(clinic), marker, SETTINGS.model_copy(update={"cases": 160}))
    assert len(found.kept) > 80
    return Clinic(world, {kept.case.id: drawn[kept.case.id] for kept in found.kept}, marker)


def teacher(
    clinic: Clinic, spoil: Spoil | None = None, samples: int = 1
) -> Callable[[Sequence[Case]], Iterator[Trace]]:
    def ask(cases: Sequence[Case]) -> Iterator[Trace]:
        for case in cases:
            thought = oracle.think(clinic.world, clinic.drawn[case.id], Random(case.id))
            for number in range(samples):
                trace = Trace(
                    prompt=render(case, "differential-brief@1"),
                    model="teacher",
                    engine="test",
                    sampling=Sampling(),
                    sample=number,
                    thinking=thought.thinking,
                    reply=thought.reply,
                    finish="stop",
                    thinking_tokens=9,
                    reply_tokens=9,
                )
                yield spoil(case, trace) if spoil else trace

    return ask


def wrong(case: Case, trace: Trace) -> Trace:
    others = ["gout", "migraine", "scabies", "asthma", "psoriasis", "appendicitis", "acute pancreatitis"]
    lines = [f"{place}. {name}" for place, name in enumerate(others[:5], start=1)]
    return trace.model_copy(update={"reply": "\n".join([*lines, trace.reply.splitlines()[-1]])})


def four(case: Case, trace: Trace) -> Trace:
    lines = trace.reply.splitlines()
    return trace.model_copy(update={"reply": "\n".join([*lines[:4], lines[-1]])})


def twice(case: Case, trace: Trace) -> Trace:
    lines = trace.reply.splitlines()
    return trace.model_copy(update={"reply": "\n".join([*lines[:4], f"5. {lines[0][3:]}", lines[-1]])})


def unflagged(case: Case, trace: Trace) -> Trace:
    return trace.model_copy(update={"reply": "\n".join([*trace.reply.splitlines()[:-1], "Red flags: none"])})


def overflagged(case: Case, trace: Trace) -> Trace:
    flags = "; ".join([*case.red_flags, "neck stiffness", "haemoptysis"])
    return trace.model_copy(update={"reply": "\n".join([*trace.reply.splitlines()[:-1], f"Red flags: {flags}"])})


def invented(case: Case, trace: Trace) -> Trace:
    return trace.model_copy(update={"thinking": f"{trace.thinking} Neck stiffness. Haemoptysis."})


def cut(case: Case, trace: Trace) -> Trace:
    return trace.model_copy(update={"finish": "length"})


def test_what_the_oracle_says_is_kept(clinic: Clinic) -> None:
    found = collect(clinic.cases[:30], teacher(clinic), clinic.marker, SETTINGS)
    assert len(found.kept) == 30
    assert not found.rejected
    assert found.claims > 60
    assert found.errors == 0
    assert set(found.acceptance().values()) == {1.0}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (wrong, "wrong diagnosis"),
        (four, "not five distinct valid diagnoses"),
        (twice, "not five distinct valid diagnoses"),
        (unflagged, "red flag not named"),
        (overflagged, "red flag invented"),
        (invented, "finding not true of the case"),
        (cut, "cut off"),
    ],
)
def test_a_planted_fault_is_rejected_by_its_name(clinic: Clinic, spoil: Spoil, reason: str) -> None:
    fit = [case for case in clinic.cases if not case.outside and case.red_flags][:8]
    assert len(fit) == 8
    half = {case.id for case in fit[::2]}

    def some(case: Case, trace: Trace) -> Trace:
        return spoil(case, trace) if case.id in half else trace

    found = collect(fit, teacher(clinic, some), clinic.marker, SETTINGS)
    assert {kept.case.id for kept in found.kept} == {case.id for case in fit} - half
    assert found.rejected == Counter({reason: 4})
    assert found.asked.total() == 8


def test_a_teacher_that_is_never_right_is_told(clinic: Clinic) -> None:
    with pytest.raises(UserError, match=r"0 of 30 traces passed verification \(most often: cut off\); teach the"):
        collect(clinic.cases, teacher(clinic, cut), clinic.marker, SETTINGS)


def test_at_most_two_answers_to_one_case_are_kept(clinic: Clinic) -> None:
    found = collect(clinic.cases[:3], teacher(clinic, samples=5), clinic.marker, SETTINGS)
    assert Counter(kept.case.id for kept in found.kept) == {case.id: 2 for case in clinic.cases[:3]}
    assert found.asked.total() == found.accepted.total() == 15


def test_a_cell_that_kept_too_little_is_asked_again_on_fresh_cases(clinic: Clinic) -> None:
    counts = Counter(cell(case) for case in clinic.cases)
    name = next(name for name, count in counts.most_common() if name != "outside")
    poor = [case for case in clinic.cases if cell(case) == name]
    others = [case for case in clinic.cases if cell(case) != name]
    first = [*poor[:4], *others]
    spoilt = {case.id for case in poor[:4]}
    asked: list[list[str]] = []

    def ask(cases: Sequence[Case]) -> Iterator[Trace]:
        asked.append([case.id for case in cases])
        return teacher(clinic, lambda case, trace: cut(case, trace) if case.id in spoilt else trace)(cases)

    settings = SETTINGS.model_copy(update={"cases": len(first), "rounds": 2})
    found = collect([*first, *poor[4:]], ask, clinic.marker, settings)
    assert len(asked) == 2
    assert set(asked[1]) <= {case.id for case in poor[4:]}
    assert asked[1]
    assert 0 < found.acceptance()[name] < 1


def test_acceptance_is_told_by_cell(clinic: Clinic) -> None:
    def some(case: Case, trace: Trace) -> Trace:
        return cut(case, trace) if case.outside else trace

    found = collect(clinic.cases, teacher(clinic, some), clinic.marker, SETTINGS.model_copy(update={"cases": 999}))
    table = found.acceptance()
    assert list(table) == sorted(table)
    assert table.pop("outside") == 0.0
    assert set(table.values()) == {1.0}
    assert sum(found.asked.values()) == len(clinic.cases)


def kept_of(clinic: Clinic, counts: dict[str, int]) -> Collected:
    """So many kept traces of cases renamed into two cells."""
    found = Collected()
    number = 0
    for specialty, count in counts.items():
        for _ in range(count):
            real = clinic.cases[number]
            changed = {"specialty": specialty, "incidence": "rare", "outside": False, "red_flags": ()}
            case = real.model_copy(update=changed)
            trace = next(teacher(clinic)([real]))
            grade = clinic.marker.mark(real, trace)
            found.kept.append(Kept(case, trace, grade))
            number += 1
    return found


def asked(**counts: int) -> list[Case]:
    """So many cases of each specialty, all rare; `name_flagged` counts those with a red flag."""
    made = []
    for name, count in counts.items():
        specialty, _, flag = name.partition("_")
        blank = Case(id=name, vignette="v", diagnosis="d", specialty=specialty, incidence="rare")
        made += [blank.model_copy(update={"red_flags": ("rigid abdomen",) if flag else ()})] * count
    return made


def mix(found: Collected, cases: Sequence[Case]) -> Counter[str]:
    home = {kept.case.id: kept.case.specialty for kept in found.kept}
    return Counter(home[lesson.prompt.case_id] for lesson in balanced(found, cases, 1))


def test_balancing_brings_the_mix_that_was_asked(clinic: Clinic) -> None:
    found = kept_of(clinic, {"surgery": 30, "neurology": 10})
    assert mix(found, asked(surgery=100, neurology=100)) == {"surgery": 20, "neurology": 20}


def test_balancing_brings_back_the_cases_with_red_flags(clinic: Clinic) -> None:
    found = kept_of(clinic, {"surgery": 40})
    flagged = {kept.case.id: kept.case.model_copy(update={"red_flags": ("rigid abdomen",)}) for kept in found.kept[:10]}
    found.kept = [replace(kept, case=flagged.get(kept.case.id, kept.case)) for kept in found.kept]
    lessons = balanced(found, asked(surgery=100, surgery_flagged=100), 1)
    assert sum(lesson.prompt.case_id in flagged for lesson in lessons) == 20


def test_a_lesson_is_not_repeated_more_than_four_times(clinic: Clinic) -> None:
    found = kept_of(clinic, {"surgery": 40, "neurology": 1})
    assert mix(found, asked(surgery=100, neurology=100))["neurology"] == 4


def test_balancing_follows_the_seed(clinic: Clinic) -> None:
    found = kept_of(clinic, {"surgery": 12, "neurology": 5})
    cases = asked(surgery=100, neurology=100)
    assert balanced(found, cases, 1) == balanced(found, cases, 1)
    assert balanced(found, cases, 1) != balanced(found, cases, 2)


def test_cases_outside_are_a_cell_of_their_own() -> None:
    inside = Case(id="a", vignette="v", diagnosis="d", specialty="surgery", incidence="rare")
    assert cell(inside) == "surgery / rare"
    assert cell(inside.model_copy(update={"outside": True})) == "outside"
