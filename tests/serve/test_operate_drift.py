"""The alarm of drift: quiet while nothing changes, loud when something does, and no word of a case is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rounds import files
from rounds.knowledge.base import load
from rounds.prompts.template import render
from rounds.records import Case, Message, Prompt, Sampling, Trace
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.operate import Operation
from rounds.serve.operate_drift import LEVEL, LOG, WINDOW, Reference, Seen, Watch, case_of, look, looks, reference

Make = Callable[..., Any]

KNOWLEDGE = load()


def drawn(random: Random, count: int, *, longer: float = 1.0, abstains: float = 0.05) -> list[Seen]:
    return [
        Seen(
            words=round(longer * random.gauss(60, 15)),
            findings=round(random.gauss(8, 2)),
            language="en",
            abstained=random.random() < abstains,
        )
        for _ in range(count)
    ]


def exam(random: Random, count: int = 300) -> Reference:
    seen = tuple(drawn(random, count))
    return Reference(
        seen=seen, languages=("", "en"), answers=count, abstained=sum(s.abstained for s in seen), unreadable=0
    )


def test_a_false_alarm_is_as_rare_as_stated() -> None:
    random = Random(11)
    level, windows = 0.05, 150
    raised = sum(bool(look(1, drawn(random, 100), exam(random, 100), level).alarm) for _ in range(windows))
    assert raised <= 14  # 7.5 expected at the level itself; more than 14 has a chance of 0.01


@pytest.mark.parametrize(
    ("ward", "named"),
    [
        ({"longer": 1.25}, "words"),
        ({"abstains": 0.25}, "abstained"),
    ],
)
def test_what_changes_is_named(ward: dict[str, float], named: str) -> None:
    random = Random(3)
    found = look(1, drawn(random, WINDOW, **ward), exam(random))
    assert named in found.alarm
    assert "exam" in found.shown[named]
    assert LEVEL == 0.01


def test_another_language_is_named() -> None:
    random = Random(4)
    ward = [one.model_copy(update={"language": "fi"}) for one in drawn(random, 40)] + drawn(random, 160)
    assert look(1, ward, exam(random)).alarm == ("other language",)


def test_full_windows_alone_are_looked_at(tmp_path: Path) -> None:
    random = Random(5)
    files.write_jsonl(tmp_path / "log.jsonl", drawn(random, 250))
    against = exam(random)
    assert [one.window for one in looks(tmp_path / "log.jsonl", against, window=100)] == [1, 2]
    assert [one.window for one in looks(tmp_path / "log.jsonl", against, window=100, first=2)] == [2]
    assert list(looks(tmp_path / "none.jsonl", against)) == []


def trace(case: str, reply: str = "1. gout") -> Trace:
    prompt = render(Case(id="c", vignette=case, diagnosis=""), "differential@1")
    given = {"prompt": prompt, "model": "m", "engine": "e", "sampling": Sampling(), "thinking": "", "reply": reply}
    return Trace.model_validate({**given, "finish": "stop", "thinking_tokens": 0, "reply_tokens": 1})


def test_the_case_is_found_in_its_prompt() -> None:
    for template in ("differential@1", "differential-brief@1"):
        assert case_of(render(Case(id="c", vignette="A red toe.", diagnosis=""), template)) == "A red toe."
    free = Prompt(case_id="c", template="none", messages=(Message(role="user", content="as it is"),))
    assert case_of(free) == "as it is"


def test_the_exam_of_a_run_is_the_reference(tmp_path: Path, make_run: Make) -> None:
    found = reference(make_run(tmp_path / "mine"), "packed", KNOWLEDGE)
    assert found is not None
    assert len(found.seen) == found.answers == 40
    assert found.seen[0].words == 7
    assert found.seen[0].findings > 0
    (tmp_path / "mine" / "cases" / "exam.jsonl").unlink()
    assert reference(tmp_path / "mine", "packed", KNOWLEDGE) is None


def test_a_server_raises_the_alarm_into_its_audit_log(tmp_path: Path) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    running = Operation(tmp_path, lambda: Watch(tmp_path, exam(Random(6)), KNOWLEDGE, window=40))
    for number in range(41):
        asked = trace(f"CANARY {'very long ' * 300} fever {number}", "cannot be read")
        running.note(asked.prompt, [asked], audit)
    running.close()
    audit.close()
    (row,) = audit.rows(10)
    assert (row.kind, row.door, row.caller) == ("incident", "drift", "rounds")
    assert row.note.startswith("drift in window 1 (40 answers): words median 603, exam ")
    kept = (tmp_path / LOG).read_text(encoding="utf-8")
    assert len(kept.splitlines()) == 41
    assert "CANARY" not in kept
    assert "fever" not in kept


def test_a_watch_that_breaks_says_so_once_and_answers_go_on(tmp_path: Path) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    (tmp_path / "operation").write_text("in the way")
    running = Operation(tmp_path, lambda: Watch(tmp_path, exam(Random(6)), KNOWLEDGE))
    for _ in range(3):
        running.note(trace("a").prompt, [trace("a")], audit)
    running.close()
    audit.close()
    assert [row.note for row in audit.rows(10)] == ["the watch for drift ended: FileExistsError"]


def test_no_exam_no_watch(tmp_path: Path) -> None:
    audit = Audit(SQLite(tmp_path / "audit.sqlite"))
    running = Operation(tmp_path, lambda: None)
    running.note(trace("a").prompt, [trace("a")], audit)
    running.note(trace("a").prompt, [trace("a")], audit)
    running.close()
    assert not (tmp_path / LOG).exists()


@pytest.mark.anyio
async def test_answers_of_a_server_are_watched(
    tmp_path: Path, scripted: Any, make_app: Make, client_of: Make, chat_body: Make
) -> None:
    running = Operation(tmp_path, lambda: Watch(tmp_path, exam(Random(6)), KNOWLEDGE))
    async with client_of(make_app(scripted, operation=running)) as client:
        await client.post("/v1/chat/completions", json=chat_body("fever and cough", template="differential@1"))
    await asyncio.to_thread(running.close)
    (seen,) = files.read_jsonl(tmp_path / LOG, Seen)
    assert seen.words == 3
    assert not seen.abstained
