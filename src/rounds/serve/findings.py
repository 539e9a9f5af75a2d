"""Findings in the words of a case, with their places, and what speaks for and against a diagnosis.

Two voices are kept apart. The model's: what its reasoning and its list link to a diagnosis, each claim held against
the case. The knowledge base's: findings of the case it lists for the condition, or expects there and the case denies.
Places are offsets of characters (Unicode code points) into the case text, so that a page can mark them. Left out on
purpose: weighing the findings into a probability, and any judge model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rounds.grade.reading import Facts, Sentence, facts_of_text, fold, lexicon, read, tokens
from rounds.grade.steps import EXPECTED
from rounds.knowledge.base import FREQUENCY, KnowledgeBase
from rounds.records import Record

Voice = Literal["model", "knowledge base"]
Doubt = Literal["", "not in the case", "denied in the case", "stated in the case"]

PIECE = re.compile(r"[^\W_]+(?:['’][^\W_]+)*(?:\.[0-9]+)?|[,;:()]")
"""One word or mark of a raw text; folded, each gives its own tokens."""
SIGN = re.compile(r"\s?[%‰]")
"""A unit without letters, which folding drops, belongs to its number."""
EDGES = " \t\r\n.,;:()[]\"'"
ITEM = re.compile(
    r"^\W*\d{1,2}\W+(?P<name>.*?)\s+[-–—]\s+(?:for|a favor|支持)\s*[:：]\s*(?P<for>.*?)"
    r"(?:\s*[;；.]\s*(?:against|en contra|反对)\s*[:：]\s*(?P<against>.*))?$",
    re.IGNORECASE,
)
"""A line of the list as the differential template asks for it."""
PARTS = re.compile(r"\s*[,;，；、]\s*")
NOTHING = frozenset({"", "none", "nothing", "-", "–", "…", "n/a", "ninguno", "nada", "无"})
MOST_PARTS = 12
"""Findings of one side that one line of the list may name."""
LISTED = FREQUENCY["occasional"]
"""Chance from which on a finding of a condition speaks for it."""


class Mark(Record):
    """A stretch of the case text: `text == case[start:end]`, in Unicode code points."""

    start: int
    end: int
    text: str


class Seen(Record):
    """One finding of the knowledge base that the case states or denies."""

    id: str
    name: str
    denied: bool
    marks: tuple[Mark, ...]


class Argument(Record):
    """One finding that speaks for or against a diagnosis."""

    finding: str
    """In the knowledge base's words, or in the model's where it has none."""
    id: str = ""
    """Id in the knowledge base, '' for words it does not hold."""
    absent: bool = False
    """It speaks by not being there."""
    voices: tuple[Voice, ...]
    """Who says so."""
    doubt: Doubt = ""
    """What is wrong with the model's claim, '' when nothing is."""
    marks: tuple[Mark, ...] = ()


@dataclass(slots=True)
class _Claim:
    """What is said of one finding and one diagnosis."""

    finding: str
    id: str
    absent: bool
    voices: list[Voice]


def seen(text: str, knowledge: KnowledgeBase) -> tuple[Seen, ...]:
    """Every finding a case states or denies, in the order of the text; a finding both stated and denied is stated."""
    told = facts_of_text(text, knowledge)
    marks: dict[str, list[Mark]] = {}
    start = 0
    for sentence in read(text, knowledge):
        start = text.index(sentence.text, start)
        for finding in dict.fromkeys((*sentence.stated, *sentence.denied)):
            denied = finding not in told.present
            if finding in (sentence.denied if denied else sentence.stated):
                marks.setdefault(finding, []).extend(_marks(text, start, sentence, finding))
        start += len(sentence.text)
    kept = [f for f in marks if f in told.present or f in told.absent]
    return tuple(
        Seen(id=f, name=knowledge.findings[f].name, denied=f not in told.present, marks=tuple(marks[f])) for f in kept
    )


def _marks(text: str, start: int, sentence: Sentence, finding: str) -> Iterator[Mark]:
    """Where a sentence names a finding; once, the first time."""
    words = _placed(sentence.text)
    wanted = sentence.wordings[finding].split()
    folded = [word for word, _, _ in words]
    for place in range(len(folded) - len(wanted) + 1):
        if folded[place : place + len(wanted)] == wanted:
            end = start + words[place + len(wanted) - 1][2]
            sign = SIGN.match(text, end) if text[end - 1].isdigit() else None
            yield _mark(text, start + words[place][1], sign.end() if sign else end)
            return


def _placed(raw: str) -> list[tuple[str, int, int]]:
    """(folded token, start, end) of a raw text; token by token, or word by word where folding moves the borders."""
    for pattern in (PIECE, re.compile(r"\S+")):
        placed = [(token, m.start(), m.end()) for m in pattern.finditer(raw) for token in tokens(m.group())]
        if [token for token, _, _ in placed] == tokens(raw):
            return placed
    return []


def _mark(text: str, start: int, end: int) -> Mark:
    while start < end and text[start] in EDGES:
        start += 1
    while end > start and text[end - 1] in EDGES:
        end -= 1
    return Mark(start=start, end=end, text=text[start:end])


def literal(words: str, text: str) -> tuple[Mark, ...]:
    """Where a text holds these very words, whatever their case; the first place only."""
    found = re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) if words.strip() else None
    return (_mark(text, found.start(), found.end()),) if found else ()


def finding_of(words: str, knowledge: KnowledgeBase) -> str:
    """Id of the finding that words stand for by themselves, '' when the knowledge base has none."""
    return lexicon(knowledge).findings.get(fold(words), "")


@dataclass(slots=True)
class Arguments:
    """What speaks for and against each diagnosis of one answer to one case."""

    text: str
    knowledge: KnowledgeBase
    thinking: str
    reply: str
    seen: tuple[Seen, ...]

    def of(self, name: str, condition: str) -> tuple[tuple[Argument, ...], tuple[Argument, ...]]:
        """(for, against) one diagnosis; `condition` is its id in the knowledge base, '' when it has none."""
        sides: tuple[list[_Claim], list[_Claim]] = ([], [])
        for favours, claim in (*self._thought(name, condition), *self._listed(name), *self._known(condition)):
            _join(sides[0] if favours else sides[1], claim)
        speaks_for, against = (self._arguments(side) for side in sides)
        return speaks_for, against

    def _thought(self, name: str, condition: str) -> Iterator[tuple[bool, _Claim]]:
        """What the reasoning links to it."""
        for sentence in read(self.thinking, self.knowledge):
            if condition not in sentence.named and (condition or name.casefold() not in sentence.text.casefold()):
                continue
            opposed = condition in sentence.opposed
            for finding in sentence.stated:
                yield not opposed, self._claim(finding, absent=False, voice="model")
            for finding in sentence.denied:
                yield not opposed and sentence.supports, self._claim(finding, absent=True, voice="model")

    def _listed(self, name: str) -> Iterator[tuple[bool, _Claim]]:
        """What its own line of the list says, in the form the differential template asks for."""
        for line in self.reply.splitlines():
            item = ITEM.match(line.replace("**", ""))
            if item is None or item["name"].casefold().strip(" .:") != name.casefold():
                continue
            for side in ("for", "against"):
                for part in PARTS.split(item[side] or "")[:MOST_PARTS]:
                    if part.strip(" .").casefold() not in NOTHING:
                        yield side == "for", self._worded(part.strip(" ."))

    def _worded(self, words: str) -> _Claim:
        """A finding in the model's words: one of the knowledge base's where they name just one."""
        named = [sentence for sentence in read(words, self.knowledge) if sentence.findings]
        if len(named) == 1 and len(named[0].findings) == 1:
            finding = named[0].findings[0]
            return self._claim(finding, absent=finding in named[0].denied, voice="model")
        return _Claim(words, "", absent=False, voices=["model"])

    def _known(self, condition: str) -> Iterator[tuple[bool, _Claim]]:
        """What the knowledge base lists for it and the case tells."""
        known = self.knowledge.conditions.get(condition) or self.knowledge.outside.get(condition)
        if known is None:
            return
        for one in self.seen:
            chance = known.findings.get(one.id)
            if not one.denied and chance is not None and chance >= LISTED:
                yield True, self._claim(one.id, absent=False, voice="knowledge base")
            elif not one.denied and chance is not None and chance <= FREQUENCY["excluded"]:
                yield False, self._claim(one.id, absent=False, voice="knowledge base")
            elif one.denied and chance is not None and chance >= EXPECTED:
                yield False, self._claim(one.id, absent=True, voice="knowledge base")

    def _claim(self, finding: str, *, absent: bool, voice: Voice) -> _Claim:
        return _Claim(self.knowledge.findings[finding].name, finding, absent, [voice])

    def _arguments(self, claims: Sequence[_Claim]) -> tuple[Argument, ...]:
        told = facts_of_text(self.text, self.knowledge)
        places = {one.id: one.marks for one in self.seen}
        found = []
        for claim in claims:
            marks = places.get(claim.id, ()) if claim.id else literal(claim.finding, self.text)
            found.append(
                Argument(
                    finding=claim.finding,
                    id=claim.id,
                    absent=claim.absent,
                    voices=tuple(claim.voices),
                    doubt=self._doubt(claim, told, marks),
                    marks=marks,
                )
            )
        return tuple(sorted(found, key=lambda one: (bool(one.doubt), _first(one.marks))))

    def _doubt(self, claim: _Claim, told: Facts, marks: Iterable[Mark]) -> Doubt:
        if not claim.id:
            loose = set(tokens(claim.finding)) <= told.words
            return "" if marks or loose else "not in the case"
        if claim.absent:
            return "stated in the case" if claim.id in told.present else ""
        if claim.id in told.absent:
            return "denied in the case"
        wordings = (fold(words) for words in self.knowledge.findings[claim.id].says)
        return "" if any(told.states(claim.id, words) for words in wordings) else "not in the case"


def _join(side: list[_Claim], claim: _Claim) -> None:
    """Add a claim, or its voice to the same claim made before."""
    for known in side:
        if (known.id or known.finding, known.absent) == (claim.id or claim.finding, claim.absent):
            known.voices += [voice for voice in claim.voices if voice not in known.voices]
            return
    side.append(claim)


def _first(marks: Sequence[Mark]) -> int:
    return marks[0].start if marks else 1 << 30
