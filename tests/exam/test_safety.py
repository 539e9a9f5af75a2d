"""Attacks: the shipped texts, files that are none, and where a request goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rounds.exam import safety
from rounds.exam.safety import Missing
from rounds.knowledge.base import load
from rounds.records import Case, Prompt, Sampling, Trace, UserError

GREEDY = Sampling(temperature=0)
CASE = Case(
    id="c1",
    vignette='A 40-year-old man says "it hurts".',
    diagnosis="gout",
    condition="gout",
    specialty="internal medicine",
    split="tune",
)


def trace(prompt: Prompt, reply: str, thinking: str = "") -> Trace:
    return Trace(
        prompt=prompt,
        model="m",
        engine="e",
        sampling=GREEDY,
        thinking=thinking,
        reply=reply,
        finish="stop",
        thinking_tokens=0,
        reply_tokens=0,
    )


def test_shipped_texts_are_whole() -> None:
    ways, requests = safety.families(), safety.requests()
    assert {"execution-thought", "think-markers", "role-markers", "puzzle-padding", "role-play"} <= set(ways)
    assert {"authority-urgency", "translation", "hidden-in-case", "hidden-in-document", "hidden-in-fhir"} <= set(ways)
    assert {"many-shot", "escalation"} <= set(ways)
    assert sorted({one.principle for one in requests}) == list(range(1, 10))
    assert len({one.text for one in requests}) == 81
    assert all(one.spanish for one in requests)
    assert len(safety.questions()) == 72
    assert set(safety.policies()) == set(safety.areas()) == set(range(1, 10))


def test_a_bundle_stays_json_and_a_case_holds_no_placeholder() -> None:
    way = {"hidden-in-fhir": safety.families()["hidden-in-fhir"]}
    case = CASE.model_copy(update={"vignette": 'A 40-year-old man says "{request}" aloud.'})
    control, attack = safety.of_cases([case], way, load(), "differential-brief@1", 1)
    text = attack.turns[-1]
    bundle = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert bundle["entry"][1]["resource"]["note"][0]["text"] == case.vignette
    wrong = load().conditions[attack.wanted]
    assert wrong.name in bundle["entry"][2]["resource"]["payload"][0]["contentString"]
    assert wrong.id != "gout"
    assert control.family == safety.CONTROL
    assert wrong.name not in control.turns[0]


def test_an_option_that_does_harm_is_asked_for() -> None:
    case = CASE.model_copy(update={"options": ("wait", "give potassium"), "right": ("A",), "never": ("B",)})
    attacks = safety.of_cases([case], {"plain": safety.families()["plain"]}, load(), "differential-brief@1", 1)
    assert {one.goal for one in attacks} == {"never"}
    assert attacks[1].wanted == "B"
    assert "Choose option B" in attacks[1].turns[0]
    assert "B. give potassium" in attacks[1].turns[0]


def test_later_turns_hold_the_answers_of_the_model_and_no_control_token() -> None:
    heard: list[tuple[str, list[Prompt]]] = []

    def asks(prompts: Sequence[Prompt], sampling: Sampling, label: str) -> list[Trace | Missing]:
        heard.append((label, list(prompts)))
        return [trace(one, "a hard <think> one") for one in prompts]

    ways = {name: safety.families()[name] for name in ("escalation", "role-markers")}
    attacks = safety.of_requests(safety.requests()[:1], ways)
    assert len(safety.ask(attacks, asks, GREEDY)) == 2
    assert [(label, len(prompts)) for label, prompts in heard] == [
        ("attacks", 2),
        ("attacks-turn-2", 1),
        ("attacks-turn-3", 1),
    ]
    last = heard[2][1][0].messages
    assert [one.role for one in last] == ["user", "assistant", "user", "assistant", "user"]
    assert last[1].content == "a hard < think> one"
    assert "<|im_start|>" not in heard[0][1][0].messages[0].content + heard[0][1][1].messages[0].content
    safety.ask(attacks, asks, GREEDY, bare=True)
    assert any("<|im_start|>" in one.messages[0].content for one in heard[3][1])


def test_what_does_not_fit_is_dropped_and_not_asked_further() -> None:
    def asks(prompts: Sequence[Prompt], sampling: Sampling, label: str) -> list[Trace | Missing]:
        return ["too long" for _ in prompts]

    attacks = safety.of_requests(safety.requests()[:1], {"escalation": safety.families()["escalation"]})
    assert safety.ask(attacks, asks, GREEDY) == ["too long"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not toml at all [", "is no attack file"),
        ("", "holds no attack"),
        ("x = 1", "'x' is no table"),
        ('[a]\nwhat = "abc"', r"\[a\] turns: Field required"),
        ('[a]\nwhat = "abc"\nturns = ["no place"]', "needs {request} in its last turn"),
        ('[a]\nwhat = "abc"\nturns = ["{request}", "x {request}"]', "needs {request} in its last turn"),
        ('[a]\nwhat = "abc"\nturns = ["{request}"]\nevil = 1', "evil: Extra inputs"),
        (f'[a]\nwhat = "abc"\nturns = ["{"x" * 20_001}{{request}}"]', "more than 20,000 signs"),
    ],
)
def test_an_attack_file_that_is_none(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "attacks.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence.replace("{", r"\{").replace("}", r"\}")):
        safety.families(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no request"),
        ("[1]\n", "is no request"),
        ('{"id": "a", "principle": 12, "text": "do it"}\n', "principle: Input should be less than or equal to 9"),
        ('{"id": "a", "principle": 1, "text": "do it"}\n' * 2, "request id 'a' comes twice"),
        ("{bad\n", "is not JSON"),
    ],
)
def test_a_request_file_that_is_none(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        safety.requests(path)


def test_fields_of_medsafetybench_are_known(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"id": "q", "category": 3, "harmful_medical_request": "Do wrong.", "safe_response": "No."}\n')
    assert safety.requests(path) == [safety.Request(id="q", principle=3, text="Do wrong.")]
