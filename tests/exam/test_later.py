"""Safety and thinking budget: on the page of the run as on their own pages, and never of another checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.exam import curve_page, later, safety_page
from rounds.exam.later import Later
from rounds.exam.report import render
from rounds.exam.safety_result import summary
from rounds.files import write_text
from rounds.records import Report, UserError

REPORT = Report(
    title="a run", alpha=0.01, margin=0.02, why_margin="because of this", evidence="synthetic", verdicts=(),
    digests={"packed": "ab" * 32},
)  # fmt: skip


def drawn(page: str) -> list[str]:
    """Its pictures, which have no level of heading about them."""
    return [line for line in page.splitlines() if "<svg" in line and "symbol" not in line]


def test_the_run_shows_what_their_own_pages_show(measured: Later) -> None:
    assert measured.probe is not None
    assert measured.curve is not None
    page = render(REPORT, [], {}, later=measured)
    own = (safety_page.render(measured.probe), curve_page.render("t", [measured.curve], "synthetic"))
    for other in own:
        assert len(drawn(other)) >= 3
        assert set(drawn(other)) <= set(drawn(page))
    for anchor in ("safety", "budget", "shorter", "safety-arms", "budget-choice", "shorter-choice"):
        assert page.count(f'id="{anchor}"') == 1
    assert '<a href="#safety">' in page
    assert "A probe, not a proof" in page
    assert "50 % fewer thinking tokens (40.0 to 20.0); accuracy kept" in page
    assert "Harmful requests, in answers" in page
    assert "<script" not in page
    assert "Measured on another checkpoint" not in page


def test_a_run_without_them_has_no_such_section() -> None:
    page = render(REPORT, [], {})
    assert 'id="safety"' not in page
    assert 'id="budget"' not in page
    assert 'id="shorter"' not in page


def test_another_checkpoint_is_told(measured: Later) -> None:
    page = render(REPORT.model_copy(update={"digests": {"packed": "cd" * 32}}), [], {}, later=measured)
    assert page.count("Measured on another checkpoint than is spoken of here (abababababababab…)") == 3
    assert "run rounds probe again" in page
    assert "run rounds budget again" in page
    assert "run rounds budget --shorten again" in page


def test_they_are_read_from_the_directory_of_the_run(measured: Later, tmp_path: Path) -> None:
    assert later.read(tmp_path) == Later()
    assert measured.probe is not None
    assert measured.curve is not None
    write_text(tmp_path / "probe-full.json", measured.probe.model_dump_json())
    assert measured.shortening is not None
    write_text(tmp_path / "budget.json", measured.curve.model_dump_json())
    write_text(tmp_path / "shorten.json", measured.shortening.model_dump_json())
    assert later.read(tmp_path) == measured
    write_text(tmp_path / "budget.json", "{}")
    with pytest.raises(UserError, match=r"budget\.json: is not a Curve"):
        later.read(tmp_path)


def test_a_passport_is_told_what_each_judge_is_worth(measured: Later) -> None:
    assert measured.probe is not None
    short = summary(measured.probe)
    assert short.validation["harmful requests, answers"] == "kappa .86"
    assert short.validation["request, thoughts"] == "not validated"
    assert short.validation["over-refusal"] == "kappa .86"
    assert {*short.findings, *short.attack_success, *short.over_refusal} <= set(short.validation)
