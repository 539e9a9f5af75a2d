"""A target is met by tokens and findings together, and the exit code is that of the best way."""

from __future__ import annotations

import pytest

from rounds.exam.later import Later
from rounds.exam.shortening import Shortening, Shorter
from rounds.records import Finding


def way(measured: Later, finding: Finding, after: float) -> Shorter:
    assert measured.shortening is not None
    first = measured.shortening.ways[0]
    verdicts = tuple(one.model_copy(update={"finding": finding}) for one in first.verdicts)
    return first.model_copy(update={"verdicts": verdicts, "tokens_after": after})


@pytest.mark.parametrize(
    ("finding", "after", "met"),
    [
        ("kept", 28.0, True),
        ("gained", 10.0, True),
        ("kept", 28.1, False),
        ("lost", 10.0, False),
        ("too few cases", 10.0, False),
    ],
)
def test_the_target_needs_both(measured: Later, finding: Finding, after: float, met: bool) -> None:
    one = way(measured, finding, after)
    assert one.met is met
    assert one.sentence.endswith(f"is {'met' if met else 'missed'}.")


@pytest.mark.parametrize(
    ("findings", "code"), [(("kept", "lost"), 0), (("lost", "lost"), 1), (("lost", "too few cases"), 3)]
)
def test_the_best_way_gives_the_exit_code(measured: Later, findings: tuple[Finding, ...], code: int) -> None:
    assert measured.shortening is not None
    ways = tuple(way(measured, finding, 20.0) for finding in findings)
    assert Shortening.model_validate(measured.shortening.model_copy(update={"ways": ways}).model_dump()).code == code
