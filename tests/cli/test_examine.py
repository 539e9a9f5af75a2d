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
