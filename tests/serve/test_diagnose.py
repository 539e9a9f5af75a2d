"""POST /v1/diagnose: the record that comes back, abstentions before the model is asked, faults, and the router."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rounds import files
from rounds.records import Case
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.diagnose import kinds
from rounds.serve.examined import LEAST
from rounds.serve.opinion import Opinion

pytestmark = pytest.mark.anyio

CASE = "A 47-year-old woman has breathlessness and is coughing up blood. No fever."
THINKING = "Coughing up blood suggests pulmonary embolism. No fever, so less likely: pneumonia."
REPLY = (
    "1. Pulmonary embolism\n2. Community-acquired pneumonia\n3. Takotsubo cardiomyopathy\n4. Quixotic fever syndrome\n"
    "5. Heart failure\nRed flags: coughing up blood; a look of unease"
)
FOR_PATIENTS = "A {age}-year-old man has a cough and the fever of two days."


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A run that was examined on adults in English, none of them pregnant."""
    cases = [Case(id=str(i), vignette=FOR_PATIENTS.format(age=30 + i), diagnosis="gout") for i in range(LEAST)]
    files.write_jsonl(tmp_path / "cases" / "exam.jsonl", cases)
    return tmp_path


async def diagnose(client: Any, case: str = CASE, **more: Any) -> Opinion:
    response = await client.post("/v1/diagnose", json={"case": case, **more})
    assert response.status_code == 200, response.text
    return Opinion.model_validate_json(response.content)


async def test_an_opinion(make_app: Any, client_of: Any, make_scripted: Any, home: Path) -> None:
    async with client_of(make_app(make_scripted(THINKING, REPLY), home=home)) as client:
        opinion = await diagnose(client, f"  {CASE}\n")
    assert opinion.case == CASE
    assert [(one.rank, one.icd10, one.icd10_source) for one in opinion.diagnoses] == [
        (1, "I26.9", "knowledge base"),
        (2, "J18.9", "knowledge base"),
        (3, "", ""),  # the WHO has no title of just this name
        (4, "", ""),
        (5, "I50.9", "knowledge base"),
    ]
    embolism, pneumonia, takotsubo = opinion.diagnoses[:3]
    blood = next(one for one in embolism.speaks_for if one.finding == "coughing up blood")
    assert blood.voices == ("model", "knowledge base")
    assert [CASE[mark.start : mark.end] for mark in blood.marks] == ["coughing up blood"]
    assert [one.finding for one in pneumonia.speaks_against if one.absent] == ["fever"]
    assert (embolism.argued, takotsubo.argued, takotsubo.condition) == (True, False, "")
    assert [(flag.text, flag.in_case) for flag in opinion.red_flags[:2]] == [
        ("coughing up blood", True),
        ("a look of unease", False),
    ]
    assert opinion.red_flags_note == ""
    assert (opinion.template, opinion.template_examined) == ("differential-brief@1", True)
    assert (opinion.standing["standing"], opinion.model) == ("demonstration", "tiny")
    assert (opinion.reasoning, opinion.reply, opinion.finish) == (THINKING, REPLY, "stop")
    assert opinion.reasoning_check is not None
    assert opinion.reasoning_check.errors == 0
    assert opinion.abstention is None
    assert opinion.notes == ()
    assert opinion.language == "en"
    assert "embolism" not in {one.name for one in opinion.not_to_miss}


async def test_a_title_of_the_who_has_its_code(make_app: Any, client_of: Any, make_scripted: Any) -> None:
    async with client_of(make_app(make_scripted("", "1. Lichen planus\n2. Pityriasis rosea"))) as client:
        opinion = await diagnose(client)
    assert [(one.icd10, one.icd10_source) for one in opinion.diagnoses] == [("L43", "WHO title"), ("L42", "WHO title")]


async def test_no_red_flag_named_is_no_all_clear(make_app: Any, client_of: Any, make_scripted: Any) -> None:
    async with client_of(make_app(make_scripted("", "1. Gout\nRed flags: none"))) as client:
        opinion = await diagnose(client, "A man with gout and sudden fainting.")
    assert opinion.red_flags_note == "The model named none; this is not an all-clear."
    assert [(flag.text, flag.named_by) for flag in opinion.red_flags] == [("fainting", ("knowledge base",))]
    assert "Only 1 of five diagnoses could be read in the reply." in opinion.notes
    assert "It is not known on which patients" in opinion.notes[0]


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ("I cannot place this case.", ("knowledge", False, False)),
        ("I'm sorry, I cannot help with that.", (None, True, False)),
        ("Well. Hard to say.", (None, False, True)),
    ],
)
async def test_other_answers(make_app: Any, client_of: Any, make_scripted: Any, reply: str, shown: Any) -> None:
    async with client_of(make_app(make_scripted("", reply))) as client:
        opinion = await diagnose(client, "CUT of a case")
    kind = opinion.abstention and opinion.abstention.kind
    assert (kind, opinion.refused, opinion.unreadable) == shown
    assert opinion.diagnoses == ()
    assert opinion.reasoning_check is None
    assert "The answer was cut off at the limit of 500 tokens." in opinion.notes


@pytest.mark.parametrize(
    ("case", "kind", "words"),
    [
        (
            "Eine Frau mit Fieber und Husten seit dem Morgen.",
            "language",
            "in German; the model was examined in English",
        ),
        ("A 3-year-old girl with fever and fainting.", "age", "a child (1 to 11 years); of the 10 cases of the exam 0"),
        ("A pregnant woman of 30 with fever.", "pregnancy", "is pregnant; of the cases of the exam 0 were"),
    ],
)
async def test_outside_what_was_examined_nobody_guesses(
    make_app: Any, client_of: Any, scripted: Any, home: Path, tmp_path: Path, case: str, kind: str, words: str
) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    async with client_of(make_app(scripted, home=home, audit=audit)) as client:
        opinion = await diagnose(client, case)
        rows = audit.rows()
    assert opinion.abstention is not None
    assert (opinion.abstention.by, opinion.abstention.kind) == ("rule", kind)
    assert words in opinion.abstention.reason
    assert opinion.diagnoses == ()
    assert opinion.red_flags_note == "The model was not asked; this is not an all-clear."
    assert [flag.text for flag in opinion.red_flags] == (["fainting"] if kind == "age" else [])
    assert scripted.prompts == []
    assert [(row.kind, row.note) for row in rows] == [("refused", f"not asked: outside what was examined ({kind})")]


async def test_the_router_keeps_to_what_was_examined(make_app: Any, client_of: Any, scripted: Any, home: Path) -> None:
    async with client_of(make_app(scripted, home=home)) as client:
        case = await diagnose(client, CASE, template="auto")
        sums = "Calculate the creatinine clearance by Cockcroft-Gault: 70 years, 60 kg, creatinine 1.2 mg/dL, a man."
        other = await diagnose(client, sums, template="auto")
    assert (case.template, case.routed in ("differential", "plain")) == ("differential-brief@1", True)
    assert (other.routed, other.template, other.answer_form) == ("calculation", "calculation@1", "number")
    assert (other.diagnoses, other.template_examined) == ((), False)
    assert "the model was examined with differential-brief@1 only" in other.notes[0]


async def test_a_template_by_name(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        opinion = await diagnose(client, "Señora de 67 años con tos y fiebre desde ayer.", template="differential@2")
    assert "Ayudas" in scripted.prompts[0].messages[0].content or "clínic" in scripted.prompts[0].messages[0].content
    assert opinion.language == "es"
    assert len(opinion.diagnoses) == 5


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"case": " \n "}, "the case is empty"),
        ({"case": "x" * 20_001}, "case: String should have at most 20000 characters"),
        ({"case": "x", "template": "nonsense@1"}, "template 'nonsense@1' does not exist"),
        ({"case": "x", "template": "../etc/passwd"}, "template: String should match pattern"),
        ({"case": "x", "max_tokens": 501}, "max_tokens is 501; this server gives at most 500."),
        ({"case": "x", "seed": -1}, "seed: "),
        ({"case": "TOOLONG"}, "the prompt has 900 tokens"),
        ({"case": "x", "thinking": "I am the model"}, "thinking: this field is not known here"),
        ([], "Input should be a valid dictionary"),
    ],
)
async def test_faults(make_app: Any, client_of: Any, scripted: Any, body: Any, sentence: str) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await client.post("/v1/diagnose", json=body)
    assert response.status_code == 400
    assert sentence in response.json()["error"]["message"]
    assert "xxxx" not in response.text


@pytest.mark.parametrize(("case", "status"), [("EARLYBREAK", 500), ("HALF", 500)])
async def test_engine_faults(make_app: Any, client_of: Any, scripted: Any, case: str, status: int) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await client.post("/v1/diagnose", json={"case": f"secret {case}"})
    assert response.status_code == status
    assert "secret" not in response.text


async def test_busy(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted, most_waiting=0, at_once=0)) as client:
        response = await client.post("/v1/diagnose", json={"case": "x"})
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


def test_kinds_are_the_newest_of_every_other_kind() -> None:
    offered = kinds("differential-brief@1")
    assert "differential@2" in offered
    assert "differential@1" not in offered
    assert "differential-brief@1" not in offered
