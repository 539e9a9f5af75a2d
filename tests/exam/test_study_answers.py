"""Sources of a study: what is missing or does not fit is one sentence, and nothing is asked for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from rounds import files
from rounds.exam.study import CaseSet, Model, Study
from rounds.exam.study_answers import cases_of, file_of, inputs_of, prompts_of, sit
from rounds.records import Case, UserError

Write = Callable[..., str]


@pytest.fixture
def jsonl(tmp_path: Path) -> Write:
    def write(name: str, *rows: dict[str, Any]) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return name

    return write


def letter(name: str, model: str, pred: str) -> dict[str, Any]:
    return {"id": name, "model": model, "pred": pred, "gold": "B"}


def a_study(*models: dict[str, Any], **change: Any) -> Study:
    pairs = [{"before": models[0]["name"], "after": models[1]["name"]}]
    rules = {"title": "T", "margin": 0.05, "why_margin": "one case in twenty", "pair": pairs, "model": models}
    return Study.model_validate({**rules, **change})


def opened(model: Model) -> NoReturn:
    raise AssertionError(f"{model.name} is asked")


def test_recorded_answers_and_marks_stand_side_by_side(tmp_path: Path, jsonl: Write) -> None:
    path = jsonl("in.jsonl", letter("1", "m", "B"), letter("2", "m", "A"), letter("1", "n", "B"))
    plain = jsonl("own.jsonl", {"case_id": "1", "correct": False}, {"case_id": "2", "correct": None})
    study = a_study(
        {"name": "one", "recorded": {"format": "medagents", "path": path, "model": "m"}},
        {"name": "n", "recorded": {"format": "medagents", "path": path}},
        {"name": "mine / 2", "marks": {"path": plain}},
    )
    inputs = inputs_of(study, tmp_path)
    assert inputs == {name: files.digest(tmp_path / name) for name in (path, plain)}
    found = sit(study, tmp_path, tmp_path / "out", [], inputs, opened)
    told = {name: {mark.case_id: mark.correct for mark in sat.marks} for name, sat in found.items()}
    assert told == {"one": {"1": True, "2": False}, "n": {"1": True}, "mine / 2": {"1": False, "2": None}}
    assert sorted(path.name for path in (tmp_path / "out" / "grades").iterdir()) == ["n.jsonl", "one.jsonl"]
    assert file_of(study.model[2]) == "mine-2"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "z"}, r"in\.jsonl: has no model 'z'; use one of m, n\.$"),
        ({"model": "m", "sample": 3}, r"in\.jsonl: 'm' has no sample 3; samples count from 0\.$"),
        ({"format": "medagent"}, r"^recorded format 'medagent' is unknown; use one of"),
    ],
)
def test_faults_of_recorded_answers(tmp_path: Path, jsonl: Write, change: dict[str, Any], words: str) -> None:
    path = jsonl("in.jsonl", letter("1", "m", "B"), letter("1", "n", "B"))
    source = {"format": "medagents", "path": path, "model": "m", **change}
    study = a_study({"name": "one", "recorded": source}, {"name": "n", "recorded": {**source, "model": "n"}})
    with pytest.raises(UserError, match=words):
        sit(study, tmp_path, tmp_path / "out", [], {}, opened)


def test_only_some_cases(tmp_path: Path, jsonl: Write) -> None:
    rows = [{"case_id": str(i), "correct": True, "ward": "ab"[i % 2]} for i in range(5)]
    path = jsonl("own.jsonl", *rows)
    models = [{"name": name, "marks": {"path": path}} for name in ("x", "y")]
    found = sit(a_study(*models, only={"ward": "b"}), tmp_path, tmp_path / "out", [], {}, opened)
    assert [mark.case_id for mark in found["x"].marks] == ["1", "3"]
    with pytest.raises(UserError, match=r"^only: 'x' has no case with ward 'c'; its values are a, b\.$"):
        sit(a_study(*models, only={"ward": "c"}), tmp_path, tmp_path / "out", [], {}, opened)


def test_two_models_never_share_a_file(tmp_path: Path) -> None:
    models = [{"name": name, "marks": {"path": "x.jsonl"}} for name in ("a b", "A-b")]
    with pytest.raises(UserError, match=r"^two models would share a file \(A-b, a b\); rename one\.$"):
        sit(a_study(*models), tmp_path, tmp_path / "out", [], {}, opened)


def test_missing_inputs_are_named_before_anything_is_asked(tmp_path: Path) -> None:
    models = [{"name": name, "marks": {"path": f"{name}.jsonl"}} for name in ("a", "b")]
    with pytest.raises(UserError, match=r"a\.jsonl: does not exist; check the path\.$"):
        inputs_of(a_study(*models), tmp_path)


def test_options_must_be_shown() -> None:
    case = Case(id="c1", vignette="Which drug?", diagnosis="X", options=("Xylocaine", "Yohimbine"), right=("A",))
    with pytest.raises(UserError, match=r"^case 'c1' has options, which template 'differential@1' does not show; use"):
        prompts_of([case], "differential@1")


def test_cases_from_a_file_or_a_format(tmp_path: Path, jsonl: Write) -> None:
    story = "For a week the knee of this runner has been warm and swollen and hard to bend at night."
    table = tmp_path / "own.csv"
    table.write_text(f"nr,story,name\n1,{story},gout\n", encoding="utf-8")
    columns = tmp_path / "own.toml"
    columns.write_text('[columns]\nid = "nr"\nvignette = "story"\ndiagnosis = "name"\n', encoding="utf-8")
    (case,) = cases_of(CaseSet(format="table", path="own.csv", columns="own.toml"), tmp_path)
    files.write_jsonl(tmp_path / "cases.jsonl", [case, case.model_copy(update={"id": "2", "language": "fr"})])
    assert cases_of(CaseSet(file="cases.jsonl", language="en"), tmp_path) == [case]
    assert cases_of(None, tmp_path) == []
    with pytest.raises(UserError, match="there are 0 cases to examine"):
        cases_of(CaseSet(file="cases.jsonl", language="de"), tmp_path)
    files.write_jsonl(tmp_path / "cases.jsonl", [case.model_copy(update={"diagnosis": "unknown"})])
    with pytest.raises(UserError, match="case '1': no reader accepts its right answer 'unknown'"):
        cases_of(CaseSet(file="cases.jsonl"), tmp_path)
