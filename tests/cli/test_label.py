"""`rounds label`: a sheet is made, served until stopped, gone on with, and its agreement printed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from rounds import files
from rounds.cli.main import main
from rounds.exam.label import INVENTED, Label, read
from rounds.records import Case, Prompt, Sampling, Trace

CASES = [
    Case(id=f"c{n}", vignette="He has joint pain.", diagnosis="gout", condition="gout", present=("joint_pain",))
    for n in range(6)
]


def trace(case: Case, place: int) -> Trace:
    return Trace(
        prompt=Prompt(case_id=case.id, template="differential@1", messages=()), model="m", engine="e",
        sampling=Sampling(), thinking="Joint pain fits gout." + " There is fever." * (place % 2), reply="1. gout",
        finish="stop", thinking_tokens=1, reply_tokens=1,
    )  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> list[str]:
    files.write_jsonl(tmp_path / "cases.jsonl", CASES)
    files.write_jsonl(tmp_path / "traces.jsonl", [trace(case, place) for place, case in enumerate(CASES)])
    files_of = ["--cases", str(tmp_path / "cases.jsonl"), "--answers", str(tmp_path / "traces.jsonl")]
    return ["label", str(tmp_path / "sheet"), *files_of]


def test_a_sheet_is_made_labelled_and_compared(
    made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(made) == 0
    assert capsys.readouterr().out == f"6 answers to label: {tmp_path / 'sheet'}\n"
    assert main(made[:2]) == 0
    assert "nobody yet; start with --rater NAME" in capsys.readouterr().out
    sheet = read(tmp_path / "sheet")
    for item in sheet.items:
        sheet.save("anna", Label(item=item.id, marks=(INVENTED,) if "fever" in item.thinking else ()))
    assert main(made[:2]) == 0
    alone = capsys.readouterr().out
    assert "one rater has no agreement; ask a second one" in alone
    assert "finding invented, anna and rules: kappa 1.00 (1.00 to 1.00), n 6, yes 3 and 3, PABAK 1.00" in alone
    assert "finding denied, anna and rules: kappa not defined (one label only), n 6" in alone
    sheet.save("ben", Label(item=sheet.items[0].id, marks=()))
    assert main([*made[:2], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["raters"]) == (6, ["anna", "ben"])
    assert {"label", "first", "second", "n", "yes", "kappa", "low", "high", "pabak"} == set(found["agreement"][0])
    assert {(row["first"], row["second"]) for row in found["agreement"]} == {("anna", "ben"), ("all raters", "rules")}


def test_it_serves_until_told_to_stop_and_goes_on(made: list[str], tmp_path: Path) -> None:
    rating = ["--rater", "anna", "--port", "0"]
    new, on = [*made, "--count", "4", *rating], [*made[:2], *rating]
    for command, before, sign in ((new, 0, signal.SIGINT), (on, 1, signal.SIGTERM)):
        whole = [sys.executable, "-m", "rounds.cli.main", *command]
        with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"{before} of 4 labelled by anna. Open http://127.0.0.1:")
            address = line.split()[-1]
            with urlopen(f"{address}{before + 1}", urlencode({"mark": INVENTED}).encode(), timeout=20) as page:
                assert "labelled" in page.read().decode()
            process.send_signal(sign)
            out, said = process.communicate(timeout=20)
        assert process.returncode == 0
        assert out == f"{before + 1} of 4 labelled by anna; the same command goes on from there.\n"
        assert said == ""
    assert len(read(tmp_path / "sheet").labels("anna")) == 2


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--rater", "Anna!"], "rater 'Anna!' must be 1 to 32 small letters"),
        (["--count", "0"], "--count 0 is no number of answers; give 1 or more."),
    ],
)
def test_faults_are_one_sentence_and_make_nothing(
    extra: list[str], sentence: str, made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*made, *extra]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "sheet").exists()


def test_a_sheet_needs_cases_and_answers(tmp_path: Path, made: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(made[:4]) == 2
    assert "give --cases and --answers together" in capsys.readouterr().err
    assert main(made[:2]) == 2
    assert "holds no sheet; make one with --cases and --answers" in capsys.readouterr().err
    assert main(made) == 0
    assert main(made) == 2
    assert "exists already; go on with it by leaving out --cases and --answers" in capsys.readouterr().err


def test_its_modules_need_nothing_beyond_the_core() -> None:
    beyond = "{'torch', 'fastapi', 'playwright'}"
    code = f"import sys, rounds.cli.label, rounds.exam.label_page; print(*({beyond} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"
