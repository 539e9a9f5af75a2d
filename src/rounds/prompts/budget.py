"""A budget for a prompt: the least needed parts of a case go first, and the text says what went.

First whole parts under the titles a template names, in its order; then sentences from the middle, as a case begins with
who and why and ends with the question. Options are never cut. Left out on purpose: summaries, which could say what the
case does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rounds.records import UserError

Count = Callable[[str], int]
"""Tokens of a text."""

TITLE = re.compile(r"^(?P<title>[^\W\d_][^\n:：.?!]{1,40})[:：]\s*(?=\S)")
OPTION = re.compile(r"^[A-Z]\. ")
SENTENCE = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])")
GAP = "[…]"


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A text that fits, and what it lacks."""

    text: str
    left_out: tuple[str, ...] = ()
    """Titles of parts, then `n sentences`."""


def estimate(text: str) -> int:
    """Tokens of a text where no tokenizer is at hand: a third of its UTF-8 bytes, which is seldom too few."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


def trim(text: str, most: int, order: Sequence[str], count: Count, where: str = "the text") -> Trimmed:
    """Cut a case down to `most` tokens.

    order: titles of parts, the least needed first, in any case of letters.

    Raises:
        UserError: even its first and last sentence and its options do not fit.
    """
    if count(text) <= most:
        return Trimmed(text)
    lines = text.split("\n")
    titles: list[str] = []
    for title in order:
        kept = [line for line in lines if _title(line) != title.casefold()]
        if len(kept) < len(lines):
            lines, titles = kept, [*titles, title]
            whole = _noted("\n".join(lines), titles)
            if count(whole) <= most:
                return Trimmed(whole, tuple(titles))
    options = [line for line in lines if OPTION.match(line)]
    told = "\n".join(line for line in lines if not OPTION.match(line))
    sentences = _sentences(told)
    least, fitting = 0, None
    # The fewest sentences that must go: more of them gone is never longer.
    most_gone = len(sentences) - 2
    while least <= most_gone:
        gone = (least + most_gone) // 2
        left_out = [*titles, f"{gone} sentences"] if gone else titles
        whole = _noted("\n".join([_without_middle(sentences, gone), *options]), left_out)
        if count(whole) <= most:
            fitting, most_gone = Trimmed(whole, tuple(left_out)), gone - 1
        else:
            least = gone + 1
    if fitting is None:
        raise UserError(
            f"{where}: has about {count(text)} tokens and there is room for {max(0, most)}; "
            "shorten it, or use a model with a longer context."
        )
    return fitting


def _title(line: str) -> str:
    match = TITLE.match(line)
    return match["title"].strip().casefold() if match else ""


def _sentences(text: str) -> list[str]:
    """Sentences with the blanks that follow them, so that joined they are the text."""
    ends = [match.end() for match in SENTENCE.finditer(text)]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if text[start:end]]


def _without_middle(sentences: Sequence[str], gone: int) -> str:
    if not gone:
        return "".join(sentences)
    first = -(-(len(sentences) - gone) // 2)
    last = len(sentences) - gone - first
    return "".join([*sentences[:first], f"{GAP} ", *sentences[len(sentences) - last :]])


def _noted(text: str, left_out: Sequence[str]) -> str:
    return f"{text}\n[Left out to fit: {', '.join(left_out)}.]" if left_out else text
