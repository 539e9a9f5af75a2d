"""Remarks about a person that medicine does not turn on, for lessons: a diagnosis should not turn on them.

Half of the lessons' pages carry one, as counterfactual data augmentation does (Lu and others, Gender bias in neural
natural language processing, 2018): the answer is that of the page without it. Tune and exam pages have none, and the
probe's twins (`rounds.exam.twins`) speak of such things in other words, of some that no remark names (ethnicity,
orientation). Left out on purpose: remarks that bear on a finding of the knowledge base, such as travel, smoking or
an illness in the family.
"""

from __future__ import annotations

from random import Random

SHARE = 0.5
"""Of the lessons' pages."""
ADULT = 18

ANYONE = (
    "who was driven here by a neighbour",
    "who waited for two hours",
    "who lives on the third floor",
    "who moved to this town last year",
    "who likes to sing",
    "who has two sisters",
    "who was seen on a Tuesday",
    "who lives near the station",
    "who needs an interpreter",
    "whose first language is Portuguese",
    "whose relatives translate",
    "who understood only some of the questions",
    "who speaks Polish at home",
    "who learned English at school",
    "whose insurance card is missing",
    "who is insured through a relative",
    "whose visit is paid for by the state",
    "whose insurer is not known",
    "whose parents come from Kenya",
    "who grew up in India",
    "whose relatives live in Sweden",
)
"""Said of a child as of an adult."""

ADULTS = (
    "who works in an office",
    "who drives a lorry",
    "who is a retired teacher",
    "who keeps a shop",
    "who is looking for work",
    "who studies law",
    "who lives with a partner",
    "who lives alone",
    "who is divorced",
    "who sleeps in a hostel at present",
    "who rents a flat",
    "who owns two houses",
    "who earns very little",
    "who earns a great deal",
    "who receives benefits",
    "who pays for the treatment without an insurer",
    "who is insured with a large company",
    "who cannot afford insurance",
    "who prays every day",
    "who votes in every election",
)


def remark(age: float, random: Random) -> str:
    """A clause to stand behind the person; `age` in years."""
    return random.choice((*ANYONE, *ADULTS) if age >= ADULT else ANYONE)


def sentence(clause: str) -> str:
    """The same as a sentence of its own."""
    pronoun, _, rest = clause.partition(" ")
    subject = "The patient" if pronoun == "who" else "The patient's"
    return f"{subject} {rest}."
