"""Every item has an answer or an owner, and no sentence stands with a gap."""

from __future__ import annotations

import re
import string

import pytest

from rounds.exam import tripod
from rounds.records import Case, Noise, Report, Sitting

BARE = Report(title="t", alpha=0.01, margin=0.02, why_margin="because of this", evidence="public", verdicts=())
CASE = Case(id="a", vignette="A man has gout.", diagnosis="gout", specialty="medicine", source="{own}", licence="none")


def by_number(report: Report, cases: tuple[Case, ...] = ()) -> dict[str, tripod.Item]:
    return {item.number: item for item in tripod.checklist(report, cases)}


def test_the_items_are_those_of_the_statement() -> None:
    numbers = [item.number for item in tripod.asked()]
    letters = {"3": "ab", "5": "abcde", "6": "abcde", "7": "abcde", "8": "abc", "9": "ab"}
    letters |= {"14": "abcdef", "16": "abcd", "19": "abcdefg"}
    assert numbers == [f"{n}{letter}" for n in range(1, 20) for letter in letters.get(str(n), [""])]


def test_every_gap_is_one_that_a_run_can_fill() -> None:
    known = set(tripod.facts(BARE, ())) | {
        "cases", "conditions", "languages", "specialties", "incidences", "sources", "length", "models", "pairs",
        "findings", "arms", "subgroups", "baselines", "floors", "versions", "digests", "asked", "outcomes", "seconds",
        "invented", "unlabelled", "unjudged", "modes",
    }  # fmt: skip
    made = {"student", "teacher", "stages", "splits", "overlap", "lessons", "alignment", "work"}
    for item in tripod.asked():
        gaps = {name for text in (item.void, item.run) for _, name, _, _ in string.Formatter().parse(text) if name}
        assert gaps <= known | {f"made_{name}" for name in made}, item.number


@pytest.mark.parametrize("report", [BARE, BARE.model_copy(update={"evidence": "synthetic"})])
def test_what_is_not_answered_has_an_owner(report: Report) -> None:
    for item in tripod.checklist(report, ()):
        assert item.status in tripod.STATUSES
        assert (item.status == "for the hospital") == (not item.answer)
        assert item.answer or item.hospital, item.number
        assert not re.search(r"[{}]", item.answer)


def test_counts_cover_every_item() -> None:
    items = tripod.checklist(BARE, ())
    assert sum(count for _, count in tripod.counts(items)) == len(items) == 49


def test_ethics_and_funding_are_never_answered_by_a_run() -> None:
    full = BARE.model_copy(update={"evidence": "synthetic", "sittings": {"m": Sitting(answers=1)}})
    items = by_number(full, (CASE,))
    assert {items[number].status for number in ("13", "14a", "14b", "15", "19d")} == {"for the hospital"}


def test_answers_come_from_the_run() -> None:
    twice = Noise(model="m", how="in another order", cases=9, changed=2, only_first=0, only_second=0)
    sat = Sitting(answers=1, asked={"seed": "7"}, outcomes={"unreadable": 1})
    made = {"splits": "teach 3"}
    full = BARE.model_copy(update={"sittings": {"m": sat}, "noise": twice, "made": made})
    items = by_number(full, (CASE,))
    assert items["6c"].answer == "seed 7. 2 of 9 answers changed when m was asked twice, in another order."
    assert items["5a"].answer == "Evaluation: public cases, {own} (none). Splits: teach 3."
    assert "1 unreadable" in items["6d"].answer
    assert items["7d"].status == "not applicable"
    assert by_number(BARE)["6c"].status == "for the hospital"


def test_people_who_marked_are_for_the_hospital_to_describe() -> None:
    ruled = BARE.model_copy(update={"sittings": {"m": Sitting(answers=1, outcomes={"human": 1})}})
    items = by_number(ruled)
    assert {items[number].status for number in ("7d", "8a", "8b", "8c")} == {"for the hospital"}
