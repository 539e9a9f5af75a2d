"""The case cut into marked pieces: whole, in order, each mark saying in words what its colour says."""

from __future__ import annotations

from typing import Any

import pytest

from rounds.records import UserError
from rounds.serve.audit import Unaudited
from rounds.serve.findings import Argument, Mark, Seen
from rounds.serve.keys import Caller, Forbidden
from rounds.serve.opinion import Diagnosis, Opinion, RedFlag
from rounds.serve.views import argument_words, code_words, flag_words, pieces, points, sentence, status_of
from rounds.serve.wording import wording
from rounds.serve.worker import Busy, EngineFailed

CASE = "Fever, cough and 🫀 fainting; no rash."


def mark(text: str) -> tuple[Mark, ...]:
    start = CASE.index(text)
    return (Mark(start=start, end=start + len(text), text=text),)


def diagnosis(rank: int, speaks_for: tuple[Argument, ...] = (), against: tuple[Argument, ...] = ()) -> Diagnosis:
    return Diagnosis(
        rank=rank,
        name=f"disease {rank}",
        icd10="",
        icd10_source="",
        condition="",
        speaks_for=speaks_for,
        speaks_against=against,
        argued=None,
    )


def argument(text: str, **more: Any) -> Argument:
    return Argument(**{"finding": text, "voices": ("model",), "marks": mark(text), **more})


def opinion(**more: Any) -> Opinion:
    given: dict[str, Any] = {
        "request": "r",
        "case": CASE,
        "model": "m",
        "standing": {},
        "template": "t@1",
        "template_examined": None,
        "answer_form": "five",
        "language": "en",
    }
    return Opinion(**(given | more))


def test_pieces() -> None:
    shown = opinion(
        diagnoses=(
            diagnosis(1, (argument("Fever"), argument("cough", doubt="not in the case")), (argument("rash"),)),
            diagnosis(2, (argument("Fever"), argument("fainting")), (argument("Fever"),)),
        ),
        red_flags=(RedFlag(text="fainting", named_by=("model",), in_case=True, marks=mark("fainting")),),
        findings=(Seen(id="rash", name="rash", denied=True, marks=mark("rash")),),
    )
    found = pieces(shown, wording())
    assert "".join(piece.text for piece in found) == CASE
    assert [(piece.text, piece.look, piece.labels) for piece in found if piece.labels] == [
        ("Fever", "both", ("for 1, 2", "against 2")),
        ("fainting", "flag", ("red flag", "for 2")),
        ("rash", "against", ("against 1",)),
    ]


def test_overlapping_marks_become_one() -> None:
    both = Mark(start=0, end=12, text=CASE[:12])
    shown = opinion(
        diagnoses=(diagnosis(1, (argument("Fever"), argument("cough", marks=(both,)))),),
        findings=(Seen(id="x", name="x", denied=True, marks=mark("no rash")),),
    )
    assert [(piece.text, piece.labels) for piece in pieces(shown, wording()) if piece.labels] == [
        ("Fever, cough", ("for 1",)),
        ("no rash", ("denied",)),
    ]
    assert [piece.text for piece in pieces(opinion(), wording())] == [CASE]


def test_words() -> None:
    say = wording()
    assert flag_words(RedFlag(text="x", named_by=("knowledge base",), in_case=True), say).startswith(
        "stated in the case"
    )
    doubted = argument("rash", doubt="denied in the case", voices=("model", "knowledge base"))
    assert argument_words(doubted, say) == "model and knowledge base, denied in the case"
    coded = diagnosis(1).model_copy(update={"icd10": "L43", "icd10_source": "WHO title"})
    assert code_words(coded, say) == "ICD-10 L43 (by the code's title)"
    assert code_words(diagnosis(1), say) == "no code known"
    assert points(-0.0512) == "−5.1"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Busy(3), 429),
        (EngineFailed("x"), 500),
        (Unaudited("x"), 503),
        (Forbidden("audit", None), 401),
        (Forbidden("audit", Caller("k", frozenset())), 403),
        (UserError("x"), 400),
        (ValueError("x"), 500),
    ],
)
def test_status(error: Exception, status: int) -> None:
    assert status_of(error)[0] == status
    assert sentence(error)[0] in "'XTAN"
