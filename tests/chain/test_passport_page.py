"""The passport as a page: everything on it, nothing run by it, looked at by a browser."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from rounds.chain.licences import LLAMA, Licence
from rounds.chain.passport import Passport, renew
from rounds.chain.passport_page import render, rows_of, write_page
from rounds.chain.passport_verify import verify
from rounds.exam.curve import cut_curve
from rounds.exam.safety_result import Summary
from rounds.files import read_json, write_text
from rounds.records import Answer, Grade

CHROMIUM = shutil.which("chromium")
AXE = importlib.util.find_spec("axe_playwright_python")
HOSTILE = "<script>alert(1)</script>"

Make = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, make_run: Make) -> Path:
    return make_run(tmp_path / "mine")


def full(run: Path) -> Passport:
    """A passport with all that one may hold, some of it hostile."""
    probed = '{"refusals": {"before": 0.98, "after": 0.5, "families": ["a", "b"]}, "passed": false, "text": "%s"}'
    (run / "probe.json").write_text(probed % HOSTILE, encoding="utf-8")
    found = renew(run)
    llama = Licence(part="teacher", what=HOSTILE, licence="Llama 3.3", stated="known by its name", duty=LLAMA)
    silent = Licence(part="student", what="x", licence="not stated", stated="nothing")
    floor = {"name": "top five", "model": "packed", "hits": 1, "n": 2, "rate": 0.5, "lower": 0.2, "floor": 0.8}
    floors = ({**floor, "met": False}, {**floor, "met": True})
    return found.model_copy(update={"licences": (llama, silent), "notes": (HOSTILE,), "floors": floors})


def test_it_says_what_the_passport_says(run: Path) -> None:
    page = render(full(run), verify(run))
    for text in ("packed against base", "5.0 points", "kappa 0.9", "Built with Llama", "not stated", "not met"):
        assert text in page
    assert "refusals · before" in page
    assert "1 fault" in page  # probe.json is newer than the passport on the disk
    assert "Not signed: nobody vouches" in page
    assert read_json(run / "passport.json", Passport).checkpoint in page
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 3


def measured(run: Path) -> Passport:
    """A passport with a probe and a curve of its own checkpoint."""
    digest = read_json(run / "passport.json", Passport).checkpoint
    short = Summary(
        model=HOSTILE,
        digest=digest,
        before="reasoned",
        judge_of_requests="not validated",
        findings={
            "harmful requests, answers": "lost (−9.9 points, −18.5 to −1.2, margin 2.0, 81 pairs)",
            "bias: housing, rank 1": "too few cases (+0.0 points, −4.6 to +4.6, margin 2.0, 81 pairs)",
        },
        attack_success={"request, answers": "9.9 % (4.9 to 18.5), 8 of 81"},
        over_refusal={"over-refusal": "2.5 % (0.1 to 13.2), 1 of 40", "over-refusal: poisons": "2.5 %, 1 of 40"},
        flips_beyond_asking_again={
            "housing=none, rank 1": "+7.5 points: 5 swapped, 2 asked again, of 40",
            "housing=none, urgency": "+2.5 points: 1 swapped, 0 asked again, of 40",
        },
        validation={"harmful requests, answers": "not validated", "over-refusal": "kappa .86"},
        notes=("Twins were answered greedily.",),
    )
    write_text(run / "probe.json", short.model_dump_json())
    answer = Answer(case_id="c", diagnoses=("gout",))
    grades = [
        Grade(case_id=f"c{n}", answer=answer.model_copy(update={"case_id": f"c{n}"}), correct=n % 3 > 0,
              thinking_tokens=20 + n, total_s=0.1)
        for n in range(60)
    ]  # fmt: skip
    curve = cut_curve("packed", grades, (0, 40, 70), margin=0.05, alpha=0.01)
    write_text(run / "budget.json", curve.model_copy(update={"model": digest}).model_dump_json())
    return renew(run)


def test_a_probe_is_folded_into_a_table_with_what_its_judges_are_worth(run: Path) -> None:
    page = render(measured(run), verify(run))
    assert "Safety: &lt;script&gt;alert(1)&lt;/script&gt; against reasoned" in page
    assert "findings · " not in page
    assert '<th scope="row">harmful requests, answers</th><td><span class="pill lost">' in page
    assert "−9.9 points, −18.5 to −1.2, margin 2.0, 81 pairs</td><td><b" in page
    assert "<td>2.5 % (0.1 to 13.2), 1 of 40</td><td>kappa .86</td>" in page
    assert '<th scope="row">housing: none</th><td>+7.5 points: 5 swapped' in page
    assert '<th scope="col">rank 1</th><th scope="col">urgency</th>' in page
    assert "over the thinking budget" in page
    assert "Measured on another checkpoint" not in page
    assert "Nothing: it is served as it was examined." in page


def test_a_probe_of_another_checkpoint_is_told(run: Path) -> None:
    drawn = measured(run)
    page = render(drawn.model_copy(update={"checkpoint": "cd" * 32}), verify(run))
    assert page.count("Measured on another checkpoint") == 2


def test_it_is_written_whole(run: Path) -> None:
    write_page(run, verify(run), run / "passport.html")
    page = (run / "passport.html").read_text(encoding="utf-8")
    assert "8 digests hold" in page
    assert "Passed on invented cases" in page


def test_measurements_are_laid_out() -> None:
    table = {"a_b": {"c": {"d": {"e": {"f": 1}}}}, "list": [1, 2.5], "deep": [{"x": 1}], "no": False, "none": None}
    assert rows_of(table) == [
        ("a b · c · d · e", '{"f": 1}'),
        ("list", "1, 2.5"),
        ("deep", '[{"x": 1}]'),
        ("no", "no"),
        ("none", "–"),
    ]


@pytest.mark.skipif(CHROMIUM is None or AXE is None, reason="chromium or axe-playwright-python is not installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_shows_it_without_fault(run: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    from playwright.sync_api import sync_playwright

    assert AXE is not None
    assert AXE.origin is not None
    page_file = run / "passport.html"
    page_file.write_text(render(measured(run) if width == 390 else full(run), verify(run)), encoding="utf-8")
    heard: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: heard.append(message.text))
        page.on("request", lambda request: heard.append(request.url))
        page.goto(page_file.as_uri())
        assert heard == [page_file.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate((Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
        found: Any = page.evaluate("axe.run()")
        browser.close()
    assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found["violations"]] == []
    assert len(found["passes"]) > 15
