"""Specialists of the toy chain: true adapters, an exam of its own, a matrix, and what a second run makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rounds import files, recipe
from rounds.chain.prepare import read_cases
from rounds.chain.specialise import make_cases, specialise_run, stages
from rounds.chain.stage import Work
from rounds.cli.main import main
from rounds.exam.specialties import Matrix
from rounds.model import checkpoint
from rounds.records import Case, UserError

pytestmark = pytest.mark.timeout(1800)

SPECIALISE = """
[specialise]
rate = 1e-3
steps = 2
exam_cases = 4
separate = 2
lora = { rank = 4, embeddings = false }
"""


@pytest.fixture(scope="module")
def run(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied: Path = toy.copy(tmp_path_factory.mktemp("specialise")).run
    with (copied / "recipe.toml").open("a", encoding="utf-8") as text:
        text.write(SPECIALISE)
    return copied


@pytest.fixture(scope="module")
def specialty(run: Path) -> str:
    cases = read_cases(run / "cases", "teach")
    return sorted({case.specialty for case in cases if not case.outside})[0]


@pytest.fixture(scope="module")
def found(run: Path, specialty: str) -> Matrix:
    return specialise_run(run, [specialty])


def test_the_matrix_has_a_cell_for_every_specialty(run: Path, found: Matrix, specialty: str) -> None:
    assert [row.trained_on for row in found.rows] == [specialty]
    assert set(found.rows[0].cells) == set(found.cases)
    assert {name: v.n for name, v in found.rows[0].cells.items()} == found.cases
    assert min(found.cases.values()) >= 4
    assert files.read_json(run / "specialise.json", Matrix) == found
    assert found.start == "reasoned"


def test_the_exam_is_its_own(run: Path, found: Matrix) -> None:
    own = read_cases(run / "specialise" / "cases", "exam")
    ids = {case.id for split in ("teach", "tune", "exam") for case in read_cases(run / "cases", split)}
    known = {frozenset(c.present) for s in ("teach", "tune", "exam") for c in read_cases(run / "cases", s)}
    assert len(own) == sum(found.cases.values())
    assert not ids & {case.id for case in own}
    assert not [case for case in own if frozenset(case.present) in known]


def test_adapter_and_merged_model_are_both_kept(run: Path, found: Matrix, specialty: str) -> None:
    place = run / "specialise" / "on" / specialty.replace(" ", "-")
    assert checkpoint.load(place).config.model_type == "qwen2"
    assert (place / "adapter" / "adapter_model.safetensors").is_file()
    assert found.separate["same_five"] == found.separate["cases"] == 2
    assert int(found.separate["bytes_adapter"] or 0) < int(found.separate["bytes_merged"] or 0)
    assert found.rows[0].adapter == files.digest(place / "adapter")
    assert found.start_digest == files.digest(run / found.start)
    made = found.rows[0].made
    assert made["steps"] == 2
    assert int(made["replayed"] or 0) <= int(made["lessons"] or 0)


def test_the_second_run_makes_nothing_and_says_the_same(
    run: Path, found: Matrix, specialty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run / "specialise").rglob("lineage.json")}
    assert main(["specialise", str(run), "--specialty", specialty]) == found.code
    assert {path: path.stat().st_mtime_ns for path in (run / "specialise").rglob("lineage.json")} == before
    assert found.rows[0].sentence.replace("−", "-") in capsys.readouterr().out


def test_a_thinned_start_is_a_stage_of_its_own() -> None:
    chosen = recipe.read("tiny")
    names = [stage.name for stage in stages(chosen, ["surgery"])]
    assert "specialise/start" not in names  # answers alone are learnt: the base is the start
    reasoning = chosen.model_copy(update={"specialise": chosen.specialise.model_copy(update={"direct": False})})
    planned = {stage.name: stage for stage in stages(reasoning, ["surgery"])}
    assert planned["specialise/on/surgery"].needs == ("cases", "traces", "specialise/start")
    assert planned["specialise/start"].needs == ("cases", "traces", "specialise/base")
    given = recipe.read("one-gpu").specialise.model_copy(update={"thinned": "surgery"})
    with pytest.raises(UserError, match="the student is a checkpoint"):
        stages(recipe.read("one-gpu").model_copy(update={"specialise": given}), ["surgery"])


def test_too_few_cases_of_a_specialty_are_counted(toy: Any, tmp_path: Path) -> None:
    case = Case(id="s1", vignette="A man of 30 has a painful toe after a feast.", diagnosis="Gout", specialty="surgery")
    files.write_jsonl(tmp_path / "own.jsonl", [case])
    chosen = recipe.read(str(toy.recipe))
    settings = chosen.specialise.model_copy(update={"file": str(tmp_path / "own.jsonl")})
    work = Work(tmp_path, tmp_path, {"cases": toy.run / "cases", "file": tmp_path / "own.jsonl"})
    with pytest.raises(UserError, match=r"'surgery' has 1 exam cases where specialise\.exam_cases asks for 400"):
        make_cases(work, chosen.model_copy(update={"specialise": settings}))


def test_an_unknown_specialty_and_a_bare_directory_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["specialise", str(run), "--specialty", "astrology"]) == 2
    assert "no teach case is of the specialty 'astrology'; use one of" in capsys.readouterr().err
    assert main(["specialise", str(tmp_path)]) == 2
    assert "is no run (it has no recipe.toml)" in capsys.readouterr().err
