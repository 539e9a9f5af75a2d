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


def both(pairs: int, wrong: int = 0, abstained: int = 0) -> court.Standing | None:
    """A judge over pairs that people ruled, every second of them right: `wrong` against people, some not ruled."""
    people = [
        waiting(f"d{n}").model_copy(update={"state": ("right", "wrong")[n % 2], "level": "human"}) for n in range(pairs)
    ]
    other = {"right": "wrong", "wrong": "right"}
    judged = [one.model_copy(update={"level": "judge", "why": "judge m: x: 4 yes"}) for one in people]
    turned = [one.model_copy(update={"state": other[one.state]}) for one in judged[:wrong]]
    silent = [one.model_copy(update={"state": "open", "level": None}) for one in judged[wrong : wrong + abstained]]
    return court.standing([*turned, *silent, *judged[wrong + abstained :]], people)


@pytest.mark.parametrize(
    ("pairs", "wrong", "abstained", "admitted"),
    [
        (400, 0, 0, True),
        (399, 0, 0, False),
        (400, 0, 1, False),
        # kappa .865 (.816 to .914), kappa .85 (.798 to .902).
        (400, 27, 0, True),
        (400, 30, 0, False),
        (0, 0, 0, False),
    ],
)
def test_a_judge_is_admitted_by_people(pairs: int, wrong: int, abstained: int, admitted: bool) -> None:
    found = both(pairs, wrong, abstained) if pairs else court.standing([waiting()], [])
    assert found is not None
    assert found.admitted is admitted
    assert (found.pairs, found.abstained) == (pairs - abstained, abstained)
    if pairs:
        assert found.name == "m: x"
        assert found.agreement.value == pytest.approx(1 - 2 * wrong / (pairs - abstained), abs=0.001)


def test_one_label_alone_admits_nobody() -> None:
    people = [waiting(f"d{n}").model_copy(update={"state": "near", "level": "human"}) for n in range(500)]
    judged = [one.model_copy(update={"state": "wrong", "level": "judge", "why": "judge m: 4 no"}) for one in people]
    found = court.standing(judged, people)
    assert found is not None
    assert (found.pairs, found.agreement.value, found.admitted) == (500, None, False)
    assert court.standing([], people) is None
