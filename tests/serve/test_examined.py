"""Ages, pregnancy and language as a case tells them, and the limits that the cases of an exam draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rounds import files
from rounds.knowledge.base import load
from rounds.records import Case
from rounds.serve.examined import LEAST, Examined, age_in, band_of, examined, expecting, limits, of_cases

KNOWLEDGE = load()


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("A 67-year-old woman", 67),
        ("a 3-month-old boy", 0.25),
        ("a boy, 10 days old", 10 / 365.25),
        ("67 years old, 40 pack years", 67),
        ("67F with chest pain", 67),
        ("67 y/o M", 67),
        ("75 yo man", 75),
        ("Man of 67 with", 67),
        ("Aged 45, smoker", 45),
        ("female, 34, cramps", 34),
        ("Mujer de 67 años", 67),
        ("67岁女性", 67),
        ("A neonate with fever", 0),
        ("Her 40-year-old sister died; she is 38 years old", 40),
        ("fever for 3 months", None),
        ("temperature of 38.2 °C, HR of 67", None),
        ("a 900-year-old tree", None),
        ("", None),
    ],
)
def test_age(text: str, age: float | None) -> None:
    assert age_in(text) == (None if age is None else pytest.approx(age))


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "newborn"), (0.5, "infant"), (1, "child"), (12, "adolescent"), (18, "adult"), (65, "older"), (80, "oldest")],
)
def test_band(age: float, band: str) -> None:
    assert band_of(age) == band


@pytest.mark.parametrize(
    ("text", "pregnant"),
    [
        ("She is 12 weeks pregnant.", True),
        ("Known: current pregnancy. No fever.", True),
        ("No fever, but pregnant since May.", True),
        ("Mujer embarazada con cefalea.", True),
        ("She is not pregnant.", False),
        ("A pregnancy test is negative.", False),
        ("There is no fever, cough or pregnancy.", False),
        ("Her last pregnancy was in 2010.", False),
        ("She denies pregnancy.", False),
        ("Fever and cough.", False),
    ],
)
def test_expecting(text: str, pregnant: bool) -> None:
    assert expecting(text, KNOWLEDGE) is pregnant


def cases(texts: Sequence[str]) -> list[Case]:
    return [Case(id=str(number), vignette=text, diagnosis="gout") for number, text in enumerate(texts)]


def exam() -> Examined:
    texts = [f"A {20 + number}-year-old man with fever and cough." for number in range(LEAST)]
    known = of_cases(cases([*texts, "A 3-year-old girl with fever."]), KNOWLEDGE)
    assert known is not None
    return known


def test_what_an_exam_held() -> None:
    known = exam()
    assert known == Examined(
        cases=LEAST + 1, languages={"en": LEAST + 1}, ages={"adult": LEAST, "child": 1}, pregnant=0
    )
    assert known.has_age("adult")
    assert not known.has_age("child")  # one case shows nothing


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A 40-year-old woman with fever and cough.", ()),
        ("67F, fever", ("age",)),
        ("A 3-year-old girl with fever.", ("age",)),
        ("A pregnant woman with fever and a cough.", ("pregnancy",)),
        ("Eine Frau mit Fieber und Husten seit dem Morgen.", ("language",)),
        ("Eine 80-jährige Frau, 80 years old, mit Fieber und Husten seit dem Morgen.", ("language", "age")),
        (" ".join(["xyzzy"] * 30), ("language-unknown",)),
        ("SOB, CP, HR 118", ()),
    ],
)
def test_limits(text: str, found: tuple[str, ...]) -> None:
    assert limits(text, exam(), KNOWLEDGE) == found


def test_nothing_known_draws_no_limit(tmp_path: Path) -> None:
    assert examined(tmp_path, KNOWLEDGE) is None
    assert of_cases([], KNOWLEDGE) is None
    assert limits("Eine Frau mit Fieber und Husten.", None, KNOWLEDGE) == ()


def test_an_exam_that_tells_no_ages_draws_no_limit_of_age() -> None:
    known = of_cases(cases(["A woman with fever and the cough."] * LEAST), KNOWLEDGE)
    assert known is not None
    assert not known.tells_ages
    assert limits("A 3-year-old girl with fever.", known, KNOWLEDGE) == ()


def test_read_from_the_run(tmp_path: Path) -> None:
    files.write_jsonl(tmp_path / "cases" / "exam.jsonl", cases(["A 40-year-old woman, pregnant, with fever."]))
    known = examined(tmp_path, KNOWLEDGE)
    assert known is not None
    assert (known.cases, known.ages, known.pregnant) == (1, {"adult": 1}, 1)
