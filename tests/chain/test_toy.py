"""A toy world from nothing to the verdict by the real command, and what a run's directory is good for afterwards."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rounds import files, recipe
from rounds.chain.passport import Passport
from rounds.chain.passport_verify import verify
from rounds.chain.run import stages
from rounds.exam.compare import exit_code
from rounds.grade.mark import Marker, faults
from rounds.knowledge.base import load
from rounds.records import Case, Lesson, Report, Step, Trace, UserError, Verdict
from rounds.serve.standing import find

# Whoever comes first waits for the whole chain.
pytestmark = pytest.mark.timeout(1800)

GATES = [("base", "distilled"), ("distilled", "reasoned"), ("reasoned", "packed"), ("base", "packed")]
CONTROLS = [("control-same-cases", "distilled"), ("control-same-tokens", "distilled")]
BITS = "bits = 8"


@pytest.fixture(scope="module")
def report(toy: Any) -> Report:
    return files.read_json(toy.run / "report.json", Report)


@pytest.fixture(scope="module")
def passport(toy: Any) -> Passport:
    return files.read_json(toy.run / "passport.json", Passport)


@pytest.fixture(scope="module")
def eight(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A copy run again with 8 bits, and how that ended."""
    copied = toy.copy(tmp_path_factory.mktemp("eight"))
    text = copied.recipe.read_text(encoding="utf-8")
    copied.recipe.write_text(text.replace("[quantize]\n", f"[quantize]\n{BITS}\n"), encoding="utf-8")
    return copied, copied.again("--keep-going")


def rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def test_the_run_leaves_a_report_a_page_and_a_passport(toy: Any, report: Report, passport: Passport) -> None:
    page = (toy.run / "report.html").read_text(encoding="utf-8")
    assert report.title in page
    assert "<script" not in page
    assert Report.model_validate_json(toy.ended.stdout) == report
    assert passport.evidence == report.evidence == "synthetic"
    assert not passport.proven
    assert passport.banner == "Demonstration, not for patients"
    assert passport.exam_opened == report.exam_opened == 1
    assert verify(toy.run).whole
    assert report.margin == 0.1
    assert set(report.models) == {"teacher", *(name for pair in (*GATES, *CONTROLS) for name in pair)}
    assert not any("teacher" in (verdict.before, verdict.after) for verdict in report.verdicts)


@pytest.mark.skipif(importlib.util.find_spec("llmcompressor") is not None, reason="llmcompressor is installed")
def test_packing_for_a_gpu_needs_its_own_environment(toy: Any, call: Callable[..., Any]) -> None:
    refused = call("quantize", toy.recipe, "--out", toy.run, "--gpu")
    assert refused.returncode == 2
    assert "pip install 'rounds[gpu4]'" in refused.stderr
    assert refused.stderr.strip().count("\n") == 0
    assert not list(toy.run.glob("*packed-gpu*"))


def test_the_teacher_taught_enough(toy: Any) -> None:
    figures = files.lineage(toy.run / "traces").figures
    assert figures["kept"] > 50
    assert figures["asked"] >= 800


def test_every_stage_says_what_it_was_made_from(toy: Any, passport: Passport) -> None:
    planned = stages(recipe.read(str(toy.recipe)))
    steps = {name: files.lineage(toy.run / name) for name in planned}
    for name, stage in planned.items():
        step = steps[name]
        assert isinstance(step, Step), name
        assert step.verb == stage.verb
        outside = {given: files.digest(path) for given, path in stage.more.items()}
        assert step.inputs == {need: steps[need].output for need in stage.needs} | outside, name
        assert step.output == files.digest(toy.run / name), name
        assert step.seconds > 0
        assert step.peak_memory_mb > 0
    assert passport.lineage == steps
    assert passport.checkpoint == steps["packed"].output
    assert passport.parent == steps["base"].output


def test_nothing_half_made_is_left(toy: Any) -> None:
    left = [path.name for path in toy.run.rglob("*") if path.name.endswith((".partial", ".old", ".stderr"))]
    assert left == []


def test_the_exit_code_is_what_the_gates_found(toy: Any, passport: Passport) -> None:
    findings = [verdict.finding for verdict in passport.verdicts]
    assert findings
    assert None not in findings
    expected = 1 if "lost" in findings else 3 if "too few cases" in findings else 0
    assert toy.ended.returncode == expected == exit_code(passport.verdicts)
    assert passport.passed is (expected == 0 and all(floor["met"] for floor in passport.floors))


def test_controls_are_shown_but_do_not_gate(report: Report, passport: Passport) -> None:
    def pairs(verdicts: tuple[Verdict, ...]) -> list[tuple[str, str]]:
        return list(dict.fromkeys((verdict.before, verdict.after) for verdict in verdicts))

    assert pairs(report.verdicts) == [*GATES, *CONTROLS]
    assert pairs(passport.verdicts) == GATES
    assert sum("Reasoning against same" in note for note in report.notes) == 2


def test_noise_is_of_tune_cases_and_sittings_are_of_the_exam(toy: Any, report: Report) -> None:
    tune = [row["id"] for row in rows(toy.run / "cases" / "tune.jsonl")]
    orders = [
        [row["case_id"] for row in rows(toy.run / "grades" / "packed" / "rerun" / name / "grades.jsonl")]
        for name in ("first", "again")
    ]
    assert orders[0] == tune
    assert sorted(orders[1]) == sorted(tune)
    assert orders[1] != tune
    assert report.noise is not None
    assert report.noise.cases == len(tune)
    for model, sat in report.sittings.items():
        assert sum(sat.outcomes.values()) == sat.answers == report.models[model]["cases"]
        assert sat.asked["engine"]


def test_the_counts_are_those_of_the_grades(toy: Any, report: Report) -> None:
    inside = {row["id"] for row in rows(toy.run / "cases" / "exam.jsonl") if not row["outside"]}
    assert len(inside) == 48
    marks: dict[str, dict[str, dict[str, bool]]] = {"accuracy": {}, "red flags": {}}
    for model in report.models:
        grades = [row for row in rows(toy.run / "grades" / model / "grades.jsonl") if row["case_id"] in inside]
        assert len(grades) == 48
        marks["accuracy"][model] = {row["case_id"]: row["correct"] for row in grades}
        marks["red flags"][model] = {
            row["case_id"]: row["red_flags_named"] >= row["red_flags_total"] for row in grades if row["red_flags_total"]
        }
    for verdict in report.verdicts:
        old, new = (marks[verdict.arm][name] for name in (verdict.before, verdict.after))
        found = [(old[case], new[case]) for case in old]
        counted = [found.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))]
        assert counted == [verdict.both, verdict.only_before, verdict.only_after, verdict.neither], verdict
        assert verdict.difference == pytest.approx((counted[2] - counted[1]) / len(found))


def test_no_exam_case_is_taught(toy: Any) -> None:
    cases = toy.run / "cases"
    exam = {row["id"]: row["vignette"] for row in rows(cases / "exam.jsonl")}
    assert not exam.keys() & {row["id"] for split in ("teach", "tune") for row in rows(cases / f"{split}.jsonl")}
    for path in (cases / "oracle.jsonl", toy.run / "traces" / "lessons.jsonl", toy.run / "traces" / "traces.jsonl"):
        prompts = [row["prompt"] for row in rows(path)]
        assert prompts
        assert not exam.keys() & {prompt["case_id"] for prompt in prompts}
        taught = "\n".join(message["content"] for prompt in prompts for message in prompt["messages"])
        assert not [name for name, vignette in exam.items() if vignette in taught]


def test_every_kept_trace_passes_verification(toy: Any) -> None:
    cases = {case.id: case for case in files.read_jsonl(toy.run / "cases" / "teach.jsonl", Case)}
    marker = Marker(load())
    kept = list(files.read_jsonl(toy.run / "traces" / "traces.jsonl", Trace))
    assert len(kept) == files.lineage(toy.run / "traces").figures["kept"]
    for trace in kept:
        case = cases[trace.prompt.case_id]
        assert faults(case, marker.mark(case, trace)) == ()
    said = {(trace.prompt.case_id, trace.thinking, trace.reply) for trace in kept}
    lessons = list(files.read_jsonl(toy.run / "traces" / "lessons.jsonl", Lesson))
    assert {(one.prompt.case_id, one.thinking, one.reply) for one in lessons} <= said
    assert {one.teacher for one in lessons} == {files.lineage(toy.run / "teacher" / "reasoned").output}


def test_the_second_run_makes_nothing(toy: Any, report: Report, tmp_path: Path) -> None:
    copied = toy.copy(tmp_path)
    before = copied.lineages()
    started = time.monotonic()
    ended = copied.again("--keep-going")
    seconds = time.monotonic() - started
    assert ended.returncode == toy.ended.returncode
    assert f"0 stages made, {len(before)} fresh" in ended.stdout
    assert copied.lineages() == before
    assert files.read_json(copied.run / "report.json", Report) == report
    assert seconds < 30  # 4 s on a quiet machine


def test_a_changed_field_remakes_what_reads_it_and_nothing_before(toy: Any, eight: tuple[Any, Any]) -> None:
    copied, ended = eight
    assert ended.returncode in (0, 1, 3), ended.stderr
    before, after = toy.lineages(), copied.lineages()
    assert {name for name in before if before[name] != after[name]} == {"packed", "grades/packed"}
    assert f"2 stages made, {len(before) - 2} fresh" in ended.stdout
    assert BITS in (copied.run / "recipe.toml").read_text(encoding="utf-8")
    figures = files.lineage(copied.run / "packed").figures
    assert (figures["tensors_4_bit"], figures["bits_per_weight"] > 8) == (0, True)
    remade = files.read_json(copied.run / "passport.json", Passport)
    assert remade.exam_opened == 2
    assert remade.checkpoint == files.digest(copied.run / "packed")


def test_a_student_learns_what_its_teacher_nearly_said(toy: Any, tmp_path: Path) -> None:
    copied = toy.copy(tmp_path)
    text = copied.recipe.read_text(encoding="utf-8")
    copied.recipe.write_text(text.replace("[distil]\n", "[distil]\ntoken_level = 0.7\n"), encoding="utf-8")
    ended = copied.again("--stage", "distilled")
    assert ended.returncode == 0, ended.stderr
    before, after = (files.lineage(run / "distilled") for run in (toy.run, copied.run))
    assert (before.inputs.keys() | {"teacher/reasoned"}, before.output != after.output) == (after.inputs.keys(), True)
    assert after.figures["steps"] == before.figures["steps"]


def test_a_run_is_served_by_what_its_exam_showed(toy: Any, passport: Passport) -> None:
    served = find(toy.run, unproven=True)
    assert served.checkpoint == toy.run / "packed"
    lost = any(verdict.finding == "lost" for verdict in passport.verdicts)
    assert served.standing.word == ("unproven" if lost else "demonstration")
    assert bool(served.standing.why) is lost
    assert served.standing.checkpoint == files.lineage(toy.run / "packed").output
    with pytest.raises(UserError, match="another checkpoint"):
        find(toy.run / "reasoned", unproven=False)


def test_a_changed_checkpoint_is_not_served(toy: Any, tmp_path: Path) -> None:
    copied = toy.copy(tmp_path)
    weights = copied.run / "packed" / "openvino_model.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"its digest differs.*--unproven opens it"):
        find(copied.run, unproven=False)


def test_a_run_answers_in_the_terminal(toy: Any, call: Callable[..., Any]) -> None:
    case = next(rows(toy.run / "cases" / "exam.jsonl"))["vignette"]
    ended = call("ask", toy.run, case, "--json")
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["word"] in ("demonstration", "unproven")  # by what the exam of the toy showed
    assert len(said["diagnoses"]) <= 5
    assert said["diagnoses"] or said["abstained"] or said["unreadable"]
    assert "not for patients" in ended.stderr


def test_the_page_is_made_anew_from_the_run(toy: Any, report: Report, tmp_path: Path, call: Callable[..., Any]) -> None:
    page = tmp_path / "again.html"
    ended = call("report", toy.run, "--html", page, "--json")
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads(ended.stdout)["verdicts"]) == len(report.verdicts)
    first = (toy.run / "report.html").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == first


def test_two_of_its_models_can_be_compared_by_hand(toy: Any, call: Callable[..., Any]) -> None:
    marks = [toy.run / "grades" / name / "grades.jsonl" for name in ("base", "packed")]
    rules = ("--margin", "0.1", "--why-margin", "a toy: only the machinery is tested", "--json")
    ended = call("compare", *marks, *rules)
    overall = json.loads(ended.stdout)["overall"]
    right = [{row["case_id"]: row["correct"] for row in rows(path)} for path in marks]
    assert overall["n"] == len(right[0]) == 54  # those outside the knowledge base too
    assert overall["only_after"] == sum(new and not right[0][case] for case, new in right[1].items())
    codes = {"lost": 1, "too few cases": 3, "kept": 0, "gained": 0}
    flags = json.loads(ended.stdout)["red_flags"]["finding"]
    assert ended.returncode == max((codes[overall["finding"]], codes[flags]), key=(0, 3, 1).index)
