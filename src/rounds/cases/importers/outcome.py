"""What becomes of a foreign row: a case, a case without the sections that gave it away, or a refusal with its reason.

A vignette must not name its diagnosis. Where a source keeps sections apart, a section that names it is left out and
counted; where it does not, or where the history itself names it, the case is refused. A name that is denied, or told
of the family, gives nothing away. For options to choose from the check has no meaning and is not made. Left out on
purpose: paraphrases of a diagnosis, which need a reader.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rounds.records import LETTERS, Case, UserError

FEWEST_WORDS = 12
"""Fewer words than this are no vignette."""

NAMED = "the vignette names the diagnosis"
NAMED_BY_HISTORY = "the history itself names the diagnosis"
TOO_SHORT = f"fewer than {FEWEST_WORDS} words are left to show"
PICTURE = "needs a picture"
NO_KEY = "no right answer is told"
ALIKE_OPTIONS = "two options say the same"
EMPTY_OPTION = "an option is empty"
OTHER_KEY = "the right answer is none of the options"

WORD = re.compile(r"[^\W_]+")
SENTENCE = re.compile(r"[.;!?\n]+")
BRACKET = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]")
JOINED = re.compile(
    r",|\b(?:due to|caused by|causing|secondary to|because of|resulting (?:from|in)|arising (?:from|in)|"
    r"associated with|complicated by|leading to|following|with)\b",
    re.IGNORECASE,
)
"""What joins the parts of a compound diagnosis."""
ABBREVIATION = re.compile(r"[A-Z][A-Z0-9-]{2,9}")
REACH = 8
"""Words that a denial or a relative reaches forward, inside a sentence."""
ELSEWHERE_WORDS = (
    "no not never denie denied deny without negative absent absence exclude excluded ruled rule unlikely against "
    "family mother father brother sister sibling aunt uncle cousin parent grandmother grandfather son daughter "
    "kein keine keinen ohne pas sans sin sem nao non"
)
ELSEWHERE = frozenset(ELSEWHERE_WORDS.split())
"""Words, folded, after which a name is not said of the patient."""
HISTORY = re.compile(r"present|complaint|^history$|illness", re.IGNORECASE)
DENIED_SECTION = re.compile(r"absent|family|negative", re.IGNORECASE)


@dataclass(slots=True, frozen=True)
class Outcome:
    """One row of a source: the case it makes or would make, and why it is refused."""

    where: str
    """`path:line` or the row's place in its document."""
    id: str
    case: Case | None
    """The case as read; also there when refused, unless nothing could be made of the row."""
    refused: str = ""
    """Why the row makes no case; '' when it does."""
    dropped: tuple[str, ...] = field(default=())
    """Titles of the sections left out because they name the diagnosis."""


@dataclass(slots=True, frozen=True)
class Section:
    """A titled part of a vignette."""

    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.title}: {self.text}" if self.title else self.text


def told(where: str, case: Case) -> Outcome:
    """A case of free text, refused when it names its diagnosis or says next to nothing."""
    why = NAMED if gives_away(case.vignette, telling(case, case.vignette)) else _short(case)
    return Outcome(where, case.id, case, why)


def sectioned(where: str, case: Case, sections: Sequence[Section]) -> Outcome:
    """A case whose vignette is made of sections; those that name the diagnosis are dropped.

    `case.vignette` is replaced by the sections, one a line, without the empty ones.
    """
    said = [section for section in sections if section.text.strip(" -\u2013\t\r\n")]
    names = telling(case, "\n".join(section.text for section in said))
    giving = [s for s in said if not DENIED_SECTION.search(s.title) and gives_away(s.text, names)]
    kept = [section for section in said if section not in giving]
    whole = "\n".join(map(str, kept)) or " "
    shown = case.model_copy(update={"vignette": whole})
    why = NAMED_BY_HISTORY if any(HISTORY.search(section.title) for section in giving) else _short(shown)
    return Outcome(where, case.id, shown, why, () if why else tuple(section.title for section in giving))


def chosen(where: str, options: Sequence[str], right: Iterable[str], **fields: Any) -> Outcome:
    """A question with options; `right` and `never` are letters. Right options become the case's diagnosis.

    Raises:
        UserError: the key names a letter beyond the options, or there are fewer than two or too many options.
    """
    texts = tuple(option.strip() for option in options)
    key, never = tuple(sorted(set(right))), tuple(sorted(set(fields.pop("never", ()))))
    if not 2 <= len(texts) <= len(LETTERS):
        raise UserError(f"{where}: has {len(texts)} options; a choice has 2 to {len(LETTERS)}.")
    for letter in (*key, *never):
        if letter not in LETTERS[: len(texts)]:
            raise UserError(f"{where}: option '{letter}' does not exist; use letters A to {LETTERS[len(texts) - 1]}.")
    case = Case(
        kind=fields.pop("kind", "choice"),
        diagnosis="; ".join(texts[LETTERS.index(letter)] for letter in key),
        options=texts,
        right=key,
        never=never,
        **fields,
    )
    why = ""
    if not key:
        why = NO_KEY
    elif not all(texts):
        why = EMPTY_OPTION
    elif len({" ".join(text.casefold().split()) for text in texts}) < len(texts):
        why = ALIKE_OPTIONS
    return Outcome(where, case.id, case, why)


def names_of(case: Case) -> tuple[str, ...]:
    """Every name that would give the case away: the diagnosis and its other names, brackets apart."""
    names: dict[str, None] = {}
    for name in (case.diagnosis, *case.also_called):
        bare = BRACKET.sub("", name).strip(" .*")
        inside = [part.strip() for part in BRACKET.findall(name)]
        names.update(dict.fromkeys([bare, *(part for part in inside if ABBREVIATION.fullmatch(part))]))
    return tuple(name for name in names if name)


def telling(case: Case, text: str) -> tuple[str, ...]:
    """`names_of` and, where a text names all parts of 'A due to B' one by one, the part B that explains the rest."""
    parts = [part.strip() for part in JOINED.split(BRACKET.sub("", case.diagnosis)) if len(part.strip()) > 3]
    every = len(parts) > 1 and all(gives_away(text, (part,)) for part in parts)
    return (*names_of(case), *parts[-1:]) if every else names_of(case)


def gives_away(text: str, names: Sequence[str]) -> bool:
    """Whether a text says one of the names of the patient.

    Case, accents, plural and UK spelling are folded; an abbreviation must stand in capitals.
    """
    folded = [fold(name) for name in names if not ABBREVIATION.fullmatch(name)]
    short = [name for name in names if ABBREVIATION.fullmatch(name)]
    for sentence in SENTENCE.split(text):
        words = fold(sentence)
        for name in folded:
            for start in _places(words, name):
                if not ELSEWHERE.intersection(words[max(0, start - REACH) : start]):
                    return True
        for capitals in short:
            match = re.search(rf"\b{re.escape(capitals)}\b", sentence)
            if match and not ELSEWHERE.intersection(fold(sentence[: match.start()])[-REACH:]):
                return True
    return False


def fold(text: str) -> tuple[str, ...]:
    """The words of a text in one spelling: lower case, no accents, no plural s, ae and oe as e."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return tuple(map(_fold_word, WORD.findall(re.sub(r"[’']s\b", "", bare))))


def name_and_brackets(name: str) -> tuple[str, tuple[str, ...]]:
    """('Name', ('ABC',)) of 'Name (ABC)': the diagnosis, and the names in its brackets."""
    inside = tuple(part.strip() for part in BRACKET.findall(name) if part.strip())
    return BRACKET.sub("", name).strip(" .*\n") or name.strip(), inside


def id_of(prefix: str, *parts: str) -> str:
    """An id for a row that has none: the same content gets the same id wherever it stands."""
    return f"{prefix}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


def _fold_word(word: str) -> str:
    word = word.replace("ae", "e").replace("oe", "e") if word.isascii() else word
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] not in "sui" else word


def _places(words: Sequence[str], name: Sequence[str]) -> list[int]:
    size = len(name)
    if not size or size == len(name[0]) == 1:
        return []
    return [i for i in range(len(words) - size + 1) if tuple(words[i : i + size]) == tuple(name)]


def _short(case: Case) -> str:
    """`TOO_SHORT` or ''; scripts without spaces count by letters."""
    words = WORD.findall(case.vignette)
    return TOO_SHORT if len(words) < FEWEST_WORDS and sum(map(len, words)) < 5 * FEWEST_WORDS else ""
