"""No page is wider than a telephone, however long and unbroken the names on it are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rounds.cli.main import main
from rounds.exam.marks import Mark
from rounds.exam.specialties import Matrix, matrix
from rounds.exam.specialties import write_page as write_matrix
from rounds.exam.study import Study
from rounds.exam.study_answers import Sat
from rounds.exam.study_page import write_page as write_study
from rounds.exam.study_result import judge
from rounds.records import Answer, Grade

CHROMIUM = shutil.which("chromium")
LONG = "a_model_of_the_hospital_with_a_very_long_name_that_does_not_break_anywhere_v12"
WARD = "obstetrics_and_gynaecology_with_neonatology_and_paediatric_surgery"
CASES = 60


def right(number: int, model: int) -> bool:
    return number % (3 + model) != 0


def compare_pages(place: Path) -> list[Path]:
    """The page of `rounds compare` on two files with such names."""
    names = [f"{LONG}-{model}" for model in range(2)]
    for model, name in enumerate(names):
        rows = [{"case_id": f"c{n}", "correct": right(n, model), WARD: f"{WARD}-{n % 3}"} for n in range(CASES)]
        (place / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    files = [str(place / f"{name}.jsonl") for name in names]
    why = f"one case in twenty, says {LONG}"
    asked = ["--margin", "0.05", "--why-margin", why, "--by", WARD, "--html", str(place / "compare.html")]
    assert main(["compare", *files, *asked]) in (0, 1, 3)
    return [place / "compare.html"]


def study_pages(place: Path) -> list[Path]:
    """The page of `rounds study`, every pair of three models."""
    names = [f"{LONG}-{model}" for model in range(3)]
    study = Study.model_validate(
        {
            "title": LONG, "margin": 0.05, "why_margin": "one case in twenty", "by": ["ward"], "all_pairs": True,
            "model": [{"name": name, "marks": {"path": f"{name}.jsonl"}} for name in names],
            "pair": [{"before": names[0], "after": name} for name in names[1:]],
        }
    )  # fmt: skip
    sat = {
        name: Sat([Mark(str(n), ok, float(ok), 1, None, {"ward": f"{WARD}-{n % 3}"}) for n in range(CASES)
                   for ok in [right(n, model)]])
        for model, name in enumerate(names)
    }  # fmt: skip
    result = judge(study, sat, (), machine={LONG: LONG}, digests={LONG: "0" * 64})
    write_study(result, place / "study.html", "cases.html")
    return [place / "study.html"]


def specialise_pages(place: Path) -> list[Path]:
    """The page of `rounds specialise`: a matrix of five specialties."""
    wards = [f"{WARD}-{number}" for number in range(5)]

    def grades(model: int) -> list[Grade]:
        return [
            Grade(case_id=f"{ward}-{n}", answer=Answer(case_id=f"{ward}-{n}"), correct=right(n, model),
                  groups={"specialty": ward})
            for ward in wards for n in range(CASES)
        ]  # fmt: skip

    rows = matrix(grades(0), {ward: grades(1) for ward in wards}, margin=0.05, alpha=0.01)
    found = Matrix(
        start=LONG, margin=0.05, alpha=0.01, evidence="synthetic", cases=dict.fromkeys(wards, CASES), rows=rows
    )
    write_matrix(found, LONG, place / "specialise.html")
    return [place / "specialise.html"]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the pages are not looked at")
def test_no_page_is_wider_than_its_window(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    pages = [*compare_pages(tmp_path), *study_pages(tmp_path), *specialise_pages(tmp_path)]
    wide: dict[str, int] = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 900})
        for path in pages:
            page.goto(path.as_uri())
            for one in page.locator(".cells > details > summary").all()[:1]:
                one.click()
            wide[path.name] = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert len(wide) == 3
    assert {name: width for name, width in wide.items() if width > 390} == {}
