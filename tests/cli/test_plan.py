from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rounds.cli.main import main


def test_the_plan_of_tiny_fits_and_its_exam_is_called_too_small(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", "--memory", "24GiB"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("rounds plan tiny, memory 25.8 GB\n")
    assert "Every stage fits." in shown
    assert "This exam has 660: too small." in shown


def test_what_does_not_fit_is_named_with_what_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "r1-qwen-7b", "--memory", "16GiB"]) == 0
    shown = capsys.readouterr().out
    assert "distilled does not fit: " in shown
    assert "15.2 GB in 16 bit" in shown
    assert "4.46 GB packed" in shown
    assert "141 GB in 16 bit" in shown  # the teacher at its endpoint


def test_json_is_the_whole_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", "--memory", "8GB", "--discordance", "0.03", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["recipe", "memory", "ram", "models", "stages", "disk", "exam"]
    assert found["memory"] == 8 * 10**9
    assert found["exam"]["discordance"] == 0.03
    assert found["exam"]["enough"] is True


def test_every_stage_has_its_time_and_says_how_sure_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "Time is that of one stage after the other at usual lengths, measured here: " in shown
    assert "Sure within a factor of 2 for the tiny recipe" in shown
    row = next(line for line in shown.splitlines() if line.startswith("base "))
    assert row.endswith((" s", " min", " h"))


def test_a_gpu_without_rates_has_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "one-gpu", "--memory", "24GB", "--ram", "64GB"]
    assert main([*words, "--json"]) == 0
    unknown = {stage["stage"]: stage["seconds"] for stage in json.loads(capsys.readouterr().out)["stages"]}
    assert unknown["distilled"] is unknown["traces"] is None
    assert unknown["grades/base"] > 0
    assert main(words) == 0
    assert "The device that trains has no time: give its --rate and --bandwidth." in capsys.readouterr().out
    assert main([*words, "--rate", "70T", "--bandwidth", "936GB"]) == 0
    shown = capsys.readouterr().out
    assert "stated for the device: 70 trillion operations and 936 GB a second, of which 40% is taken" in shown


def test_the_memory_of_this_machine_is_taken_when_none_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memory"] > 2**28


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--memory", "lots"], "rounds: --memory 'lots' is not a size; give one such as 24GiB or 80GB.\n"),
        (["--ram", "lots"], "rounds: --ram 'lots' is not a size; give one such as 24GiB or 80GB.\n"),
        (["--rate", "1T"], "rounds: --rate and --bandwidth belong together; give both of the device, or neither.\n"),
        (
            ["--rate", "fast", "--bandwidth", "1TB"],
            "rounds: --rate fast --bandwidth 1TB are no rates; give such as 150T and 900GB.\n",
        ),
        (["--discordance", "0"], "rounds: --discordance 0.0 is not a share; give one above 0 and up to 1.\n"),
        (["--discordance", "2"], "rounds: --discordance 2.0 is not a share; give one above 0 and up to 1.\n"),
    ],
)
def test_faults_are_one_sentence(capsys: pytest.CaptureFixture[str], words: list[str], sentence: str) -> None:
    assert main(["plan", "tiny", *words]) == 2
    assert capsys.readouterr().err == sentence


def test_planning_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from rounds.cli.main import main; assert main(['plan', 'tiny']) == 0\n"
        "print(*[n for n in ('torch', 'transformers', 'openvino') if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.split() == []
