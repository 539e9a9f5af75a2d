"""The router's lessons: questions written by hand, and many more drawn from patterns and the knowledge base.

All of it is in `data/questions.toml`, which a clinician can read and add to. The same seed gives the same lessons on
every machine. Left out on purpose: any sentence of anybody's data set.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from rounds.files import read_text
from rounds.knowledge.base import KnowledgeBase

QUESTIONS = Path(__file__).parent / "data" / "questions.toml"
DRAWN = {"en": 500, "zh": 150, "es": 150}
"""Questions drawn from the patterns of one kind, by language."""
TIMES = 4
"""How often a question written by hand counts."""
SLOT = re.compile(r"\{([A-Za-z_]+\d?)\}")
DEEP = 12
"""Patterns inside patterns: more is a pattern that holds itself."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what it is."""

    text: str
    kind: str
    language: str


@cache
def questions(path: Path = QUESTIONS) -> dict[str, Any]:
    """The file as it is: `written` and `frames` by kind and language, `words` by name.

    Raises:
        UserError: missing or unreadable.
    """
    return tomllib.loads(read_text(path))


def written() -> list[Asked]:
    """What was written by hand, in the order of the file."""
    listed = questions()["written"]
    return [Asked(text, kind, code) for kind, by in listed.items() for code, texts in by.items() for text in texts]


def drawn(knowledge: KnowledgeBase, seed: int = 0) -> list[Asked]:
    """Questions from the patterns, `DRAWN` of each kind and language."""
    random, words = Random(seed), _words(knowledge)
    return [
        Asked(fill(random.choice(frames), words, random), kind, code)
        for kind, by in questions()["frames"].items()
        for code, frames in by.items()
        for _ in range(DRAWN[code])
    ]


def lessons(knowledge: KnowledgeBase, seed: int = 0) -> list[Asked]:
    """All that the router learns from."""
    return [*written() * TIMES, *drawn(knowledge, seed)]


def fill(pattern: str, words: Mapping[str, Sequence[str]], random: Random, depth: int = 0) -> str:
    """The pattern with every slot drawn anew."""
    assert depth < DEEP, f"'{pattern}' holds itself"

    def draw(match: re.Match[str]) -> str:
        slot = match[1]
        if re.fullmatch(r"n\d", slot):
            digits = int(slot[1])
            return str(random.randrange(10 ** (digits - 1), 10**digits))
        if slot == "dec":
            return f"{random.uniform(0.1, 12):.{random.choice((1, 2))}f}"
        return fill(random.choice(words[slot]), words, random, depth + 1)

    return SLOT.sub(draw, pattern)


def _words(knowledge: KnowledgeBase) -> dict[str, Sequence[str]]:
    found = knowledge.findings.values()
    flags = {flag for condition in knowledge.conditions.values() for flag in condition.red_flags}
    said = {
        kind: [words for f in found if f.kind == kind for words in f.says] for kind in ("symptom", "history", "sign")
    }
    conditions = list(knowledge.conditions.values())
    return {
        **questions()["words"],
        **said,
        "result": [words for f in found if f.kind == "test" for words in f.says],
        "red_flag": [knowledge.findings[flag].name for flag in sorted(flags)],
        "condition": [name for condition in conditions for name in (condition.name, *condition.also_called)],
        "first_test": [condition.first_test for condition in conditions],
        "treatment": [condition.first_treatment for condition in conditions],
    }
