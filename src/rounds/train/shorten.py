"""Verified truncation: a kept trace with the steps left out that its verifier does not need.

Sentences go in this order: those said before, those whose claims are in error, those about no diagnosis of the list,
those about the diagnoses lowest on it. What names a red flag stays, so do the conclusion and the best support of the
first diagnosis; and the shorter trace must pass the very verification that let the long one in, with its first
diagnosis still argued for. Left out on purpose: writing new sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rounds.grade.mark import Marker, faults
from rounds.grade.reading import read
from rounds.grade.steps import check_steps
from rounds.prompts.reader import read_reply
from rounds.records import Case, Lesson, Sampling, Trace

SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class _Part:
    """One sentence of a thought."""

    place: int
    text: str
    rank: tuple[int, int]
    """Small goes first."""
    stays: bool


def shortened(lesson: Lesson, case: Case, marker: Marker, keep: float, count: Callable[[str], int]) -> Lesson:
    """The lesson with its thinking cut towards `keep` of its tokens, as far as it still passes; else as it was.

    count: tokens of a text.
    """
    parts = _parts(lesson, case, marker)
    wanted = keep * count(lesson.thinking)
    left = list(parts)
    gone: list[_Part] = []
    for part in sorted((one for one in parts if not one.stays), key=lambda one: one.rank):
        if count(_text(left)) <= wanted:
            break
        left.remove(part)
        gone.append(part)
    while gone and not _passes(_with(lesson, left), case, marker):
        left = sorted([*left, gone.pop()], key=lambda one: one.place)
    return _with(lesson, left) if gone else lesson


def _parts(lesson: Lesson, case: Case, marker: Marker) -> list[_Part]:
    answer = read_reply(lesson.reply, case.id)
    listed = [marker.names.meaning(name) for name in answer.diagnoses]
    unlisted = answer.model_copy(update={"diagnoses": ()})
    flags = {finding.id for finding in marker.knowledge.findings.values() if finding.name in case.red_flags}
    texts = SENTENCE.split(lesson.thinking.strip())
    last = _last_named(texts, flags, marker)
    seen: set[str] = set()
    supported = False
    parts = []
    for place, text in enumerate(texts):
        said = read(text, marker.knowledge)
        named = {condition for sentence in said for condition in sentence.named}
        findings = {finding for sentence in said for finding in sentence.stated}
        places = [listed.index(condition) for condition in named if condition in listed]
        wrong = check_steps(text, unlisted, case, marker.knowledge).errors > 0
        supports = bool(findings) and 0 in places and not wrong and not supported
        supported = supported or supports
        rank = _rank(text in seen, wrong, places, place)
        stays = text not in seen and (place == len(texts) - 1 or supports or place in last)
        seen.add(text)
        parts.append(_Part(place, text, rank, stays))
    return parts


def _last_named(texts: Sequence[str], flags: set[str], marker: Marker) -> set[int]:
    """The sentence that names each red flag, the last of several."""
    found: dict[str, int] = {}
    for place, text in enumerate(texts):
        named = {finding for sentence in read(text, marker.knowledge) for finding in sentence.stated}
        found |= dict.fromkeys(named & flags, place)
    return set(found.values())


def _rank(repeated: bool, wrong: bool, places: Sequence[int], place: int) -> tuple[int, int]:
    """Order of leaving. places: those on the list of the diagnoses it names."""
    if repeated:
        return 0, -place
    if wrong:
        return 1, place
    return (3, -min(places)) if places else (2, place)


def _text(parts: Sequence[_Part]) -> str:
    return " ".join(part.text for part in parts)


def _with(lesson: Lesson, parts: Sequence[_Part]) -> Lesson:
    return lesson.model_copy(update={"thinking": _text(parts)})


def _passes(lesson: Lesson, case: Case, marker: Marker) -> bool:
    trace = Trace(
        prompt=lesson.prompt,
        model=lesson.teacher,
        engine="lesson",
        sampling=Sampling(),
        thinking=lesson.thinking,
        reply=lesson.reply,
        finish="stop",
        thinking_tokens=0,
        reply_tokens=0,
    )
    grade = marker.mark(case, trace)
    return not faults(case, grade) and not (grade.steps is not None and grade.steps.unargued)
