"""The judge is asked four times in two wordings and both orders, and rules only when all four agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rounds.grade import judge as court
from rounds.grade.cascade import Ruling
from rounds.records import Prompt

Hire = Callable[[Callable[[Prompt], str]], Any]


def waiting(answer: str = "wine gout") -> Ruling:
    return Ruling(key="k", right="gout", answer=answer, said=answer, state="open")


def ruled(hire: Hire, rule: Callable[[Prompt], str], *rulings: Ruling) -> tuple[list[Ruling], Any]:
    clerk = hire(rule)
    found = [one for batch in court.judge(rulings or (waiting(),), clerk) for one in batch]
    return found, clerk


def test_two_wordings_in_both_orders(hire: Hire) -> None:
    _, clerk = ruled(hire, lambda prompt: "Answer: yes")
    texts = [prompt.messages[0].content for prompt in clerk.asked]
    assert [prompt.template for prompt in clerk.asked] == ["judge-same@1"] * 2 + ["judge-credit@1"] * 2
    assert [text.index("gout\n") < text.index("wine gout") for text in texts] == [True, False, True, False]
    assert len(set(texts)) == 4


@pytest.mark.parametrize(("word", "state"), [("yes", "right"), ("no", "wrong")])
def test_unanimous(hire: Hire, word: str, state: str) -> None:
    found, _ = ruled(hire, lambda prompt: f"Let me see.</think>Answer: {word}")
    assert (found[0].state, found[0].level) == (state, "judge")
    assert found[0].why.startswith("judge clerk: ")


def test_one_dissent_or_one_unreadable_verdict_is_an_abstention(hire: Hire) -> None:
    for odd in ("Answer: no", "Well, it depends", "maybe", "Answer: maybe"):
        first: list[Prompt] = []

        def rule(prompt: Prompt, odd: str = odd, first: list[Prompt] = first) -> str:
            first.append(prompt)
            return odd if len(first) == 3 else "Answer: yes"

        found, _ = ruled(hire, rule)
        assert (found[0].state, found[0].level) == ("open", None), odd
        assert "3 yes" in found[0].why


def test_a_judge_that_follows_the_order_abstains(hire: Hire) -> None:
    found, _ = ruled(hire, lambda prompt: "yes" if prompt.messages[0].content.find("wine") > 120 else "no")
    assert found[0].state == "open"


def test_rulings_come_back_in_batches_and_in_order(hire: Hire) -> None:
    many = [waiting(f"disease {n}") for n in range(court.BATCH + 1)]
    found, clerk = ruled(hire, lambda prompt: "yes", *many)
    assert [one.answer for one in found] == [one.answer for one in many]
    assert clerk.batches == 2
