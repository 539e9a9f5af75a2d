"""Report, passport and audit log as pages, and who may see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rounds.records import Interval, Verdict
from rounds.serve.app import Doors
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.keys import Keys, new_key, write_keys
from rounds.serve.shelf import passport_of, report_policy, rest_of

pytestmark = pytest.mark.anyio

REPORT = "<!doctype html><style>\nh1{color:red}\n</style><h1>Kept</h1><script>alert(1)</script>"
ATTACK = "<script>alert(1)</script>"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "report.html").write_text(REPORT, encoding="utf-8")
    verdict = Verdict(before="a", after=ATTACK, n=9, both=5, only_before=1, only_after=2, neither=1, difference=0.031,
                      tango=Interval(low=-0.1, high=0.25), newcombe=Interval(low=-0.1, high=0.2), p_exact=1.0,
                      p_midp=0.9, finding="kept").model_dump()  # fmt: skip
    (tmp_path / "passport.json").write_text(
        json.dumps({"recipe": "tiny", "verdicts": [verdict], "notes": [ATTACK], "error_modes": {}}), encoding="utf-8"
    )
    return tmp_path


async def test_the_report_is_served_as_it_is(make_app: Any, client_of: Any, scripted: Any, home: Path) -> None:
    async with client_of(make_app(scripted, home=home)) as client:
        response = await client.get("/report")
    assert response.text == REPORT
    policy = response.headers["content-security-policy"]
    assert "script-src" not in policy  # so that default-src 'none' holds for scripts
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert report_policy("<p>") == policy.replace(policy.split("style-src ")[1].split(";")[0], "'none'")


async def test_the_passport_as_a_page(make_app: Any, client_of: Any, scripted: Any, home: Path) -> None:
    async with client_of(make_app(scripted, home=home)) as client:
        page = await client.get("/passport")
        file = await client.get("/passport.json")
    assert page.status_code == 200
    assert "+3.1" in page.text
    assert "−10.0 … +25.0" in page.text
    assert ATTACK not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "was not checked" in page.text
    assert file.json()["recipe"] == "tiny"


@pytest.mark.parametrize("broken", [None, "", "[", "[1]", "\ud800"])
async def test_nothing_on_the_shelf(
    make_app: Any, client_of: Any, scripted: Any, tmp_path: Path, broken: str | None
) -> None:
    if broken is not None:
        (tmp_path / "passport.json").write_bytes(broken.encode("utf-8", "surrogatepass"))
    async with client_of(make_app(scripted, home=tmp_path)) as client:
        report, page = await client.get("/report"), await client.get("/passport")
    assert (report.status_code, page.status_code) == (404, 404)
    assert "There is no report beside this checkpoint." in report.text
    assert "There is no passport beside this checkpoint" in page.text


def test_fields_shown_as_they_are() -> None:
    assert passport_of("{}") == {}
    assert rest_of({"a": "b", "c": [1], "d": "", "verdicts": [1]}) == [
        ("a", "b"),
        ("c", "[\n 1\n]"),
        ("verdicts", "[\n 1\n]"),
    ]


async def test_the_audit_log_as_a_page(make_app: Any, client_of: Any, scripted: Any, tmp_path: Path) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    async with client_of(make_app(scripted, audit=audit)) as client:
        empty = await client.get("/audit")
        await client.post("/", data={"case": "secret fever"})
        await audit.incident("officer", ATTACK)
        page = await client.get("/audit")
    assert "There is no row yet." in empty.text
    assert "The chain is whole: 3 rows" in page.text
    assert "secret fever" not in page.text
    assert ATTACK not in page.text
    assert page.text.count("<tr>") == 4


async def test_who_may_see_what(make_app: Any, client_of: Any, scripted: Any, home: Path, tmp_path: Path) -> None:
    place = tmp_path / "keys.json"
    ward, ward_key = new_key("ward", ("diagnose",))
    officer, officer_key = new_key("officer", ("audit",))
    write_keys(place, (ward_key, officer_key))
    async with client_of(make_app(scripted, home=home, doors=Doors(keys=Keys(place)))) as client:
        for path in ("/", "/report", "/passport", "/audit"):
            nobody = await client.get(path)
            assert (nobody.status_code, nobody.headers["location"]) == (303, f"/login?to={path}")
        assert (await client.get("/passport.json")).status_code == 401
        for token, statuses in ((ward, [200, 200, 200, 403]), (officer, [403, 403, 403, 200])):
            headers = {"authorization": f"Bearer {token}"}
            found = [await client.get(path, headers=headers) for path in ("/", "/report", "/passport", "/audit")]
            assert [one.status_code for one in found] == statuses
        assert "lacks the scope" in found[0].text
