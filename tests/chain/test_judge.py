"""A lost step stops a run with its lost cases by name, and nothing that was lost is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rounds import files, recipe
from rounds.chain.judge import first_lost
from rounds.chain.passport import Passport
from rounds.records import Answer, Case, Grade, UserError
from rounds.serve.standing import find

CASES = 40


def exam(run: Path) -> list[str]:
    cases = [Case(id=f"exam-{n}", vignette=f"Case {n}.", diagnosis="gout", split="exam") for n in range(CASES)]
    outside = Case(id="away", vignette="Another case.", diagnosis="unheard of", split="exam", outside=True)
    files.write_jsonl(run / "cases" / "exam.jsonl", [*cases, outside])
    return [case.id for case in cases]


def write_grades(run: Path, model: str, right: set[str], flags: set[str] | None = None) -> None:
    """Right on these cases, wrong on the others, whatever on the one outside; `flags`: where the red flag is named."""
    grades = [
        Grade(
            case_id=name,
            answer=Answer(case_id=name, diagnoses=("gout",)),
            correct=name in right,
            red_flags_named=0 if flags is None else int(name in flags),
            red_flags_total=0 if flags is None else 1,
        )
        for name in [*(f"exam-{n}" for n in range(CASES)), "away"]
    ]
    files.write_jsonl(run / "grades" / model / "grades.jsonl", grades)
    files.write_jsonl(run / "grades" / model / "traces.jsonl", [])


def done(*models: str) -> set[str]:
    return {"cases", *(f"grades/{model}" for model in models)}


def test_a_lost_step_is_named_with_its_cases(tmp_path: Path) -> None:
    names = exam(tmp_path)
    write_grades(tmp_path, "base", {*names, "away"})
    write_grades(tmp_path, "distilled", set(names[:30]))
    said = first_lost(tmp_path, recipe.read("tiny"), done("base", "distilled"))
    assert said == (
        "distilled is lost against base on accuracy: -25.0 points, p 0.0020; "
        f"10 cases lost: {', '.join(f'exam-{n}' for n in range(30, 40))}"
    )


def test_of_many_lost_cases_twenty_are_named(tmp_path: Path) -> None:
    names = exam(tmp_path)
    write_grades(tmp_path, "base", set(names))
    write_grades(tmp_path, "packed", set())
    said = first_lost(tmp_path, recipe.read("tiny"), done("base", "packed"))
    assert said is not None
    assert "packed is lost against base" in said
    assert said.endswith("40 cases lost: " + ", ".join(names[:20]) + " …")


def test_lost_red_flags_are_a_loss_of_their_own(tmp_path: Path) -> None:
    names = exam(tmp_path)
    write_grades(tmp_path, "reasoned", set(names), flags=set(names))
    write_grades(tmp_path, "packed", set(names), flags=set(names[10:]))
    said = first_lost(tmp_path, recipe.read("tiny"), done("reasoned", "packed"))
    assert said is not None
    assert said.startswith("packed is lost against reasoned on red flags: -25.0 points")
    assert said.endswith("10 cases lost: " + ", ".join(names[:10]))


def test_a_step_that_is_not_lost_or_not_examined_stops_nothing(tmp_path: Path) -> None:
    chosen = recipe.read("tiny")
    assert first_lost(tmp_path, chosen, {"base"}) is None  # a checkpoint is there before the cases are
    names = exam(tmp_path)
    write_grades(tmp_path, "base", set(names))
    write_grades(tmp_path, "distilled", set(names[:36]))
    write_grades(tmp_path, "control-same-cases", set(names))
    everything = done("base", "distilled", "control-same-cases")
    assert first_lost(tmp_path, chosen, done("base")) is None
    assert first_lost(tmp_path, chosen, everything) is None


def test_a_control_that_does_better_is_no_loss(tmp_path: Path) -> None:
    names = exam(tmp_path)
    write_grades(tmp_path, "distilled", set())
    write_grades(tmp_path, "control-same-cases", set(names))
    assert first_lost(tmp_path, recipe.read("tiny"), done("distilled", "control-same-cases")) is None


def plant(run: Path, model: str, correct: bool) -> None:
    """Make every answer of a model on the exam right, or wrong."""
    path = run / "grades" / model / "grades.jsonl"
    lines = [json.loads(line) | {"correct": correct} for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.mark.timeout(1800)
def test_a_run_stops_at_a_planted_loss_and_stops_again(toy: Any, tmp_path: Path) -> None:
    copied = toy.copy(tmp_path)
    plant(copied.run, "base", True)
    plant(copied.run, "distilled", False)
    (copied.run / "grades" / "packed").rename(tmp_path / "aside")
    before = copied.lineages()
    for _ in range(2):
        ended = copied.again()
        assert ended.returncode == 1
        assert f"0 stages made, {len(before)} fresh" in ended.stdout
        assert ended.stdout.rstrip().endswith("--unproven")
        assert "distilled is lost against base on accuracy: -100.0 points" in ended.stderr
        assert "48 cases lost: exam-" in ended.stderr
        assert ended.stderr.rstrip().endswith("--keep-going goes on, and the passport says so.")
        assert copied.lineages() == before
    passport = files.read_json(copied.run / "passport.json", Passport)
    assert [(v.before, v.after) for v in passport.verdicts if v.finding == "lost"] == [("base", "distilled")]


@pytest.mark.timeout(1800)
def test_with_keep_going_the_passport_says_what_was_lost(toy: Any, tmp_path: Path) -> None:
    copied = toy.copy(tmp_path)
    plant(copied.run, "base", True)
    plant(copied.run, "packed", False)
    ended = copied.again("--keep-going")
    assert ended.returncode == 1
    passport = files.read_json(copied.run / "passport.json", Passport)
    assert {(v.before, v.after) for v in passport.verdicts if v.finding == "lost"} >= {("base", "packed")}
    assert not passport.passed
    assert "Unproven: something was lost" in (copied.run / "report.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="holds a verdict that is lost"):
        find(copied.run, unproven=False)
