"""A judge of paper for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from rounds.records import Prompt, Sampling, Trace


class Clerk:
    """A Responder that answers by a rule on the question's text."""

    name = "clerk"
    model = "clerk@1"
    batch_invariant = True

    def __init__(self, rule: Callable[[Prompt], str]) -> None:
        self.rule = rule
        self.asked: list[Prompt] = []
        self.batches = 0

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        self.batches += 1
        for prompt in prompts:
            self.asked.append(prompt)
            yield Trace(
                prompt=prompt, model=self.model, engine="rule", sampling=sampling, thinking="", reply=self.rule(prompt),
                finish="stop", thinking_tokens=0, reply_tokens=1,
            )  # fmt: skip


@pytest.fixture
def hire() -> Callable[[Callable[[Prompt], str]], Clerk]:
    """Makes a judge that answers by a rule."""
    return Clerk
