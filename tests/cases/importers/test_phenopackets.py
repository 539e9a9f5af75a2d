from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import phenopackets
from rounds.cases.importers.phenopackets import Time, age_of

Write = Callable[..., Path]


def feature(code: str, label: str, **more: Any) -> dict[str, Any]:
    return {"type": {"id": code, "label": label}, **more}


def packet(*names: str, features: tuple[dict[str, Any], ...] | None = None) -> dict[str, Any]:
    three = (
        feature("HP:1", "Long toes", severity={"id": "HP:9", "label": "Mild"}),
        feature("HP:2", "Blue ears"),
        feature("HP:3", "Late teeth", excluded=False),
        feature("HP:4", "Deafness", excluded=True),
        feature("HP:1", "Long toes"),
    )
    diseases = [{"diagnosis": {"disease": {"id": f"X:{name}", "label": name}}} for name in names]
    return {
        "id": "p1",
        "subject": {"sex": "FEMALE", "timeAtLastEncounter": {"age": {"iso8601duration": "P5M2D"}}},
        "phenotypicFeatures": list(three if features is None else features),
        "interpretations": diseases,
    }


def test_observed_and_excluded_findings(document: Write) -> None:
    (found,) = phenopackets.read(document(packet("Toe syndrome")))
    assert found.case is not None
    assert found.case.vignette.splitlines() == [
        "Patient: 5 months old, female.",
        "Present: Long toes; Blue ears; Late teeth.",
        "Looked for and absent: Deafness.",
    ]
    assert (found.case.present, found.case.absent) == (("HP:1", "HP:2", "HP:3"), ("HP:4",))
    assert (found.case.condition, found.case.incidence) == ("X:Toe syndrome", "rare")


def test_a_finding_that_is_the_disease_is_dropped(document: Write) -> None:
    four = tuple(
        feature(f"HP:{n}", label) for n, label in enumerate(("Blue ears", "Long toes", "Late teeth", "Deafness"))
    )
    (found,) = phenopackets.read(document(packet("Blue ears", features=four)))
    assert (found.refused, found.dropped) == ("", ("Blue ears",))


def test_refusals(document: Write) -> None:
    def why(value: dict[str, Any]) -> str:
        (found,) = phenopackets.read(document(value))
        return found.refused

    assert why(packet()) == phenopackets.NO_DISEASE
    assert why(packet("A", "B")) == phenopackets.SEVERAL
    assert why(packet("A", features=(feature("HP:1", "Long toes"),))) == phenopackets.FEW
    assert why({**packet(), "diseases": [{"term": {"id": "X:1", "label": "A"}}, {"term": {}, "excluded": True}]}) == ""


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ({"age": {"iso8601duration": "P1Y3M"}}, "1 year old"),
        ({"age": {"iso8601duration": "P3W"}}, "3 weeks old"),
        ({"age": {"iso8601duration": "P0D"}}, "newborn"),
        ({"age": {"iso8601duration": "four"}}, "age not told"),
        ({"ontologyClass": {"label": "Congenital onset"}}, "congenital onset"),
        ({}, "age not told"),
    ],
)
def test_ages(time: dict[str, Any], words: str) -> None:
    assert age_of(Time.model_validate(time)) == words
