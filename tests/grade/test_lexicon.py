"""The lexicon finds diseases under qualifying words, and its files are sound."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rounds.grade.lexicon import Lexicon, lexicon, read_names
from rounds.grade.words import essence, tokens
from rounds.knowledge.base import load

GROUPS = [["heart attack", "myocardial infarction", "MI"], ["flu", "influenza"], ["mitral insufficiency", "MI"]]
KINDS = [["heart disease", "heart attack", "valve disease"], ["valve disease", "mitral insufficiency"]]


@pytest.fixture(scope="module")
def small() -> Lexicon:
    return Lexicon(GROUPS, KINDS, [("swine flu", "H1N1 influenza", "flu")])


def meant(lexicon: Lexicon, name: str) -> list[tuple[int, set[str]]]:
    return [(meaning.disease, set(meaning.left)) for meaning in lexicon.meanings(essence(tokens(name)))]


def test_a_name_is_found_whole_or_under_qualifying_words(small: Lexicon) -> None:
    assert meant(small, "Heart attack") == [(0, set())]
    assert meant(small, "acute left-sided heart attack") == [(0, {"acute", "left"})]
    assert meant(small, "heart attack of the soul") == []


def test_an_abbreviation_of_two_diseases_means_both(small: Lexicon) -> None:
    assert {disease for disease, _ in meant(small, "MI")} == {0, 2}


def test_kinds_reach_down_any_depth_and_never_up(small: Lexicon) -> None:
    above = meant(small, "heart disease")[0][0]
    assert {0, 2} <= small.narrower(above)
    assert above not in small.narrower(above)
    assert small.narrower(0) == frozenset()


def test_names_of_the_knowledge_base_join_without_moving_names_that_a_file_has(small: Lexicon) -> None:
    assert meant(small, "flu") == [(1, set())]
    swine = meant(small, "swine flu")
    assert swine == meant(small, "H1N1 influenza")
    assert swine[0][0] in small.loose
    assert 1 not in small.loose


def test_every_name_of_every_file_is_found_as_itself() -> None:
    whole = lexicon(load())
    for group in read_names()[0]:
        shared = set.intersection(*({disease for disease, _ in meant(whole, name)} for name in group))
        assert shared, group
        assert all(any(not left for _, left in meant(whole, name)) for name in group), group


def test_no_full_name_stands_in_two_groups_by_mistake() -> None:
    """Abbreviations may; of written-out names only these few mean two things."""
    groups = read_names()[0]
    owners = Counter(name for group in groups for name in {essence(tokens(n)) for n in group if len(n) > 6})
    twice = {" ".join(sorted(name)) for name, count in owners.items() if count > 1}
    assert twice <= {"conn"}


def test_no_group_says_a_name_twice() -> None:
    for group in read_names()[0]:
        assert len(set(group)) == len(group), group
        assert all(name == name.strip() for name in group), group


def test_no_disease_is_a_kind_of_itself() -> None:
    whole = lexicon(load())
    for wider, *narrower in read_names()[1]:
        above = {disease for disease, left in meant(whole, wider) if not left}
        assert above, wider
        for name in narrower:
            below = {disease for disease, left in meant(whole, name) if not left}
            assert below, name
            assert not any(disease in whole.narrower(disease) for disease in below), name


def test_reading_another_directory(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('same = [["gout", "podagra"]]\nkinds = [["arthritis", "gout"]]\n', "utf-8")
    assert read_names(tmp_path) == ([["gout", "podagra"]], [["arthritis", "gout"]])
