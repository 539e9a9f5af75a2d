"""A local model as judge of what no rule decides: two wordings, each with both orders, unanimous or not at all.

The judge is any Responder and is asked greedily; it sees two names and nothing of the case or the model that answered.
It abstains when its four verdicts differ or one cannot be read. Left out on purpose: a judge's admission, which is for
people: its agreement with them must be measured first (docs/grade.md says how and how many pairs that takes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rounds.grade.cascade import Ruling
from rounds.prompts.choices import read_choices
from rounds.records import Message, Prompt, Responder, Sampling

TEMPLATES = ("judge-same@1", "judge-credit@1")

SAME = (
    "Two clinicians each wrote down a diagnosis for one patient.\n\nFirst: {first}\nSecond: {second}\n\n"
    "Do the two names mean the same disease? Synonyms, abbreviations and other spellings are the same disease. So is a "
    "name that only adds detail, such as a site or a severity. A wider group of diseases, another type, or a cause, "
    "complication or neighbour of the disease is not. Answer with one word, yes or no, as: Answer: yes"
)
CREDIT = (
    "You mark an examination in medicine. Candidates name a diagnosis in their own words.\n\n"
    "{first_role}: {first}\n{second_role}: {second}\n\n"
    "Does the candidate name the expected disease? Accept other names and further detail. Refuse a vaguer name, a "
    "different type, and any other disease, however close. End with one line: Answer: yes, or Answer: no"
)
ROLES = ("Expected diagnosis", "Candidate's diagnosis")
OPTIONS = ("yes", "no", "maybe")
SAMPLING = Sampling(temperature=0.0, max_tokens=1024)
NEEDED = 4
BATCH = 32
"""Pairs between two savings."""


def judge(open_rulings: Sequence[Ruling], responder: Responder) -> Iterator[list[Ruling]]:
    """Yield rulings in the place of the open ones, a batch at a time, so that what was judged can be kept.

    Those the judge is not unanimous on stay open and say how it voted.
    """
    for start in range(0, len(open_rulings), BATCH):
        batch = open_rulings[start : start + BATCH]
        prompts = [prompt for ruling in batch for prompt in questions(ruling)]
        votes = [_vote(trace.reply) for trace in responder.respond(prompts, SAMPLING)]
        yield [
            _ruled(ruling, votes[NEEDED * place : NEEDED * (place + 1)], responder.name)
            for place, ruling in enumerate(batch)
        ]


def questions(ruling: Ruling) -> Iterable[Prompt]:
    """The four questions about one pair: two wordings, each in both orders."""
    pair = (ruling.right, ruling.said)
    for first, second in ((0, 1), (1, 0)):
        yield _prompt(TEMPLATES[0], SAME.format(first=pair[first], second=pair[second]), ruling)
    for first, second in ((0, 1), (1, 0)):
        text = CREDIT.format(first_role=ROLES[first], first=pair[first], second_role=ROLES[second], second=pair[second])
        yield _prompt(TEMPLATES[1], text, ruling)


def _prompt(template: str, text: str, ruling: Ruling) -> Prompt:
    return Prompt(
        case_id=f"{ruling.key}/{ruling.answer}", template=template, messages=(Message(role="user", content=text),)
    )


def _vote(reply: str) -> bool | None:
    letters = read_choices(reply, "judge", OPTIONS).choices
    return None if letters not in (("A",), ("B",)) else letters == ("A",)


def _ruled(ruling: Ruling, votes: Sequence[bool | None], name: str) -> Ruling:
    said = f"judge {name}: {votes.count(True)} yes, {votes.count(False)} no, {votes.count(None)} unreadable"
    if votes.count(True) == NEEDED:
        return ruling.model_copy(update={"state": "right", "level": "judge", "why": said})
    if votes.count(False) == NEEDED:
        return ruling.model_copy(update={"state": "wrong", "level": "judge", "why": said})
    return ruling.model_copy(update={"why": said})
