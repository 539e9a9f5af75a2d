"""One field is a list here, an object there, a text elsewhere: all are the same disorder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import orphapackets
from rounds.cases.importers.orphapackets import listed
from rounds.records import UserError

Write = Callable[..., Path]
FINDINGS = [
    ["HP:1", "Long toes", "Very frequent (99-80%)"],
    ["HP:2", "Blue ears", "Frequent (79-30%)"],
    ["HP:3", "Late teeth", "Obligate (100%)"],
    ["HP:4", "Hiccups", "Occasional (29-5%)"],
    ["HP:5", "Deafness", "Excluded (0%)"],
]
FLAT: dict[str, Any] = {
    "orpha": "77",
    "label": "Toe syndrome",
    "synonyms": ["Digit disease"],
    "age_of_onset": ["Childhood", "No data available"],
    "phenotypes": FINDINGS,
}


def original(synonyms: Any, onsets: Any) -> dict[str, Any]:
    names = ("HPOId", "HPOTerm", "HPOFrequency")
    phenotypes = [{"Phenotype": dict(zip(names, finding, strict=True))} for finding in FINDINGS]
    return {
        "Orphapacket": {
            "ORPHAcode": "77",
            "Label": "Toe syndrome",
            "Synonyms": synonyms,
            "AverageAgeOfOnsets": onsets,
            "Phenotypes": phenotypes,
        }
    }


@pytest.mark.parametrize(
    "packet",
    [
        FLAT,
        {**FLAT, "synonyms": "Digit disease", "age_of_onset": {"value": "Childhood"}},
        original([{"Synonym": "Digit disease"}], {"AverageAgeOfOnset": [{"value": "Childhood"}]}),
        original({"Synonym": ["Digit disease"]}, {"AverageAgeOfOnset": {"value": "Childhood"}}),
        original("Digit disease", [{"AverageAgeOfOnset": {"value": "Childhood"}}]),
    ],
)
def test_every_layout_is_the_same_textbook_case(document: Write, packet: dict[str, Any]) -> None:
    (found,) = orphapackets.read(document(packet))
    assert found.case is not None
    assert found.case.vignette.splitlines() == [
        "Onset: childhood.",
        "Present: Long toes; Blue ears; Late teeth.",
        "Absent: Deafness.",
    ]
    assert (found.id, found.case.also_called) == ("ORPHA:77", ("Digit disease",))
    assert (found.case.present, found.case.absent) == (("HP:1", "HP:2", "HP:3"), ("HP:5",))


def test_few_findings_are_refused_and_a_tell_tale_one_is_dropped(jsonl: Write) -> None:
    few, tell = orphapackets.read(
        jsonl(
            {**FLAT, "phenotypes": FINDINGS[:2]},
            {**FLAT, "orpha": "78", "phenotypes": [*FINDINGS, ["HP:9", "Digit disease", "Frequent (79-30%)"]]},
        )
    )
    assert few.refused == orphapackets.FEW
    assert (tell.refused, tell.dropped) == ("", ("Digit disease",))


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        ({"label": "x"}, "is not an ORPHApacket"),
        ({"Orphapacket": "x"}, "is not an ORPHApacket"),
        ({**FLAT, "phenotypes": [["HP:1", "Long toes"]]}, "is not an id, a name and a frequency"),
    ],
)
def test_faults(jsonl: Write, packet: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        list(orphapackets.read(jsonl(packet)))


def test_listed() -> None:
    assert [listed(value) for value in (None, "", {}, [], "a", {"k": 1}, ["a", "b"])] == [
        [], [], [], [], ["a"], [{"k": 1}], ["a", "b"],
    ]  # fmt: skip
