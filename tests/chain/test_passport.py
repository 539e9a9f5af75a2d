"""What a passport may claim: proven only on local, reviewed evidence, and only when every gate and floor was passed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rounds import __version__, recipe
from rounds.chain.passport import DEMONSTRATION, PROVEN, UNPROVEN, Passport, passport, write_passport
from rounds.files import digest, digest_of, read_json
from rounds.records import Evidence, Finding, Floor, Interval, Report, Step, UserError, Verdict

CHOSEN = recipe.read("tiny")
STEPS = {name: Step(verb="x", recipe="r", output=f"digest of {name}") for name in ("base", "reasoned", "packed")}


def verdict(finding: Finding) -> Verdict:
    half = Interval(low=-0.01, high=0.02)
    counts = {"n": 100, "both": 90, "only_before": 2, "only_after": 3, "neither": 5}
    return Verdict.model_validate(
        {"before": "base", "after": "packed", "difference": 0.01, "tango": half, "newcombe": half, "finding": finding}
        | counts
        | {"p_exact": 1.0, "p_midp": 1.0}
    )


def report(evidence: Evidence = "local-reviewed", met: bool = True) -> Report:
    floor = Floor(name="top five", model="packed", hits=90, n=100, rate=0.9, lower=0.82, floor=0.8, met=met)
    return Report(
        title="t",
        alpha=0.01,
        margin=0.02,
        why_margin="two cases in a hundred",
        evidence=evidence,
        verdicts=(),
        floors=(floor,),
        notes=("a note",),
        exam_opened=3,
    )


def drawn(
    *findings: Finding, evidence: Evidence = "local-reviewed", met: bool = True, steps: dict[str, Step] = STEPS
) -> Passport:
    return passport(report(evidence, met), [verdict(one) for one in findings], steps, CHOSEN)


def test_every_gate_and_floor_passed_on_reviewed_cases_is_proven() -> None:
    found = drawn("kept", "gained")
    assert (found.proven, found.passed, found.banner) == (True, True, PROVEN)


@pytest.mark.parametrize("finding", ["lost", "too few cases"])
def test_one_gate_not_passed_is_not_proven(finding: Finding) -> None:
    found = drawn("gained", finding, "kept")
    assert (found.proven, found.passed, found.banner) == (False, False, UNPROVEN)


def test_a_floor_that_was_not_met_is_not_proven() -> None:
    assert drawn("gained", met=False).passed is False


def test_no_gates_prove_nothing() -> None:
    assert drawn().passed is False


@pytest.mark.parametrize(("evidence", "banner"), [("synthetic", DEMONSTRATION), ("public", UNPROVEN)])
def test_other_evidence_is_never_proven(evidence: Evidence, banner: str) -> None:
    found = drawn("gained", "kept", evidence=evidence)
    assert (found.proven, found.passed, found.banner) == (False, True, banner)
    assert drawn("lost", evidence=evidence).banner == banner


def test_it_names_what_was_examined_and_how() -> None:
    found = drawn("kept")
    assert found.checkpoint == "digest of packed"
    assert found.parent == "digest of base"
    assert found.recipe == "tiny"
    assert found.recipe_digest == digest_of(CHOSEN.model_dump(mode="json"))
    assert found.rounds == __version__
    assert (found.alpha, found.margin, found.why_margin) == (0.01, 0.02, "two cases in a hundred")
    assert found.exam_opened == 3
    assert found.lineage == STEPS
    assert found.floors[0]["lower"] == 0.82
    assert found.notes == ("a note",)


def test_without_4_bits_it_speaks_for_the_reasoned_checkpoint() -> None:
    steps = {name: step for name, step in STEPS.items() if name != "packed"}
    assert drawn("kept", steps=steps).checkpoint == "digest of reasoned"
    assert drawn("kept", steps={}).checkpoint == ""


def test_it_names_files_licences_engine_and_error_modes(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run = make_run(tmp_path / "mine")
    found = read_json(run / "passport.json", Passport)
    assert set(found.files) == {"recipe.toml", "report.json", "cases/exam.jsonl"}
    assert found.files["report.json"] == digest(run / "report.json")
    assert {one.licence for one in found.licences} == {"Apache-2.0"}
    assert found.engine == {"engine": "openvino", "batch invariant": "no"}
    assert found.versions == {"python": "3.11"}
    assert found.error_modes["packed"][0].standing == "kappa 0.9"
    assert found.verdicts[0].minimum_detectable == 0.05
    assert (found.safety, found.budget, found.serving) == ({}, {}, {})


def test_a_passport_of_an_older_version_is_read(tmp_path: Path) -> None:
    told = drawn("kept").model_dump(mode="json")
    for name in ("files", "error_modes", "engine", "versions", "licences", "safety", "budget", "serving"):
        del told[name]
    (tmp_path / "passport.json").write_text(json.dumps(told), encoding="utf-8")
    assert read_json(tmp_path / "passport.json", Passport) == drawn("kept")


def test_it_is_written_and_read_again(tmp_path: Path) -> None:
    found = drawn("kept")
    write_passport(found, tmp_path / "passport.json")
    assert read_json(tmp_path / "passport.json", Passport) == found
    assert json.loads((tmp_path / "passport.json").read_text(encoding="utf-8"))["banner"] == PROVEN


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file in its way")
    with pytest.raises(UserError, match="cannot be written"):
        write_passport(drawn("kept"), tmp_path / "run" / "passport.json")
