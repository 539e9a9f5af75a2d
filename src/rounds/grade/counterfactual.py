"""What becomes of the answer when a red flag is taken out of the case: unchanged, it was never used.

The flag's words, or the number that tells it, are cut out of the vignette, and a Responder is asked again. Left out on
purpose: rewriting the case in other words, which would change more than the flag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rounds.grade.reading import fold, lexicon
from rounds.knowledge.base import Finding, KnowledgeBase
from rounds.prompts.reader import read_reply
from rounds.prompts.template import render
from rounds.records import Answer, Case, Record, Responder, Sampling, UserError

CUT = "\0"
TIDY = (
    (re.compile(rf",\s*{CUT}(?=\s+(?:and|or|&)\s)"), ""),
    (re.compile(rf",?\s*(?:\band|\bor|&)\s+{CUT}(?=\s*[.,;]|\s+(?:in|of)\b)"), ""),
    (re.compile(rf"\s*{CUT}\s*,?\s*\b(?:and|or|&)\s+"), " "),
    (re.compile(rf",\s*{CUT}|{CUT}\s*,\s*"), ""),
    (re.compile(rf"(?:(?<=[.!?;])|^)[^.!?;\0]*{CUT}[^.!?;\0]*[.!?;]?"), ""),
    (re.compile(r"[ \t]{2,}"), " "),
)
"""How the hole is closed: with its joining word, with its comma, or with the whole sentence it was alone in."""


class Counterfactual(Record):
    """One answer with and without one red flag of its case."""

    case_id: str
    flag: str
    before: Answer
    after: Answer
    ignored: bool
    """The list of diagnoses, in order, is the same without the flag."""


def without(case: Case, flag: str, knowledge: KnowledgeBase) -> Case:
    """The case without one of its red flags, as a twin of it.

    Raises:
        UserError: the case lacks that flag, its words are not in the vignette, or nothing else is.
    """
    if flag not in case.red_flags:
        raise UserError(f"case '{case.id}' has no red flag '{flag}'; use one of {'; '.join(case.red_flags) or 'none'}.")
    finding = knowledge.findings.get(lexicon(knowledge).findings.get(fold(flag), ""))
    text, cuts = _pattern(flag, finding).subn(CUT, case.vignette)
    for pattern, closed in TIDY:
        text = pattern.sub(closed, text)
    if not cuts or not text.strip():
        raise UserError(
            f"case '{case.id}': red flag '{flag}' cannot be cut out of the vignette; write it there in the same words."
        )
    return case.model_copy(
        update={
            "id": f"{case.id}-without-{fold(flag).replace(' ', '-')}",
            "vignette": text.strip(),
            "red_flags": tuple(other for other in case.red_flags if other != flag),
            "present": tuple(other for other in case.present if finding is None or other != finding.id),
            "twin_of": case.id,
        }
    )


def counterfactuals(
    cases: Sequence[Case],
    answers: Sequence[Answer],
    responder: Responder,
    *,
    template: str,
    sampling: Sampling,
    knowledge: KnowledgeBase,
) -> Iterator[Counterfactual]:
    """Ask again for every red flag that can be cut out; cases and answers are paired by place.

    Flags that cannot be cut out are left out. One answer each: `sampling.samples` is taken as 1.

    Raises:
        UserError: the engine's own faults.
    """
    asked: list[tuple[Case, Answer, str]] = []
    for case, answer in zip(cases, answers, strict=True):
        for flag in case.red_flags:
            try:
                asked.append((without(case, flag, knowledge), answer, flag))
            except UserError:
                continue
    prompts = [render(twin, template) for twin, _, _ in asked]
    traces = responder.respond(prompts, sampling.model_copy(update={"samples": 1}))
    for (twin, before, flag), trace in zip(asked, traces, strict=True):
        after = read_reply(trace.reply, twin.id)
        yield Counterfactual(
            case_id=twin.twin_of or twin.id,
            flag=flag,
            before=before,
            after=after,
            ignored=_same(before, after, knowledge),
        )


def _pattern(flag: str, finding: Finding | None) -> re.Pattern[str]:
    """The flag in any of its wordings, or the number of its measure with its unit."""
    wordings = sorted({flag, *(finding.says if finding else ())}, key=len, reverse=True)
    forms = [r"\s+".join(map(re.escape, wording.split())) for wording in wordings]
    if finding is not None and finding.measure is not None:
        measure = finding.measure
        forms.append(rf"{re.escape(measure.test)}:?\s+[\d.,]*\d\s*{re.escape(measure.unit)}")
    return re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?!\w)", re.IGNORECASE)


def _same(before: Answer, after: Answer, knowledge: KnowledgeBase) -> bool:
    meanings = lexicon(knowledge).meanings
    lists = [[meanings.get(fold(name), fold(name)) for name in answer.diagnoses] for answer in (before, after)]
    return lists[0] == lists[1] and before.abstained == after.abstained
