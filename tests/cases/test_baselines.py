"""The baselines answer every case with five names, and the bag of words learns what there is to learn."""

from __future__ import annotations

import sys

import pytest

from rounds.cases.baselines import bag_of_words, most_frequent_five
from rounds.cases.generate import Drawn
from rounds.records import Answer, Case, Split, UserError

Cases = dict[Split, list[Case]]


@pytest.fixture(scope="module")
def cases(drawn: dict[Split, list[Drawn]]) -> Cases:
    return {split: [one.case for one in some] for split, some in drawn.items()}


def among(answers: list[Answer], exam: list[Case]) -> float:
    """Share of inside cases with the right name among the five."""
    hits = [c.diagnosis in a.diagnoses for a, c in zip(answers, exam, strict=True) if not c.outside]
    return sum(hits) / len(hits)


def lesson(name: str, specialty: str, text: str = "cough and fever", outside: bool = False) -> Case:
    return Case(id=f"{name}-{text}", vignette=text, diagnosis=name, specialty=specialty, outside=outside)


def test_most_frequent_five_counts_by_specialty() -> None:
    taught = [lesson(name, "ward") for name in "aaabbbbccdde"] + [
        lesson("f", "other"),
        lesson("g", "ward", outside=True),
    ]
    (here, there, nowhere) = most_frequent_five(
        taught, [lesson("x", "ward"), lesson("y", "other"), lesson("z", "unknown", outside=True)]
    )
    assert here.diagnoses == ("b", "a", "c", "d", "e")
    assert there.diagnoses == ("f", "b", "a", "c", "d")
    assert nowhere.diagnoses == ("b", "a", "c", "d", "e")
    assert not nowhere.abstained


def test_most_frequent_five_is_the_floor_of_an_even_exam(cases: Cases) -> None:
    answers = most_frequent_five(cases["teach"], cases["exam"])
    assert [answer.case_id for answer in answers] == [case.id for case in cases["exam"]]
    assert among(answers, cases["exam"]) == pytest.approx(5 / 22)


def test_bag_of_words_learns_and_beats_the_floor(cases: Cases) -> None:
    answers = bag_of_words(cases["teach"], cases["tune"], cases["exam"])
    assert [answer.case_id for answer in answers] == [case.id for case in cases["exam"]]
    names = {case.diagnosis for case in cases["teach"] if not case.outside}
    for answer in answers:
        assert len(set(answer.diagnoses)) == 5
        assert set(answer.diagnoses) <= names
        assert not answer.abstained
    assert among(answers, cases["exam"]) > 0.55
    assert bag_of_words(cases["teach"], cases["tune"], cases["exam"][:5]) == answers[:5]


def test_two_diagnoses_make_a_list_of_two() -> None:
    taught = [lesson("cold", "ward", "runny nose"), lesson("gout", "ward", "swollen toe")] * 3
    (first, second) = bag_of_words(taught, [], [lesson("x", "ward", "the toe"), lesson("y", "ward", "the nose")])
    assert first.diagnoses == ("gout", "cold")
    assert second.diagnoses == ("cold", "gout")


def test_missing_scikit_learn_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UserError, match=r"needs scikit-learn, which is not installed; install rounds\[cpu\]\.$"):
        bag_of_words([lesson("a", "ward")], [], [])


def test_too_few_lessons_are_one_sentence() -> None:
    outside = [lesson("a", "ward", outside=True)]
    with pytest.raises(UserError, match="no case inside the knowledge base"):
        most_frequent_five(outside, [])
    with pytest.raises(UserError, match="holds the one diagnosis 'a'; a classifier needs at least two"):
        bag_of_words([lesson("a", "ward")], [], [])
