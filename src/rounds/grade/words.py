"""The words of a disease name, brought to one form: spelling, plural, adjective and noun, numbers, joined prefixes.

`data/words.toml` says which words carry no meaning, which may be missing from an answer or added to it, which exclude
each other, and which stand for one thing. Left out on purpose: names of whole diseases (`rounds.grade.lexicon`), and
any word list of one language but English.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rounds.grade.names import normalise

DATA = Path(__file__).parent / "data"

Tokens = frozenset[str]


ROMAN = {
    "i": "1", "ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "xi": "11", "xii": "12",
    "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
}  # fmt: skip
UK_VOWELS = re.compile(r"(?<=[a-z])[ao]e(?=[a-z])")
LETTERED = re.compile(r"^(i{1,3}|iv)([ab])$")
"""Types with a letter, IIa."""
COUNTED = re.compile(r"\b(type|stage|grade|class|factor) (\d+[a-d]?|v)\b")
ORDINAL = {"1st": "first", "2nd": "second", "3rd": "third", "4th": "fourth", "5th": "fifth"}

HEAD_TELLS = frozenset({"cushing", "distress"})
"""Cushing's disease is one cause of Cushing's syndrome, respiratory distress is no syndrome: the head word stays."""

PLAIN_PLURALS = frozenset({"diseases", "cases", "noses", "bases", "bruises", "exercises"})
SINGULAR_ALREADY = frozenset("scabies rabies caries facies tabes species series".split())  # noqa: SIM905


def singular(word: str) -> str:
    """The singular of an English or Latin plural, by its ending; words that only look plural become one odd form."""
    if len(word) < 4 or not word.endswith(("s", "mata")) or word in SINGULAR_ALREADY:
        return word
    if word.endswith("mata"):
        return word[:-2]
    if word.endswith(("ss", "us", "is", "os", "pancreas", "psoas")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ases", "eses", "oses", "yses", "ises")) and word not in PLAIN_PLURALS:
        return word[:-2] + "is"
    if word.endswith(("sses", "uses", "shes", "xes")) or (word.endswith("ches") and not word.endswith("aches")):
        return word[:-2]
    return word[:-1]


@dataclass(frozen=True, slots=True)
class Words:
    """What `data/words.toml` says, every word in the form that `tokens` gives."""

    same: Mapping[str, str]
    filling: Tokens
    generic: Tokens
    minor: Tokens
    passing: Tokens
    """Minor words of time and side: an answer may lack them and still add others."""
    addable: Tokens
    """Minor and narrowing words, and places."""
    sites: Tokens
    anywhere: Tokens
    """Growths and the like that are another disease in another place."""
    weak: Tokens
    """Words that name no disease by themselves: generic, minor, narrowing, places."""
    axes: Mapping[str, frozenset[int]]
    """Word to the numbers of the axes it lies on."""
    soft: frozenset[int]
    """Axes that count only among words left over."""
    telling: Mapping[str, Tokens]
    """Minor word to the words before which it tells diseases apart."""
    prefix: re.Pattern[str]
    """A prefix written apart from its word."""

    def conflict(self, one: Iterable[str], other: Iterable[str], *, hard: bool = False) -> bool:
        """Whether the two sides say different things on one axis; `hard` leaves the soft axes out."""
        none: frozenset[int] = frozenset()
        ours = {axis for word in one for axis in self.axes.get(word, none)}
        theirs = {axis for word in other for axis in self.axes.get(word, none)}
        return bool((ours & theirs) - self.soft if hard else ours & theirs)

    def droppable(self, missing: Tokens, rest: Tokens) -> bool:
        """Whether a name that keeps `rest` may lack the words `missing` and still mean the same disease."""
        return all(word in self.minor and not self.telling.get(word, frozenset()) & rest for word in missing)


@cache
def words(directory: Path = DATA) -> Words:
    """Read `words.toml` once."""
    with (directory / "words.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)
    same: dict[str, str] = {}
    for line in table["same"]["lines"]:
        first, *others = (_plain(word) for word in line.split())
        same.update({other: first for other in others if other != first})

    def every(text: str) -> Tokens:
        return frozenset(same.get(_plain(word), _plain(word)) for word in text.split())

    axes: dict[str, frozenset[int]] = {}
    for number, line in enumerate([*table["axes"], *table["soft_axes"]]):
        for word in every(line):
            axes[word] = axes.get(word, frozenset()) | {number}
    minor, narrowing, sites = every(table["minor"]), every(table["narrowing"]), every(table["sites"]["words"])
    generic = every(table["generic"])
    return Words(
        same=same,
        filling=every(table["filling"]) | every(table["hedges"]) | {"related"},
        generic=generic,
        minor=minor,
        passing=every(table["passing"]),
        addable=minor | narrowing | sites,
        sites=sites,
        anywhere=every(table["anywhere"]),
        weak=minor | narrowing | sites | generic | every(table["modifiers"]),
        axes=axes,
        soft=frozenset(range(len(table["axes"]), len(table["axes"]) + len(table["soft_axes"]))),
        prefix=re.compile(rf"\b({'|'.join(table['prefixes'].split())}) (?=[a-z]{{3}})"),
        telling={_plain(word): every(text) for word, text in table["telling"].items()},
    )


def _spelled(letter: str) -> str:
    """A Greek letter by its name, any other as it is."""
    return f" {unicodedata.name(letter).split()[-1].lower()} " if "α" <= letter <= "ω" else letter


def _plain(word: str) -> str:
    return singular(UK_VOWELS.sub("e", word))


def tokens(name: str) -> tuple[str, ...]:
    """The words of a name in one form and in order; filling words and hedges are left out."""
    known = words()
    text = "".join(_spelled(c) for c in name.casefold())
    parts = [ROMAN.get(word, ORDINAL.get(word, word)) for word in normalise(text).split()]
    parts = [LETTERED.sub(lambda found: ROMAN[found[1]] + found[2], word) for word in parts]
    text = COUNTED.sub(lambda found: found[1] + found[2].replace("v", "5"), " ".join(parts))
    text = known.prefix.sub(r"\1", UK_VOWELS.sub("e", text))
    found = [known.same.get(word, word) for word in map(singular, text.split())]
    return tuple(word for n, word in enumerate(found) if word not in known.filling and not (n == 0 and word == "a"))


def essence(found: Iterable[str]) -> Tokens:
    """The words that make the name: 'disease', 'syndrome' and their like fall away beside a word that tells more."""
    known = words()
    whole = frozenset(found)
    telling = whole - known.weak
    return whole - known.generic if telling and not telling <= HEAD_TELLS else whole
