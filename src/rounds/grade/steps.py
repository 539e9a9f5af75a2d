"""Holds reasoning against the case, claim by claim, by rule: no judge model.

A sentence that names findings of the vocabulary makes claims: each finding is stated (the case must have it) or denied
(the case must not state it), and it is linked to the conditions of its sentence (the knowledge base must list it
there; a finding that is absent must be expected there). The diagnosis put first must have been argued for. A case
without structured findings is read from its text, negation aware. Left out on purpose: the error modes of a whole line
of thought (`rounds.grade.modes`), which read the same sentences.
"""

from __future__ import annotations

import re

from rounds.grade.reading import Lexicon, Sentence, facts, fold, lexicon, read, tokens
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Answer, Case, StepCheck

__all__ = ["Lexicon", "check_steps", "content", "lexicon", "mentioned", "sound", "unargued"]

EXPECTED = 0.5
"""'X is absent, against C' holds when C shows X at least this often."""
SHOWN = 0.01
"""'X fits C' holds when C shows X more often than this; `excluded` lies below."""
SMALL_WORDS = frozenset(
    re.findall(r"\w+", "a an and at by due for from in of on or the to type with without secondary")
)
BRACKETS = re.compile(r"\(([^)]*)\)")
SHORT = re.compile(r"\(([A-Z][A-Za-z0-9-]*[A-Z][A-Za-z0-9-]*)\)")
HEAD = re.compile(r"\b(?:due to|secondary to|complicat\w+|associated|with|leading to|causing|caused by|following)\b|;")
"""What stands before these words is a long name's own; what follows is its circumstances."""
ALIKE = 0.6
"""A name the vocabulary lacks was argued for when so much of its words was thought."""


def check_steps(thinking: str, answer: Answer, case: Case, knowledge: KnowledgeBase) -> StepCheck:
    """Decide every claim of one line of thought.

    Sentences that name no finding make no claim, nor do findings spoken of in general. An answer without thinking
    makes no claims at all.
    """
    if not thinking.strip():
        return StepCheck()
    sentences, known = read(thinking, knowledge), facts(case, knowledge)
    stated = [(f, s.wordings[f]) for s in sentences for f in s.stated]
    denied = [f for s in sentences for f in s.denied]
    links = [link for s in sentences for link in _links(s)]
    return StepCheck(
        claims=len(stated) + len(denied) + len(links) + len(answer.diagnoses[:1]),
        stated=len(stated),
        invented=tuple(f for f, wording in stated if not known.states(f, wording)),
        denied=tuple(f for f in denied if f in known.present),
        unsupported=tuple(f"{f} -> {c}" for f, c, sign in links if not _holds(knowledge, f, c, sign)),
        unargued=unargued(thinking, answer, knowledge),
    )


def sound(steps: StepCheck, most: float = 0.0) -> bool:
    """The filter: whether no more than the share `most` (0..1) of the claims is in error; True without claims."""
    return steps.errors <= most * steps.claims


def unargued(thinking: str, answer: Answer, knowledge: KnowledgeBase) -> tuple[str, ...]:
    """The first diagnosis of the list when the thoughts never mention it; empty when they do."""
    return tuple(name for name in answer.diagnoses[:1] if not mentioned(name, thinking, knowledge))


def mentioned(name: str, text: str, knowledge: KnowledgeBase) -> bool:
    """Whether a text names a diagnosis: a condition of the knowledge base under any of its names, another by words."""
    condition = lexicon(knowledge).meanings.get(fold(name))
    if condition is not None:
        return any(condition in sentence.named for sentence in read(text, knowledge))
    said = set(tokens(text))
    return any(_thought(part, said) for part in (name, *HEAD.split(name)[:1]))


def _thought(name: str, said: set[str]) -> bool:
    """By its telling words, by what stands in brackets behind it, or by its initials."""
    wanted = content(name)
    short = {tokens(part)[0] for part in SHORT.findall(name)}
    initials = "".join(word[0] for word in tokens(BRACKETS.sub(" ", name)) if word not in SMALL_WORDS)
    if (len(initials) > 2 and initials in said) or not short.isdisjoint(said):
        return True
    return bool(wanted) and len(wanted & said) >= ALIKE * len(wanted)


def content(name: str) -> frozenset[str]:
    """The telling words of a name, folded; what stands in brackets and small words are left out."""
    return frozenset(word for word in tokens(BRACKETS.sub(" ", name)) if word[0].isalnum() and word not in SMALL_WORDS)


def _links(sentence: Sentence) -> list[tuple[str, str, str]]:
    """(finding, condition, what must hold of its chance there) of every link a sentence makes."""
    if not sentence.named:
        return []
    absent = "rare" if sentence.supports else "expected"
    return [
        (finding, condition, "rare" if condition in sentence.opposed else "shown")
        for finding in (*sentence.stated, *sentence.spoken)
        for condition in sentence.named
    ] + [
        (finding, condition, "expected" if condition in sentence.opposed else absent)
        for finding in sentence.denied
        for condition in sentence.named
    ]


def _holds(knowledge: KnowledgeBase, finding: str, condition: str, sign: str) -> bool:
    chance = knowledge.conditions[condition].findings.get(finding, 0.0)
    return chance > SHOWN if sign == "shown" else (chance >= EXPECTED) == (sign == "expected")
