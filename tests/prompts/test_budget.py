"""A prompt fits its budget, loses the least needed first, and says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.prompts.budget import GAP, estimate, trim
from rounds.records import UserError

CASE = (
    "Patient: a woman of 60.\nSocial history: she paints and smokes.\n"
    "Family history: diabetes in the mother, the aunt and both of her brothers.\n"
    "She has a cough. It began in May. It is worse at night. There is blood now.\nWhat is it?\nA. asthma\nB. cancer"
)


def words(text: str) -> int:
    return len(text.split())


def test_what_fits_is_left_alone() -> None:
    found = trim(CASE, words(CASE), ("Family history",), words)
    assert (found.text, found.left_out) == (CASE, ())


def test_parts_go_in_the_order_given() -> None:
    found = trim(CASE, words(CASE) - 4, ("Family history", "Social history"), words)
    assert found.left_out == ("Family history",)
    assert "diabetes" not in found.text
    assert "paints" in found.text
    assert found.text.endswith("[Left out to fit: Family history.]")


def test_then_sentences_of_the_middle_and_never_options() -> None:
    found = trim(CASE, 31, ("family history", "SOCIAL HISTORY", "Hobbies"), words)
    assert found.left_out[:2] == ("family history", "SOCIAL HISTORY")
    assert found.left_out[2].endswith(" sentences")
    assert GAP in found.text
    for kept in ("Patient: a woman of 60.", "What is it?", "A. asthma\nB. cancer"):
        assert kept in found.text


def test_what_cannot_fit_is_one_sentence() -> None:
    with pytest.raises(UserError) as caught:
        trim(CASE, 5, (), words, "case 'c7'")
    assert str(caught.value) == (
        f"case 'c7': has about {words(CASE)} tokens and there is room for 5; "
        "shorten it, or use a model with a longer context."
    )


@given(
    st.lists(st.sampled_from(["One two three. ", "Four? ", "五六。", "\n", "A. x\n", "Past history: y. "]), max_size=40)
)
def test_the_budget_is_kept_or_refused(parts: list[str]) -> None:
    text = "".join(parts)
    for most in (0, 5, 20, 60):
        try:
            found = trim(text, most, ("Past history",), estimate)
        except UserError:
            continue
        assert estimate(found.text) <= most
        assert bool(found.left_out) == (found.text != text)


def test_a_token_is_a_third_of_the_bytes() -> None:
    assert (estimate(""), estimate("abc"), estimate("abcd"), estimate("病例")) == (0, 1, 2, 2)
