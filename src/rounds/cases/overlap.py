"""Leaks: an exam case that was a lesson measures memory, not skill.

Between the splits of a run (`overlaps`, `refuse_overlap`) a leak fails the build. Three signs, the surest first. The
same set of present findings (where cases state them). The same clauses in any order. Near-duplicate text: clauses that
many cases share are boilerplate and set aside, the rest is cut into runs of three words inside a clause, runs that many
cases share go as well (the frame round a rare finding), and two cases are near when the runs left have a Jaccard
likeness of at least `NEAR` (Broder, On the resemblance and containment of documents, 1997). Numbers count as one token,
so that a copy with other values is still seen.

Between a training file of any kind and an exam (`leaks`, the verb): rows stream past an index of the exam. Runs of
thirteen words; a near copy, by a bottom-k MinHash sketch of runs of three words; a paraphrase, by the weighted share of
an item's telling words in a window of a row, which sees other order, other numbers and some other words; less of it
will do where the answer stands beside it. Left out on purpose: other words throughout, and other languages, which need
a reader or an embedding.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from pydantic import Field

from rounds.cases.importers.reading import lines, objects
from rounds.records import Case, Record, UserError

NEAR = 0.6
"""Jaccard likeness from which two texts are near-duplicates."""

FEWEST_SHARED = 20
"""Fewer common runs than this show nothing: two patients may share a long phrase or two, each of some eight runs."""

COMMON_CASES = 5
COMMON_SHARE = 0.002
"""A clause or run is boilerplate when more than this many cases, and more than this share of all, have it."""

RUN = 3
"""Words of a run."""

CLAUSE = re.compile(r"[.;:!?\n]+(?:\s|$)|,\s|\b(?:and|or|but|with)\b")
WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*")


Kind = Literal["same findings", "same text", "near text"]


class Overlap(Record):
    """Two cases that are one."""

    held: str
    """Id of the case held back."""
    other: str
    """Id of the case it repeats."""
    kind: Kind
    likeness: float = Field(ge=0, le=1)
    """Jaccard likeness of the texts after boilerplate; 1 for same findings and same text."""


def overlaps(held: Sequence[Case], others: Sequence[Case]) -> list[Overlap]:
    """Every held case that repeats one of the others, each pair once, in the order of `others`.

    Linear in the cases but for pairs that share runs of words: 1,000 against 24,000 takes seconds.
    """
    held_clauses = [_clauses(case.vignette) for case in held]
    held_texts = [frozenset(clauses) for clauses in held_clauses]
    other_clauses = [_clauses(case.vignette) for case in others]
    runs = _telling([_runs(clauses) for clauses in _telling([*held_clauses, *other_clauses])])
    held_runs, other_runs = runs[: len(held)], runs[len(held) :]
    by_findings: dict[frozenset[str], list[int]] = defaultdict(list)
    by_text: dict[frozenset[str], list[int]] = defaultdict(list)
    by_run: dict[str, list[int]] = defaultdict(list)
    for i, case in enumerate(held):
        if case.present:
            by_findings[frozenset(case.present)].append(i)
        by_text[held_texts[i]].append(i)
        for run in held_runs[i]:
            by_run[run].append(i)
    found: list[Overlap] = []
    for case, clauses, told in zip(others, other_clauses, other_runs, strict=True):
        same_findings = by_findings.get(frozenset(case.present), []) if case.present else []
        same_text = by_text.get(frozenset(clauses), [])
        near = _near(told, held_runs, by_run)
        for i in sorted({*same_findings, *same_text, *near}):
            kind: Kind = "same findings" if i in same_findings else "same text" if i in same_text else "near text"
            likeness = near.get(i, 1.0) if kind == "near text" else 1.0
            found.append(Overlap(held=held[i].id, other=case.id, kind=kind, likeness=likeness))
    return found


def refuse_overlap(held: Sequence[Case], others: Sequence[Case]) -> None:
    """Stop when any case of a split held back repeats one of the others.

    Raises:
        UserError: naming the first pair and how many there are.
    """
    found = overlaps(held, others)
    if found:
        first = found[0]
        raise UserError(
            f"case '{first.held}' repeats case '{first.other}' ({first.kind}, likeness {first.likeness:.2f}; "
            f"{len(found)} such pairs): an exam that was taught measures memory; remove one of each pair."
        )


def _clauses(text: str) -> list[str]:
    """The clauses of a text in normal form: lower case, no punctuation, every number one token, none empty."""
    parts = (" ".join("0" if w[0].isdigit() else w for w in WORD.findall(part)) for part in CLAUSE.split(text.lower()))
    return [part for part in parts if part]


def _telling(texts: Sequence[Iterable[str]]) -> list[frozenset[str]]:
    """Each text's parts (clauses or runs) without those that many texts share."""
    parts = [frozenset(text) for text in texts]
    counts = Counter(part for text in parts for part in text)
    limit = max(COMMON_CASES, COMMON_SHARE * len(parts))
    return [frozenset(part for part in text if counts[part] <= limit) for text in parts]


def _runs(clauses: Iterable[str]) -> Iterator[str]:
    """Runs of `RUN` words inside a clause; a shorter clause is one run."""
    for clause in clauses:
        words = clause.split()
        for i in range(max(1, len(words) - RUN + 1)):
            yield " ".join(words[i : i + RUN])


def _near(runs: frozenset[str], held: Sequence[frozenset[str]], by_run: dict[str, list[int]]) -> dict[int, float]:
    """Index of each held text near these runs, with its likeness."""
    shared = Counter(i for run in runs for i in by_run.get(run, ()))
    likeness = {i: count / (len(runs) + len(held[i]) - count) for i, count in shared.items() if count >= FEWEST_SHARED}
    return {i: value for i, value in likeness.items() if value >= NEAR}


# The verb: a whole training file against an exam ---------------------------------------------------------------------

GRAM = 13
"""Words of a run that two texts do not share by chance (Brown et al., arXiv 2005.14165, appendix C)."""

TELLING_GRAM, COPIED = 3, 0.25
"""A run counts when so many of its words tell something (see `TELLING_SHARE`), or with this share of the item's."""

SHORTEST = 6
"""An item of fewer words is not looked for; one of fewer than `GRAM` is looked for as a whole."""

SKETCH = 96
"""Runs of three words kept of an item: the smallest by hash, a sample of all (bottom-k MinHash, Broder 1997)."""

CONTAINED = 0.5
"""Share of an item's sketch found in a training row from which it is a near copy."""

FEWEST_RUNS = 12
"""Fewer shared runs of the sketch show nothing."""

STORY, STORY_AND_ANSWER = 0.5, 0.35
"""Share of an item's telling words, by weight, in a window of a row: a paraphrase; less will do beside its answer."""

FEWEST_WORDS = 12
"""Fewer shared telling words show nothing."""

TELLING_SHARE = 0.02
"""A word in more than this share of the exam's items (and more than `COMMON_CASES`) tells nothing."""

PIECE, WINDOW = 240, 320
"""Words of a piece of a long item; words of a window of a long training row, half of it overlapping the next."""

COUNTED = 200_000
"""Windows of the training file in which the frequency of words is counted."""

STOP_WORDS = (
    "the and for with that this was were are has had have from his her she him they them their not but which who whom "
    "what when where while been being after before during because also than then there these those into onto over "
    "under about between without within following most likely patient presents presented year old history following "
    "does did will would should could can may might must one two three four five six seven eight nine ten all any "
    "each other such only same more less very its our your you"
)
STOP = frozenset(STOP_WORDS.split())

LeakKind = Literal["same findings", "13-gram", "near copy", "paraphrase", "paraphrase with answer"]

UNSAID_WORDS = (
    "id case_id ids source licence license template model digest teacher language kind split specialty incidence icd10 "
    "engine finish role condition url date category meta_info dataset level"
)
UNSAID = frozenset(UNSAID_WORDS.split())
"""Keys of a row whose values are no text."""


class Passage(Record):
    """One row of text: a case, a lesson, a chat, a line."""

    where: str
    """`path:line`"""
    id: str
    text: str
    answers: tuple[str, ...] = ()
    """The right answer and its other names, where the row is a case."""
    present: frozenset[str] = frozenset()


class Leak(Record):
    """An exam item that a training row holds. Of several rows the surest is kept."""

    held: str
    """Id of the exam item."""
    other: str
    """Id of the training row."""
    where: str
    """`path:line` of the training row."""
    kind: LeakKind
    likeness: float = Field(ge=0, le=1)
    """Share of the item found: of its runs, of the weight of its telling words; 1 for findings and 13-grams."""
    shown: str
    """What both say."""
    rows: int = 1
    """Training rows that hold this item."""


def passages(path: Path) -> Iterator[Passage]:
    """Rows of JSONL or JSON (cases, lessons, traces, chats: any objects with text) or lines of a .txt, one by one.

    Of a case the vignette is the text and the diagnosis the answer; of any other object every text is.

    Raises:
        UserError: unreadable, not UTF-8, not JSON, or another kind of file.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".txt"):
        for number, line in lines(path):
            yield Passage(where=f"{path}:{number}", id=f"{number}", text=line.strip())
    elif path.is_dir() or name.endswith((".jsonl", ".json", ".ndjson")):
        for number, (where, row) in enumerate(objects(path), start=1):
            yield _passage(where, row, number)
    else:
        raise UserError(f"{path}: is no .jsonl, .json or .txt; import it with rounds cases --from FORMAT first.")


def _passage(where: str, row: dict[str, object], number: int) -> Passage:
    prompt = row.get("prompt")
    inner = prompt.get("case_id") if isinstance(prompt, dict) else None
    name = str(row.get("id") or row.get("case_id") or inner or number)
    vignette, present = row.get("vignette"), row.get("present")
    if not isinstance(vignette, str):
        return Passage(where=where, id=name, text="\n".join(_texts(row)))
    also = row.get("also_called")
    called = also if isinstance(also, list) else []
    answers = [text for text in (row.get("diagnosis"), *called) if isinstance(text, str) and text.strip()]
    said = frozenset(str(one) for one in present) if isinstance(present, list) else frozenset()
    return Passage(where=where, id=name, text=vignette, answers=tuple(answers), present=said)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in UNSAID:
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def leaks(train: Callable[[], Iterable[Passage]], exam: Sequence[Passage]) -> list[Leak]:
    """Every exam item that a training row holds, in the order of the exam; the exam is held in memory, rows are not.

    `train` gives the rows afresh each time it is called: once to count words, once to look.

    Raises:
        UserError: the exam has no item, or one id twice.
    """
    index = Index(exam)
    index.weigh(train())
    found: dict[int, Leak] = {}
    for row in train():
        for item, kind, likeness, shown in index.look(row):
            new = Leak(held=exam[item].id, other=row.id, where=row.where, kind=kind, likeness=likeness, shown=shown)
            old = found.get(item)
            if old is None:
                found[item] = new
            else:
                best = new if (-SURE.index(new.kind), new.likeness) > (-SURE.index(old.kind), old.likeness) else old
                found[item] = best.model_copy(update={"rows": old.rows + 1})
    return [found[item] for item in sorted(found)]


SURE: tuple[LeakKind, ...] = ("same findings", "13-gram", "near copy", "paraphrase with answer", "paraphrase")
"""Kinds, the surest first."""


class Index:
    """What is known of an exam to find it in a stream of rows: memory grows with the exam alone."""

    def __init__(self, exam: Sequence[Passage]) -> None:
        seen: dict[str, str] = {}
        for item in exam:
            if item.id in seen:
                raise UserError(f"{item.where}: id '{item.id}' was already given at {seen[item.id]}; name each once.")
            seen[item.id] = item.where
        if not exam:
            raise UserError("the exam holds no items; expected one JSON object a line.")
        self.exam = exam
        self.findings: dict[frozenset[str], list[int]] = defaultdict(list)
        self.grams: dict[str, list[int]] = defaultdict(list)
        self.lengths: set[int] = set()
        self.runs: dict[str, list[int]] = defaultdict(list)
        self.answers = [tuple(filter(None, (" ".join(_words(a)) for a in item.answers))) for item in exam]
        texts = [_words(item.text) for item in exam]
        self._index_runs(texts)
        self._index_words(texts)
        for i, item in enumerate(exam):
            if len(item.present) >= 3:
                self.findings[item.present].append(i)

    def _index_runs(self, texts: Sequence[Sequence[str]]) -> None:
        """13-grams of every item, and its sketch of runs; those of many items are boilerplate and set aside."""
        runs = _telling([_shingles(words, RUN) for words in map(_unnumbered, texts)])
        self.sketches: list[int] = []
        self.gram_counts = [0] * len(texts)
        for i, words in enumerate(texts):
            size = min(GRAM, len(words))
            if size >= SHORTEST:
                self.lengths.add(size)
                for gram in set(_shingles(words, size)):
                    self.grams[gram].append(i)
            sketch = sorted(runs[i], key=lambda run: blake2b(run.encode(), digest_size=8).digest())[:SKETCH]
            self.sketches.append(len(sketch))
            for run in sketch:
                self.runs[run].append(i)
        limit = max(COMMON_CASES, COMMON_SHARE * len(texts))
        for gram in [gram for gram, items in self.grams.items() if len(items) > limit]:
            del self.grams[gram]
        for items in self.grams.values():
            for i in items:
                self.gram_counts[i] += 1

    def _index_words(self, texts: Sequence[Sequence[str]]) -> None:
        """Telling words of every piece of every item."""
        self.pieces: list[int] = []
        self.words: dict[str, list[int]] = defaultdict(list)
        for i, words in enumerate(texts):
            size = PIECE if len(words) > PIECE * 3 // 2 else max(1, len(words))
            for start in range(0, len(words), size):
                for stem in _stems(words[start : start + size]):
                    self.words[stem].append(len(self.pieces))
                self.pieces.append(i)
        limit = max(COMMON_CASES, TELLING_SHARE * len(texts))
        self.frequency = Counter({stem: len(items) for stem, items in self.words.items()})
        for stem in [stem for stem, items in self.words.items() if len(items) > limit]:
            del self.words[stem]

    def weigh(self, train: Iterable[Passage]) -> None:
        """Weigh the telling words by how rare they are in exam and training rows together."""
        windows = len(self.pieces)
        for row in train:
            for window in _windows(_words(row.text)):
                windows += 1
                self.frequency.update(stem for stem in _stems(window) if stem in self.words)
            if windows > COUNTED:
                break
        self.weights = {stem: math.log((windows + 50) / (self.frequency[stem] + 1)) for stem in self.words}
        self.totals = [0.0] * len(self.pieces)
        for stem, items in self.words.items():
            for piece in items:
                self.totals[piece] += self.weights[stem]

    def look(self, row: Passage) -> Iterator[tuple[int, LeakKind, float, str]]:
        """(item, kind, likeness, what both say) of every item this row holds, each item once, the surest kind."""
        found: dict[int, tuple[LeakKind, float, str]] = {}
        words = _words(row.text)
        for item in self.findings.get(row.present, ()) if row.present else ():
            found[item] = ("same findings", 1.0, ", ".join(sorted(row.present)))
        for item, gram in self._copied(words):
            found.setdefault(item, ("13-gram", 1.0, gram))
        shared: dict[int, list[str]] = defaultdict(list)
        for run in dict.fromkeys(_shingles(_unnumbered(words), RUN)):
            for item in self.runs.get(run, ()):
                shared[item].append(run)
        for item, runs in shared.items():
            share = len(runs) / self.sketches[item]
            if len(runs) >= FEWEST_RUNS and share >= CONTAINED:
                found.setdefault(item, ("near copy", share, " / ".join(runs[:6])))
        for item, kind, share, said in self._stories(row, words):
            found.setdefault(item, (kind, share, said))
        for item, (kind, share, said) in found.items():
            yield item, kind, share, said

    def _copied(self, words: Sequence[str]) -> Iterator[tuple[int, str]]:
        """(item, run) of items with which a row shares a run that tells something, or much of the item.

        Vital signs, normal findings and questions are worded alike in exams that share no patient, so that a run of
        them shows nothing.
        """
        shared: dict[int, dict[str, int]] = defaultdict(dict)
        for size in self.lengths:
            for gram in _shingles(words, size):
                for item in self.grams.get(gram, ()):
                    shared[item][gram] = sum(stem in self.words for stem in _stems(gram.split()))
        for item, grams in shared.items():
            best = max(grams, key=lambda gram: grams[gram])
            if grams[best] >= TELLING_GRAM or len(grams) >= COPIED * self.gram_counts[item]:
                yield item, best

    def _stories(self, row: Passage, words: Sequence[str]) -> Iterator[tuple[int, LeakKind, float, str]]:
        answered = " ".join([*words, *(word for answer in row.answers for word in _words(answer))])
        for window in _windows(words):
            score: dict[int, float] = defaultdict(float)
            shared: dict[int, list[str]] = defaultdict(list)
            for stem in _stems(window):
                for piece in self.words.get(stem, ()):
                    score[piece] += self.weights[stem]
                    shared[piece].append(stem)
            for piece, weight in score.items():
                share = weight / self.totals[piece]
                if len(shared[piece]) < FEWEST_WORDS or share < STORY_AND_ANSWER:
                    continue
                item = self.pieces[piece]
                said = ", ".join(sorted(shared[piece], key=lambda stem: -self.weights[stem])[:12])
                if any(f" {answer} " in f" {answered} " for answer in self.answers[item]):
                    yield item, "paraphrase with answer", min(share, 1.0), said
                elif share >= STORY:
                    yield item, "paraphrase", min(share, 1.0), said


def _words(text: str) -> list[str]:
    """The words of a text, lower case, numbers as they are."""
    return WORD.findall(text.lower())


def _unnumbered(words: Sequence[str]) -> list[str]:
    return ["0" if word[0].isdigit() else word for word in words]


def _shingles(words: Sequence[str], size: int) -> Iterator[str]:
    for i in range(len(words) - size + 1):
        yield " ".join(words[i : i + size])


def _windows(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """The whole of a short row, windows of a long one."""
    if len(words) <= WINDOW * 3 // 2:
        yield words
        return
    for start in range(0, len(words) - WINDOW // 2, WINDOW // 2):
        yield words[start : start + WINDOW]


def _stems(words: Sequence[str]) -> set[str]:
    """Distinct content words without plural s, cut after seven letters: forms of a word meet, in most languages."""
    return {
        (word[:-1] if word[-1] == "s" else word)[:7]
        for word in words
        if len(word) > 2 and word not in STOP and not word[0].isdigit()
    }
