from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from rounds.cli import report as report_verb
from rounds.exam.compare import compare_marks
from rounds.exam.marks import read_marks
from rounds.exam.remake import refresh
from rounds.exam.report import write_json
from rounds.exam.safety_result import Probe
from rounds.files import write_jsonl, write_text
from rounds.records import Answer, Case, Grade, Message, Prompt, Report, Sampling, Trace, UserError


def a_grade(case_id: str, right: bool) -> Grade:
    return Grade(
        case_id=case_id,
        answer=Answer(case_id=case_id, diagnoses=("pulmonary embolism", "pneumonia")),
        correct=right,
        rank=1 if right else None,
        red_flags_named=int(right),
        red_flags_total=1,
    )


def a_run(directory: Path) -> Path:
    """A run's directory as the chain leaves it: cases, grades and traces of two models, report.json."""
    ids = [f"c{k}" for k in range(20)]
    case = Case(
        id="c0", vignette="Sudden breathlessness.", diagnosis="pulmonary embolism", specialty="internal medicine"
    )
    (directory / "cases").mkdir(parents=True)
    write_jsonl(directory / "cases" / "exam.jsonl", [case.model_copy(update={"id": name}) for name in ids])
    for model, right in (("base", 8), ("distilled", 19)):
        (directory / "grades" / model).mkdir(parents=True)
        grades = [a_grade(name, k < right) for k, name in enumerate(ids)]
        write_jsonl(directory / "grades" / model / "grades.jsonl", grades)
        traces = [
            Trace(
                prompt=Prompt(case_id=name, template="t@1", messages=(Message(role="user", content="x"),)),
                model=model,
                engine="transformers",
                sampling=Sampling(),
                thinking=f"{model} thinks of the lungs",
                reply="1. pulmonary embolism",
                finish="stop",
                thinking_tokens=5,
                reply_tokens=4,
            )
            for name in ids
        ]
        write_jsonl(directory / "grades" / model / "traces.jsonl", traces)
    marks = [read_marks(directory / "grades" / model / "grades.jsonl") for model in ("base", "distilled")]
    verdicts = compare_marks(*marks, names=("base", "distilled"), margin=0.02, alpha=0.01)
    report = Report(
        title="a run", alpha=0.01, margin=0.02, why_margin="because of this", evidence="synthetic", verdicts=verdicts
    )
    write_json(report, directory / "report.json")
    return directory


def run_report(*words: object) -> int:
    parser = argparse.ArgumentParser()
    report_verb.configure(parser)
    return report_verb.run(parser.parse_args([str(word) for word in words]))


def test_report_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "run")
    assert run_report(run) == 0
    out = capsys.readouterr().out
    assert "distilled against base (accuracy): gained, +55.0 points" in out
    assert out.splitlines()[-1] == str(run / "report.html")
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "distilled thinks of the lungs" in text
    assert "Sudden breathlessness." in text


def test_report_as_json_and_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "run")
    assert run_report(run, "--html", tmp_path / "look.html", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["html"] == str(tmp_path / "look.html")
    assert found["status"] == "demonstration"
    assert [verdict["finding"] for verdict in found["verdicts"]] == ["gained", "gained"]
    assert not (run / "report.html").exists()


def test_report_without_answers_still_shows_the_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "run")
    (run / "grades" / "base" / "grades.jsonl").unlink()
    assert run_report(run) == 0
    assert "no grid of cases is drawn" in (run / "report.html").read_text(encoding="utf-8")


def test_a_report_of_an_older_version_gets_its_sections_from_the_grades(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    before = (run / "report.json").read_text(encoding="utf-8")
    assert run_report(run) == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "How the answers were marked" in text
    assert "How every model was asked" in text
    assert (run / "report.json").read_text(encoding="utf-8") == before


def test_where_report_json_has_sections_they_are_what_is_shown(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    report["sittings"] = {"base": {"answers": 12345}}
    (run / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert run_report(run) == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "12,345" in text
    assert "How every model was asked" not in text


def test_what_was_measured_since_has_a_section(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    probe = Probe(model="packed", digest="ab" * 32, notes=("No case was given.",))
    write_text(run / "probe-full.json", probe.model_dump_json())
    refresh(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "Safety: attacks, over-refusal, bias" in text
    assert "No case was given." in text
    assert "run rounds probe again" in text  # this report knows no such checkpoint
    write_text(run / "budget.json", "[]")
    with pytest.raises(UserError, match=r"budget\.json: is not a Curve"):
        run_report(run)


def test_what_is_no_run_gets_no_report(tmp_path: Path) -> None:
    refresh(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_report_of_nothing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.json: cannot be read"):
        run_report(tmp_path)
    (tmp_path / "report.json").write_text('{"title": "cut', encoding="utf-8")
    with pytest.raises(UserError, match=r"report\.json: is not a Report"):
        run_report(tmp_path)
