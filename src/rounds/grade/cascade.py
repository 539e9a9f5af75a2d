"""The cascade: is an answer the right diagnosis, and by which level was it found?

exact (the same words after normalising) -> synonym (the names of the case, of our lexicon and knowledge base, a kind of
the right disease) -> code (the same ICD-10 code or a child) -> a judge, if one is given -> people. Near answers (the
same three-character category, or the right name without a word that tells it apart) are recorded and never correct.
A ruling is made once for each right diagnosis and normalised answer, so that two models that answer alike are marked
alike. Left out on purpose: training rewards, which stay with exact names (`rounds.grade.mark`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

from rounds.files import digest_of
from rounds.grade.codes import Codes, kinship, tidy
from rounds.grade.lexicon import lexicon
from rounds.grade.mark import Marker
from rounds.grade.match import Reader, Relation, words_of
from rounds.grade.names import normalise
from rounds.grade.words import tokens
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Case, Level, Record

MOST = 5
NOTHING = frozenset({"", "none", "multiple", "unknown", "n/a", "na", "nil", "no diagnosis", "not applicable"})
PARTED = re.compile(r"\s*[;；、]\s*|\s*,\s+|\s+/\s+|\s+(?:and/or|or|vs\.?|versus)\s+", re.IGNORECASE)
NAMED = re.compile(r"^\W*(?:(?:final|most likely|primary|likely)\s+)?diagnos[ie]s\W*:\W*", re.IGNORECASE)

State = Literal["right", "near", "wrong", "open"]
"""`open`: no rule decides, so a judge or a person must; counted as wrong until then."""


class Ruling(Record):
    """One answer held against one right diagnosis."""

    key: str
    """Digest of what the right diagnosis is: its names, code and condition."""
    right: str
    """The right diagnosis, in the words of its case."""
    answer: str
    """In its normalised form."""
    said: str
    """The answer as first written."""
    state: State
    level: Level | None = None
    why: str = ""
    """What decided: `same words`, `kind of`, `I21.4 below I21`, `judge: 4 of 4`, the name of a rater."""


class Cascade:
    """Rules on answers, remembering every ruling."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self.marker = Marker(knowledge)
        self.codes = Codes(lexicon(knowledge))
        self.reader = Reader(lexicon(knowledge), self.codes.vocabulary)
        self._ruled: dict[tuple[str, str], Ruling] = {}
        self._codes: dict[str, frozenset[str]] = {}

    def rule(self, case: Case, answer: str) -> Ruling:
        """The ruling on one answer, made or remembered."""
        key = (right_key(case), answer_key(answer))
        if key not in self._ruled:
            state, level, why = self._decide(case, answer)
            self._ruled[key] = Ruling(
                key=key[0], right=case.diagnosis, answer=key[1], said=answer.strip(), state=state, level=level, why=why
            )
        return self._ruled[key]

    def overrule(self, rulings: Iterable[Ruling]) -> None:
        """Take rulings of a judge or of people in the place of our own."""
        self._ruled.update({(ruling.key, ruling.answer): ruling for ruling in rulings})

    @property
    def rulings(self) -> list[Ruling]:
        """Every ruling so far, in order of first asking."""
        return list(self._ruled.values())

    def places(self, case: Case, diagnoses: Sequence[str]) -> tuple[str, ...]:
        """Five places: a slot that names several diseases takes several, duplicates collapse, a sixth is ignored."""
        found: list[str] = []
        for item in diagnoses:
            for name in self.apart(case, item):
                if answer_key(name) not in NOTHING and all(answer_key(name) != answer_key(other) for other in found):
                    found.append(name)
        return tuple(found[:MOST])

    def apart(self, case: Case, item: str) -> list[str]:
        """The diseases one slot names. A name with a comma of its own stays whole, and so does what only describes."""
        text = NAMED.sub("", _sound(item)).strip(" .*_\t")
        pieces = PARTED.split(_shielded(text))
        parts = [_unshielded(piece).strip(" .*_") for piece in pieces if piece and piece.strip(" .*_")]
        if any(words_of(text) == words_of(name) for name in _names(case)):
            return [text]
        if self.reader.known(text) and not self._synonyms(parts):
            return [text]
        joined: list[str] = []
        for part in parts:
            if joined and self.reader.describes(part):
                joined[-1] = f"{joined[-1]} {part}"
            else:
                joined.append(part)
        return joined

    def _synonyms(self, parts: Sequence[str]) -> bool:
        """Whether these are two names of one disease, whose words together are a name too: one name repeats no word."""
        said = [word for part in parts for word in set(tokens(part))]
        return len(said) > len(set(said)) and all(map(self.reader.known, parts))

    def _decide(self, case: Case, answer: str) -> tuple[State, Level | None, str]:
        readable = [name for name in _names(case) if plain(name)]
        if not plain(answer) or not readable:
            return self._unread(case, answer)
        if plain(case.diagnosis) and words_of(answer) == words_of(case.diagnosis):
            return "right", "exact", "same words"
        if case.condition and self.marker.names.meaning(answer) == case.condition:
            return "right", "synonym", "name of the knowledge base"
        found: set[Relation] = {self.reader.relation(name, answer) for name in readable}
        if "same" in found or "narrower" in found:
            return "right", "synonym", "another name" if "same" in found else "a kind of it"
        near = "too general" if "broader" in found else ""
        for ours in self._right_codes(case):
            for theirs in self._answer_codes(answer):
                kin = kinship(ours, theirs)
                if kin in ("same", "child") and "unknown" in found and not near:
                    return "right", "code", f"{theirs} is {ours}" if kin == "same" else f"{theirs} below {ours}"
                if kin != "far":
                    near = near or f"{theirs} near {ours}"
        if near:
            return "near", None, near
        return ("open", None, "") if "unknown" in found else ("wrong", None, "another disease")

    def _unread(self, case: Case, answer: str) -> tuple[State, Level | None, str]:
        """Names in other scripts: equal as written, or left to a judge or a person."""
        if _bare(answer) == _bare(case.diagnosis):
            return "right", "exact", "as written"
        if any(_bare(answer) == _bare(name) for name in case.also_called):
            return "right", "synonym", "as written"
        return "open", None, ""

    def _right_codes(self, case: Case) -> frozenset[str]:
        given = tidy(case.icd10)
        return frozenset({given}) if given else self._coded(case.diagnosis, right=True)

    def _answer_codes(self, answer: str) -> frozenset[str]:
        return self._coded(answer, right=False)

    def _coded(self, name: str, *, right: bool) -> frozenset[str]:
        if name not in self._codes:
            self._codes[name] = self.codes.of(self.reader.variants(name, right=right))
        return self._codes[name]


def right_key(case: Case) -> str:
    """What the right diagnosis is: two cases with the same names, code and condition share their rulings."""
    return digest_of([case.diagnosis, sorted(case.also_called), case.icd10, case.condition])[:16]


def answer_key(answer: str) -> str:
    """The normalised answer; in another script than Latin the text itself."""
    return normalise(answer) if plain(answer) else _bare(answer)


def plain(name: str) -> bool:
    """Whether a name is in Latin letters, which alone our words and names are about."""
    letters = [c for c in unicodedata.normalize("NFKD", name) if c.isalpha()]
    return bool(letters) and sum(not c.isascii() and not "α" <= c.casefold() <= "ω" for c in letters) * 4 <= len(
        letters
    )


def _names(case: Case) -> tuple[str, ...]:
    return (case.diagnosis, *case.also_called)


def _bare(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _sound(text: str) -> str:
    """Without half surrogate pairs, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _shielded(text: str) -> str:
    """Commas and slashes inside parentheses part nothing."""
    return re.sub(r"[(（\[][^()（）\[\]]*[)）\]]", lambda found: found[0].replace(" ", "\0"), text)


def _unshielded(text: str) -> str:
    return text.replace("\0", " ")
