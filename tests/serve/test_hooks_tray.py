"""The tray: equal records are one case, links belong to somebody and end, and nothing grows without bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date

import pytest

from rounds.records import UserError
from rounds.serve.fhir import Chart, Line
from rounds.serve.hooks_tray import Tray
from rounds.serve.keys import ANONYMOUS, Caller
from rounds.serve.worker import Busy

pytestmark = pytest.mark.anyio

EHR = Caller("https://ehr.example", frozenset({"diagnose"}))
DOCTOR = Caller("doctor", frozenset({"diagnose"}))
NURSE = Caller("nurse", frozenset({"diagnose"}))
OFFICER = Caller("officer", frozenset({"audit"}))


def chart(text: str = "cough") -> Chart:
    return Chart("p1", 40, "", (Line(text, ()),), False, date(2026, 1, 1), {})


async def settled(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.001)


def answering(asked: list[str]) -> Callable[[str, Caller], Awaitable[str]]:
    async def answer(text: str, caller: Caller) -> str:
        asked.append(text)
        await asyncio.sleep(0)
        if text == "too long":
            raise UserError("the prompt is too long.")
        if text == "broken":
            raise RuntimeError("secret words")
        return f"answer to {text}"

    return answer


async def test_equal_records_are_one_case() -> None:
    asked: list[str] = []
    tray = Tray(answering(asked))
    first = tray.ask("k", chart(), EHR)
    assert tray.ask("k", chart(), EHR) is first
    assert tray.ticket(first, EHR, True) is tray.ticket(first, EHR, True)
    before = tray.ticket(first, EHR, True)
    await settled(lambda: first.state == "ready")
    assert first.answer == "answer to cough"
    after = tray.ticket(first, EHR, True)
    assert after.card != before.card, "a card with an answer is another card"
    assert tray.ask("k", chart(), EHR) is first
    assert asked == ["cough"]


async def test_a_system_s_link_belongs_to_who_opens_it_first() -> None:
    tray = Tray(answering([]))
    ticket = tray.ticket(tray.ask("k", chart(), EHR), EHR, True)
    assert tray.open(ticket.token, OFFICER) is None
    assert tray.open(ticket.token, DOCTOR) is ticket
    assert tray.open(ticket.token, NURSE) is None
    assert tray.open(ticket.token, DOCTOR) is ticket
    assert tray.open(ticket.token[:-1], DOCTOR) is None
    assert tray.open("\ud800", DOCTOR) is None


async def test_a_link_made_without_a_token_belongs_to_its_caller() -> None:
    tray = Tray(answering([]))
    ticket = tray.ticket(tray.ask("k", chart(), ANONYMOUS), ANONYMOUS, False)
    assert tray.open(ticket.token, ANONYMOUS) is ticket
    assert tray.open(ticket.token, DOCTOR) is None


async def test_everything_expires() -> None:
    now = [0.0]
    tray = Tray(answering([]), seconds=100, clock=lambda: now[0])
    asking = tray.ask("k", chart(), EHR)
    ticket = tray.ticket(asking, EHR, True)
    now[0] = 99.0
    assert tray.open(ticket.token, DOCTOR) is ticket
    assert tray.left(asking) == 1.0
    now[0] = 100.0
    assert tray.open(ticket.token, DOCTOR) is None
    assert len(tray) == 0
    assert tray.ask("k", chart(), EHR) is not asking


async def test_a_full_tray_drops_what_has_waited_longest_and_asks_the_newest_first() -> None:
    asked: list[str] = []
    tray = Tray(answering(asked), most=3)
    cases = [tray.ask(f"k{n}", chart(f"case {n}"), EHR) for n in range(5)]
    tickets = [tray.ticket(case, EHR, True) for case in cases[2:]]
    assert len(tray) == 3
    await settled(lambda: all(case.state == "ready" for case in cases[2:]))
    assert asked == ["case 4", "case 3", "case 2"]
    assert [case.state for case in cases[:2]] == ["waiting", "waiting"]
    tray.ask("k5", chart("case 5"), EHR)
    assert tray.open(tickets[0].token, DOCTOR) is None, "the oldest answer went"
    assert tray.open(tickets[1].token, DOCTOR) is tickets[1]


async def test_a_tray_full_of_answers_keeps_every_record_that_is_opened_now() -> None:
    tray = Tray(answering([]), most=3)
    old = [tray.ask(f"k{n}", chart(f"case {n}"), EHR) for n in range(3)]
    await settled(lambda: all(case.state == "ready" for case in old))
    fresh = [tray.ticket(tray.ask(f"new {n}", chart(f"new {n}"), EHR), EHR, True) for n in range(3)]
    assert [tray.open(ticket.token, DOCTOR) for ticket in fresh] == fresh
    await settled(lambda: all(ticket.asking.state == "ready" for ticket in fresh))


async def test_a_case_that_fails_says_why_and_is_asked_anew() -> None:
    asked: list[str] = []
    tray = Tray(answering(asked))
    for text, sentence in (("too long", "the prompt is too long."), ("broken", "type the case into the page")):
        asking = tray.ask(text, chart(text), EHR)
        await settled(lambda asking=asking: asking.state == "failed")
        assert sentence in asking.fault
        assert "secret" not in asking.fault
        again = tray.ask(text, chart(text), EHR)
        assert again is not asking
        await settled(lambda again=again: again.state == "failed")
    assert asked == ["too long"] * 2 + ["broken"] * 2


async def test_a_busy_ward_is_asked_again() -> None:
    tries = 0

    async def answer(text: str, caller: Caller) -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Busy(0)
        return "at last"

    tray = Tray(answer)
    asking = tray.ask("k", chart(), EHR)
    await settled(lambda: asking.state == "ready")
    assert (asking.answer, tries) == ("at last", 3)
