"""Judgements: counted once, kept with consent alone, marked as biased, and only of what was answered here."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from rounds.records import UserError
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.feedback import BIAS, SOURCE, Feedback, Tickets
from rounds.serve.store import Store

pytestmark = pytest.mark.anyio

CASE = "A 47-year-old woman with <b>fever</b> and cough."


async def answered(client: Any) -> dict[str, str]:
    """The fields of the form below an answer."""
    text = (await client.post("/", data={"case": CASE})).text
    form = text[text.index('action="/feedback"') :]
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)}


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(SQLite(tmp_path / "audit.sqlite"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", tmp_path / "store.key", 30)


@pytest.fixture
def keep(store: Store) -> Callable[[Feedback], None]:
    return lambda judged: store.put("feedback", judged.model_dump_json())


async def test_kept_with_consent(
    make_app: Any, client_of: Any, scripted: Any, audit: Audit, store: Store, keep: Any, tmp_path: Path
) -> None:
    async with client_of(make_app(scripted, audit=audit, keep=keep)) as client:
        fields = await answered(client)
        assert fields["case"] == CASE
        sent = {**fields, "verdict": "wrong", "was": " sarcoidosis ", "consent": "yes"}
        first = await client.post("/feedback", data=sent)
        second = await client.post("/feedback", data=sent)
        rows = audit.rows()
    assert "kept apart until somebody has reviewed them" in first.text
    assert "This answer was judged already" in second.text
    kept = [Feedback.model_validate_json(text) for _, text in store.entries()]
    assert len(kept) == 1
    assert (kept[0].case.vignette, kept[0].case.diagnosis, kept[0].case.split) == (CASE, "sarcoidosis", "exam")
    assert (kept[0].quarantined, kept[0].bias, kept[0].case.source) == (True, BIAS, SOURCE)
    assert (kept[0].verdict, kept[0].answered[0], kept[0].by) == ("wrong", "pneumonia", "local")
    assert [(row.door, row.note) for row in rows if row.kind == "incident"] == [("feedback", "feedback: wrong")]
    sealed = next((tmp_path / "store").glob("*.sealed")).read_bytes()
    assert b"fever" not in sealed
    assert all("fever" not in row.model_dump_json() for row in rows)


@pytest.mark.parametrize("consents", [True, False])
async def test_counted_without_consent_or_without_a_store(
    make_app: Any, client_of: Any, scripted: Any, audit: Audit, store: Store, keep: Any, consents: bool
) -> None:
    async with client_of(make_app(scripted, audit=audit, keep=None if consents else keep)) as client:
        fields = await answered(client)
        assert ("case" in fields) is not consents  # a form that could not keep the case does not hold it
        sent = {**fields, "verdict": "right", **({"consent": "yes", "case": CASE} if consents else {})}
        response = await client.post("/feedback", data=sent)
        rows = audit.rows()
    assert "Thank you. The judgement was recorded." in response.text
    assert list(store.entries()) == []
    assert [row.note for row in rows if row.kind == "incident"] == ["feedback: right"]


async def test_faults(make_app: Any, client_of: Any, scripted: Any, keep: Any, store: Store) -> None:
    async with client_of(make_app(scripted, keep=keep)) as client:
        fields = await answered(client)
        good = {**fields, "verdict": "right", "consent": "yes"}
        for change, words in (
            ({"verdict": "perhaps"}, "Say whether the right diagnosis is on the list."),
            ({"was": "x" * 201}, "The diagnosis is too long"),
            ({"ticket": "made.up"}, "can no longer be judged"),
            ({"ticket": ""}, "can no longer be judged"),
            ({"ticket": fields["ticket"][:-1] + "x"}, "can no longer be judged"),
            ({"ticket": "é.é"}, "can no longer be judged"),
            ({"case": "another case"}, "The case is not the one that was answered"),
            ({"case": ""}, "The case is not the one that was answered"),
        ):
            response = await client.post("/feedback", data={**good, **change})
            assert response.status_code == 400
            assert words in response.text
        assert (await client.post("/feedback", data=good)).status_code == 200  # none of those was counted
    assert len(list(store.entries())) == 1


async def test_a_ticket_of_another_server(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        ticket = (await answered(client))["ticket"]
    with pytest.raises(UserError, match="was started anew"):
        Tickets().read(ticket, None)
