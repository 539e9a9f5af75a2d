"""Cells from rows by hand: medians, ratios inside a repeat, the limit of the bandwidth."""

from __future__ import annotations

import pytest

from rounds.chain.bench_result import Bench, EngineFigures, Row, cells, markdown
from rounds.chain.bench_worker import Told

ENGINES = {
    "a": EngineFigures(load_s=1.0, weights_bytes=1200, read_bytes=1000, kv_bytes_a_token=10),
    "b": EngineFigures(load_s=2.0, model="ward"),
}


def row(engine: str, repeat: int, seconds: float, tokens: int = 16, joules: float | None = None) -> Row:
    told = Told(
        prompt_tokens=32 if engine == "a" else 40,
        tokens=tokens,
        seconds=seconds,
        first_token_s=seconds / 4,
        decode_tokens_s=14 / seconds,
        peak_bytes=5000 + repeat if engine == "a" else None,
        anonymous_bytes=2000 if engine == "a" else None,
        files_bytes=None,
    )
    return Row(engine=engine, repeat=repeat, prompt=32, streams=2, joules=joules, told=told)


ROWS = [row("a", 0, 2.0), row("b", 0, 4.0), row("b", 1, 16.0), row("a", 1, 4.0), row("a", 2, 8.0), row("b", 2, 8.0)]


def test_ratios_are_taken_inside_each_repeat() -> None:
    first, second = cells(ROWS, ENGINES, [3e4, 1e4, 2e4], "a", 8)
    assert (first.total_tokens_s.median, first.total_tokens_s.range.low, first.total_tokens_s.range.high) == (4, 2, 8)
    assert second.total_ratio.median == 0.5
    assert (second.total_ratio.range.low, second.total_ratio.range.high) == (0.25, 1.0)
    assert first.total_ratio.median == 1.0
    assert second.first_token_s.median == 2.0


def test_the_limit_is_the_bandwidth_over_what_a_step_reads() -> None:
    first, second = cells(ROWS, ENGINES, [3e4, 1e4, 2e4], "a", 8)
    step = 1000 + 2 * 10 * (32 + 4)
    assert first.limit_tokens_s == pytest.approx(2 * 2e4 / step)
    assert first.share_of_limit == pytest.approx(3.5 / (2 * 2e4 / step))
    assert first.kv_bytes == 2 * 10 * 40
    assert (first.peak_bytes, first.anonymous_bytes) == (5002, 2000)
    assert (second.limit_tokens_s, second.share_of_limit, second.kv_bytes, second.peak_bytes) == (None,) * 4


def test_answers_that_ended_early_and_energy_are_told() -> None:
    rows = [row("a", n, 2.0, tokens=16 - (n == 1), joules=32.0) for n in range(3)]
    (only,) = cells(rows, {"a": ENGINES["a"]}, [1e4], "a", 8)
    assert only.short
    assert only.joules_a_token == 2.0
    assert not cells(ROWS, ENGINES, [1e4], "a", 8)[0].short


def test_the_page_holds_every_cell() -> None:
    found = Bench(
        shape="tiny",
        structure="qwen2",
        weights=600,
        machine="a machine, 2 cores",
        threads=2,
        date="2026-11-21",
        versions={},
        new_tokens=8,
        repeats=3,
        against="a",
        bandwidth=(2e4,),
        making_peak_bytes=None,
        engines=ENGINES,
        rows=tuple(ROWS),
        cells=cells(ROWS, ENGINES, [2e4], "a", 8),
    )
    page = markdown(found)
    assert "Energy: not told by this machine." in page
    assert "| a | 1.20 kB | 1.00 kB | 10 B | 1.0 |" in page
    assert "| b | - | - | - | - |" in page
    assert "| b | 32 (40 there) | 2 | 2.00 (1.00-4.00) |" in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("| ") and "tok/s" in line}
    assert {line.count("|") for line in page.splitlines() if line.startswith(("| a | 32", "| b | 32"))} == widths
    assert Bench.model_validate_json(found.model_dump_json()) == found
    assert "Making the model" not in page
    made = found.model_copy(update={"making_peak_bytes": 9 * 10**9, "making_anonymous_bytes": 6 * 10**9})
    assert "Making the model took 9.00 GB of memory at its peak, of it 6.00 GB not mapped from files." in markdown(made)
