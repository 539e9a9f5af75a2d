"""PubMedQA JSON: a question, its abstract without the conclusion, yes, no or maybe (https://github.com/pubmedqa/pubmedqa).

Left out on purpose: `LONG_ANSWER`, the conclusion, which gives the answer away.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from rounds.cases.importers.outcome import Outcome, chosen
from rounds.cases.importers.reading import Row, rows

ANSWERS = ("yes", "no", "maybe")


class PubMedQA(Row):
    """One question with its abstract."""

    id: str = Field(min_length=1)
    question: str = Field(alias="QUESTION", min_length=1)
    contexts: tuple[str, ...] = Field(alias="CONTEXTS", min_length=1)
    labels: tuple[str, ...] = Field(alias="LABELS", default=())
    final_decision: Literal["yes", "no", "maybe"] | None = None
    reasoning_required_pred: Literal["yes", "no", "maybe"] | None = None
    reasoning_free_pred: Literal["yes", "no", "maybe"] | None = None

    @model_validator(mode="after")
    def _labelled(self) -> PubMedQA:
        if self.labels and len(self.labels) != len(self.contexts):
            raise ValueError(f"{len(self.labels)} labels for {len(self.contexts)} contexts")
        return self


def read(path: Path) -> Iterator[Outcome]:
    """One question of kind `yes-no-maybe` a row, options yes, no, maybe."""
    for where, row in rows(path, PubMedQA):
        labels = row.labels or ("",) * len(row.contexts)
        parts = [
            f"{label.capitalize()}: {text}" if label else text for label, text in zip(labels, row.contexts, strict=True)
        ]
        yield chosen(
            where,
            ANSWERS,
            [] if row.final_decision is None else ["ABC"[ANSWERS.index(row.final_decision)]],
            id=row.id,
            kind="yes-no-maybe",
            vignette="\n".join([*parts, row.question]),
            source="PubMedQA",
            licence="MIT",
        )
