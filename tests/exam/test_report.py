from __future__ import annotations

import base64
import hashlib
import importlib.util
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import pytest

from rounds.exam import figures, words
from rounds.exam.compare import Comparison, compare_family
from rounds.exam.grid import DETAILED, Answers
from rounds.exam.later import Later
from rounds.exam.marks import Mark, from_grades
from rounds.exam.page import PAGES
from rounds.exam.report import render, write_json, write_report
from rounds.files import read_json
from rounds.records import (
    Answer,
    Case,
    Evidence,
    Grade,
    Message,
    Prompt,
    Report,
    Sampling,
    StepCheck,
    Trace,
    UserError,
)

SPECIALTIES = ("internal medicine", "surgery", "neurology", "gynaecology", "paediatrics")
INCIDENCES = ("frequent", "less frequent", "rare")
MODELS = {"base": 0.45, "distilled": 0.82, "reasoned": 0.83, "packed": 0.80}


def a_case(number: int) -> Case:
    return Case(
        id=f"exam-{number:04d}",
        vignette=f"A {20 + number % 60}-year-old presents with sudden breathlessness and pleuritic pain since "
        "yesterday evening. Two weeks ago she had a hip replacement. Temperature 37.4 C, heart rate 118/min, blood "
        "pressure 104/66 mmHg, oxygen saturation 89 % on air. No cough, no haemoptysis. D-dimer 2.4 mg/L.",
        diagnosis="pulmonary embolism",
        outside=number % 40 == 39,
        red_flags=("low oxygen saturation", "fainting") if number % 3 else (),
        must_not_miss=("acute myocardial infarction",),
        condition=f"condition-{number % 110}",
        specialty=SPECIALTIES[number % 5],
        incidence=INCIDENCES[number % 3],
    )


def an_answer(case: Case, model: str, skill: float, rng: random.Random) -> tuple[Trace, Grade]:
    # One hardness for each case: models then agree on most cases, as real ones do.
    hard = random.Random(case.id).random()
    right = hard + rng.gauss(0, 0.12) < skill
    rank = rng.choice((1, 1, 1, 2, 4)) if right else None
    five = [f"other condition {k}" for k in range(5)]
    if rank is not None:
        five[rank - 1] = case.diagnosis
    tokens = 0 if model == "base" else int(rng.gauss(140, 30))
    thinking = "" if model == "base" else "The patient has breathlessness after surgery, which fits an embolism. " * 12
    answer = Answer(case_id=case.id, diagnoses=tuple(five))
    seconds = 0.2 + abs(tokens) * 0.004 + rng.random() * 0.1
    trace = Trace(
        prompt=Prompt(case_id=case.id, template="t@1", messages=(Message(role="user", content=case.vignette),)),
        model=model,
        engine="transformers",
        sampling=Sampling(),
        thinking=thinking,
        reply="\n".join(f"{place}. {name}" for place, name in enumerate(five, 1)),
        finish="stop",
        thinking_tokens=max(tokens, 0),
        reply_tokens=40,
        total_s=seconds,
    )
    grade = Grade(
        case_id=case.id,
        answer=answer,
        correct=right,
        rank=rank,
        level="exact" if right else None,
        valid_five=rng.random() < 0.98,
        red_flags_named=len(case.red_flags) if rng.random() < skill else 0,
        red_flags_total=len(case.red_flags),
        must_not_miss_named=int(rng.random() < skill),
        must_not_miss_total=1,
        steps=None if model == "base" else StepCheck(claims=9, invented=("fever",) if rng.random() < 0.2 else ()),
        thinking_tokens=max(tokens, 0),
        groups={"specialty": case.specialty, "incidence": case.incidence, "condition": case.condition},
    )
    return trace, grade


def demo(count: int = 120, evidence: Evidence = "synthetic") -> tuple[Report, list[Case], Answers]:
    """Invented marks of four models: a chain and its report."""
    rng = random.Random(7)
    cases = [a_case(number) for number in range(count)]
    answers = {model: [an_answer(case, model, skill, rng) for case in cases] for model, skill in MODELS.items()}
    marks = {model: from_grades(grade for _, grade in pairs) for model, pairs in answers.items()}
    steps = [("base", "distilled"), ("distilled", "reasoned"), ("reasoned", "packed"), ("base", "packed")]
    family = [Comparison(old, new, marks[old], marks[new]) for old, new in steps]
    verdicts = compare_family(family, margin=0.02, alpha=0.01, by=("specialty", "incidence"))
    outside = figures.outside_of(cases)
    again = [grade for _, grade in answers["packed"]]
    report = Report(
        title="Rounds, recipe tiny: from base to 4 bits",
        alpha=0.01,
        margin=0.02,
        why_margin="two more misses in a hundred is the most we would trade for a model that runs on the ward's own PC",
        evidence=evidence,
        verdicts=tuple(v for v in verdicts if v.finding is not None),
        cells=tuple(v for v in verdicts if v.finding is None),
        floors=(
            figures.floor("right among five", "packed", 560, 660, 0.8),
            figures.floor("must-not-miss listed", "packed", 300, 420, 0.75),
        ),
        models={
            model: figures.model_figures([grade for _, grade in pairs], outside) | {"bytes": 1_240_000, "bits": 4.5}
            for model, pairs in answers.items()
        },
        baselines={
            "oracle (Bayes on the knowledge base)": {"top1": 0.79, "top5": 0.965},
            "bag of words": {"top1": 0.41, "top5": 0.72},
            "most frequent five of the specialty": {"top1": 0.05, "top5": 0.23},
        },
        notes=("0 of 110 conditions reviewed by a clinician.", "Run twice, 0 of 120 marks changed."),
        machine={"processor": "2 cores", "python": "3.11.9", "seed": "1"},
        digests={"packed": "ab" * 32, "cases": "cd" * 32},
        noise=figures.noise("packed", "in another order", again, again),
        made={"student": "made here", "splits": "teach 9, tune 9, exam 9"},
    )
    return figures.with_sittings(report, answers, outside), cases, answers


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(scope="module")
def page() -> str:
    return render(*demo())


def test_the_page_fetches_and_runs_nothing(page: str) -> None:
    tags = read(page).tags
    assert {"script", "link", "img", "iframe", "object", "form", "base"}.isdisjoint(tag for tag, _ in tags)
    policy = [a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    for _, attributes in tags:
        assert "style" not in attributes  # the policy would drop it
        assert not any(name.startswith("on") for name in attributes)
        assert all(str(attributes[name]).startswith("#") for name in ("href", "src") if name in attributes)


def test_every_reference_of_the_page_leads_somewhere(page: str) -> None:
    tags = read(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for _, a in tags if "href" in a} <= set(ids)
    assert {str(a["aria-labelledby"]) for _, a in tags if "aria-labelledby" in a} <= set(ids)


def test_what_must_be_said_is_said(page: str) -> None:
    text = " ".join(" ".join(read(page).text).split())
    for phrase in (
        "Demonstration, not for patients",
        "0 of 110 conditions reviewed by a clinician",
        "The exam was opened once for this candidate.",
        "Margin: 2.0 points. Why: two more misses in a hundred",
        "bag of words",
        "abstained when it should not: the price",
        "Absolute floors: passing the pairs is not being good",
        "median 14",
        "This does not say that the two are equal.",
        "ab" * 32,
        "right diagnosis",
        "By specialty",
        "By incidence",
        "Reasoning and error modes",
        "Priority inversion kappa 1.00 (0.99 to 1.00) on 800 planted answers",
        "No hit rests on a judge model",
        "Every case was paired in every comparison: none was left out.",
        "base did not think:",
        "packed answered 120 cases a second time, in another order. The answers to 0 were not the same",
        "How every model was asked",
        "TRIPOD-LLM checklist",
        "for the hospital",
    ):
        assert phrase in text, phrase
    assert "Proven" not in text
    assert "not significant" not in text


def test_grid_has_every_case_once_for_each_comparison(page: str) -> None:
    outcomes = "lost", "gained", "neither", "both"
    cells = re.findall(r'<(?:summary|svg) class="(lost|gained|neither|both)"', page)
    assert len(cells) == 4 * 120
    report, _, _ = demo()
    accuracy = [verdict for verdict in report.verdicts if verdict.arm == "accuracy"]
    counts = [
        sum(verdict.only_before for verdict in accuracy),
        sum(verdict.only_after for verdict in accuracy),
        sum(verdict.neither for verdict in accuracy),
        sum(verdict.both for verdict in accuracy),
    ]
    assert [cells.count(outcome) for outcome in outcomes] == counts


def test_whole_text_is_capped_and_the_page_says_so() -> None:
    full = render(*demo(720))
    assert full.count("of the ") >= 1
    shown = re.search(r"(\d+) of the (\d+) cases that were lost, gained or wrong for both open", full)
    assert shown is not None
    assert int(shown[1]) == DETAILED < int(shown[2])
    assert len(full) < 3_000_000


def test_lost_cases_open_first() -> None:
    report, cases, answers = demo(720)
    full = render(report, cases, answers)
    lost = sum(verdict.only_before for verdict in report.verdicts if verdict.arm == "accuracy")
    assert full.count('<details><summary class="lost"') == lost
    assert full.count('<svg class="lost" aria-hidden="true">') == 0


HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*7}}"


def test_hostile_text_stays_text() -> None:
    report, cases, answers = demo(60)
    bad = [case.model_copy(update={"vignette": HOSTILE, "diagnosis": HOSTILE, "specialty": HOSTILE}) for case in cases]
    names = {model: f"{model}{HOSTILE}" for model in answers}

    def poison(trace: Trace | None, grade: Grade) -> tuple[Trace | None, Grade]:
        assert trace is not None
        answer = grade.answer.model_copy(update={"diagnoses": (HOSTILE,)})
        return trace.model_copy(update={"thinking": HOSTILE}), grade.model_copy(
            update={"answer": answer, "error_modes": (HOSTILE,)}
        )

    poisoned = {names[model]: [poison(*pair) for pair in pairs] for model, pairs in answers.items()}
    worst = report.model_copy(
        update={
            "title": HOSTILE,
            "why_margin": HOSTILE,
            "notes": (HOSTILE,),
            "machine": {HOSTILE: HOSTILE},
            "digests": {HOSTILE: HOSTILE},
            "models": {HOSTILE: {HOSTILE: HOSTILE}},
            "baselines": {HOSTILE: {"top1": 0.5}},
            "floors": tuple(floor.model_copy(update={"name": HOSTILE, "model": HOSTILE}) for floor in report.floors),
            "verdicts": tuple(
                v.model_copy(update={"before": names[v.before], "after": names[v.after]}) for v in report.verdicts
            ),
            "cells": tuple(
                v.model_copy(update={"before": names[v.before], "after": names[v.after], "group": f"a={HOSTILE}"})
                for v in report.cells
            ),
        }
    )
    full = render(worst, bad, poisoned)
    reader = read(full)
    assert {"script", "img"}.isdisjoint(tag for tag, _ in reader.tags)
    assert full.count("<style>") == full.count("</style>") == 1
    assert "{{7*7}}" in "".join(reader.text)
    assert "49" not in HOSTILE


@pytest.mark.parametrize(
    ("evidence", "findings", "floor_met", "kind"),
    [
        ("local-reviewed", ("kept", "gained"), True, "proven"),
        ("local-reviewed", ("kept", "gained"), False, "unproven"),
        ("local-reviewed", ("kept", "too few cases"), True, "unproven"),
        ("local-reviewed", ("lost", "gained"), True, "unproven"),
        ("local-reviewed", (), True, "unproven"),
        ("public", ("kept", "gained"), True, "passed"),
        ("synthetic", ("kept", "gained"), True, "demonstration"),
        ("synthetic", ("lost", "kept"), True, "unproven"),
    ],
)
def test_only_reviewed_local_evidence_can_be_proven(
    evidence: Evidence, findings: tuple[str, ...], floor_met: bool, kind: str
) -> None:
    report, _, _ = demo(20, evidence)
    verdicts = tuple(report.verdicts[0].model_copy(update={"finding": finding}) for finding in findings)
    floors = (figures.floor("top five", "packed", 95, 100, 0.5 if floor_met else 0.99),)
    judged = report.model_copy(update={"verdicts": verdicts, "floors": floors})
    assert words.banner(judged).kind == kind
    full = render(judged, (), {})
    assert f'class="banner {kind}"' in full
    assert ("Demonstration, not for patients" in full) == (evidence == "synthetic")
    assert ("Proven on" in full) == (kind == "proven")


def test_marks_without_answers_still_make_a_grid() -> None:
    report, _, answers = demo(40)
    marks = {model: from_grades(grade for _, grade in pairs) for model, pairs in answers.items()}
    full = render(report, (), {}, marks=marks)
    assert len(re.findall(r'<svg class="(?:lost|gained|neither|both)" aria-hidden', full)) == 4 * 40
    assert "<details>" not in full


def test_a_report_of_bare_marks_has_no_section_that_it_cannot_fill() -> None:
    report, _, _ = demo(40)
    bare = report.model_copy(update={"sittings": {}, "noise": None, "made": {}})
    full = render(bare, (), {})
    ids = {str(attributes["id"]) for _, attributes in read(full).tags if "id" in attributes}
    assert ids.isdisjoint({"reasoning", "answers", "thinking", "noise", "ladder"})
    assert {"words", "made", "tripod", "models"} <= ids


def test_every_figure_of_a_section_is_that_of_the_report() -> None:
    report, cases, answers = demo(40)
    sat = report.sittings["packed"]
    wrong = sat.model_copy(update={"reasoning": (sat.reasoning[0].model_copy(update={"events": 7, "chances": 10}),)})
    full = render(report.model_copy(update={"sittings": {"packed": wrong}}), cases, answers)
    assert "7 of 10" in full
    assert "70.0 %" in full


def test_no_answers_is_said() -> None:
    report, _, _ = demo(40)
    assert "so no grid of cases is drawn" in render(report, (), {})


def test_empty_report_is_a_page() -> None:
    report, _, _ = demo(20)
    bare = Report(title="t", alpha=0.01, margin=0.02, why_margin="because of this", evidence="public", verdicts=())
    assert "Nothing was compared." in render(bare, (), {})
    one = [Mark("a", True, 1.0)]
    alone = compare_family([Comparison("x", "y", one, one)], margin=0.02, alpha=0.01)
    assert "not even a total loss" in render(
        bare.model_copy(update={"verdicts": alone}), (), {}, marks={"x": one, "y": one}
    )
    assert report.title in render(report, (), {})


def test_files_are_written_whole(tmp_path: Path) -> None:
    report, cases, answers = demo(30)
    write_json(report, tmp_path / "report.json")
    assert read_json(tmp_path / "report.json", Report) == report
    write_report(report, cases, answers, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(report, cases, answers)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_report(report, cases, answers, tmp_path / "taken")


# How it looks ------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def palettes() -> list[dict[str, str]]:
    style = (PAGES / "report.css").read_text(encoding="utf-8")
    return [
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark", "print"])
def test_contrast_reaches_wcag_aa(palette: dict[str, str]) -> None:
    for ground in ("bg", "panel"):
        for ink in ("text", "soft", "lost", "gained", "kept", "few"):
            assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)
        for shape in ("right", "neither"):
            assert contrast(palette[shape], palette[ground]) >= 3.0, (shape, ground)
    assert contrast(palette["on"], palette["alarm"]) >= 4.5
    assert contrast(palette["on"], palette["kept"]) >= 4.5
    if "warn" in palette:
        assert contrast(palette["on-warn"], palette["warn"]) >= 4.5


CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page is not looked at")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it(tmp_path: Path, width: int, measured: Later) -> None:
    from playwright.sync_api import sync_playwright

    write_report(*demo(), tmp_path / "report.html", later=measured)
    heard: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: heard.append(message.text))
        page.on("request", lambda request: heard.append(request.url))
        address = (tmp_path / "report.html").as_uri()
        page.goto(address)
        assert heard == [address]  # nothing fetched, nothing complained of
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The style sheet passed the page's own policy.
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.evidence')).backgroundColor")
            == "rgb(244, 211, 94)"
        )
        cell = page.locator(".cells > details").first
        assert not cell.locator(".opened").is_visible()
        cell.locator("> summary").click()
        assert cell.locator(".opened").is_visible()
        assert cell.locator(".side").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        picture = page.screenshot(full_page=True, path=tmp_path / "page.png")
        browser.close()
    assert len(picture) > 20_000


AXE = importlib.util.find_spec("axe_playwright_python")


@pytest.mark.skipif(CHROMIUM is None or AXE is None, reason="chromium or axe-playwright-python is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(tmp_path: Path, scheme: Literal["light", "dark"], measured: Later) -> None:
    from playwright.sync_api import sync_playwright

    assert AXE is not None
    assert AXE.origin is not None
    write_report(*demo(30), tmp_path / "report.html", later=measured)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        page.goto((tmp_path / "report.html").as_uri())
        page.locator(".cells > details > summary").first.click()
        page.evaluate((Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
        found = page.evaluate("axe.run()")
        browser.close()
    assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found["violations"]] == []
    assert len(found["passes"]) > 20


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page is not printed")
def test_a_browser_prints_it(tmp_path: Path) -> None:
    write_report(*demo(30), tmp_path / "report.html")
    subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={tmp_path / 'page.pdf'}",
         (tmp_path / "report.html").as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
