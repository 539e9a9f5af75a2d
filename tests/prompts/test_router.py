"""The router on real questions nobody taught it, on questions of no kind, and rebuilt from its lessons."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.cases.importers import formats
from rounds.knowledge.base import load
from rounds.prompts import router
from rounds.prompts.lessons import Asked, lessons, written
from rounds.prompts.router import Weights, fit, language_of, read, route, save, template_for, vector
from rounds.prompts.template import names
from rounds.records import Case

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("A 50-year-old man has crushing chest pain and sweats. What are the likely diagnoses?", "differential"),
        ("How should I treat pneumonia in a man of 80 with kidney disease?", "treatment"),
        ("Sodium 118, potassium 6.1, glucose 2.9. How do I interpret these results?", "tests"),
        ("Sodium 121, potassium 5.9: how do I read this?", "tests"),
        ("How urgent is this: chest pain for two hours?", "triage"),
        ("Can warfarin be taken together with fluconazole?", "medication"),
        ("Fever and a stiff neck since this morning. Does she need the emergency department?", "triage"),
        ("Which nerve is hurt in carpal tunnel syndrome?\nA. Ulnar\nB. Median\nC. Radial\nD. Axillary", "choice"),
        ("Calculate the anion gap: sodium 141, chloride 99, bicarbonate 15.", "calculation"),
        ("Explain to my grandmother in simple words what heart failure is.", "patient"),
        ("Doctor: What brings you in?\nPatient: My back hurts.\nDoctor: Since when?\nPatient: May.", "record"),
        ("Write the SBAR handover for bed 3: stroke, swallow failed, feed started.", "handover"),
        ("¿Hay interacciones entre sertralina y tramadol?", "medication"),
        ("社区获得性肺炎的一线治疗是什么？", "treatment"),
    ],
)
def test_a_question_finds_its_kind(text: str, kind: str) -> None:
    assert route(text).kind == kind


@pytest.mark.parametrize(
    "text",
    ["", "   ", "Hi!", "Who painted the Mona Lisa?", "\x00\ufffd\u200b", "Bake me a cake.", "🙂🙂🙂"],
)
def test_a_text_of_no_known_kind_falls_back_to_the_plain_template(text: str) -> None:
    assert route(text).kind == "plain"
    case = Case(id="c", vignette=text or " ", diagnosis="")
    assert template_for(case) == "plain@1"


def test_texts_about_other_things_mostly_fall_back() -> None:
    texts = (
        "What is 17 times 23?|How tall is the Eiffel tower?|List three rivers in Germany.|Is Pluto a planet?|"
        "Please book the meeting room for Friday.|git push failed with error 128|Recommend a film for tonight.|"
        "Rewrite this e-mail more politely.|The invoice 4421 over 300 euros has not been paid.|Bake a cake.|"
        "My laptop does not start any more.|Plan a trip to Rome for three days.|Does the museum open on Monday?|"
        "Make a shopping list for a barbecue.|What does the fox say?|Set an alarm for six o'clock.|SELECT 1;|"
        "¿Cuánto cuesta el billete de tren?|今天的足球比赛谁赢了？|Summarise the news of today."
    )
    found = [route(text).kind for text in texts.split("|")]
    assert found.count("plain") >= 0.75 * len(found)


def test_in_doubt_the_router_abstains() -> None:
    unsure = Weights(("choice", "triage"), np.zeros((router.BUCKETS + 1, 2), dtype=np.int8), 0.1)
    found = route("Which one?", unsure)
    assert found.sure == 0.5
    leaning = Weights(("choice", "plain", "triage"), np.zeros((router.BUCKETS + 1, 3), dtype=np.int8), 0.1)
    assert (route("Which one?", leaning).kind, route("Which one?", leaning).sure) == ("plain", pytest.approx(1 / 3))


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert route(text).kind in read().kinds


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the treatment of gout?", "en"),
        ("¿Cuál es el tratamiento?", "es"),
        ("Quelle est la cause de cette maladie ?", "fr"),
        ("Welche Ursache ist bei der Patientin nicht möglich?", "de"),
        ("Qual é a causa da doença e não do sintoma?", "pt"),
        ("最可能的诊断是什么", "zh"),
        ("正しいのはどれか", "ja"),
        ("", "en"),
    ],
)
def test_the_language_is_seen(text: str, language: str) -> None:
    assert language_of(text) == language


def test_every_kind_has_a_template() -> None:
    assert set(read().kinds) <= {name.partition("@")[0] for name in names()}


def test_saved_weights_read_back(tmp_path: Path) -> None:
    taught = fit([Asked("Which?\nA. x\nB. y", "choice", "en"), Asked("How urgent is this?", "triage", "en")])
    save(taught, tmp_path / "w.npz")
    again = read(tmp_path / "w.npz")
    assert (again.kinds, again.scale) == (taught.kinds, taught.scale)
    assert np.array_equal(again.values, taught.values)
    assert route("How urgent?", again).kind == "triage"


def test_a_fit_is_the_same_again() -> None:
    asked = written()[::5]
    assert np.array_equal(fit(asked).values, fit(asked).values)


@pytest.mark.slow
def test_the_shipped_weights_are_those_of_the_lessons() -> None:
    taught = fit(lessons(load()))
    assert taught.kinds == read().kinds
    assert np.array_equal(taught.values, read().values)


def test_like_cases_lie_nearer() -> None:
    one, other, far = vector("fever and cough"), vector("cough and fever"), vector("a broken bicycle")
    assert float(one @ other) > float(one @ far)
    assert float(one @ one) == pytest.approx(1.0)


def imported(name: str) -> Callable[[Path], list[Case]]:
    return lambda path: list(formats.cases(formats.outcomes(name, path), formats.Count()))


REAL = [
    ("01_avey_vignettes_five_ddx/vignettes.jsonl", "avey", "differential", 1),
    ("09_medagents_recorded_mcq/medqa.items.jsonl.gz", "medqa", "choice", 8),
    ("16_french_medmcqa/test_part.jsonl", "french-medmcqa", "choice", 4),
    ("12_igakuqa_ja_en/items_2021.jsonl.gz", "igakuqa", "choice", 8),
    ("10_pubmedqa/ori_pqal_train_500.json.gz", "pubmedqa", "evidence", 6),
]


@pytest.mark.shared
@pytest.mark.parametrize(("path", "name", "kind", "every"), REAL)
def test_real_questions_find_their_kind(path: str, name: str, kind: str, every: int) -> None:
    if not (SHARED / path).is_file():
        pytest.skip(f"{path} is not there")
    cases = imported(name)(SHARED / path)[::every]
    texts = [
        case.vignette if kind == "evidence" else case.question for case in cases if kind != "choice" or case.options
    ]
    times = []
    right = 0
    for text in texts:
        start = time.thread_time()
        right += route(text).kind == kind
        times.append(time.thread_time() - start)
    assert len(texts) >= 30
    assert right / len(texts) >= 0.95
    # Time of this thread alone, so that a busy machine does not count: twice the promise, for a slow processor.
    assert statistics.median(times) < 0.010
