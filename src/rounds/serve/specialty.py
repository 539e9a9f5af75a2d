"""Which specialty a case reads as, by the findings of the knowledge base that it states and denies; in doubt none.

Bayes' rule with independent findings over all conditions, each as likely before, those left out that have never been
written for a patient of this age; what the conditions of one specialty share is what speaks for it. `python
benchmarks/specialty.py` measures it. Left out on purpose: learning from cases, and specialties that the knowledge base
does not hold.
"""

from __future__ import annotations

from math import exp, log

from rounds.grade.reading import Facts, facts_of_text
from rounds.knowledge.base import Condition, KnowledgeBase
from rounds.serve.examined import age_in

UNSURE = "unsure"
SURE = 0.95
"""Least share of the probability that one specialty must hold; chosen on tune cases."""
FEWEST = 2
"""Stated findings without which nothing is said."""
KNOWN = 0.999
"""No finding is surer than this, or one reading error would decide."""


def specialty_of(text: str, knowledge: KnowledgeBase) -> str:
    """The specialty of a case text, as the knowledge base calls it; '' in doubt."""
    shares = shares_of(text, knowledge)
    best = max(shares, key=lambda name: shares[name], default="")
    return best if best and shares[best] >= SURE else ""


def shares_of(text: str, knowledge: KnowledgeBase) -> dict[str, float]:
    """Probability of each specialty, together 1; empty where the text states too little."""
    facts = facts_of_text(text, knowledge)
    if len(facts.present) < FEWEST:
        return {}
    age = age_in(text)
    fits = [one for one in knowledge.conditions.values() if age is None or one.age[0] <= age <= one.age[1]]
    weights = [_weight(one, facts, knowledge) for one in fits]
    most = max(weights, default=0.0)
    shares: dict[str, float] = {}
    for condition, weight in zip(fits, weights, strict=True):
        shares[condition.specialty] = shares.get(condition.specialty, 0.0) + exp(weight - most)
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _weight(condition: Condition, facts: Facts, knowledge: KnowledgeBase) -> float:
    """Logarithm of the probability of what the text tells, given the condition."""
    found = 0.0
    for finding in facts.present | facts.absent:
        chance = min(KNOWN, max(1 - KNOWN, knowledge.chance(finding, condition)))
        found += log(chance if finding in facts.present else 1 - chance)
    return found
