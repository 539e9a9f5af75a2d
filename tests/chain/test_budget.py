"""Budgets of a real model in the engine that serves: what is asked, what is kept for the next time, what is chosen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rounds import files, recipe
from rounds.chain.budget import Given, curve, of_model, of_run, tune_cases
from rounds.chain.prepare import read_cases
from rounds.cli.main import main
from rounds.exam.curve import Curve
from rounds.records import Case, Trace, UserError
from rounds.serve.chosen import SERVING, budget_of


@pytest.fixture(scope="module")
def asked(babbler: Path, tune: list[Case], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Given, Curve]:
    """A random model at two budgets."""
    home = tmp_path_factory.mktemp("budget")
    files.write_jsonl(home / "tune.jsonl", tune[:6])
    template = "differential-brief@1"
    given = Given(cases=home / "tune.jsonl", margin=0.05, timed=2, out=home, template=template, max_tokens=120)
    return home, given, curve(of_model(str(babbler), None, "", given), [0, 12])


def traces(home: Path, name: str) -> list[Trace]:
    return list(files.read_jsonl(home / "budget" / name / "traces.jsonl", Trace))


def test_the_engine_closes_the_thought_at_the_budget(asked: tuple[Path, Given, Curve]) -> None:
    home, _, found = asked
    free, short = traces(home, "free"), traces(home, "12")
    assert max(trace.thinking_tokens for trace in free) > 12
    assert all(trace.thinking_tokens <= 12 for trace in short)
    assert all(trace.thinking_tokens == 0 for trace in traces(home, "0"))
    changed = [after for before, after in zip(free, short, strict=True) if before.thinking_tokens >= 12]
    assert changed
    assert all(trace.reply_tokens > 0 for trace in changed)
    assert {trace.sampling.thinking_budget for trace in changed} == {12}
    assert found.points[1].touched == len(changed)


def test_seconds_are_of_answers_made_one_at_a_time(asked: tuple[Path, Given, Curve]) -> None:
    home, _, found = asked
    seconds = json.loads((home / "budget" / "seconds" / "seconds.json").read_text(encoding="utf-8"))
    assert {name: len(some) for name, some in seconds.items()} == {"0": 2, "12": 2, "free": 2}
    assert found.timed == 2
    assert all(point.seconds and point.seconds > 0 for point in found.points)


def test_what_is_there_is_not_asked_again(asked: tuple[Path, Given, Curve], babbler: Path) -> None:
    home, given, found = asked
    before = {path: path.stat().st_mtime_ns for path in home.rglob("lineage.json")}
    shutil.rmtree(home / "budget" / "12")  # as after a kill
    assert curve(of_model(str(babbler), None, "", given), [0, 12]) == found
    after = {path: path.stat().st_mtime_ns for path in home.rglob("lineage.json")}
    assert [path.parent.name for path in before if after[path] != before[path]] == ["12"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (Given(), "is no run, so --cases and --margin and --out must be given"),
        (Given(margin=0.05), "so --cases and --out must be given"),
        (Given(cases=Path("x"), margin=2, out=Path("y")), "margin 2 is not a share"),
    ],
)
def test_what_is_missing_is_named(babbler: Path, given: Given, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        of_model(str(babbler), None, "", given)


def test_exam_cases_are_refused(babbler: Path, tune: list[Case], tmp_path: Path) -> None:
    files.write_jsonl(tmp_path / "exam.jsonl", [tune[0].model_copy(update={"split": "exam"})])
    given = Given(cases=tmp_path / "exam.jsonl", margin=0.05, out=tmp_path)
    with pytest.raises(UserError, match="is of the exam split"):
        of_model(str(babbler), None, "", given)


def test_an_endpoint_is_cut_where_nobody_can_close_a_thought(
    tune: list[Case], tmp_path: Path, serve_chat: Callable[..., Any]
) -> None:
    def says(body: dict[str, Any]) -> dict[str, Any]:
        """Thinks 10 tokens on every second question and 50 on the others."""
        tokens = 10 if int(body["messages"][0]["content"].split("A man of ")[1][:2]) % 2 else 50
        message = {"content": "1. Acute myocardial infarction\nRed flags: chest pain", "reasoning_content": "so"}
        usage = {"completion_tokens": tokens + 5, "completion_tokens_details": {"reasoning_tokens": tokens}}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}

    files.write_jsonl(tmp_path / "tune.jsonl", tune)
    given = Given(cases=tmp_path / "tune.jsonl", margin=0.05, out=tmp_path)
    endpoint = serve_chat(says)
    found = curve(of_model(endpoint.url, "m", "NO_KEY", given), [20])
    again = curve(of_model(endpoint.url, "m", "NO_KEY", given), [20])
    assert len(endpoint.asked) == len(tune)
    assert found == again
    assert (found.how, found.timed) == ("cut", 0)
    assert [point.right.events for point in found.points] == [12, 24]
    assert found.points[0].verdicts[0].finding == "lost"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (Given(max_tokens=0), "--max-tokens 0: Input should be"),
        (Given(temperature=3), "--temperature 3: Input should be"),
        (Given(timed=0), "--timed 0 is below 1"),
    ],
)
def test_numbers_are_bounded(babbler: Path, tune: list[Case], given: Given, sentence: str, tmp_path: Path) -> None:
    files.write_jsonl(tmp_path / "tune.jsonl", tune)
    with pytest.raises(UserError, match=sentence):
        of_model(str(babbler), None, "", replace(given, cases=tmp_path / "tune.jsonl", margin=0.05, out=tmp_path))


@pytest.mark.timeout(1800)
def test_a_run_gets_its_choice_written_for_serving(toy: Any, tmp_path: Path) -> None:
    copied = toy.copy(tmp_path)
    code = main(["budget", str(copied.run), "--budgets", "4", "300", "--timed", "1", "--exam"])
    found = files.read_json(copied.run / "budget.json", Curve)
    assert (copied.run / "budget.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    digest = files.digest(copied.run / "packed")
    lost = any(verdict.finding == "lost" for verdict in found.exam)
    assert found.model == digest
    assert budget_of(copied.run, digest) == (None if lost else found.chosen)
    assert code == (1 if lost else 3 if found.chosen is None else 0)
    opened = int((copied.run / "opened.json").read_text(encoding="utf-8"))
    assert opened == 1 + (found.chosen is not None)
    assert [verdict.n for verdict in found.exam if verdict.arm == "accuracy"] == [48] * (found.chosen is not None)
    assert (copied.run / SERVING).is_file()


@pytest.mark.timeout(1800)
def test_more_tune_cases_are_no_taught_ones(toy: Any) -> None:
    chosen = recipe.read(str(toy.recipe))
    own, more = (tune_cases(toy.run, chosen, count) for count in (None, 6))
    assert len(more) > len(own)
    taught = {frozenset(case.present) for case in read_cases(toy.run / "cases", "teach")}
    assert not [case for case in more if frozenset(case.present) in taught]
    exam = {frozenset(case.present) for case in read_cases(toy.run / "cases", "exam")}
    assert not [case for case in more if frozenset(case.present) in exam]
    assert {case.split for case in more} == {"tune"}


@pytest.mark.timeout(1800)
def test_a_run_without_the_model_says_so(toy: Any) -> None:
    with pytest.raises(UserError, match="has no shorter/grpo/ yet"):
        of_run(toy.run, Given(), "shorter/grpo")
    with pytest.raises(UserError, match="a run asks as its exam asked"):
        of_run(toy.run, Given(temperature=0.6))
