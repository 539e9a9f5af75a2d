"""`rounds examine` at an endpoint: figures, the audit of the reasoning, and asking again without red flags."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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


class Endpoint(BaseHTTPRequestHandler):
    """Gives every question the same answer."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"content": ANSWER}}
        body = json.dumps({"choices": [choice], "usage": {"completion_tokens": 10}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def command(tmp_path: Path) -> Iterator[list[str]]:
    files.write_jsonl(tmp_path / "exam.jsonl", CASES)
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        where = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield ["examine", where, str(tmp_path / "exam.jsonl"), "--name", "m", "--out", str(tmp_path / "out")]
        server.shutdown()
        thread.join(10)


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
    ("words", "sentence"),
    [
        (["--strategy", "vote"], "a vote of greedy answers is one answer many times; give a temperature such as 0.6."),
        (["--strategy", "few-shot"], "--strategy few-shot needs --teach with the cases to take examples from."),
        (["--strategy", "vote", "--count", "0"], "--count 0 is not within 1 to 64; give the answers of a vote or the"),
    ],
)
def test_a_strategy_s_faults_are_one_sentence(
    command: list[str], capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
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
