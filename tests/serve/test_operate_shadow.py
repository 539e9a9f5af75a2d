"""In shadow nothing of an answer gets out: the clinician's own list is compared, and only figures are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.grade.names import Names
from rounds.knowledge.base import load
from rounds.records import Answer, UserError
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.operate import Operation, stop
from rounds.serve.operate_shadow import Agreement, compare, summary, summed

pytestmark = pytest.mark.anyio

Make = Callable[..., Any]
CHROMIUM = shutil.which("chromium")
FORM = {"case": "fever and cough, CANARY", "d1": "heart failure", "d2": "Pneumonia", "d3": " "}
NAMES = Names(load())


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(SQLite(tmp_path / "audit.sqlite"))


@pytest.fixture
def app(tmp_path: Path, scripted: Any, make_app: Make, audit: Audit) -> Any:
    return make_app(scripted, operation=Operation(tmp_path), shadow=True, audit=audit)


def test_lists_are_compared_by_what_they_mean() -> None:
    told = compare(
        ("Heart attack", "gout", "gout"),
        Answer(case_id="c", diagnoses=("pleurisy", "myocardial infarction", "gout")),
        NAMES,
    )
    same = NAMES.meaning("Heart attack") == NAMES.meaning("myocardial infarction")
    assert told["theirs"] == 2
    assert told["ours"] == 3
    assert told["shared"] == (2 if same else 1)
    assert told["place"] == (2 if same else None)
    assert compare(("A new Thing",), Answer(case_id="c", diagnoses=("a new thing",)), NAMES)["same_first"]
    nothing = compare(("gout",), Answer(case_id="c", abstained=True), NAMES)
    assert (nothing["place"], nothing["shared"], nothing["abstained"]) == (None, 0, True)


async def test_the_page_says_recorded_and_nothing_else(
    tmp_path: Path, app: Any, client_of: Make, scripted: Any, audit: Audit, kept: Make
) -> None:
    async with client_of(app) as client:
        assert "Your own five diagnoses" in (await client.get("/")).text
        answer = await client.post("/", data=FORM)
        (one,) = await kept(tmp_path)
    assert answer.status_code == 200
    assert "Recorded." in answer.text
    for secret in ("embolism", "pleurisy", "abscess", scripted.thinking, "CANARY"):
        assert secret not in answer.text
    assert (one["place"], one["shared"], one["theirs"], one["ours"]) == (3, 2, 2, 5)
    assert one["checkpoint"] == "ab" * 32
    everything = "".join(path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    for secret in ("CANARY", "neumonia", "heart failure", "abscess"):
        assert secret not in everything
    assert [(row.kind, row.door) for row in audit.rows(5)] == [("result", "shadow page"), ("request", "shadow page")]
    assert audit.rows(1)[0].request == one["request"]


async def test_no_other_door_is_open(app: Any, client_of: Make, chat_body: Make) -> None:
    async with client_of(app) as client:
        for path in ("/v1/chat/completions", "/v1/diagnose", "/cds-services/patient-view"):
            assert (await client.post(path, json=chat_body())).status_code == 404
        assert (await client.get("/v1/models")).status_code == 404
        assert (await client.post("/stream", data=FORM)).status_code == 404
        assert (await client.get("/health")).status_code == 200
        assert "text/html" in (await client.get("/report")).headers["content-type"]


async def test_a_record_by_the_api(tmp_path: Path, app: Any, client_of: Make, kept: Make) -> None:
    async with client_of(app) as client:
        answer = await client.post("/v1/shadow", json={"case": "a cough", "diagnoses": ["pneumonia"]})
        assert answer.status_code == 202
        assert set(answer.json()) == {"recorded", "rounds"}
        (one,) = await kept(tmp_path)
    assert one["same_first"]
    assert answer.json()["recorded"] == one["request"]


async def test_an_answer_that_fails_is_counted_as_none(tmp_path: Path, app: Any, client_of: Make, kept: Make) -> None:
    async with client_of(app) as client:
        await client.post("/", data={**FORM, "case": "EARLYBREAK"})
        (one,) = await kept(tmp_path)
    assert one["answered"] is False
    assert summary(tmp_path).answered == 0


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"case": " ", "d1": "x"}, "The case is empty"),
        ({"case": "x"}, "Name at least one diagnosis of your own"),
        ({"case": "x", "d1": "y" * 201}, "A diagnosis is longer than 200 characters"),
        ({"case": "x" * 20_001, "d1": "y"}, "at most 20000 can be read"),
    ],
)
async def test_faults_are_sentences_and_lose_nothing(
    app: Any, client_of: Make, fields: dict[str, str], sentence: str
) -> None:
    async with client_of(app) as client:
        answer = await client.post("/", data=fields)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert fields.get("d1", "") in answer.text


@pytest.mark.parametrize("body", [{"case": "x"}, {"case": "x", "diagnoses": []}, {"case": "x", "diagnoses": ["a"] * 6}])
async def test_bad_bodies_are_refused(app: Any, client_of: Make, body: dict[str, Any]) -> None:
    async with client_of(app) as client:
        assert (await client.post("/v1/shadow", json=body)).status_code == 400
        blank = await client.post("/v1/shadow", json={"case": "x", "diagnoses": [" "]})
        assert (blank.status_code, "name at least one" in blank.text) == (400, True)


async def test_the_kill_switch_holds_in_shadow(tmp_path: Path, app: Any, client_of: Make) -> None:
    stop(tmp_path, "a reason")
    async with client_of(app) as client:
        answer = await client.post("/", data=FORM)
        assert answer.status_code == 503
        assert "was stopped by those responsible" in answer.text
        assert (await client.post("/v1/shadow", json={"case": "x", "diagnoses": ["y"]})).status_code == 503


def test_what_was_recorded_is_summed_up(tmp_path: Path) -> None:
    one = {"time": "t", "request": "r", "checkpoint": "c", "passport": "p", "answered": True}
    every = [
        Agreement.model_validate({**one, "place": 1, "same_first": True, "shared": 3}),
        Agreement.model_validate({**one, "place": 4, "shared": 1}),
        Agreement.model_validate({**one, "abstained": True}),
        Agreement.model_validate({**one, "answered": False}),
    ]
    found = summed(every)
    assert (found.recorded, found.answered, found.same_first, found.first_among_five) == (4, 3, 1, 2)
    assert found.shared == pytest.approx(4 / 3)
    assert found.abstained == 1
    assert 0.05 < found.same_first_interval.low < 1 / 3 < found.same_first_interval.high
    with pytest.raises(UserError, match="nothing was recorded in shadow yet"):
        summary(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page is not used")
def test_a_clinician_records_by_keyboard(app: Any, serve: Any) -> None:
    from playwright.sync_api import sync_playwright

    with serve(app) as url, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 844}, java_script_enabled=False)
        page.goto(url)
        page.get_by_label("The case", exact=True).fill("fever and cough")
        page.keyboard.press("Tab")
        page.keyboard.type("pneumonia")
        page.keyboard.press("Enter")
        page.get_by_role("status").wait_for()
        assert "Recorded." in page.get_by_role("status").inner_text()
        assert page.get_by_label("The case", exact=True).input_value() == ""
        assert "embolism" not in page.content()
        browser.close()
