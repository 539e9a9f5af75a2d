"""The three error modes of a line of thought, found by rule: drift, red flags not recognised, priority inversion.

The modes are those of doi.org/10.1007/s10916-026-02390-5; their rules are ours and stand in docs/audits.md. A detector
is shown with the agreement it was measured at (`MEASURED`, printed by benchmarks/audits.py) or as not validated. A red
flag fails in three ways: not seen, seen and dismissed, seen and not ranked. Left out on purpose: a judge model, and
asking again without the flag (`rounds.grade.counterfactual`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from rounds.grade.reading import BEFORE, SENTENCE, Sentence, facts, fold, lexicon, read, tokens
from rounds.grade.steps import content, mentioned, unargued
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Case, Grade, Trace

DRIFT = "reasoning drift"
NOT_SEEN = "red flag not seen"
DISMISSED = "red flag seen and dismissed"
NOT_RANKED = "red flag seen and not ranked"
INVERSION = "priority inversion"
MODES = (DRIFT, NOT_SEEN, DISMISSED, NOT_RANKED, INVERSION)
"""Every mode, in the order in which they are shown."""

PARAGRAPH = re.compile(r"\n\s*\n")
CLOSES = re.compile(
    r"\b(?:most likely|best explained|leading|conclu\w+|final\w*|overall|therefore|thus|in summary|in short|all in all"
    r"|(?:working|likeliest|primary|unifying) diagnosis|in the end|settle|considered|putting|comes? down to"
    r"|diagnosis (?:is|would be|must be)|i (?:would|will|'ll) go with)\b",
    re.IGNORECASE,
)
"""Words with which a line of thought concludes."""
ASIDE = (
    r"(?:ignor|disregard|dismiss|discount|overlook|neglect)\w*|forget(?: about)?|forgotten|omit\w*|skip\w*"
    r"|(?:put|set|push|lay|laid|brush|leave|left|wave|shrug|play)\w*(?: \w+){0,2} (?:aside|away|off|down|out|be|alone)"
    r"|let(?:ting)? (?:it|this|that) (?:be|go|pass)|look(?:ing)? past|unrelated|irrelevant|insignificant|unimportant"
    r"|unremarkable|immaterial|negligible|harmless|innocent|benign|trivial|reassuring|(?:co)?incident\w*|by chance"
    r"|chance finding|side (?:issue|line|show)|side-issue|distract\w+|red herring|artefact\w*|artifact\w*|trifle"
    r"|background noise|non-?specific"
)
"""Words that set a finding aside."""
LITTLE = r"(?:\b(?:no|nothing|little|hardly|scarcely|barely|not|never|cannot)\b|n't\b)"
WORTH = (
    r"(?:importan\w*|consequence|concern\w*|significan\w*|relevan\w*|meaning\w*|mean|bearing|weight|value|interest"
    r"|worth|worr\w+|alarm\w*|bother\w*|trouble\w*|serious\w*|matter\w*|related|red flag|urgent|count\w*|help\w*"
    r"|add\w*|point|contribut\w+|change\w*|part|role|dwell|pursue|make much|make anything|read (?:much|too much)"
    r"|impress\w*|sleep|where)"
)
EVERYDAY = (
    r"(?:anxiety|stress|worry|age|ageing|tiredness|weather|strain|nerves|chance|habit|old|common|normal|nothing|simple"
    r"|usual|everyday|coincidence)"
)
ONLY = r"(?:just|only|merely|simply|probably|likely|surely|due to|explained by|put down to|blamed? on|has an?)"
DISMISSES = re.compile(
    rf"\b(?:{ASIDE})\b|{LITTLE} (?:\w+ ){{0,3}}{WORTH}\b|\bun{WORTH}\b|\b{WORTH} (?:\w+ )?{LITTLE}"
    rf"|\bwithout (?:any )?{WORTH}\b|\bcan wait\b|\b(?:adds?|means?|leads?|says?) (?:nothing|little|nowhere)\b"
    rf"|\bbeside the point\b|\bfootnote\b|\b{ONLY}(?: \w+){{0,2}} {EVERYDAY}\b",
    re.IGNORECASE,
)
"""A finding set aside: by a word, by being worth little, or by an everyday cause."""
KEEPS = re.compile(
    rf"(?:{LITTLE}|\b(?:wrong|foolish|unwise|dangerous|mistake|error) to) (?:\w+ ){{0,3}}(?:{ASIDE})\b"
    rf"|{LITTLE} (?:\w+ )?wait\b|\bnot only\b|\bno matter\b|\bnot least\b|\bnothing (?:\w+ )?(?:more|else)\b",
    re.IGNORECASE,
)
"""The same words denied: 'must not be overlooked' holds on to a finding."""
HOLDS = re.compile(
    r"\b(?:red flags?|concern\w*|worr\w+|alarm\w*|frighten\w*|scar(?:y|es)|serious\w*|urgent\w*|emergenc\w+|danger\w*"
    r"|critical|important|attention|crucial|key|must|needs?|has to|have to|act|at once|immediate\w*|today|now"
    r"|first|quickly|soon|warn\w*|sign of|threat\w*|everything|striking\w*|careful|priority|rule out|exclude|check\w*"
    r"|investigat\w+)\b",
    re.IGNORECASE,
)
"""Words that take a finding seriously."""
LINE = re.compile(r"^\W*red[ -]?flags?\W*[:：]", re.IGNORECASE | re.MULTILINE)
REFERS_BACK = re.compile(r"^\W*(?:this|that|it|these|which|probably|likely|perhaps)\b", re.IGNORECASE)
OFF_SHARE, OFF_LEAST = 0.5, 2
"""The later half has wandered off when so much of what it states, and at least so many findings, are not the case's."""
CLOSING_SHARE = 0.3
"""Without a concluding word the last such share of the sentences is where a line of thought closes."""


@dataclass(slots=True, frozen=True)
class Found:
    """One failure: its mode and what shows it, for a person to look at."""

    mode: str
    why: str


@dataclass(slots=True, frozen=True)
class Measured:
    """How well a detector agreed with planted errors in generated traces, as benchmarks/audits.py printed it."""

    kappa: float
    low: float
    high: float
    n: int


MEASURED: Mapping[str, Measured] = MappingProxyType(
    {
        DRIFT: Measured(1.000, 0.990, 1.000, 768),
        NOT_SEEN: Measured(1.000, 0.976, 1.000, 320),
        # In words of dismissal held back from the rule, against ordinary answers.
        DISMISSED: Measured(0.969, 0.942, 0.996, 320),
        NOT_RANKED: Measured(1.000, 0.976, 1.000, 320),
        INVERSION: Measured(1.000, 0.990, 1.000, 800),
    }
)
"""Mode to its measured agreement; a mode that stands not here is shown as not validated."""


def error_modes(case: Case, trace: Trace, grade: Grade, knowledge: KnowledgeBase) -> tuple[str, ...]:
    """The modes found in one answer, each once: what fills `Grade.error_modes`. `grade` needs its answer and rank."""
    seen = {found.mode for found in detect(case, trace, grade, knowledge)}
    return tuple(mode for mode in MODES if mode in seen)


def detect(case: Case, trace: Trace, grade: Grade, knowledge: KnowledgeBase) -> list[Found]:
    """Every failure of one answer with what shows it; none for an abstention, a refusal or an unreadable reply."""
    if not grade.answer.diagnoses:
        return []
    return [
        *(Found(DRIFT, why) for why in _drift(case, trace.thinking, grade, knowledge)),
        *_red_flags(case, trace, grade, knowledge),
        *(Found(INVERSION, why) for why in _inversion(case, trace.thinking, grade, knowledge)),
    ]


# Drift -------------------------------------------------------------------------------------------------------------


def _drift(case: Case, thinking: str, grade: Grade, knowledge: KnowledgeBase) -> Iterator[str]:
    """The list is not what the thoughts closed on, they left the case, or they contradict themselves."""
    if not thinking.strip():
        return
    names = grade.answer.diagnoses
    sentences, known = read(thinking, knowledge), facts(case, knowledge)
    if unargued(thinking, grade.answer, knowledge):
        yield f"'{names[0]}' stands first and is never argued for"
    elif not _closes_on(names, thinking, sentences, knowledge):
        yield "the thoughts close on diagnoses that are not in the list"
    later = [(f, s.wordings[f]) for s in sentences[len(sentences) // 2 :] for f in s.stated]
    off = {f for f, wording in later if not known.states(f, wording)}
    if len(off) >= OFF_LEAST and len(off) >= OFF_SHARE * len({f for f, _ in later}):
        yield f"the later half speaks of what the case lacks: {', '.join(sorted(off))}"
    both = {f for s in sentences for f in s.denied}
    both = both and both & {f for s in sentences for f in s.stated}
    if both:
        yield f"stated and denied: {', '.join(sorted(both))}"


def _closes_on(names: Sequence[str], thinking: str, sentences: Sequence[Sentence], knowledge: KnowledgeBase) -> bool:
    """Whether a diagnosis of the list is named where the thoughts close.

    A name the vocabulary lacks may be paraphrased, and is looked for in the last two paragraphs.
    """
    meanings = lexicon(knowledge).meanings
    meant = {name: meanings.get(fold(name)) for name in names}
    last = set(closing(thinking))
    closed = {condition for sentence in sentences if sentence.text in last for condition in sentence.named}
    if not closed.isdisjoint(meant.values()):
        return True
    wide = "\n".join(closing(thinking, paragraphs=2))
    return any(mentioned(name, wide, knowledge) for name, condition in meant.items() if condition is None)


def closing(thinking: str, paragraphs: int = 1) -> list[str]:
    """The sentences where a line of thought closes: its last paragraphs, or all from its last concluding one on."""
    parts = [part for part in PARAGRAPH.split(thinking) if part.strip()]
    if len(parts) > 2:
        return SENTENCE.split("\n".join(parts[-paragraphs:]))
    sentences = [part for part in SENTENCE.split(thinking) if part.strip()]
    for place in range(len(sentences) - 1, -1, -1):
        if CLOSES.search(sentences[place]):
            return sentences[place:]
    return sentences[int(len(sentences) * (1 - CLOSING_SHARE)) :]


# Red flags ---------------------------------------------------------------------------------------------------------


def _red_flags(case: Case, trace: Trace, grade: Grade, knowledge: KnowledgeBase) -> Iterator[Found]:
    named = {_flag(words, knowledge) for words in grade.answer.red_flags}
    for flag in case.red_flags:
        finding = _flag(flag, knowledge)
        sightings = [] if finding in named else list(_sightings(finding, flag, trace.thinking, knowledge))
        # A reply that has a line for red flags and leaves this one out has passed it over, unless the thoughts held on.
        left_out = bool(LINE.search(trace.reply)) and not any(sighting == "held" for sighting in sightings)
        if finding not in named and not sightings:
            yield Found(NOT_SEEN, flag)
        elif finding not in named and (sightings[-1] == "aside" or left_out):
            yield Found(DISMISSED, flag)
        elif grade.rank is None and not _ranked(finding, case, grade, knowledge):
            yield Found(NOT_RANKED, flag)


def _flag(words: str, knowledge: KnowledgeBase) -> str:
    """Id of the finding a red flag means, its own folded words when the vocabulary lacks it."""
    folded = fold(words)
    return lexicon(knowledge).findings.get(folded, folded)


def _sightings(finding: str, flag: str, thinking: str, knowledge: KnowledgeBase) -> Iterator[str]:
    """For every sentence that speaks of the flag: 'aside', 'held' (alarm, or evidence for a condition) or 'told'."""
    known = {sentence.text: sentence for sentence in read(thinking, knowledge)}
    wanted = content(flag)
    raw = SENTENCE.split(thinking)
    for place, text in enumerate(raw):
        sentence = known.get(text)
        if finding in knowledge.findings:
            seen = sentence is not None and finding in sentence.findings
            denied = sentence is not None and finding in sentence.denied
        else:
            words = set(tokens(text))
            seen, denied = bool(wanted) and wanted <= words, not BEFORE.isdisjoint(words)
        if seen:
            following = raw[place + 1] if place + 1 < len(raw) else ""
            goes_on = bool(REFERS_BACK.match(following)) and not _names(known.get(following))
            said = f"{text} {following}" if goes_on else text
            linked = sentence is not None and bool(set(sentence.named) - set(sentence.opposed))
            if KEEPS.search(said):
                yield "aside" if DISMISSES.search(KEEPS.sub(" ", said)) else "held"
            elif denied or DISMISSES.search(said):
                yield "aside"
            else:
                yield "held" if linked or HOLDS.search(said) else "told"


def _names(sentence: Sentence | None) -> bool:
    return sentence is not None and bool(sentence.findings)


def _ranked(finding: str, case: Case, grade: Grade, knowledge: KnowledgeBase) -> bool:
    """Whether the list holds a condition that the flag warns of."""
    meanings = lexicon(knowledge).meanings
    listed = {meanings.get(fold(name), fold(name)) for name in grade.answer.diagnoses}
    warned = {meanings.get(fold(name), fold(name)) for name in (case.diagnosis, *case.also_called, *case.must_not_miss)}
    return bool(listed & (warned | _warns_of(knowledge).get(finding, frozenset())))


@cache
def _warns_of(knowledge: KnowledgeBase) -> Mapping[str, frozenset[str]]:
    """Finding to the conditions for which it is a red flag."""
    found: dict[str, set[str]] = {}
    for condition in knowledge.conditions.values():
        for flag in condition.red_flags:
            found.setdefault(flag, set()).add(condition.id)
    return MappingProxyType({flag: frozenset(conditions) for flag, conditions in found.items()})


# Priority ----------------------------------------------------------------------------------------------------------


def _inversion(case: Case, thinking: str, grade: Grade, knowledge: KnowledgeBase) -> Iterator[str]:
    """The right diagnosis below a harmless one or left out though thought of; a harmless one first, danger below.

    Harmless is a condition that the knowledge base never calls not to be missed. A right diagnosis in first place
    is no inversion, whatever follows.
    """
    if case.outside or grade.rank == 1:
        return
    meanings = lexicon(knowledge).meanings
    listed = [meanings.get(fold(name), "") for name in grade.answer.diagnoses]
    danger = {meanings.get(fold(name), "") for name in case.must_not_miss} - {""}
    harmless = [bool(c) and c != case.condition and c not in danger | _dangerous(knowledge) for c in listed]
    if grade.rank is not None and any(harmless[: grade.rank - 1]):
        yield f"'{grade.answer.diagnoses[harmless.index(True)]}' stands above the right diagnosis"
    elif harmless[0] and danger & set(listed[1:]):
        yield f"'{grade.answer.diagnoses[0]}' stands above what must not be missed"
    if grade.rank is None and thought_of(case, thinking, knowledge):
        yield "the right diagnosis was thought of and is not in the list"


@cache
def _dangerous(knowledge: KnowledgeBase) -> frozenset[str]:
    return frozenset(n.condition for condition in knowledge.conditions.values() for n in condition.must_not_miss)


def thought_of(case: Case, thinking: str, knowledge: KnowledgeBase) -> bool:
    """Whether the thoughts name the right diagnosis: as a condition, or with all its telling words in one sentence."""
    sentences = read(thinking, knowledge)
    if case.condition and any(case.condition in sentence.named for sentence in sentences):
        return True
    wanted = [words for name in (case.diagnosis, *case.also_called) if (words := content(name))]
    return any(words <= said for text in SENTENCE.split(thinking) for said in (set(tokens(text)),) for words in wanted)
