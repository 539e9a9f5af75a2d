"""Which kind of question a text asks, offline and in milliseconds; in doubt it says so and the plain template serves.

A softmax regression over hashed words, word pairs and a few marks of form (lettered options, speakers, figures of a
study), taught by `rounds.prompts.lessons` alone. `python benchmarks/router.py` measures it on real questions, and
`--write` makes the file of weights anew, the same on every machine. Left out on purpose: learning on the ward, and
deciding whether routing helps at all (`rounds templates gate`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from rounds.prompts import template as templates
from rounds.prompts.lessons import Asked
from rounds.records import Case

WEIGHTS = Path(__file__).parent / "data" / "router.npz"
BUCKETS = 1 << 13
PLAIN = "plain"
NEAR = 2048
"""Buckets of `vector`."""
SURE = 0.5
"""Least probability of a kind; below it the router abstains."""

HEAD, TAIL, ASKS = 400, 400, 300
"""Characters read from the beginning, from the end, and of the questions."""
FORM = 1.5
"""Amount of a mark of form; the words of a part have a length of one together."""
STEPS, RATE, SHRINK = 150, 2.0, 1e-5
"""Steps of the fit, their size, and the weight of the squared weights."""

TOKEN = re.compile(r"[^\W\d_\u3040-\u30ff\u4e00-\u9fff]+|\d+|[\u3040-\u30ff\u4e00-\u9fff]|[^\w\s]")
ASKED = re.compile(r"[^.!?。？！\n]{2,200}+[?？]")
OPTION = re.compile(r"(?:^|\n)[ \t]*[(（]?([A-Ha-h])\s?[.)）、:：]\s?(?=\S)")
INLINE = re.compile(r"(?<=\s)(?:\(([A-H])\)|([A-H])[.):])\s(?=\S)")
NUMBERED = re.compile(r"(?:^|\n)[ \t]*[(（]?([1-9])\s?[.)）、]\s?(?=\S)")
REQUEST = re.compile(
    r"\b(?:please|explain|write|calculate|compute|interpret|interpretation|summari[sz]e|summary|prepare|draft|list|give|"
    r"tell|review|check|hand ?over|hand-?off|sbar|triage|urgen\w+|plan|leaflet|simplify|rewrite|differential|select|"
    r"choose|tratamiento|plan|interpreta\w*|interacci\w+|triaje|diagn[oó]stico|por favor|señale|indique)\b|"
    r"请|如何|怎么|什么",
    re.IGNORECASE,
)
SPEAKER = re.compile(r"(?:^|\n|(?<=[.?!]\s))\s*\[?([^\W\d_][\w ]{0,16}?)(?:\]|\s?[:：])", re.UNICODE)
STUDY = re.compile(
    r"\bp\s?[<=>≤]|\b95\s?%|\bCI\b|\b[nN]\s?=\s?\d|\bodds ratio|\bregression\b|\brandomi[sz]ed|\bretrospective|"
    r"\bprospective|\bcohort|\bcontrols?\b|\bwere (?:compared|included|enrolled)|\baim\b|\bstudy\b",
    re.IGNORECASE,
)
RECKON = re.compile(
    r"\b(?:calculat\w+|comput\w+|scores?|points|formula|equation|how (?:many|much)|"
    r"what (?:is|was|are|would) (?:the|her|his|their) (?:the )?(?:patient|child|estimated|corrected|total|number)\w*|"
    r"work out|in terms of|convert|criteria met)\b",
    re.IGNORECASE,
)
MARKS = {
    code: re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    for code, words in (
        ("es", "el|la|los|las|un|una|de|que|con|es|por|para|y|se|cuál|qué|años"),
        ("fr", "le|la|les|un|une|des|du|est|que|dans|pour|et|quelle|quel|avec|ans"),
        ("pt", "o|a|os|as|um|uma|de|que|com|é|por|para|e|não|qual|anos"),
        ("de", "der|die|das|ein|eine|und|ist|mit|von|den|welche|bei|nicht"),
        ("en", "the|of|and|is|with|a|to|in|which|what|for|on|was|has"),
    )
}
"""Words that tell a language."""


@dataclass(frozen=True, slots=True)
class Routed:
    """Where a text goes."""

    kind: str
    """`plain` when the router abstains."""
    sure: float
    """Probability of the likeliest kind, 0..1."""
    language: str


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A taught router: kinds, and whole-number weights of shape (buckets + 1, kinds), the last row the offsets."""

    kinds: tuple[str, ...]
    values: NDArray[np.int8]
    scale: float
    """One step of the whole numbers."""


def route(text: str, weights: Weights | None = None) -> Routed:
    """The kind and language of a question; never raises."""
    taught = weights or _shipped()
    found = features(text)
    places = [place for place, _ in found]
    amounts = np.array([amount for _, amount in found])
    scores = (amounts @ taught.values[places] + taught.values[-1]) * taught.scale
    odds = np.exp(scores - scores.max())
    best = int(odds.argmax())
    sure = float(odds[best] / odds.sum())
    kind = taught.kinds[best] if sure >= SURE else PLAIN
    return Routed(kind, sure, language_of(text))


def template_for(case: Case, own: Path | None = None) -> str:
    """Name of the template for one case: the newest of the kind its text asks for.

    Raises:
        UserError: a hospital's own directory is faulty.
    """
    return templates.newest(route(case.question).kind, own)


def language_of(text: str) -> str:
    """`zh`, `ja`, `es`, `fr`, `pt`, `de`, else `en`: by script, then by small words."""
    start = text[:1000]
    if re.search(r"[\u3040-\u30ff]", start):
        return "ja"
    if re.search(r"[\u4e00-\u9fff]", start):
        return "zh"
    counts = {code: len(marks.findall(start)) for code, marks in MARKS.items()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] > counts["en"] or "¿" in start else "en"


def features(text: str) -> list[tuple[int, float]]:
    """(bucket, amount) of a text. Words of a part share a length of one; a mark of form counts one by itself."""
    whole = unicodedata.normalize("NFKC", text).strip()
    ends = whole if len(whole) <= HEAD + TAIL else f"{whole[:HEAD]} … {whole[-TAIL:]}"
    sentences = ASKED.findall(ends)
    asked = " ".join(sentences)[-ASKS:]
    found: dict[int, float] = {}
    for name, part in (("w", ends), ("q", asked or whole[-150:]), ("h", whole[:60])):
        grams = _grams(part)
        for gram in grams:
            place = crc32(f"{name}:{gram}".encode()) % BUCKETS
            found[place] = found.get(place, 0.0) + len(grams) ** -0.5
    for mark in _form(whole, ends, sentences):
        found[crc32(f"form:{mark}".encode()) % BUCKETS] = FORM
    return list(found.items())


def vector(text: str) -> NDArray[np.float32]:
    """Words and word pairs of a text hashed to a direction of length one, shape (2048,): for nearness of cases."""
    counts = Counter(crc32(gram.encode()) % NEAR for gram in _grams(unicodedata.normalize("NFKC", text)[:8000]))
    found = np.zeros(NEAR, dtype=np.float32)
    found[list(counts)] = list(counts.values())
    return found / max(1.0, float(np.linalg.norm(found)))


def _grams(text: str) -> set[str]:
    tokens = ["0" if token.isdigit() else token for token in TOKEN.findall(text.casefold())]
    return {*tokens, *(f"{one} {two}" for one, two in pairwise(tokens))}


def _form(text: str, ends: str, asked: Sequence[str]) -> list[str]:
    """Marks of form, each a word."""
    options = max(_in_a_row(OPTION.findall(text)), _in_a_row([one or two for one, two in INLINE.findall(text)]))
    said = Counter(name.casefold() for name in SPEAKER.findall(text[:6000]))
    turns = said.most_common(2)[1][1] if len(said) > 1 else 0
    speakers = len({"doctor", "patient", "dr", "pt", "clinician", "nurse"} & set(said))
    study = len(STUDY.findall(ends))
    edges = f"{text[:150]} … {text[-200:]}"
    request = bool(REQUEST.search(edges))
    bare = not asked and not request and options < 2 and not (turns > 1 and speakers > 1) and study < 2
    first = TOKEN.findall(asked[-1].casefold())[:1] if asked else []
    return [
        f"options {min(options, 3)}",
        f"numbered {min(_in_a_row(NUMBERED.findall(text)), 3)}",
        f"turns {min(turns, 3)} of {min(speakers, 2)}",
        f"study {min(study, 4)}",
        f"asks {min(len(asked), 2)}",
        f"request {request}",
        f"ends {text[-1:] if text[-1:] in '?:' else ''}",
        f"begins {' '.join(first)}",
        f"reckon {bool(RECKON.search(edges))}",
        f"bare {bare and len(text) > 80}",
        f"long {min(len(text).bit_length(), 12)}",
        f"figures {min(len(re.findall(r'[0-9]+', ends)) // 4, 6)}",
    ]


def _in_a_row(signs: Sequence[str]) -> int:
    """How far the signs go A, B, C … or 1, 2, 3 …; what stands between is passed over."""
    reached = 0
    for sign in signs:
        reached += (int(sign) if sign.isdigit() else ord(sign.upper()) - ord("A") + 1) == reached + 1
    return reached


def fit(asked: Sequence[Asked]) -> Weights:
    """Teach a router; the same questions give the same whole numbers on every machine.

    Accelerated gradient steps of one size (Nesterov) on the mean cross-entropy, each kind weighing the same, from zero;
    no random draw, no line search. Then rounded to 8 bits.
    """
    from scipy.sparse import csr_matrix

    kinds = tuple(sorted({one.kind for one in asked}))
    rows = [features(one.text) for one in asked]
    starts = np.cumsum([0, *map(len, rows)])
    amounts = np.array([amount for row in rows for _, amount in row])
    places = np.array([place for row in rows for place, _ in row])
    told = csr_matrix((amounts, places, starts), shape=(len(rows), BUCKETS))
    right = np.array([kinds.index(one.kind) for one in asked])
    weigh = 1.0 / (len(kinds) * np.bincount(right)[right])
    value = ahead = np.zeros((BUCKETS, len(kinds)))
    offset = ahead_offset = np.zeros(len(kinds))
    for step in range(STEPS):
        scores = told @ ahead + ahead_offset
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        error = odds / odds.sum(axis=1, keepdims=True)
        error[np.arange(len(right)), right] -= 1.0
        error *= weigh[:, None]
        before, before_offset = value, offset
        value = ahead - RATE * (told.T @ error + SHRINK * ahead)
        offset = ahead_offset - RATE * error.sum(axis=0)
        push = step / (step + 3)
        ahead = value + push * (value - before)
        ahead_offset = offset + push * (offset - before_offset)
    both = np.vstack([value, offset])
    scale = float(np.float32(np.abs(both).max() / 127))
    return Weights(kinds, np.rint(both / scale).astype(np.int8), scale)


def save(weights: Weights, path: Path = WEIGHTS) -> None:
    """Write the weights: an .npz without pickled objects."""
    with path.open("wb") as out:
        np.savez(out, kinds=np.array(weights.kinds), values=weights.values, scale=np.array(weights.scale))


def read(path: Path = WEIGHTS) -> Weights:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as found:
        return Weights(tuple(map(str, found["kinds"])), found["values"], float(found["scale"]))


@cache
def _shipped() -> Weights:
    return read()
