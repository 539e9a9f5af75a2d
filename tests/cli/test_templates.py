"""`rounds templates`: what it prints, the page of documentation, faults in one sentence, the gate at an endpoint."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds import files
from rounds.cli.main import main
from rounds.cli.templates import rendered
from rounds.prompts.template import TEMPLATES
from rounds.records import Case, Grade, Report

PAGE = Path(__file__).parents[2] / "docs" / "templates.md"


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_the_page_shows_every_template_as_it_is_rendered() -> None:
    """After a change: rounds templates render, below the last heading of the page."""
    assert PAGE.read_text(encoding="utf-8").endswith(f"# Every template, with an example\n\n{rendered()}")


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["templates", "list"]) == 0
    assert len(out(capsys).splitlines()) == len(list(TEMPLATES.glob("*.md")))
    assert main(["templates", "list", "--json"]) == 0
    assert {"name", "kind", "answer", "languages"} <= set(json.loads(out(capsys))[0])
    assert main(["templates", "show", "triage", "differential@1"]) == 0
    shown = out(capsys)
    assert shown.startswith("name: triage@1\npurpose: How soon")
    assert "\n## zh\n你在协助" in shown
    assert "name: differential@1" in shown


def test_render_by_name_by_router_and_from_stdin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["templates", "render", "plain", "--text", "Why?"]) == 0
    told = capsys.readouterr()
    assert told.out == "Why?\n"
    assert told.err == "plain@1: about 2 tokens\n"
    assert (
        main(["templates", "render", "auto", "--text", "¿Hay interacciones entre sertralina y tramadol?", "--json"])
        == 0
    )
    (prompt,) = json.loads(out(capsys))
    assert prompt["template"] == "medication@1"
    assert prompt["messages"][0]["content"].startswith("Ayudas a un profesional")
    monkeypatch.setattr("sys.stdin", io.StringIO("From a pipe"))
    assert main(["templates", "render", "plain", "--text", "-"]) == 0
    assert out(capsys) == "From a pipe\n"


def test_a_kind_of_ones_own_is_rendered_with_a_plain_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = "kind: poem\npurpose: p\nlanguages: [en]\nanswer: text\nsource: s\nchangelog: c\n"
    (tmp_path / "poem@1.md").write_text(f"---\n{fields}---\nIn verse: {{question}}\n", encoding="utf-8")
    assert main(["templates", "render", "poem", "--own", str(tmp_path)]) == 0
    assert out(capsys).startswith("In verse: ")


def test_a_budget_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    case = "Family history: " + "gout, " * 200 + "\nA red toe. What is it?"
    assert main(["templates", "render", "differential", "--text", case, "--budget", "400"]) == 0
    assert "Left out to fit: Family history.\n" in capsys.readouterr().err


def test_check_tells_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["templates", "check"]) == 0
    assert "no fault" in out(capsys)
    good = (TEMPLATES / "plain@1.md").read_text(encoding="utf-8")
    (tmp_path / "plain@2.md").write_text(good, encoding="utf-8")
    (tmp_path / "plain@3.md").write_text(good.replace("answer: text", "answer: five"), encoding="utf-8")
    (tmp_path / "toy@1.md").write_text("nothing", encoding="utf-8")
    assert main(["templates", "check", str(tmp_path)]) == 2
    lines = out(capsys).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["plain@3.md", "toy@1.md"]
    assert main(["templates", "check", str(tmp_path), "--json"]) == 2
    assert json.loads(out(capsys))["checked"] == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show"], "rounds templates show needs a name; rounds templates list shows them."),
        (["show", "poem"], "there is no template of kind 'poem'; use one of calculation, choice,"),
        (["render", "poem@1"], "template 'poem@1' does not exist; use one of calculation@1, choice@1,"),
        (["render", "auto"], "the router needs a text to choose by; give --text."),
        (["render", "plain", "--text", " "], "the text is empty; give --text the case or question."),
        (["render", "patient", "--language", "zh"], "template 'patient@1' is not written in 'zh'; use one of en."),
        (
            ["render", "triage", "--text", "x. " * 900, "--budget", "9"],
            "there is room for 0; shorten it, or use",
        ),
        (["list", "--own", "/nowhere/at/all"], "--own /nowhere/at/all: is no directory; name the folder with your"),
        (["check", "/nowhere/triage@1.md"], ""),
        (["gate", "model"], "rounds templates gate needs MODEL CASES; give a checkpoint or an endpoint, and a file"),
        (["gate", "model", "cases"], "the gate needs --margin and --out; state the loss that must be ruled out"),
    ],
)
def test_faults_are_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["templates", *words]) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert len((told.err or told.out).splitlines()) == 1


def says(body: dict[str, Any]) -> str:
    """Answers options right where the template asks for letters, and only talks otherwise."""
    asked = body["messages"][0]["content"]
    if "choosing from its options" in asked:
        return "Answer: B"
    return "1. gout" if "five most likely" in asked and "toe" in asked else "Hm."


def test_the_gate_pairs_three_ways_of_asking(
    serve_chat: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "Which joint disease comes from urate crystals, case {}?"
    cases = [
        Case(
            id=f"c{n}", vignette=question.format(n), diagnosis="gout", options=("flu", "gout", "asthma"), right=("B",)
        ).model_copy(update={"kind": "choice"})
        for n in range(12)
    ]
    vignette = "A man of 60 woke with a red, hot and very painful big toe. He takes a thiazide. No fever, no injury. {}"
    cases += [Case(id=f"d{n}", vignette=vignette.format(n), diagnosis="gout") for n in range(12)]
    files.write_jsonl(tmp_path / "tune.jsonl", cases)
    words = ["gate", serve_chat(says).url, str(tmp_path / "tune.jsonl"), "--name", "m", "--margin", "0.1"]
    assert main(["templates", *words, "--out", str(tmp_path / "gate")]) == 0
    printed = out(capsys)
    assert printed.count("accuracy: gained") == 2
    assert "differential@2 -> routing on, kind=choice: +100.0 points" in printed
    assert "routing on: cost: 24 calls, 1.0 a case; 0 prompt and 10 answer tokens a case" in printed
    assert "templates the router chose: choice@1, differential@2" in printed
    report = files.read_json(tmp_path / "gate" / "report.json", Report)
    assert [(v.before, v.only_before, v.only_after) for v in report.verdicts] == [
        ("routing off", 0, 24),
        ("differential@2", 0, 12),
    ]
    assert {cell.group for cell in report.cells} == {"kind=choice", "kind=diagnosis"}
    assert (tmp_path / "gate" / "report.html").is_file()
    assert len(list(files.read_jsonl(tmp_path / "gate" / "on.jsonl", Grade))) == 24
    assert main(["templates", *words, "--out", str(tmp_path / "gate")]) == 2
    assert "exists already; choose a new directory for this gate." in capsys.readouterr().err


def test_the_gate_holds_strategies_against_the_template_alone(
    serve_chat: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("flu", "gout", "asthma", "sepsis")
    cases = [
        Case(id=f"c{n}", vignette=f"Which, case {n}?", diagnosis="gout", options=options, right=("B",), kind="choice")
        for n in range(12)
    ]
    files.write_jsonl(tmp_path / "tune.jsonl", cases)
    # Always the second letter: right as the options stand, and not when their order is mixed.
    endpoint = serve_chat(lambda _: "Answer: B")
    words = ["templates", "gate", endpoint.url, str(tmp_path / "tune.jsonl"), "--name", "m", "--margin", "0.1"]
    more = [
        "--one",
        "choice@1",
        "--strategy",
        "shuffle",
        "--strategy",
        "vote",
        "--count",
        "7",
        "--alpha",
        "0.05",
        "--json",
    ]
    assert main([*words, *more, "--out", str(tmp_path / "gate")]) == 1
    found = json.loads(out(capsys))
    decided = {(v["before"], v["after"]): v for v in found["verdicts"] if v["finding"] is not None}
    assert decided["choice@1", "shuffle"]["finding"] == "lost"
    assert decided["choice@1", "vote"]["both"] == 12
    assert {arm: cost["calls"] for arm, cost in found["costs"].items()} == {
        "off": 12, "one": 12, "on": 12, "shuffle": 84, "vote": 84,
    }  # fmt: skip
    report = files.read_json(tmp_path / "gate" / "report.json", Report)
    assert any(note.startswith("vote: cost: 84 calls, 7.0 a case") for note in report.notes)
    for wrong, sentence in (
        (["--strategy", "few-shot"], "--strategy few-shot needs --teach"),
        (["--temperature", "9"], "--temperature 9.0: "),
        (["--own", str(tmp_path)], "the gate takes no --own; set the environment variable ROUNDS_TEMPLATES to"),
    ):
        assert main([*words, *wrong, "--out", str(tmp_path / "other")]) == 2
        assert sentence in capsys.readouterr().err
    files.write_jsonl(tmp_path / "tune.jsonl", [Case(id="a", vignette="v", diagnosis="gout")])
    assert main([*words, "--strategy", "shuffle", "--out", str(tmp_path / "other")]) == 2
    assert "none of 1 cases has options to shuffle; use another strategy." in capsys.readouterr().err
