"""The key counts from 1 in the original files and from 0 elsewhere: the file tells, or nothing is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers import medmcqa
from rounds.cases.importers.outcome import NO_KEY
from rounds.records import UserError

Write = Callable[..., Path]


def row(name: str, cop: int | None) -> dict[str, Any]:
    options = {"opa": "one", "opb": "two", "opc": "three", "opd": "four"}
    return {
        "id": name,
        "question": "How many?",
        "cop": cop,
        "subject_name": "Surgery",
        "exp": "four, of course",
        **options,
    }


def answers(path: Path) -> list[str]:
    return [found.case.diagnosis if found.case else "" for found in medmcqa.read(path)]


def test_from_one(jsonl: Write) -> None:
    assert answers(jsonl(row("a", 1), row("b", 4))) == ["one", "four"]


def test_from_zero(jsonl: Write) -> None:
    assert answers(jsonl(row("a", 0), row("b", 3))) == ["one", "four"]


def test_a_secret_key_is_refused(jsonl: Write) -> None:
    found = list(medmcqa.read(jsonl(row("a", -1), row("b", 1))))
    assert [one.refused for one in found] == [NO_KEY, ""]
    assert found[1].case is not None
    assert (found[1].case.diagnosis, found[1].case.specialty) == ("two", "Surgery")
    assert "of course" not in found[1].case.model_dump_json()


@pytest.mark.parametrize(("keys", "words"), [((1, 2), "may count from 0 or from 1"), ((0, 4), "mixes two ways")])
def test_a_file_that_does_not_tell_is_refused(jsonl: Write, keys: tuple[int, int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        answers(jsonl(row("a", keys[0]), row("b", keys[1])))
