"""Letters, verdicts, numbers and dates are read as models write them; doubt is unreadable, never a guess."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rounds.prompts.choices import read_choices, read_date, read_number

OPTIONS = ("Aspirin", "Heparin", "Low molecular weight heparin", "Warfarin", "None of these drugs")
VERDICT = ("yes", "no", "maybe")


def chosen(reply: str, options: tuple[str, ...] = OPTIONS) -> str:
    return "".join(read_choices(reply, "c", options).choices)


@pytest.mark.parametrize(
    ("reply", "letters"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        ("B. Heparin", "B"),
        ("B) because it works at once", "B"),
        ("B, which is heparin.", "B"),
        ("B: heparin", "B"),
        ("Option B", "B"),
        ("option 2", "B"),
        ("2", "B"),
        ("②", "B"),
        ("Ｂ", "B"),
        ("Answer: B", "B"),
        ("The correct answer is (B).", "B"),
        ("Answer: A. No: on reflection,\nAnswer: B", "B"),
        ("I weigh A and C.\n\n**Final answer:** B", "B"),
        ("<think>A, surely A.</think>B", "B"),
        ("A, surely.\n</think>\n\nB", "B"),
        ("\\boxed{B}", "B"),
        ("$\\boxed{\\text{B}}$", "B"),
        ('{"answer": "B"}', "B"),
        ('```json\n{"why": "it works", "final_answer": "B"}\n```', "B"),
        ("Heparin", "B"),
        ("It should be heparin, at once.", "B"),
        ("It should be low molecular weight heparin.", "C"),
        ("B Heparin", "B"),
        ("A, C", "AC"),
        ("C and A", "AC"),
        ("AC", "AC"),
        ("a,d", "AD"),
        ("A/D", "AD"),
        ('{"answer": ["A", "D"]}', "AD"),
        ("Réponse(s) : A, D", "AD"),
        ("Las respuestas correctas son A y D.", "AD"),
        ("Die richtige Antwort ist D.", "D"),
        ("La risposta è D", "D"),
        ("正解はA、Dです。", "AD"),
        ("答え：d", "D"),
    ],
)  # fmt: skip
def test_letters(reply: str, letters: str) -> None:
    assert chosen(reply) == letters


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "a patient needs rest",
        "A patient needs rest.",
        "I would wait.",
        "B or C",
        "Aspirin or warfarin, hard to say",
        "All of the above",
        "F",
        "9",
        "<think>B, but",
        "There is no picture, so I cannot tell.",
        "{",
        '{"answer": null}',
    ],
)
def test_doubt_is_unreadable(reply: str) -> None:
    answer = read_choices(reply, "c", OPTIONS)
    assert answer.choices == ()
    assert answer.unreadable or answer.refused


def test_refusing() -> None:
    answer = read_choices("I'm sorry, I cannot help with that.", "c", OPTIONS)
    assert answer.refused
    assert not answer.unreadable


def test_a_letter_is_a_letter_even_where_an_option_is_that_letter() -> None:
    assert chosen("A", ("B", "A", "AB", "O")) == "A"
    assert chosen("AB", ("B", "A", "AB", "O")) == "C"


def test_a_number_is_an_option_before_it_is_a_place() -> None:
    assert chosen("2", ("1", "3", "2", "4")) == "C"


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("yes", "A"),
        ("No.", "B"),
        ("Maybe", "C"),
        ("Answer: no", "B"),
        ("**Yes**, as the trial shows.", "A"),
        ("No doubt it helps.\n\nAnswer: yes", "A"),
        ('{"answer": "maybe"}', "C"),
        ("</think>No", "B"),
        ("(B)", "B"),
        ("The evidence says yes", "A"),
        ("Oui, sans doute", "A"),
        ("はい", "A"),
        ("The abstract says yes in one place and no in another", ""),
        ("Nothing of the kind", ""),
        ("Yesterday", ""),
    ],
)
def test_verdicts(reply: str, letter: str) -> None:
    assert chosen(reply, VERDICT) == letter


def test_the_order_of_the_words_decides_their_letters() -> None:
    assert chosen("yes", ("No", "Yes", "Maybe")) == "B"


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("12.5", 12.5),
        ("-3", -3.0),
        ("−3", -3.0),
        ("12,5 %", 12.5),
        ("1,250 mL", 1250.0),
        ("1,250.5", 1250.5),
        ("1.2e-3", 0.0012),
        ("Answer: 83.3 mmHg", 83.3),
        ("First 140, then 83.\nAnswer: 57", 57.0),
        ("140 - 83 = 57", 57.0),
        ("The rate is 36.9 mL/min/1.73 m²", 36.9),
        ("\\boxed{57}", 57.0),
        ('{"answer": 57}', 57.0),
        ('{"answer": "57 mg"}', 57.0),
        ("答え：５７", 57.0),
        ("</think>57", 57.0),
        ("The score is 4, so 4.", 4.0),
        ("between 5 and 7", None),
        ("five", None),
        ("", None),
        ('{"answer": true}', None),
        ("12/02/2000", None),
    ],
)
def test_numbers(reply: str, value: float | None) -> None:
    assert read_number(reply) == value


@pytest.mark.parametrize(
    ("reply", "date"),
    [
        ("12/02/2000", (2000, 12, 2)),
        ("It is due on 2000-12-02.", (2000, 12, 2)),
        ("Not 01/01/1999 but 12/02/2000", (2000, 12, 2)),
        ("in December", None),
        ("1/2/20001", None),
    ],
)
def test_dates(reply: str, date: tuple[int, int, int] | None) -> None:
    assert read_date(reply) == date


PIECES = [
    "A",
    "B",
    " and ",
    ", ",
    "Answer: ",
    "\\boxed{",
    "}",
    "{",
    '"answer":',
    "1",
    "9" * 400,
    ".",
    "</think>",
    "yes",
    "は",
    "e9999",
]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)),
    st.sampled_from([OPTIONS, VERDICT, ("x", "x")]),
)
@example("Y", OPTIONS)  # no letter of these, and the Spanish word for "and"
def test_nothing_makes_a_reader_raise(reply: str, options: tuple[str, ...]) -> None:
    answer = read_choices(reply, "c", options)
    assert answer.unreadable is not bool(answer.choices or answer.refused)
    assert all("A" <= letter < "ABCDEF"[len(options)] for letter in answer.choices)
    read_number(reply)
    read_date(reply)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.sampled_from("ABCDE"), min_size=1), st.sampled_from([", ", " and ", "/", "、"]))
def test_written_letters_read_back(letters: set[str], between: str) -> None:
    assert set(chosen(between.join(sorted(letters)))) == letters
    assert set(chosen(f"I thought of others.\nAnswer: {between.join(sorted(letters))}")) == letters


@settings(max_examples=200, deadline=None)
@given(st.floats(min_value=-1e6, max_value=1e6, allow_nan=False).map(lambda value: round(value, 3)))
def test_written_numbers_read_back(value: float) -> None:
    assert read_number(f"The answer is {value:.3f} units") == value
    assert read_number(f"We add 1 and 2.\nAnswer: {value:,.3f}") == value
