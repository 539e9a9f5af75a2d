"""Does an answer name the right disease? Decided by words alone: the first three levels of the cascade without codes.

Both names are read into variants (what stands in parentheses, before 'due to', on each side of a slash) and each
variant into meanings of the lexicon and the words left over. Same disease, or a kind of it, is a match when the
answer's further words only narrow it and it lacks no word that tells diseases apart. A name the lexicon does not know
is compared word by word under the same rule. A false hit is worse than a miss: what is not shown to match does not.
Left out on purpose: ICD-10 (`rounds.grade.codes`), guessing by likeness of letters beyond one typing error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rounds.grade.lexicon import Lexicon, Meaning
from rounds.grade.names import normalise
from rounds.grade.words import Tokens, essence, tokens, words

Relation = Literal["same", "narrower", "broader", "other", "unknown"]
"""`other`: two diseases known to differ. `unknown`: nothing shown either way."""

ORDER: tuple[Relation, ...] = ("same", "narrower", "broader", "unknown", "other")
"""Of several variants the best counts; 'unknown' stands before 'other': one unknown variant leaves the door open."""

TAIL = re.compile(
    r"\s+(?:due to|secondary to|caused by|resulting from|as a result of|because of|following|after|complicated by|"
    r"complicating|in the setting of|without|with(?! (?:lewy|normal|preserved|reduced|aura|effusion|cataplexy))|"
    r"associated with|related to|affecting|involving|presenting as|versus|vs)\b.*$",
    re.IGNORECASE,
)
"""What stands after these words is a cause, a companion or a consequence, not the disease."""

COMPANION = re.compile(r"(?:\s+associated with\b|;).*$", re.IGNORECASE)
AGENT = re.compile(r"^.*?[- ](?:induced|related|associated|mediated)\s+", re.IGNORECASE)
EXAMPLE = re.compile(
    r"^(?:e\.?\s?g\.?|i\.?\s?e\.?|such as|including|aka|a\.k\.a\.|also known as|formerly|or)[\s,:]+", re.I
)
BRACKETS = re.compile(r"[(\[（【]([^()\[\]（）【】]*)[)\]）】]")
ALIAS = re.compile(BRACKETS.pattern + r"\s*[.,]?\s*$")
"""Brackets at the end hold another name; in the middle they only explain."""
MOST_VARIANTS = 12
SHORTEST_MENDED = 7
"""Letters from which on a word that nobody knows is taken for a typing error."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to take a name."""

    words: Tokens
    meanings: tuple[Meaning, ...]
    whole: bool
    """False for a right name that lost its cause: an answer must then name just this, nothing narrower."""


class Reader:
    """Reads names against one lexicon and compares them; both are remembered."""

    def __init__(self, lexicon: Lexicon, vocabulary: Iterable[str] = ()) -> None:
        self.lexicon = lexicon
        self.vocabulary = lexicon.vocabulary | set(vocabulary)
        """Words that are spelled right."""
        self._starts: dict[str, list[str]] = {}
        for word in sorted(self.vocabulary):
            if len(word) >= SHORTEST_MENDED:
                self._starts.setdefault(word[0], []).append(word)
        self._variants: dict[tuple[str, bool], tuple[Variant, ...]] = {}

    def variants(self, name: str, *, right: bool) -> tuple[Variant, ...]:
        """Every way to take a name, as a right diagnosis or as an answer."""
        key = (name, right)
        if key not in self._variants:
            found: dict[Tokens, Variant] = {}
            for text, whole in spellings(name, self.known, right=right):
                for read in self._typed(essence(tokens(text))):
                    if read and read not in found:
                        found[read] = Variant(read, self.lexicon.meanings(read), whole)
            self._variants[key] = tuple(found.values())[:MOST_VARIANTS]
        return self._variants[key]

    def _typed(self, read: Tokens) -> Iterator[Tokens]:
        """The words as they are, then with each word nobody knows brought to the one known word a slip away."""
        yield read
        mended = frozenset(self._mended(word) for word in read)
        if mended != read:
            yield essence(mended)

    def _mended(self, word: str) -> str:
        if len(word) < SHORTEST_MENDED or word in self.vocabulary or not word.isalpha():
            return word
        near = [known for known in self._starts.get(word[0], ()) if slip(word, known)]
        return near[0] if len(near) == 1 else word

    def known(self, name: str) -> bool:
        """Whether the name as a whole is that of a disease in the lexicon."""
        return any(not meaning.left for meaning in self.lexicon.meanings(essence(tokens(name))))

    def describes(self, text: str) -> bool:
        """Whether a piece after a comma only describes what stands before it: 'type 2', 'left', 'rheumatoid'."""
        found = frozenset(tokens(text))
        known = words()
        alone = len(found) == 1 and bool(
            re.search(r"(?:oid|al|ic|ous|ive|ary|ar|ed)$", text.strip(" ."), re.IGNORECASE)
        )
        if not found or self.known(text):
            return False
        return found <= known.addable or alone or TAIL.match(f" {text}") is not None

    def relation(self, right: str, answer: str) -> Relation:
        """How an answer stands to a right name."""
        if words_of(right) == words_of(answer) or (initials(answer, right) and not self.known(answer)):
            return "same"
        if genus(right, answer) or genus(answer, right):
            return "same"
        found = {
            self._compare(ours, theirs)
            for ours in self.variants(right, right=True)
            for theirs in self.variants(answer, right=False)
        }
        return _best(found)

    def _compare(self, right: Variant, answer: Variant) -> Relation:
        if right.words == answer.words:
            return "same"
        if words().conflict(right.words - answer.words, answer.words - right.words, hard=True):
            return "other"
        if right.meanings and answer.meanings:
            found = self._by_meaning(right, answer)
            # Names that differ in minor words alone are one, even where the lexicon lists both.
            if found in ("broader", "other") and minor(right.words, answer.words):
                return "same"
            if found != "unknown":
                return found
        likely = [by_words(ours, theirs) for ours in self._forms(right) for theirs in self._forms(answer)]
        best = _best(likely)
        return "unknown" if best == "narrower" and not right.whole else best

    def _forms(self, variant: Variant) -> Iterable[Tokens]:
        """The words of the name, and of every other name of the disease it means with the words left over."""
        yield variant.words
        for meaning in variant.meanings:
            for name in self.lexicon.names(meaning.disease):
                yield name | meaning.left

    def _by_meaning(self, right: Variant, answer: Variant) -> Relation:
        found: set[Relation] = set()
        for ours in right.meanings:
            for theirs in answer.meanings:
                found.add(self._by_disease(ours, theirs, whole=right.whole))
        return _best(found)

    def _by_disease(self, right: Meaning, answer: Meaning, *, whole: bool) -> Relation:
        missing, extra = right.left - answer.left, answer.left - right.left
        known = words()
        if known.conflict(missing, extra):
            return "other"
        if right.disease == answer.disease:
            rest = frozenset(word for name in self.lexicon.names(right.disease) for word in name)
            if not known.droppable(missing, rest) or (extra and not missing <= known.passing):
                return "broader"
            return "same" if whole or not extra else "unknown"
        if answer.disease in self.lexicon.narrower(right.disease):
            return "narrower" if whole and not missing else "unknown"
        if right.disease in self.lexicon.narrower(answer.disease):
            return "broader"
        return "unknown" if {right.disease, answer.disease} & self.lexicon.loose else "other"


def _best(found: Iterable[Relation]) -> Relation:
    seen = set(found)
    for relation in ORDER:
        if relation in seen:
            return relation
    return "unknown"


def minor(right: Tokens, answer: Tokens) -> bool:
    """Whether one of two names has all words of the other, and beyond them none but minor ones."""
    known = words()
    shared = right & answer
    if not shared - known.weak or (right - answer and answer - right):
        return False
    return known.droppable(right ^ answer, shared)


def by_words(right: Tokens, answer: Tokens) -> Relation:
    """Two names word by word: what the answer lacks must be minor, what it adds must only narrow."""
    known = words()
    missing, extra, shared = right - answer, answer - right, right & answer
    if not shared - known.weak:
        return "unknown"
    if known.conflict(missing, extra):
        return "other"
    if not extra <= known.addable or (extra & known.sites and shared - known.weak <= known.anywhere):
        return "unknown"
    if known.droppable(missing, shared) and (missing <= known.passing or not extra):
        return "narrower" if extra else "same"
    telling = shared - known.weak
    if not extra and len(telling) > 1 and telling - known.anywhere and known.droppable(missing - known.sites, shared):
        # Two telling words name a disease that has its place: blowout fracture is of the orbit.
        return "same"
    return "broader" if missing <= known.addable | known.weak and not extra - known.minor else "unknown"


def spellings(name: str, known: Callable[[str], bool], *, right: bool) -> Sequence[tuple[str, bool]]:
    """(text, whole) of every way to take a name: parentheses, sides of a slash, tails of causes and companions.

    A slash parts two names only where both are known: 'myelodysplastic/myeloproliferative disease' is one.
    """
    outside = BRACKETS.sub(" ", name).strip()
    found: list[tuple[str, bool]] = [(outside, True)]
    for inside in ALIAS.findall(name):
        bare = EXAMPLE.sub("", inside.strip())
        if essence(tokens(bare)) - words().weak:
            found += [(part, True) for part in re.split(r"\s*[;,/]\s*|\s+or\s+", bare)]
        else:
            found.insert(0, (f"{bare} {outside}", True))
    for text, _ in list(found):
        sides = text.split("/")
        if len(sides) > 1 and all(map(known, sides)):
            found += [(side, True) for side in sides]
    for text, _ in list(found):
        head = (COMPANION if right else TAIL).sub("", text)
        if head != text and essence(tokens(head)) - words().weak:
            found.append((head, not right))
    if not right:
        found += [(AGENT.sub("", text), True) for text, _ in list(found) if AGENT.search(text)]
    return found


@lru_cache(maxsize=65536)
def words_of(name: str) -> tuple[str, ...]:
    """Words of the whole name in any order, parentheses and all: the level `exact`."""
    return tuple(sorted(tokens(name)))


def initials(answer: str, right: str) -> bool:
    """Whether an answer is just the initials of the right name: three to six letters, small words skipped or not."""
    short = answer.strip(" .")
    if not re.fullmatch(r"[A-Za-z]{3,6}", short):
        return False
    parts = normalise(BRACKETS.sub(" ", right)).split()
    every = "".join(part[0] for part in parts)
    large = "".join(part[0] for part in parts if part not in {"of", "the", "and", "with", "in", "to"})
    return short.casefold() in (every, large)


def genus(short: str, full: str) -> bool:
    """Whether two names differ in a genus written as its first letter: E. coli sepsis, Escherichia coli sepsis."""
    found = re.match(r"\s*([A-Za-z])\.\s*([a-z]+(?:us|um|is|ae|ii|ans|ens|[aei])\b.*)$", short)
    if not found:
        return False
    first, _, rest = full.strip().partition(" ")
    return len(first) > 3 and first[0].casefold() == found[1].casefold() and normalise(rest) == normalise(found[2])


def slip(one: str, other: str) -> bool:
    """Whether two different words are one letter more, less, other or swapped apart (Damerau, 1964)."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    swapped = len(a) > 1 and len(b) > 1 and a[0] == b[1] and a[1] == b[0] and a[2:] == b[2:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or swapped
