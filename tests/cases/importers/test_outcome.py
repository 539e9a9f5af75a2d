"""A vignette never names its diagnosis: the section goes, or the case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.cases.importers import outcome
from rounds.cases.importers.outcome import Section, chosen, gives_away, name_and_brackets, names_of, sectioned, told
from rounds.records import Case, UserError

STORY = "A baker of fifty has had a dull ache under the ribs for three weeks and has lost his liking for bread."


def case(diagnosis: str, vignette: str = STORY, **fields: object) -> Case:
    return Case.model_validate({"id": "c", "diagnosis": diagnosis, "vignette": vignette, **fields})


@pytest.mark.parametrize(
    ("text", "name", "given_away"),
    [
        ("It was thought to be gout.", "Gout", True),
        ("Biopsy showed haemangiomas.", "Hemangioma", True),
        ("Ménière's disease was found", "Meniere disease", True),
        ("No gout was ever known", "Gout", False),
        ("Her mother had gout", "Gout", False),
        ("He denies fever. Gout is obvious", "Gout", True),
        ("A bout of pain", "Gout", False),
        ("They all came", "ALL", False),
        ("Marrow shows ALL", "ALL", True),
        ("gouty hands", "Gout", False),
    ],
)
def test_gives_away(text: str, name: str, given_away: bool) -> None:
    assert gives_away(text, (name,)) is given_away


def test_names_are_the_diagnosis_its_other_names_and_abbreviations() -> None:
    whole = case("Acute lymphoblastic leukaemia (ALL)", also_called=("ALL-B (childhood)",))
    assert names_of(whole) == ("Acute lymphoblastic leukaemia", "ALL", "ALL-B")
    assert name_and_brackets("Vertigo (BPPV) [benign]") == ("Vertigo", ("BPPV", "benign"))
    assert name_and_brackets("(unclear)") == ("(unclear)", ("unclear",))


def test_free_text_that_names_the_diagnosis_is_refused() -> None:
    assert told("f:1", case("Pancreatitis")).refused == ""
    assert told("f:1", case("Pancreatitis", f"{STORY} Known pancreatitis.")).refused == outcome.NAMED
    assert told("f:1", case("Pancreatitis", "Pain.")).refused == outcome.TOO_SHORT


def test_a_section_that_names_it_is_dropped_and_named() -> None:
    parts = [Section("Patient", "a baker"), Section("History", STORY), Section("Biopsy", "shows amyloidosis")]
    found = sectioned(
        "f:1", case("Amyloidosis"), [*parts, Section("Family history", "amyloidosis"), Section("X", " - ")]
    )
    assert (found.refused, found.dropped) == ("", ("Biopsy",))
    assert found.case is not None
    assert found.case.vignette == f"Patient: a baker\nHistory: {STORY}\nFamily history: amyloidosis"


def test_a_history_that_names_it_refuses_the_case() -> None:
    found = sectioned("f:1", case("Gout"), [Section("History of Present Illness", f"{STORY} It was gout.")])
    assert (found.refused, found.dropped) == (outcome.NAMED_BY_HISTORY, ())


def test_a_compound_diagnosis_named_in_pieces_is_seen() -> None:
    parts = [Section("Notes", STORY), Section("Blood", "hypercalcaemia"), Section("Scan", "a parathyroid adenoma")]
    found = sectioned("f:1", case("Hypercalcaemia due to parathyroid adenoma"), parts)
    assert found.dropped == ("Scan",)
    alone = sectioned("f:1", case("Hypercalcaemia due to parathyroid adenoma"), parts[:2])
    assert alone.dropped == ()


def test_when_nothing_is_left_the_case_is_refused() -> None:
    found = sectioned("f:1", case("Gout"), [Section("Joint", f"{STORY} gout crystals")])
    assert found.refused == outcome.TOO_SHORT


def test_a_choice_has_its_letters_and_its_answer() -> None:
    found = chosen("f:1", ["rest ", "ice", "heat"], "BA", id="c", vignette="What helps?", never=("C",))
    assert found.case is not None
    assert (found.case.kind, found.case.right, found.case.never) == ("choice", ("A", "B"), ("C",))
    assert found.case.diagnosis == "rest; ice"
    assert found.case.question == "What helps?\nA. rest\nB. ice\nC. heat"


@pytest.mark.parametrize(
    ("options", "right", "why"),
    [
        (["a", "b"], "", outcome.NO_KEY),
        (["a", " "], "A", outcome.EMPTY_OPTION),
        (["ice", "heat", "Ice"], "A", outcome.ALIKE_OPTIONS),
        (["1.0", "10"], "A", ""),
    ],
)
def test_choices_that_cannot_be_asked_are_refused(options: list[str], right: str, why: str) -> None:
    assert chosen("f:1", options, right, id="c", vignette="What?").refused == why


@pytest.mark.parametrize(
    ("options", "right", "sentence"),
    [
        (["a", "b"], "C", "f:1: option 'C' does not exist; use letters A to B."),
        (["a"], "A", "f:1: has 1 options; a choice has 2 to 26."),
    ],
)
def test_a_key_beyond_the_options_stops_the_reading(options: list[str], right: str, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        chosen("f:1", options, right, id="c", vignette="What?")
    assert str(raised.value) == sentence


@given(st.text(max_size=80), st.text(min_size=1, max_size=20))
def test_any_text_is_judged(text: str, name: str) -> None:
    gives_away(text, (name,))


words = st.lists(st.sampled_from(["fever", "cough", "rash", "pain", "since", "Monday"]), max_size=8).map(" ".join)


@given(words, words)
def test_a_name_put_anywhere_into_a_plain_sentence_is_found(before: str, after: str) -> None:
    assert gives_away(f"{before} Goodpasture's syndrome {after}", ("Goodpasture syndrome",))
