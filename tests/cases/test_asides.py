"""Remarks of the lessons: they change no finding, no tune or exam page has one, and the probe's words are others."""

from __future__ import annotations

import re
from random import Random

from rounds import recipe
from rounds.cases.asides import ADULTS, ANYONE, SHARE, remark, sentence
from rounds.cases.generate import draw, world_for
from rounds.cases.vignette import FRAMES
from rounds.exam.twins import ADDED
from rounds.knowledge.base import KnowledgeBase

EVERY = (*ANYONE, *ADULTS)


def _has_remark(text: str) -> bool:
    return any(clause in text or sentence(clause) in text for clause in EVERY)


def test_half_of_the_lessons_pages_have_one_and_no_other_page(knowledge: KnowledgeBase) -> None:
    settings = recipe.Cases()
    world = world_for(knowledge, settings)
    some = [knowledge.conditions[name] for name in list(knowledge.conditions)[:60]]
    pages = {
        split: [
            draw(world, recipe.Cases(), one, split, f"{split}-{one.id}", Random(one.id)).case.vignette for one in some
        ]
        for split in FRAMES
    }
    marked = sum(map(_has_remark, pages["teach"]))
    assert abs(marked / len(some) - SHARE) < 0.2
    assert not any(map(_has_remark, [*pages["tune"], *pages["exam"]]))


def test_a_remark_stands_in_both_forms_and_reads_as_a_sentence() -> None:
    assert sentence("who lives alone") == "The patient lives alone."
    assert sentence("whose insurer is not known") == "The patient's insurer is not known."
    assert all(re.fullmatch(r"who(?:se)? [a-z][\w ]+", clause) for clause in EVERY)
    assert len(set(EVERY)) == len(EVERY)


def test_children_get_none_that_is_an_adults() -> None:
    random = Random(1)
    said = {remark(17, random) for _ in range(600)}
    assert said == set(ANYONE)
    assert {remark(18, random) for _ in range(2000)} == set(EVERY)


def test_the_probes_twins_are_not_taught() -> None:
    probed = {words for values in ADDED.values() for words in values.values()}
    assert not probed & set(EVERY)
    for words in probed:
        assert not any(words.removeprefix("who ") in clause for clause in EVERY), words


def test_no_remark_names_a_finding(knowledge: KnowledgeBase) -> None:
    for finding in knowledge.findings.values():
        for words in (finding.name, *finding.says):
            assert not any(words.casefold() in clause.casefold() for clause in EVERY), words
