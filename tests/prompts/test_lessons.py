"""The router's lessons: enough of each kind, all slots filled, the same on every machine, none of anybody else's."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from rounds.knowledge.base import load
from rounds.prompts.lessons import QUESTIONS, drawn, fill, lessons, questions, written
from rounds.prompts.template import names

SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_dozens_by_hand_and_hundreds_drawn_of_each_kind() -> None:
    by_hand = Counter(one.kind for one in written())
    by_pattern = Counter(one.kind for one in drawn(load()))
    assert set(by_hand) == set(by_pattern)
    assert set(by_hand) <= {name.partition("@")[0] for name in names()}
    assert min(by_hand.values()) >= 8
    assert min(by_pattern.values()) >= 500
    assert {one.language for one in written() if one.kind == "triage"} == {"en", "zh", "es"}


def test_the_same_seed_gives_the_same_lessons() -> None:
    once, again = drawn(load(), 3), drawn(load(), 3)
    assert once == again
    assert once != drawn(load(), 4)
    assert len(lessons(load())) == 4 * len(written()) + len(once)


def test_no_slot_is_left_and_none_is_unknown() -> None:
    assert not [one for one in drawn(load()) if re.search(r"\{[a-z_A-Z]+\d?\}", one.text)]


def test_every_written_question_stands_once() -> None:
    texts = [one.text for one in written()]
    assert len(set(texts)) == len(texts)


def test_a_pattern_is_filled_within_patterns() -> None:
    text = fill("{a} {n3} {dec}", {"a": ["<{b}>"], "b": ["x"]}, Random(1))
    assert re.fullmatch(r"<x> [1-9]\d\d \d+\.\d{1,2}", text)


@pytest.mark.shared
def test_no_sentence_of_the_test_data_is_among_them() -> None:
    path = SHARED / "09_medagents_recorded_mcq" / "medqa.items.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    ours = " ".join(QUESTIONS.read_text(encoding="utf-8").split())
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        sentences = {s.strip() for row in rows for s in re.split(r"(?<=[.?!])\s", json.loads(row)["question"])}
    # Stock phrases of every such question are nobody's.
    assert [s for s in sentences if len(s.split()) > 12 and s in ours] == []
    assert questions()["written"]
