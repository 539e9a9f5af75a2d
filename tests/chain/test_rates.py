"""What the machine does in a second: plausible, and silent where the machine does not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.chain import rates


def test_rates_are_those_of_a_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "BLOCK", 2**22)
    monkeypatch.setattr(rates, "STACK", 32)
    assert 1e7 < rates.bandwidth(1) < 1e13
    assert 1e6 < rates.multiplied(2) < 1e15


def test_energy_is_the_sum_of_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "POWERCAP", tmp_path)
    assert rates.joules() is None
    for name, told in {"intel-rapl:0": 3_000_000, "intel-rapl:1": 500_000, "intel-rapl:0:0": 9_000_000}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{told}\n", encoding="utf-8")
    assert rates.joules() == 3.5
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("not for you", encoding="utf-8")
    assert rates.joules() is None


def test_a_counter_that_began_anew_tells_nothing() -> None:
    assert rates.spent(1.0, 3.5) == 2.5
    assert rates.spent(3.5, 1.0) is None
    assert rates.spent(None, 1.0) is None


def test_the_processor_has_a_name_and_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rates.processor().endswith("cores")
    monkeypatch.setattr(rates, "PROCESSORS", tmp_path / "none")
    assert rates.processor().endswith("cores")
