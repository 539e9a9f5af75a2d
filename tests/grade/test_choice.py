"""Marks of options, verdicts, numbers and dates."""

from __future__ import annotations

import pytest

from rounds.grade.choice import NEVER, check_key, mark_given, mark_reply
from rounds.records import Case, UserError

FOUR = ("Aspirin", "Heparin", "Warfarin", "Digoxin")


def question(*right: str, options: tuple[str, ...] = FOUR, never: tuple[str, ...] = ()) -> Case:
    return Case(
        id="q",
        vignette="v",
        diagnosis="x",
        options=options,
        right=right,
        never=never,
        specialty="cardiology",
        incidence="",
    )


def number(diagnosis: str, limits: tuple[float, float] | None = None) -> Case:
    return Case(id="n", vignette="v", diagnosis=diagnosis, kind="number", limits=limits)


@pytest.mark.parametrize(
    ("right", "reply", "correct"),
    [
        (("B",), "Answer: B", True),
        (("B",), "Answer: A", False),
        (("B",), "Answer: A, B", False),
        (("A", "C"), "C and A", True),
        (("A", "C"), "A", False),
        (("A", "C"), "A, C, D", False),
        (("B",), "who knows", False),
    ],
)
def test_options_are_right_all_together_and_alone(right: tuple[str, ...], reply: str, correct: bool) -> None:
    assert mark_reply(question(*right), reply).correct is correct


def test_a_mark_says_what_was_chosen_and_of_which_group() -> None:
    grade = mark_reply(question("A", "C"), "C, A")
    assert grade.answer.choices == ("A", "C")
    assert grade.groups["specialty"] == "cardiology"
    assert mark_reply(question("A"), "hm").answer.unreadable


def test_an_option_never_to_be_chosen_is_an_error_mode_even_beside_the_right_one() -> None:
    case = question("B", never=("D",))
    assert mark_reply(case, "B").error_modes == ()
    assert mark_reply(case, "B, D").error_modes == (NEVER,)
    assert mark_reply(case, "D").correct is False


def test_yes_no_maybe() -> None:
    case = question("C", options=("yes", "no", "maybe"))
    assert mark_reply(case, "Maybe.").correct is True
    assert mark_reply(case, "Yes.").correct is False


@pytest.mark.parametrize(
    ("given", "correct", "unreadable"),
    [
        (["B"], True, False),
        (["Heparin"], True, False),
        (["A", "B"], False, False),
        ([], False, True),
        (["B", "something"], False, True),
    ],
)
def test_options_given_as_a_list(given: list[str], correct: bool, unreadable: bool) -> None:
    grade = mark_given(question("B"), given)
    assert (grade.correct, grade.answer.unreadable) == (correct, unreadable)


@pytest.mark.parametrize(
    ("case", "reply", "correct"),
    [
        (number("10", (9.5, 10.5)), "9.5", True),
        (number("10", (9.5, 10.5)), "Answer: 10.5 mg", True),
        (number("10", (9.5, 10.5)), "10.51", False),
        (number("27"), "27.0 %", True),
        (number("27"), "27.3", False),
        (number("0.3"), "The score is 0.30.", True),
        (number("12/02/2000"), "2000-12-02", True),
        (number("12/02/2000"), "12/03/2000", False),
        (number("27"), "no idea", False),
        (number("12/02/2000"), "soon", False),
    ],
)
def test_numbers_and_dates(case: Case, reply: str, correct: bool) -> None:
    assert mark_reply(case, reply).correct is correct
    assert mark_given(case, [reply]).correct is correct


def test_what_was_read_is_kept() -> None:
    assert mark_reply(number("27"), "It is 27.50").answer.diagnoses == ("27.5",)
    assert mark_reply(number("12/02/2000"), "12/03/2000").answer.diagnoses == ("2000-12-03",)
    assert mark_reply(number("27"), "no idea").answer.unreadable


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (question(), "case 'q': right is empty; give letters A to D."),
        (question("E"), "case 'q': right is E; give letters A to D."),
        (number("10", (11, 9)), "case 'n': limits (11.0, 9.0) are no range; give the lowest value first."),
        (number("ten"), "case 'n': the right number is 'ten'; give a number or limits."),
    ],
)
def test_a_key_no_reader_accepts_is_refused(case: Case, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        check_key(case)
    assert str(caught.value) == sentence


def test_sound_keys_pass() -> None:
    for case in (
        question("A"),
        number("3"),
        number("x", (1, 2)),
        number("1/2/2000"),
        Case(id="d", vignette="v", diagnosis=""),
    ):
        check_key(case)
