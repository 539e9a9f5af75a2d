from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.cases.importers.letters import letters_in


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("C", "C"),
        ("c", "C"),
        (" c. ", "C"),
        ("ｂ", "B"),
        ("e, a", "AE"),
        ("b,d,b", "BD"),
        ("B. Propranolol", "B"),
        ("(D) none of these", "D"),
        ("c (progesterone)", "C"),
        ("", ""),
        ("Unknown", ""),
        ("None of the above. A thought.", ""),
        ("a patient with fever", ""),
        ("27", ""),
    ],
)
def test_letters(text: str, letters: str) -> None:
    assert letters_in(text) == tuple(letters)


@given(st.text())
def test_any_text_gives_sorted_distinct_capitals(text: str) -> None:
    found = letters_in(text)
    assert list(found) == sorted(set(found))
    assert all(len(letter) == 1 and "A" <= letter <= "Z" for letter in found)


@given(st.sets(st.sampled_from("ABCDEFGH"), min_size=1), st.sampled_from([", ", ",", "、", " "]))
def test_a_list_of_letters_is_read_whole(wanted: set[str], between: str) -> None:
    assert set(letters_in(between.join(wanted).lower())) == wanted
