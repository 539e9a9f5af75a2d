"""Planted leaks are found, whatever their dress; honest splits pass, and quickly."""

from __future__ import annotations

import time

import pytest

from rounds.cases.generate import Drawn
from rounds.cases.overlap import overlaps, refuse_overlap
from rounds.records import Case, Split, UserError

STORY = (
    "A retired railway signalman came to the clinic because his left boot had felt too small for eleven days. "
    "He had repaired the roof of a barn in the rain and slept badly since then. "
    "The nurse noticed a warm ridge behind the ankle, which he had rubbed with camphor oil every night. "
    "His temperature was 37.9 and his pulse 88, and the calf measured 41 cm. "
    "He asked twice whether he could still drive his tractor to the market."
)

SHUFFLED = (
    "His temperature was 38.4 and his pulse 92, and the calf measured 43 cm. "
    "The nurse noticed a warm ridge behind the ankle, which he had rubbed with menthol oil every night. "
    "He asked twice whether he could still drive his tractor to the village market. "
    "He had repaired the roof of a barn in the rain and slept badly since then. "
    "A retired railway signalman came to our clinic because his left boot had felt too small for eleven days."
)

OTHER = (
    "A young violin teacher could not lift her bow arm after a week of rehearsals in an unheated church. "
    "She described a dull pull under the collar bone that spread to the thumb. "
    "Turning the head to the window made it worse, and resting the elbow on a cushion made it better. "
    "Her temperature was 36.6 and her pulse 64."
)


def case(name: str, vignette: str, present: tuple[str, ...] = ()) -> Case:
    return Case(id=name, vignette=vignette, diagnosis="x", present=present)


def lessons(drawn: dict[Split, list[Drawn]]) -> list[Case]:
    return [one.case for one in drawn["teach"]]


def test_an_exact_copy_is_found(drawn: dict[Split, list[Drawn]]) -> None:
    others = [*lessons(drawn), case("copy", STORY)]
    (found,) = overlaps([case("held", STORY), case("honest", OTHER)], others)
    assert (found.held, found.other, found.kind, found.likeness) == ("held", "copy", "same text", 1.0)


def test_a_copy_of_boilerplate_alone_is_found(drawn: dict[Split, list[Drawn]]) -> None:
    """A generated page is all shared clauses; its copy without findings stated is still a copy."""
    leaked = drawn["exam"][0].case
    others = [*lessons(drawn), leaked.model_copy(update={"id": "copy", "present": ()})]
    assert [(o.held, o.other, o.kind) for o in overlaps([leaked], others)] == [(leaked.id, "copy", "same text")]


def test_the_same_findings_in_other_words_are_found(drawn: dict[Split, list[Drawn]]) -> None:
    leaked = drawn["exam"][7].case
    others = [*lessons(drawn), case("retold", OTHER, tuple(reversed(leaked.present)))]
    assert [(o.held, o.other, o.kind) for o in overlaps([leaked], others)] == [(leaked.id, "retold", "same findings")]


def test_a_paraphrase_with_reordered_clauses_is_found(drawn: dict[Split, list[Drawn]]) -> None:
    others = [*lessons(drawn), case("shuffled", SHUFFLED), case("honest", OTHER)]
    (found,) = overlaps([case("held", STORY)], others)
    assert (found.other, found.kind) == ("shuffled", "near text")
    assert 0.6 <= found.likeness < 1


def test_reordering_alone_is_the_same_text() -> None:
    parts = [part.strip() for part in STORY.split(". ")]
    (found,) = overlaps(
        [case("held", STORY)], [case("turned", ". ".join(reversed(parts)).replace("market..", "market."))]
    )
    assert (found.kind, found.likeness) == ("same text", 1.0)


def test_two_patients_with_one_long_phrase_are_two_patients() -> None:
    shared = "He has known of a small calcified nodule in the right upper lobe of the lung since childhood."
    first, second = f"{shared} {STORY}", f"{shared} {OTHER}"
    assert overlaps([case("a", first)], [case("b", second)]) == []


def test_cases_without_findings_are_not_alike_for_that() -> None:
    assert overlaps([case("a", STORY)], [case("b", OTHER)]) == []


def test_generated_splits_do_not_overlap(drawn: dict[Split, list[Drawn]]) -> None:
    cases = {split: [one.case for one in some] for split, some in drawn.items()}
    assert overlaps(cases["exam"], [*cases["teach"], *cases["tune"]]) == []
    assert overlaps(cases["tune"], cases["teach"]) == []
    refuse_overlap(cases["exam"], cases["teach"])


def test_a_leak_fails_the_build_and_names_the_first_pair(drawn: dict[Split, list[Drawn]]) -> None:
    leaked = [one.case for one in drawn["exam"][:2]]
    others = [*lessons(drawn), *(one.model_copy(update={"id": f"again-{one.id}"}) for one in leaked)]
    first = leaked[0].id
    with pytest.raises(UserError, match=rf"^case '{first}' repeats case 'again-{first}' \(same findings.*2 such pairs"):
        refuse_overlap(leaked, others)


def test_24000_against_1000_takes_seconds(drawn: dict[Split, list[Drawn]]) -> None:
    lesson = lessons(drawn)
    many = [one.model_copy(update={"id": f"{i}-{one.id}"}) for i in range(20) for one in lesson]
    held = [one.case for one in drawn["exam"]]
    start = time.monotonic()
    assert overlaps([*held, *[one.case for one in drawn["tune"]]], many) == []
    assert len(many) == 24000
    assert time.monotonic() - start < 30
