"""`rounds examine` at an endpoint: figures, the audit of the reasoning, and asking again without red flags."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds import files
from rounds.cli.main import main
from rounds.grade.counterfactual import Counterfactual
from rounds.grade.modes import MODES
from rounds.records import Case

CASES = [
    Case(
        id="c1",
        vignette="A boy comes in with cough, syncope and joint pain.",
        diagnosis="gout",
        condition="gout",
        present=("cough", "fainting", "joint_pain"),
        red_flags=("fainting",),
    ),
    Case(id="c2", vignette="A man has joint pain and no fever.", diagnosis="gout"),
]
ANSWER = (
    "<think>\nJoint pain fits gout. There is fever. Most likely: gout.\n</think>\n1. gout\n2. asthma\nRed flags: none"
)

RECIPE = """
name = "here"
student = { checkpoint = "a" }
teacher = { checkpoint = "b" }
[compare]
margin = 0.02
why_margin = "two in a hundred"
"""


@pytest.fixture
def endpoint(serve_chat: Callable[..., Any]) -> Any:
    """Gives every question the same answer."""
    return serve_chat(lambda _: ANSWER)


@pytest.fixture
def command(tmp_path: Path, endpoint: Any) -> list[str]:
    files.write_jsonl(tmp_path / "exam.jsonl", CASES)
    return ["examine", endpoint.url, str(tmp_path / "exam.jsonl"), "--name", "m", "--out", str(tmp_path / "out")]


def test_the_audit_stands_beside_the_figures(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["top1"] == 1.0
    audit = found["audit"]
    # Of four findings stated two are invented: the fever of both answers, in free text too.
    assert (audit["hallucinated_findings"]["events"], audit["hallucinated_findings"]["of"]) == (2, 4)
    assert found["hallucinated_findings"] == audit["hallucinated_findings"]["rate"] == 0.5
    assert audit["step_error_rate"]["low"] <= found["step_error_rate"] <= audit["step_error_rate"]["high"]
    assert list(audit["error_modes"]) == list(MODES)
    missed = audit["error_modes"]["red flag not seen"]
    assert (missed["events"], missed["of"]) == (1, 1)
    assert "ignored_red_flags" not in audit


def test_asking_without_red_flags(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--counterfactual"]) == 0
    out = capsys.readouterr().out
    assert "red flags without which the list stayed the same: 100.0%" in out
    assert "reasoning drift: " in out
    (asked,) = files.read_jsonl(tmp_path / "out" / "counterfactual.jsonl", Counterfactual)
    assert (asked.case_id, asked.flag, asked.ignored) == ("c1", "fainting", True)


def test_a_checkpoint_of_a_run_is_asked_as_its_run_asks(
    tmp_path: Path, make_babbler: Callable[[Path, list[str], int, int], Path]
) -> None:
    pytest.importorskip("torch")
    run = tmp_path / "run"
    files.write_jsonl(run / "cases" / "tune.jsonl", CASES)
    checkpoint = make_babbler(run, [case.vignette for case in CASES], 300, 2048)
    command = ["examine", str(checkpoint), str(run / "cases" / "tune.jsonl"), "--max-tokens", "2"]

    def asked(out: str, *words: str) -> str:
        assert main([*command, "--out", str(tmp_path / out), *words]) == 0
        return str(json.loads((tmp_path / out / "traces.jsonl").read_text().splitlines()[0])["prompt"]["template"])

    assert asked("no-recipe") == "differential@1"
    (run / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    assert asked("recipe") == "differential-brief@1"
    assert asked("told", "--template", "differential@1") == "differential@1"


def test_a_budget_trims_the_prompt_and_says_so(
    command: list[str], endpoint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"A man of 50 has a hot toe.\nFamily history: {'none of note, ' * 100}\nNo fever."
    files.write_jsonl(tmp_path / "exam.jsonl", [Case(id="c1", vignette=text, diagnosis="gout")])
    words = [*command, "--template", "differential@2", "--budget"]
    assert main([*words, "600"]) == 0
    (asked,) = [body["messages"][-1]["content"] for body in endpoint.asked]
    assert "[Left out to fit: Family history.]" in asked
    assert "none of note" not in asked
    assert "hot toe" in asked
    for more, sentence in (
        (["9"], "case 'c1': has about "),
        (["600", "--strategy", "structured"], "--budget does not go with --strategy structured, whose prompts differ"),
        (["600", "--counterfactual"], "--budget does not go with --counterfactual, whose prompts differ; leave one"),
    ):
        assert main([*words, *more, "--out", str(tmp_path / "other")]) == 2
        assert sentence in capsys.readouterr().err


def test_a_strategy_prints_its_cost(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vote = ["--strategy", "vote", "--count", "3", "--temperature", "0.6"]
    assert main([*command, *vote, "--json"]) == 0
    told = capsys.readouterr()
    assert "cost: 6 calls, 3.0 a case; 0 prompt and 30 answer tokens a case; " in told.err
    found = json.loads(told.out)
    assert (found["top1"], found["cost"]["calls"], found["cost"]["cases"]) == (1.0, 6, 2)
    teach = tmp_path / "teach.jsonl"
    files.write_jsonl(teach, [Case(id="t1", vignette="A man with joint pain.", diagnosis="gout")])
    shown = [*command[:-1], str(tmp_path / "shown"), "--strategy", "few-shot", "--teach", str(teach), "--json"]
    assert main(shown) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["calls"] == 3
    assert "Cases solved before" in (tmp_path / "shown" / "traces.jsonl").read_text(encoding="utf-8")
    assert not list(tmp_path.glob(".*journal*"))


@pytest.mark.parametrize(
    ("strategy", "calls"),
    [
        (["--strategy", "shuffle", "--count", "4", "--template", "choice@1"], 48),
        # Each case has its own nearest two of 24, of which one is shown; all of them are asked first.
        (["--strategy", "few-shot", "--count", "1"], 36),
    ],
)
def test_killed_a_strategy_goes_on_where_it_stopped(
    command: list[str],
    endpoint: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    strategy: list[str],
    calls: int,
) -> None:
    joints = ["toe", "heel", "ankle", "knee", "hip", "wrist", "elbow", "thumb", "shoulder", "neck", "jaw", "spine"]
    told = [f"The {joint} of a man is hot: {joint}, {joint}." for joint in joints]
    asked = {"options": tuple(joints[:7]), "right": ("B",), "kind": "choice"} if "shuffle" in strategy else {}
    cases = [Case(id=f"c{n}", vignette=text, diagnosis="gout", **asked) for n, text in enumerate(told)]
    files.write_jsonl(tmp_path / "exam.jsonl", cases)
    teach = [Case(id=f"t{n}", vignette=f"{told[n // 2]} {'Yes.' * (n % 2)}", diagnosis="gout") for n in range(24)]
    files.write_jsonl(tmp_path / "teach.jsonl", teach)
    words = [*command, *strategy, "--teach", str(tmp_path / "teach.jsonl"), "--json"]
    endpoint.pause = 0.05
    running = subprocess.Popen(
        [sys.executable, "-m", "rounds.cli.main", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal, limit = tmp_path / ".out.journal.jsonl", time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") > calls // 3) and time.monotonic() < limit:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait(30)
    endpoint.pause, already = 0.0, len(endpoint.asked)
    kept = journal.read_bytes().count(b"\n")
    assert 0 < kept < calls
    assert not (tmp_path / "out").exists()
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    # The cost is that of the whole exam; what was whole in the journal is not asked again.
    assert (found["cost"]["calls"], found["cost"]["cases"]) == (calls, 12)
    assert calls - kept <= len(endpoint.asked) - already <= calls - kept + 4
    assert found["cases"] == 12
    assert not journal.exists()


def test_an_option_never_to_choose_is_counted(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(
        id="o1", vignette="Which?", diagnosis="flu", options=("flu", "gout"), right=("A",), never=("B",), kind="choice"
    )
    files.write_jsonl(tmp_path / "exam.jsonl", [case])
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["never_events"] == 1
    assert json.loads((tmp_path / "out" / "grades.jsonl").read_text(encoding="utf-8"))["error_modes"] == ["never event"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--strategy", "shuffle", "--counterfactual"],
            "--counterfactual does not go with --strategy shuffle; leave one of them out.",
        ),
        (["--strategy", "vote"], "a vote of greedy answers is one answer many times; give a temperature such as 0.6."),
        (["--strategy", "few-shot"], "--strategy few-shot needs --teach with the cases to take examples from."),
        (
            ["--strategy", "shuffle", "--template", "differential@1"],
            "template 'differential@1' shows no options, so every order asks the same; use one with {question}",
        ),
        (["--strategy", "vote", "--count", "0"], "--count 0 is not within 1 to 64; give the answers of a vote or the"),
    ],
)
def test_a_strategy_s_faults_are_one_sentence(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    if "--template" in words:
        case = Case(id="o1", vignette="Which?", diagnosis="gout", options=("flu", "gout"), right=("B",), kind="choice")
        files.write_jsonl(tmp_path / "exam.jsonl", [case])
    assert main([*command, *words]) == 2
    assert sentence in capsys.readouterr().err


def test_options_are_marked_as_options(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case(id="o1", vignette="Which?", diagnosis="gout", options=("flu", "gout"), right=("B",), kind="choice")
    files.write_jsonl(tmp_path / "exam.jsonl", [case])
    assert main([*command, "--template", "auto"]) == 0
    grade = json.loads((tmp_path / "out" / "grades.jsonl").read_text(encoding="utf-8"))
    assert (grade["correct"], grade["answer"]["choices"]) == (True, ["B"])
    trace = json.loads((tmp_path / "out" / "traces.jsonl").read_text(encoding="utf-8"))
    assert trace["prompt"]["template"] == "choice@1"
