"""The patient model behind the generated cases: who has what, what reaches the page, and Bayes' rule over it.

A patient has each finding of a condition with its frequency class, and unrelated findings at their background rate. A
finding that is there is volunteered with a fixed chance; some others are then asked about and stated as present or
absent. What is asked depends on what was told so far, never on the true condition, and the chance that a page is drawn
again is counted in, so the posterior below is exact for cases this model writes (but for findings of one instrument
that exclude each other): the ceiling of any reader. Left out on purpose: dependence between findings.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rounds.knowledge.base import Condition, KnowledgeBase

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DISTRACTION = 0.5
"""Share of unrelated findings a clinician writes down: the background rates are multiplied by it."""

REACHES_PAGE = {"symptom": 1.0, "history": 0.8, "sign": 0.7, "test": 0.3}
"""How readily a finding of each kind reaches the page, relative to a symptom: most tests are not done at first."""

COMMON_TEST = 0.02
"""A test is asked for only when its finding is at least this common in unrelated patients: routine, not decisive."""

FEWEST_FINDINGS = 3
"""A page with fewer volunteered findings than this is drawn again: nobody could read it."""

MOST_FINDINGS = 11
"""A page with more is drawn again: nobody would write it."""

LISTED = 0.01
"""A condition shows a finding when its chance lies above this; `excluded` lies below."""

IMPOSSIBLE = -30.0
"""Log chance of what the model never writes: low enough to lose, finite so that everything can be ranked."""

AGES_LOOKED_AT = 4
"""Ages of each condition over which the chance of an acceptable page is averaged."""

INCIDENCE_WEIGHT = {"frequent": 20.0, "less frequent": 5.0, "rare": 1.0}
"""Relative weight of the classes under the incidence-weighted prior."""


@dataclass(slots=True, frozen=True)
class Patient:
    """Who the page is about."""

    age: float
    """Years."""
    sex: str
    """female or male."""


@dataclass(slots=True, frozen=True)
class Observed:
    """What the page tells of one patient. Finding indices refer to `World.findings`."""

    patient: Patient
    volunteered: tuple[int, ...]
    asked_present: tuple[int, ...] = ()
    asked_absent: tuple[int, ...] = ()

    @property
    def present(self) -> tuple[int, ...]:
        return (*self.volunteered, *self.asked_present)


class World:
    """Chances of findings by condition, and the posterior they give.

    `chance` has shape (conditions, findings). Conditions are those of the knowledge base only: the ones kept outside
    are never candidates.
    """

    def __init__(
        self, knowledge: KnowledgeBase, volunteer: float, prior: str = "even", limit: int | None = None
    ) -> None:
        self.knowledge = knowledge
        self.findings = list(knowledge.findings)
        kinds = [knowledge.findings[f].kind for f in self.findings]
        self.volunteer: Floats = np.array([volunteer * REACHES_PAGE[kind] for kind in kinds])
        self.finding_index = {name: i for i, name in enumerate(self.findings)}
        self.conditions: list[Condition] = _spread(list(knowledge.conditions.values()), limit)
        self.index = {condition.id: i for i, condition in enumerate(self.conditions)}
        self._finding_ages = np.array([knowledge.findings[f].age for f in self.findings])
        self._finding_sexes = np.array([knowledge.findings[f].sex for f in self.findings])
        self._condition_ages = np.array([condition.age for condition in self.conditions])
        self._condition_sexes = np.array([condition.sex for condition in self.conditions])
        self.background = np.array([knowledge.findings[f].background for f in self.findings]) * DISTRACTION
        self.askable: Bools = np.array(
            [
                knowledge.findings[f].kind != "test" or knowledge.findings[f].background >= COMMON_TEST
                for f in self.findings
            ]
        )
        self.chance: Floats = np.stack([self.row(condition) for condition in self.conditions])
        self._kept_off_ends: Floats = np.clip(self.chance, 1e-6, 1 - 1e-6)
        self._log_silent: Floats = np.log1p(-self._kept_off_ends * self.volunteer)
        self.listed: Bools = np.array(
            [[condition.findings.get(f, 0.0) > LISTED for f in self.findings] for condition in self.conditions]
        )
        weights = np.array([INCIDENCE_WEIGHT[c.incidence] if prior == "incidence" else 1.0 for c in self.conditions])
        self.log_prior: Floats = np.log(weights / weights.sum())
        self.rivals = self._rivals()
        self.log_acceptable: Floats = self._log_acceptable()

    def row(self, condition: Condition) -> Floats:
        """Chance of each finding given one condition, shape (findings,)."""
        return np.array([condition.findings.get(f, self.background[i]) for i, f in enumerate(self.findings)])

    def allowed(self, patient: Patient) -> Floats:
        """1 where a finding can occur in this patient at all, else 0; shape (findings,)."""
        right_age = (self._finding_ages[:, 0] <= patient.age) & (patient.age <= self._finding_ages[:, 1])
        right_sex = (self._finding_sexes == "any") | (self._finding_sexes == patient.sex)
        return np.asarray(right_age & right_sex, dtype=np.float64)

    def acceptable(self, condition: Condition, told: Sequence[int]) -> bool:
        """Whether volunteered findings make a page: neither too few nor too many, and one at least of the condition.

        A page that shows nothing of its condition has no right answer.
        """
        own = any(condition.findings.get(self.findings[f], 0.0) > LISTED for f in told)
        return own and FEWEST_FINDINGS <= len(told) <= MOST_FINDINGS

    def log_patient(self, patient: Patient) -> Floats:
        """log P(age, sex | condition), shape (conditions,)."""
        low, high = self._condition_ages[:, 0], self._condition_ages[:, 1]
        either = self._condition_sexes == "any"
        fits = (low <= patient.age) & (patient.age <= high) & (either | (self._condition_sexes == patient.sex))
        return np.where(fits, np.log(np.where(either, 0.5, 1.0) / (high - low)), IMPOSSIBLE)

    def log_told(self, seen: Observed) -> Floats:
        """log P(everything on the page | condition) up to a constant, shape (conditions,)."""
        chance = self._kept_off_ends
        silent = self.allowed(seen.patient)
        silent[[*seen.present, *seen.asked_absent]] = 0.0
        told = list(seen.volunteered)
        total = self.log_patient(seen.patient) + self.log_prior
        total += np.log(chance[:, told] * self.volunteer[told]).sum(axis=1)
        asked = list(seen.asked_present)
        total += np.log(chance[:, asked] * (1 - self.volunteer[asked])).sum(axis=1)
        total += np.log(1 - chance[:, list(seen.asked_absent)]).sum(axis=1)
        total += self._log_silent @ silent
        # Pages are drawn until acceptable: a condition none of whose findings is told cannot have written this one.
        total += np.where(self.listed[:, told].any(axis=1), -self.log_acceptable, IMPOSSIBLE)
        return total

    def posterior(self, seen: Observed) -> Floats:
        """P(condition | page), shape (conditions,)."""
        return softmax(self.log_told(seen))

    def informative(self, posterior: Floats, patient: Patient, taken: Collection[int]) -> list[int]:
        """Findings not yet told, those that would split the candidates best first."""
        mean = posterior @ self.chance
        spread = posterior @ (self.chance - mean) ** 2 * self.allowed(patient) * self.askable
        spread[list(taken)] = -1.0
        return [int(i) for i in np.argsort(-spread)[:12] if spread[i] > 0]

    def _log_acceptable(self) -> Floats:
        """log P(a drawn page is acceptable | condition), averaged over its ages and sexes; shape (conditions,)."""
        rows, owners = [], []
        for i, condition in enumerate(self.conditions):
            low, high = condition.age
            for step in range(AGES_LOOKED_AT):
                age = low + (high - low) * (step + 0.5) / AGES_LOOKED_AT
                for sex in ("female", "male") if condition.sex == "any" else (condition.sex,):
                    rows.append(self.chance[i] * self.allowed(Patient(age, sex)) * self.volunteer)
                    owners.append(i)
        told = np.array(rows)
        foreign = np.where(self.listed[owners], 0.0, told)
        nothing_own = np.prod(np.where(self.listed[owners], 1.0 - told, 1.0), axis=1)
        inside = slice(FEWEST_FINDINGS, MOST_FINDINGS + 1)
        share = _counts(told)[:, inside].sum(axis=1) - nothing_own * _counts(foreign)[:, inside].sum(axis=1)
        # Each condition has its own number of rows, all weighing the same.
        sums = np.bincount(owners, weights=share, minlength=len(self.conditions))
        result: Floats = np.log(np.maximum(sums / np.bincount(owners), 1e-12))
        return result

    def _rivals(self) -> dict[int, tuple[int, ...]]:
        """Findings that read the same instrument and cannot both be there (fast and slow pulse)."""
        by_test: dict[str, list[int]] = {}
        for i, name in enumerate(self.findings):
            measure = self.knowledge.findings[name].measure
            if measure is not None:
                by_test.setdefault(measure.test, []).append(i)
        return {i: tuple(j for j in group if j != i) for group in by_test.values() for i in group if len(group) > 1}


def _counts(chance: Floats) -> Floats:
    """P(0), P(1), … P(MOST_FINDINGS) of how many of independent events happen; `chance` has shape (rows, events)."""
    counts = np.zeros((len(chance), MOST_FINDINGS + 1))
    counts[:, 0] = 1.0
    for event in range(chance.shape[1]):
        p = chance[:, event, None]
        counts[:, 1:] = counts[:, 1:] * (1 - p) + counts[:, :-1] * p
        counts[:, 0] *= 1 - p[:, 0]
    return counts


def softmax(logits: Floats) -> Floats:
    """Log weights to shares that sum to 1, shape kept; safe for any size of number."""
    shifted = np.exp(logits - logits.max())
    result: Floats = shifted / shifted.sum()
    return result


def _spread(conditions: list[Condition], limit: int | None) -> list[Condition]:
    """All conditions, or `limit` of them taken in turn from each specialty and incidence."""
    if limit is None or limit >= len(conditions):
        return conditions
    cells: dict[tuple[str, str], list[Condition]] = {}
    for condition in conditions:
        cells.setdefault((condition.specialty, condition.incidence), []).append(condition)
    chosen: list[Condition] = []
    depth = 0
    while len(chosen) < limit:
        chosen += [cell[depth] for cell in cells.values() if depth < len(cell)]
        depth += 1
    return chosen[:limit]
