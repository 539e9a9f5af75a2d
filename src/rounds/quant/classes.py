"""What kind of token a model must foresee: digits, doses and units, negations, names of diagnoses, the rest.

An error of four bits that costs nothing on average may sit where it harms: a digit, a unit, a "no". So every figure is
told by class. Left out on purpose: other languages than English for negations; digits and units are the same in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rounds.knowledge.base import KnowledgeBase
from rounds.model.tokenizer import Codec
from rounds.records import Case, Prompt

DOSES, DIGITS, NEGATIONS, NAMES, REST = "doses and units", "digits", "negations", "diagnosis names", "rest"
CLASSES = (DOSES, DIGITS, NEGATIONS, NAMES, REST)
"""A token that touches several is of the first of them."""
WEIGHTS = {DOSES: 4.0, DIGITS: 4.0, NEGATIONS: 4.0, NAMES: 2.0, REST: 1.0}
"""How much an error of a class counts where classes are put together: a judgement, stated here and nowhere else."""

_ATOM = (
    r"(?:[kcdmnpµμu]?(?:g|l|mol|m|Pa|IU|U|Eq|Osm|s|Hz|cal|J)|mcg|mmHg|mm Hg|h|bpm|units?"
    r"|(?:sec|second|min|minute|hr|hour|day|week|month|year)s?)"
)
_UNIT = rf"(?:%|‰|°\s?[CF]?|{_ATOM}(?:\s?[/·]\s?{_ATOM}|/kg|/m²|/m2|/mm3|[²³])*)"
_NUMBER = r"\d+(?:[.,]\d+)*"
_FOUND = {
    DOSES: re.compile(
        rf"{_NUMBER}(?:\s?(?:-|–|to|x|×|/)\s?{_NUMBER})*\s?{_UNIT}(?![A-Za-z])"
        r"|\b(?:(?:once|twice|three times|four times)(?: a day| daily)?|daily|hourly|nightly)\b"
        r"|\b(?:[qbto]\.?d\.?s?|[bt]\.?i\.?d|q\.?\d+h)\b"
        r"|\b(?:tablets?|capsules?|drops|puffs|milligrams?|micrograms?|millilit(?:er|re)s?)\b",
        re.IGNORECASE,
    ),
    DIGITS: re.compile(r"\d"),
    NEGATIONS: re.compile(
        r"\b(?:no|not|nor|neither|never|none|without|cannot|absent|absence|negative|den(?:y|ies|ied)|lacks?|lacking"
        r"|less likely|unlikely|exclud(?:es?|ed|ing)|rul(?:es?|ed|ing) out|free of|except)\b|n't\b",
        re.IGNORECASE,
    ),
}
_LISTED = re.compile(r"^([ \t]*\d+[.)][ \t]+)(.+)$", re.MULTILINE)
"""A numbered line: a diagnosis, whether or not a knowledge base knows it; its number is no digit that could harm."""

LONGEST = 8
"""Tokens one character may have; what is longer is no text."""


class Told(Protocol):
    """A trace or a lesson."""

    @property
    def prompt(self) -> Prompt: ...
    @property
    def thinking(self) -> str: ...
    @property
    def reply(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt with its answer, as tokens."""

    ids: list[int]
    start: int
    """Place of the answer's first token."""
    classes: tuple[int, ...]
    """Place in CLASSES of each token of the answer."""


class Reader:
    """Cuts answers into tokens with their classes, for one tokenizer and the diagnoses that are known."""

    def __init__(self, codec: Codec, knowledge: KnowledgeBase, cases: Iterable[Case] = ()) -> None:
        """`cases` bring names of their own: a hospital's diagnoses need not stand in the knowledge base."""
        self._codec = codec
        known = [one.names for one in (*knowledge.conditions.values(), *knowledge.outside.values())]
        known += [(case.diagnosis, *case.also_called) for case in cases]
        names = {name for names in known for name in names if len(name) > 1}
        # The longest first, so that a name is not cut at a shorter one it begins with.
        ordered = map(re.escape, sorted(names, key=lambda name: (-len(name), name)))
        self._names = re.compile(rf"\b(?:{'|'.join(ordered)})\b", re.IGNORECASE)

    def read(self, told: Told, context: int) -> Text | None:
        """Tokens and classes of one answer, cut at `context` tokens; None where the prompt alone fills it."""
        prompt = self._codec.encode_prompt(told.prompt.messages)
        answer = self._codec.encode_completion(told.thinking, told.reply)[: max(0, context - len(prompt))]
        return Text(prompt + answer, len(prompt), self.classes(answer)) if answer else None

    def classes(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The class of each token, as its place in CLASSES."""
        text, places = self._spelled(ids)
        marks = [len(CLASSES) - 1] * len(text)
        spans = [(NAMES, match.span()) for match in self._names.finditer(text)]
        spans += [(NAMES, match.span(2)) for match in _LISTED.finditer(text)]
        text = _LISTED.sub(lambda match: " " * len(match[1]) + match[2], text)
        spans += [(name, match.span()) for name, pattern in _FOUND.items() for match in pattern.finditer(text)]
        for name, (start, end) in spans:
            rank = CLASSES.index(name)
            marks[start:end] = [min(rank, held) for held in marks[start:end]]
        return tuple(min(marks[a:b], default=len(CLASSES) - 1) for a, b in places)

    def _spelled(self, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
        """The text of ids, and where in it each one stands; those that share a character share its place."""
        text, places, first = "", list[tuple[int, int]](), 0
        for place in range(len(ids)):
            # Beside its neighbour, as some tokenizers drop a blank at the start of a text.
            lead = ids[max(0, first - 1) : first]
            piece = self._codec.decode([*lead, *ids[first : place + 1]])[len(self._codec.decode(lead)) :]
            if piece.endswith("\ufffd") and place - first < LONGEST and place + 1 < len(ids):
                continue  # inside a character
            places += [(len(text), len(text) + len(piece))] * (place + 1 - first)
            text, first = text + piece, place + 1
        return text, places


def texts(reader: Reader, told: Iterable[Told], context: int) -> list[Text]:
    """Every answer that has at least one token inside `context`."""
    read = (reader.read(one, context) for one in told)
    return [text for text in read if text is not None]
