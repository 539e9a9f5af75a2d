"""ICD-10 codes of names, and how two codes stand to each other."""

from __future__ import annotations

import pytest

from rounds.grade.codes import Codes, gathers, kinship, tidy, titles
from rounds.grade.lexicon import lexicon
from rounds.grade.match import Reader
from rounds.knowledge.base import load


@pytest.fixture(scope="module")
def codes() -> Codes:
    return Codes(lexicon(load()))


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(lexicon(load()))


@pytest.mark.parametrize(
    ("written", "code"),
    [("i219", "I21.9"), (" I21.9 ", "I21.9"), ("I21", "I21"), ("E11.65", "E11.65"), ("A17.0†", "A17.0"), ("", ""),
     ("I00-I99", ""), ("gout", ""), ("1A00", "")],
)  # fmt: skip
def test_codes_are_tidied(written: str, code: str) -> None:
    assert tidy(written) == code


@pytest.mark.parametrize(
    ("right", "answer", "kin"),
    [
        ("I21", "I21", "same"),
        ("I21", "I21.4", "child"),
        ("I21.4", "I21", "near"),
        ("I21.4", "I21.0", "near"),
        ("I21", "I20", "far"),
        ("E11", "E11.65", "child"),
        ("K29", "K29.6", "near"),
        ("K29.6", "K29.6", "near"),
    ],
)
def test_kinship(right: str, answer: str, kin: str) -> None:
    assert kinship(right, answer) == kin


def test_codes_that_gather_what_has_none_of_its_own() -> None:
    assert gathers("K29.6")
    assert not gathers("K29.7")
    assert not gathers("X99.99")


@pytest.mark.parametrize(
    ("name", "code"),
    [("Typhoid fever", "A01.0"), ("enteric fever", "A01.0"), ("heart attack", "I21"), ("Cholera", "A00")],
)
def test_titles_and_other_names_of_their_diseases_have_the_code(
    codes: Codes, reader: Reader, name: str, code: str
) -> None:
    assert codes.of(reader.variants(name, right=False)) == {code}


@pytest.mark.parametrize("name", ["nothing of the kind", "acute typhoid fever of the left ear", ""])
def test_what_is_no_title_has_no_code(codes: Codes, reader: Reader, name: str) -> None:
    assert codes.of(reader.variants(name, right=False)) == frozenset()


def test_all_titles_are_there() -> None:
    assert len(titles()) > 10_000
    assert titles()["A00"] == "Cholera"
