"""The exam with a responder that counts what it is asked: order, ids, and going on after a kill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rounds.exam.examine import Examined, Journalled, answer, examine, read, save, unique
from rounds.grade.mark import Marker
from rounds.knowledge.base import load
from rounds.prompts.strategies import Structured, Vote
from rounds.prompts.template import render
from rounds.records import Case, Prompt, Sampling, Trace, UserError

NAMES = ("bacterial meningitis", "migraine", "gout", "appendicitis", "asthma")
CASES = [Case(id=f"c{number}", vignette=f"A case of {name}.", diagnosis=name) for number, name in enumerate(NAMES)]
PROMPTS = [render(case, "differential-brief@1") for case in CASES]
GREEDY = Sampling(temperature=0, max_tokens=64)


class Student:
    """Answers every case with its own diagnosis first; can be made to break off."""

    name, model, batch_invariant = "student", "ab" * 32, True

    def __init__(self, breaks_after: int | None = None, says: str = "migraine") -> None:
        self.asked: list[str] = []
        self.breaks_after = breaks_after
        self.says = says

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        given = 0
        for prompt in prompts:
            self.asked.append(prompt.case_id)
            for sample in range(sampling.samples):
                if given == self.breaks_after:
                    raise ConnectionError("the line went dead")
                given += 1
                yield Trace(
                    prompt=prompt,
                    model=self.model,
                    engine="test",
                    sampling=sampling,
                    sample=sample,
                    thinking="",
                    reply=f"1. {self.says}\n2. gout",
                    finish="stop",
                    thinking_tokens=0,
                    reply_tokens=5,
                )


@pytest.fixture(scope="module")
def marker() -> Marker:
    return Marker(load())


def keys(traces: Sequence[Trace]) -> list[tuple[str, int]]:
    return [(trace.prompt.case_id, trace.sample) for trace in traces]


def test_every_case_is_answered_and_marked_in_order(marker: Marker) -> None:
    done = examine(CASES, Student(), template="differential-brief@1", sampling=GREEDY, marker=marker)
    assert keys(done.traces) == [(case.id, 0) for case in CASES]
    assert [grade.case_id for grade in done.grades] == [case.id for case in CASES]
    assert [grade.correct for grade in done.grades] == [False, True, True, False, False]
    assert [grade.rank for grade in done.grades] == [None, 1, 2, None, None]


def test_samples_of_a_case_stand_together(marker: Marker) -> None:
    sampling = Sampling(samples=2, max_tokens=64)
    done = examine(CASES[:2], Student(), template="differential-brief@1", sampling=sampling, marker=marker)
    assert keys(done.traces) == [("c0", 0), ("c0", 1), ("c1", 0), ("c1", 1)]
    assert [grade.sample for grade in done.grades] == [0, 1, 0, 1]


def test_a_repeated_id_is_refused(marker: Marker) -> None:
    student = Student()
    with pytest.raises(UserError, match="case id 'c0' occurs twice; give every case its own id"):
        examine([*CASES, CASES[0]], student, template="differential-brief@1", sampling=GREEDY, marker=marker)
    assert student.asked == []


def test_no_cases_are_refused() -> None:
    with pytest.raises(UserError, match="there are 0 cases to examine"):
        unique([])


def test_what_the_journal_holds_is_not_asked_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with pytest.raises(ConnectionError):
        list(answer(PROMPTS, Student(breaks_after=2), GREEDY, journal))
    student = Student()
    traces = list(answer(PROMPTS, student, GREEDY, journal))
    assert student.asked == ["c2", "c3", "c4"]
    assert keys(traces) == [(case.id, 0) for case in CASES]
    again = Student()
    assert list(answer(PROMPTS, again, GREEDY, journal)) == traces
    assert again.asked == []


def test_a_line_cut_short_by_a_kill_is_asked_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    whole = list(answer(PROMPTS, Student(), GREEDY, journal))
    text = journal.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    journal.write_text("".join(lines[:3]) + lines[3][: len(lines[3]) // 2], encoding="utf-8")
    student = Student()
    assert list(answer(PROMPTS, student, GREEDY, journal)) == whole
    assert student.asked == ["c3", "c4"]
    assert journal.read_text(encoding="utf-8") == text


def test_any_text_and_a_cut_within_a_character_are_read(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    says = "Ménière\u2028disease\x85"
    whole = list(answer(PROMPTS[:2], Student(says=says), GREEDY, journal))
    held = journal.read_bytes()
    journal.write_bytes(held[: held.rfind("é".encode()) + 1])
    student = Student(says=says)
    assert list(answer(PROMPTS[:2], student, GREEDY, journal)) == whole
    assert student.asked == ["c1"]
    assert journal.read_bytes() == held


def test_a_case_whose_samples_are_not_all_there_is_asked_anew(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    sampling = Sampling(samples=2, max_tokens=64)
    for breaks_after in (3, 1):  # inside the second case, twice
        with pytest.raises(ConnectionError):
            list(answer(PROMPTS, Student(breaks_after), sampling, journal))
    student = Student()
    traces = list(answer(PROMPTS, student, sampling, journal))
    assert student.asked[0] == "c1"
    assert keys(traces) == [(case.id, sample) for case in CASES for sample in range(2)]


@pytest.mark.parametrize("strategy", ["vote", "structured"])
def test_a_strategy_asks_on_where_it_broke_off(tmp_path: Path, strategy: str) -> None:
    sampling = Sampling(temperature=0.6, max_tokens=64)

    def around(student: Student) -> Vote | Structured:
        kept = Journalled(student, tmp_path / "journal.jsonl")
        return Vote(kept, CASES, 3) if strategy == "vote" else Structured(kept)

    calls = 15 if strategy == "vote" else 5
    with pytest.raises(ConnectionError):
        list(around(Student(breaks_after=4)).respond(PROMPTS, sampling))
    student = Student()
    resumed = around(student)
    traces = list(resumed.respond(PROMPTS, sampling))
    assert student.asked == ["c1", "c2", "c3", "c4"][0 if strategy == "vote" else 3 :]
    assert resumed.cost.calls == calls
    (tmp_path / "journal.jsonl").unlink()
    assert list(around(Student()).respond(PROMPTS, sampling)) == traces


def test_the_answers_of_another_model_or_sampling_are_not_used(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    list(answer(PROMPTS, Student(), GREEDY, journal))
    other = Student()
    other.model = "cd" * 32
    list(answer(PROMPTS, other, GREEDY, journal))
    warmer = Student()
    list(answer(PROMPTS, warmer, Sampling(temperature=0.6, max_tokens=64), journal))
    assert len(other.asked) == len(warmer.asked) == len(CASES)


def test_a_journal_of_something_else_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"a": 1}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"journal\.jsonl:1: is not a trace; remove the file to ask anew"):
        list(answer(PROMPTS, Student(), GREEDY, journal))


def test_what_is_saved_is_read_again(tmp_path: Path, marker: Marker) -> None:
    done = examine(CASES, Student(), template="differential-brief@1", sampling=GREEDY, marker=marker)
    save(done, tmp_path)
    assert read(tmp_path) == Examined(done.traces, done.grades)
