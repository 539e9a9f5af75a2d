"""`rounds ask` with a scripted Responder: what is printed where, and that a terminal is never given control codes."""

from __future__ import annotations

import io
import json
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rounds.cli.ask import printable
from rounds.cli.main import main
from rounds.records import Prompt, Sampling, Trace

FIVE = "1. pneumonia\n2. heart failure\n3. pleurisy\n4. asthma\n5. lung abscess\nRed flags: low oxygen; shock"


class Scripted:
    """Gives one fixed reply."""

    name, model, batch_invariant = "scripted", "m", True

    def __init__(self, reply: str, finish: Any = "stop") -> None:
        self.reply, self.finish = reply, finish
        self.asked: list[tuple[Prompt, Sampling]] = []

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        for prompt in prompts:
            self.asked.append((prompt, sampling))
            yield Trace(
                prompt=prompt,
                model=self.model,
                engine="scripted",
                sampling=sampling,
                thinking="Fever fits \x1b[31mpneumonia.",
                reply=self.reply,
                finish=self.finish,
                thinking_tokens=3,
                reply_tokens=9,
            )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    place = tmp_path / "lone"
    place.mkdir()
    (place / "config.json").write_text("{}", encoding="utf-8")
    return place


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the engine room open a scripted Responder."""
    import rounds.engine

    def use(responder: Scripted) -> Scripted:
        choose: Any = types.ModuleType("rounds.engine.choose")
        choose.open_responder = lambda model, engine, threads=0: responder
        monkeypatch.setitem(__import__("sys").modules, "rounds.engine.choose", choose)
        monkeypatch.setattr(rounds.engine, "choose", choose, raising=False)
        return responder

    return use


def test_five_diagnoses(checkpoint: Path, opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    responder = opened(Scripted(FIVE))
    assert main(["ask", str(checkpoint), "fever"]) == 0
    shown = capsys.readouterr()
    assert shown.out == FIVE + "\n"
    assert shown.err.startswith("Unproven, not for patients")
    prompt, sampling = responder.asked[0]
    assert prompt.messages[0].content == "fever\nFive diagnoses?"
    assert (sampling.temperature, sampling.max_tokens) == (0.0, 400)


def test_thinking_is_shown_when_asked_for(checkpoint: Path, opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    opened(Scripted(FIVE))
    assert main(["ask", str(checkpoint), "fever", "--thinking"]) == 0
    assert capsys.readouterr().out.startswith("Fever fits [31mpneumonia.\n\n1. pneumonia")


def test_json(checkpoint: Path, opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    opened(Scripted(FIVE))
    assert main(["ask", str(checkpoint), "fever", "--json", "--thinking"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["diagnoses"] == ["pneumonia", "heart failure", "pleurisy", "asthma", "lung abscess"]
    assert shown["red_flags"] == ["low oxygen", "shock"]
    assert shown["thinking"].startswith("Fever")
    assert shown["word"] == "unproven"


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        ("I cannot place this case.", "No diagnoses: the model says that this case lies outside what it knows."),
        ("I'm sorry, I cannot help.", "No diagnoses: the model declined to answer."),
        ("Hm.", "No diagnoses could be read in the reply:\nHm."),
        ("1. gout", "1. gout\nRed flags: none named"),
    ],
)
def test_other_answers(
    checkpoint: Path, opened: Any, capsys: pytest.CaptureFixture[str], reply: str, line: str
) -> None:
    opened(Scripted(reply, finish="length"))
    assert main(["ask", str(checkpoint), "x"]) == 0
    assert capsys.readouterr().out == f"{line}\nThe answer was cut off at the limit of 400 tokens.\n"


def test_case_from_stdin(
    checkpoint: Path, opened: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    responder = opened(Scripted(FIVE))
    for content, code in ((b"fever \xc3\xa9", 0), (b"\xff", 2)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert main(["ask", str(checkpoint), "-"]) == code
    assert responder.asked[0][0].messages[0].content.startswith("fever é")
    assert "the case on stdin is not UTF-8; save it as UTF-8." in capsys.readouterr().err


def test_faults(checkpoint: Path, opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    opened(Scripted(FIVE))
    assert main(["ask", str(checkpoint), " "]) == 2
    assert main(["ask", str(checkpoint / "gone"), "x"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "rounds: the case is empty; type what is known of the patient."
    assert "is not a directory; give a run (runs/tiny) or a checkpoint." in said[1]


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert printable("a\x1b]0;owned\x07\x9b31m\u202eb\n\tc\r") == "a]0;owned31mb\n\tc"
