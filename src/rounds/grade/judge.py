"""A local model as judge of what no rule decides: two wordings, each with both orders, unanimous or not at all.

The judge is any Responder and is asked greedily; it sees two names and nothing of the case or the model that answered.
It abstains when its four verdicts differ or one cannot be read. Its rulings make a mark only once it is admitted: it is
also asked what people have ruled, without being told, and has to agree with them (`Standing`). Until then they are a
reported extra. Left out on purpose: any other ground to trust a judge, such as its name or its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rounds.grade.cascade import Ruling
from rounds.prompts.choices import read_choices
from rounds.records import Message, Prompt, Responder, Sampling
from rounds.stats.agreement import Agreement, cohen

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
LEAST_KAPPA, LEAST_PAIRS = 0.80, 400
"""A judge is admitted from this lower end of the 95 % interval of kappa with people on, over so many pairs."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a judge is worth beside people: right or not, over the pairs that both have ruled."""

    name: str
    pairs: int
    abstained: int
    """Pairs that people have ruled and the judge has not."""
    agreement: Agreement

    @property
    def admitted(self) -> bool:
        """Whether its rulings make a mark."""
        known = self.agreement.value is not None
        return known and self.pairs >= LEAST_PAIRS and self.agreement.interval.low >= LEAST_KAPPA


def standing(judged: Iterable[Ruling], people: Iterable[Ruling]) -> Standing | None:
    """How far one judge's rulings agree with people's; near is not right. None without a ruling of the judge."""
    voted = {(ruling.key, ruling.answer): ruling for ruling in judged}
    if not voted:
        return None
    said = {(ruling.key, ruling.answer): ruling.state for ruling in people}
    shared = [pair for pair in said if pair in voted]
    both = [pair for pair in shared if voted[pair].state != "open"]
    found = cohen([voted[pair].state == "right" for pair in both], [said[pair] == "right" for pair in both])
    return Standing(judge_of(next(iter(voted.values()))), len(both), len(shared) - len(both), found)


def judge_of(ruling: Ruling) -> str:
    """The name of the judge that a ruling, or an abstention, comes from."""
    return ruling.why.removeprefix("judge ").rpartition(": ")[0]


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
