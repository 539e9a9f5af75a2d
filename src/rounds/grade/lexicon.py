"""Which disease a name means: the names of `data/names/` and of the knowledge base, found under qualifying words.

A name is first looked up whole, then without ever more of its minor and narrowing words: 'acute left-sided heart
attack' is the myocardial infarction, with 'acute' and 'left' left over. A name in two groups means both. Left out on
purpose: what the words left over mean (`rounds.grade.match`), and codes.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

from rounds.grade.words import DATA, Tokens, essence, tokens, words
from rounds.knowledge.base import KnowledgeBase

MOST_QUALIFIERS = 5
"""More qualifying words than this are not taken apart: no name has so many, and the ways grow as powers of two."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One disease a name may mean."""

    disease: int
    left: Tokens
    """Qualifying words of the name that are not part of the disease's own name."""


class Lexicon:
    """Diseases by the words of their names."""

    def __init__(
        self, groups: Sequence[Sequence[str]], kinds: Sequence[Sequence[str]], known: Sequence[Sequence[str]] = ()
    ) -> None:
        self._by_words: dict[Tokens, tuple[int, ...]] = {}
        self._names: dict[int, set[Tokens]] = defaultdict(set)
        self._narrower: dict[int, set[int]] = defaultdict(set)
        self.vocabulary: set[str] = set()
        self.loose: set[int] = set()
        """Diseases of the knowledge base alone: no file says how they stand to the others."""
        for group in groups:
            disease = len(self._names)
            for name in group:
                self._add(essence(tokens(name)), disease)
        for wider, *others in kinds:
            for name in others:
                self._kind(wider, name)
        for main, *others in known:
            self._join(main, others)
        self._descendants = {disease: frozenset(self._below(disease)) for disease in list(self._narrower)}

    def _add(self, name: Tokens, disease: int) -> None:
        if not name:
            return
        known = self._by_words.get(name, ())
        self._by_words[name] = known if disease in known else (*known, disease)
        self._names[disease].add(name)
        self.vocabulary |= name

    def _join(self, main: str, others: Iterable[str]) -> None:
        """Names of the knowledge base that no file has yet; those it has keep the meaning they have there."""
        before = len(self._names)
        diseases = self._known(main)
        self.loose.update(disease for disease in diseases if disease >= before)
        for name in others:
            found = essence(tokens(name))
            if found not in self._by_words:
                self._add(found, diseases[0])

    def _kind(self, wider: str, narrower: str) -> None:
        for above in self._known(wider):
            self._narrower[above].update(below for below in self._known(narrower) if below != above)

    def _known(self, name: str) -> tuple[int, ...]:
        """Diseases of a full name; one it has not met becomes a disease of its own."""
        found = essence(tokens(name))
        if found not in self._by_words:
            self._add(found, len(self._names))
        return self._by_words[found]

    def _below(self, disease: int) -> Iterator[int]:
        waiting, seen = [disease], {disease}
        while waiting:
            for below in self._narrower.get(waiting.pop(), ()):
                if below not in seen:
                    seen.add(below)
                    waiting.append(below)
                    yield below

    def narrower(self, disease: int) -> frozenset[int]:
        """Every disease that is a kind of this one, at any depth."""
        return self._descendants.get(disease, frozenset())

    def whole(self, name: Tokens) -> tuple[int, ...]:
        """Diseases that have just this name."""
        return self._by_words.get(name, ())

    def names(self, disease: int) -> Iterable[Tokens]:
        """The words of each of its names."""
        return self._names[disease]

    def meanings(self, name: Tokens) -> tuple[Meaning, ...]:
        """Diseases a name means, the fewest words left over; empty when none is known."""
        qualifying = sorted(name & words().addable)
        for size in range(min(len(qualifying), MOST_QUALIFIERS) + 1):
            found = [
                Meaning(disease, frozenset(left))
                for left in combinations(qualifying, size)
                for disease in self._by_words.get(_bare(name, left), ())
            ]
            if found:
                return tuple(found)
        return ()


def _bare(name: Tokens, left: Iterable[str]) -> Tokens:
    """The name without some words; what then names no disease by itself is looked up with its head word too."""
    return essence(name - frozenset(left))


def read_names(directory: Path = DATA / "names") -> tuple[list[list[str]], list[list[str]]]:
    """(groups of names of one disease, lists of a wider name and its kinds) of every file."""
    same: list[list[str]] = []
    kinds: list[list[str]] = []
    for path in sorted(directory.glob("*.toml")):
        with path.open("rb") as file:
            table = tomllib.load(file)
        same += table["same"]
        kinds += table["kinds"]
    return same, kinds


@cache
def lexicon(knowledge: KnowledgeBase | None = None) -> Lexicon:
    """The lexicon with the names of a knowledge base joined in, built once (some tenths of a second)."""
    same, kinds = read_names()
    known: list[tuple[str, ...]] = []
    if knowledge is not None:
        known = [condition.names for condition in [*knowledge.conditions.values(), *knowledge.outside.values()]]
    return Lexicon(same, kinds, known)
