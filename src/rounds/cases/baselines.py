"""What stands beside every model: answers that need no model at all.

The most frequent five of a specialty is the floor, a bag of words the honest rival: a network that does not beat a
linear classifier on the same lessons has learned words, not medicine. Both always list five diagnoses, on cases
outside the knowledge base too: they cannot abstain. Left out on purpose: marking the answers (`rounds.grade`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rounds.progress import track
from rounds.records import Answer, Case, UserError

STRENGTHS = (1e-4, 3e-5, 1e-5)
"""Strengths of regularisation tried; the tune split chooses."""

EPOCHS = 6

FEWEST_TEXTS = 3
"""Words and pairs of words found in fewer lessons are left out."""


def most_frequent_five(teach: Sequence[Case], exam: Sequence[Case]) -> list[Answer]:
    """For each exam case the five diagnoses most often taught in its specialty, whatever its text says.

    Under the even prior the counts differ by chance alone and this hits 5 of the specialty's conditions; under the
    incidence-weighted prior it is the base rate. Ties go by name; a specialty with fewer than five conditions is
    filled up from all others.

    Raises:
        UserError: the teach split has no case inside the knowledge base.
    """
    lessons = _inside(teach)
    everywhere = _by_count(Counter(case.diagnosis for case in lessons))
    by_specialty: dict[str, Counter[str]] = {}
    for case in lessons:
        by_specialty.setdefault(case.specialty, Counter())[case.diagnosis] += 1
    lists = {specialty: _by_count(counts) for specialty, counts in by_specialty.items()}
    answers = []
    for case in exam:
        five = list(dict.fromkeys([*lists.get(case.specialty, []), *everywhere]))[:5]
        answers.append(Answer(case_id=case.id, diagnoses=tuple(five)))
    return answers


def bag_of_words(teach: Sequence[Case], tune: Sequence[Case], exam: Sequence[Case]) -> list[Answer]:
    """Five diagnoses a case by logistic regression on words and pairs of words (tf-idf), the likeliest first.

    One classifier a condition, trained by averaged stochastic gradient descent; the strength of regularisation that
    puts most tune cases among the five is kept (then most first places). About 15 s on one core for 12,000 lessons.

    Raises:
        UserError: scikit-learn is not installed, or the teach split has fewer than two diagnoses.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import SGDClassifier
    except ImportError as error:
        raise UserError(
            "the bag-of-words baseline needs scikit-learn, which is not installed; install rounds[cpu]."
        ) from error

    lessons = _inside(teach)
    truth = [case.diagnosis for case in lessons]
    if len(set(truth)) < 2:
        raise UserError(f"the teach split holds the one diagnosis '{truth[0]}'; a classifier needs at least two.")
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=min(FEWEST_TEXTS, len(lessons)), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
    )
    taught = words.fit_transform(case.vignette for case in lessons)
    chosen = [case for case in tune if not case.outside]
    best: tuple[tuple[float, float], Any] | None = None
    for strength in track(STRENGTHS, "bag of words"):
        model = SGDClassifier(
            loss="log_loss", alpha=strength, max_iter=EPOCHS, tol=None, average=True, random_state=0
        ).fit(taught, truth)
        score = _hits(_five(model, words, chosen), chosen)
        if best is None or score > best[0]:
            best = (score, model)
    assert best is not None
    return [
        Answer(case_id=case.id, diagnoses=five) for case, five in zip(exam, _five(best[1], words, exam), strict=True)
    ]


def _inside(teach: Sequence[Case]) -> list[Case]:
    lessons = [case for case in teach if not case.outside]
    if not lessons:
        raise UserError("the teach split has no case inside the knowledge base; baselines need lessons.")
    return lessons


def _by_count(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def _five(model: Any, words: Any, cases: Sequence[Case]) -> list[tuple[str, ...]]:
    if not cases:
        return []
    scores = model.decision_function(words.transform(case.vignette for case in cases))
    if scores.ndim == 1:  # two diagnoses: one score, for the second
        scores = np.stack([-scores, scores], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    return [tuple(str(model.classes_[i]) for i in row) for row in order]


def _hits(lists: Sequence[Sequence[str]], cases: Sequence[Case]) -> tuple[float, float]:
    """Shares of cases (0 to 1) with the right diagnosis among the five, and first."""
    among = [case.diagnosis in five for five, case in zip(lists, cases, strict=True)]
    first = [case.diagnosis == five[0] for five, case in zip(lists, cases, strict=True)]
    return sum(among) / max(1, len(cases)), sum(first) / max(1, len(cases))
