"""A typed case becomes a prompt; what was only thought is never read as an answer."""

from __future__ import annotations

import pytest

from rounds.records import Sampling, Trace, UserError
from rounds.serve.consult import LONGEST_CASE, prompt_for, read_trace


def test_prompt() -> None:
    prompt = prompt_for("  fever  \n", "differential-brief@1")
    assert [message.content for message in prompt.messages] == ["fever\nFive diagnoses?"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" \n", "the case is empty; type what is known of the patient."),
        ("x" * (LONGEST_CASE + 1), f"the case has {LONGEST_CASE + 1} characters; at most {LONGEST_CASE} can be read."),
    ],
)
def test_faults(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        prompt_for(text, "differential-brief@1")
    assert str(error.value) == sentence


def test_thoughts_are_not_the_answer() -> None:
    trace = Trace(
        prompt=prompt_for("x", "differential-brief@1"),
        model="m",
        engine="e",
        sampling=Sampling(),
        thinking="1. gout\n2. sepsis",
        reply="1. pneumonia",
        finish="stop",
        thinking_tokens=1,
        reply_tokens=1,
    )
    assert read_trace(trace).diagnoses == ("pneumonia",)
