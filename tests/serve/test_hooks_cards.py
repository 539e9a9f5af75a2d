"""Cards: below 140 characters, nothing empty, the standing first, and no word of a model becomes markup."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.serve.fhir import Chart, Line
from rounds.serve.hooks_cards import card_of, markdown, without_empty
from rounds.serve.hooks_tray import Asking, Ticket
from rounds.serve.keys import ANONYMOUS
from rounds.serve.opinion import Abstention, Diagnosis, Opinion, RedFlag
from rounds.serve.standing import Standing

EXPIRES = datetime(2026, 11, 21, 17, 30, tzinfo=UTC)
STANDING = Standing(
    word="demonstration", banner="Demonstration, not for patients", evidence="synthetic", checkpoint="a"
)
PROVEN = Standing(word="proven", banner="For research, not a medical device", evidence="local-reviewed", checkpoint="a")


def opinion(*names: str, **more: Any) -> Opinion:
    diagnoses = tuple(
        Diagnosis(
            rank=rank,
            name=name,
            icd10="J18.9" if rank == 1 else "",
            icd10_source="knowledge base" if rank == 1 else "",
            condition="",
            speaks_for=(),
            speaks_against=(),
            argued=None,
        )
        for rank, name in enumerate(names, start=1)
    )
    given = {"request": "r", "case": "c", "model": "m", "standing": {}, "template": "t@1", "template_examined": True}
    return Opinion(**{**given, "answer_form": "five", "language": "en", "diagnoses": diagnoses, **more})


def ticket(
    answer: Opinion | None, state: Any = "ready", fault: str = "", newest: date | None = None
) -> Ticket[Opinion]:
    chart = Chart("p1", 40, "", (Line("A patient.", ()),), False, newest, {"not clinical": 2})
    read = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)
    asking = Asking("k", "A patient.", chart, ANONYMOUS, 0.0, read, state, answer, fault)
    return Ticket("4e0a3a1e-3283-4575-ab82-028d55fe2719", "TOKEN", asking, "local", False)


def card(answer: Opinion | None, standing: Standing = STANDING, **more: Any) -> dict[str, Any]:
    return card_of(ticket(answer, **more), standing, "tiny", "https://cds.example", EXPIRES)


FIVE = ("pneumonia", "pulmonary embolism", "heart failure", "pleurisy", "lung abscess")
FLAG = RedFlag(text="low oxygen", named_by=("model",), in_case=True)
WHY = Abstention(by="rule", kind="age", reason="Nobody of this age was in the exam.")


def test_an_answer() -> None:
    made = card(opinion(*FIVE, red_flags=(FLAG,)), newest=date(2026, 11, 18))
    assert made["summary"] == (
        "Demonstration, not for patients: red flags in the record; consider pneumonia, pulmonary embolism, "
        "heart failure, pleurisy, lung abscess"
    )
    assert made["indicator"] == "warning"
    assert made["links"] == [{"label": "Open in Rounds", "url": "https://cds.example/cards/TOKEN", "type": "absolute"}]
    assert made["source"] == {"label": "Rounds: tiny", "url": "https://cds.example/"}
    assert all(reason["display"] for reason in made["overrideReasons"])
    assert made["detail"].splitlines()[:6] == [
        "**Demonstration, not for patients**",
        "",
        "1. pneumonia (ICD-10 J18.9)",
        "2. pulmonary embolism",
        "3. heart failure",
        "4. pleurisy",
    ]
    assert "Red flags in the record: low oxygen." in made["detail"]
    assert "not an all-clear" not in made["detail"]
    assert "Read from the record at 17:00 UTC, its newest entry of 3 days ago; good until 17:30 UTC." in made["detail"]
    assert "2 resources of the call are not part of the case." in made["detail"]
    assert len(made["summary"]) == 135
    longer = card(opinion(*FIVE[:4], "abscess of the lung", red_flags=(FLAG,)))
    assert longer["summary"].endswith("heart failure, pleurisy and 1 more")
    assert not {"suggestions", "selectionBehavior", "systemActions"} & set(made)


def test_silence_about_red_flags_is_no_all_clear() -> None:
    made = card(opinion(*FIVE))
    assert "The model named no red flag; this is not an all-clear." in made["detail"]
    assert made["indicator"] == "info"
    seen = card(opinion(*FIVE, red_flags=(FLAG.model_copy(update={"named_by": ("knowledge base",)}),)))
    assert "not an all-clear" in seen["detail"]
    assert seen["indicator"] == "warning"


@pytest.mark.parametrize(
    ("answer", "state", "fault", "summary", "detail"),
    [
        (None, "waiting", "", "diagnoses are being worked out", "The model is at work"),
        (None, "running", "", "diagnoses are being worked out", "The model is at work"),
        (None, "failed", "the prompt is too long.", "no answer was found", "No answer: the prompt is too long."),
        (opinion(abstention=WHY), "ready", "", "does not answer for this patient", "Nobody of this age was in"),
        (opinion(unreadable=True), "ready", "", "could not be read as diagnoses", "No list of diagnoses"),
    ],
)
def test_cards_without_diagnoses(answer: Any, state: str, fault: str, summary: str, detail: str) -> None:
    made = card(answer, state=state, fault=fault)
    assert made["summary"].startswith("Demonstration, not for patients: ")
    assert summary in made["summary"]
    assert detail in made["detail"]
    assert made["indicator"] == "info"
    assert "overrideReasons" not in made


def test_a_proven_model_needs_no_warning_in_the_summary_and_keeps_its_banner() -> None:
    made = card(opinion(*FIVE), PROVEN)
    assert made["summary"].startswith("Consider pneumonia, pulmonary embolism")
    assert made["detail"].startswith("**For research, not a medical device**")
    assert made["extension"]["rounds"]["standing"] == "proven"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("[click](http://evil.example)", r"\[click\](http\://evil\.example)"),
        ("www.evil.example", r"www\.evil\.example"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("a\n\n# heading", r"a \# heading"),
        ("**bold** _it_ `code` ~~x~~ | t |", r"\*\*bold\*\* \_it\_ \`code\` \~\~x\~\~ \| t \|"),
        ("me@evil.example &lt;", r"me\@evil\.example \&lt;"),
    ],
)
def test_markdown_is_text(hostile: str, shown: str) -> None:
    assert markdown(hostile) == shown


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=5), st.text(max_size=100))
@settings(max_examples=60)
def test_any_words_of_a_model_make_a_sound_card(names: list[str], flag: str) -> None:
    answer = opinion(*names, red_flags=(RedFlag(text=flag, named_by=("model",), in_case=True),))
    made = card(answer)
    assert len(made["summary"]) < 140
    assert made["summary"].isprintable()
    assert not re.search("[<>]", made["summary"])
    assert not re.search(r"(?<!\\)[<>\[\]]", made["detail"])
    assert not empties(made)


def empties(value: Any) -> bool:
    if isinstance(value, dict):
        return not value or any(empties(one) for one in value.values())
    if isinstance(value, list):
        return not value or any(empties(one) for one in value)
    return value is None or value == ""


def test_nothing_empty_goes_out() -> None:
    assert without_empty({"a": None, "b": "", "c": [], "d": {"e": [None, {}]}, "f": 0, "g": False}) == {
        "f": 0,
        "g": False,
    }
