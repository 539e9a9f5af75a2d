"""How a command line asks: its sampling, and a strategy by its name around one model, with the marks it needs.

Left out on purpose: the strategies themselves (`rounds.prompts.strategies`), which know nothing of marking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rounds import files
from rounds.grade.mark import Marker
from rounds.prompts.strategies import FewShot, Shuffle, Strategy, Structured, Vote
from rounds.prompts.template import render
from rounds.records import Case, Responder, Sampling, UserError

STRATEGIES = ("vote", "shuffle", "few-shot", "structured")
MOST = 64
"""Answers of a vote, or examples shown."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How to ask."""

    strategy: str
    """One of `STRATEGIES`."""
    count: int
    """Answers of a vote, or examples shown; 1 to `MOST`."""
    template: str
    teach: Path | None = None
    """Cases to take examples from, for few-shot."""


def around(inner: Responder, cases: Sequence[Case], marker: Marker, how: Asking) -> Strategy:
    """The strategy around a model that will be asked these cases.

    Raises:
        UserError: a count out of range, no cases to take examples from, no options to shuffle or to see.
    """
    if not 1 <= how.count <= MOST:
        raise UserError(
            f"--count {how.count} is not within 1 to {MOST}; give the answers of a vote or the examples shown."
        )
    if how.strategy == "vote":
        return Vote(inner, cases, how.count, lambda name: marker.names.meaning(name) or name.casefold())
    if how.strategy == "shuffle":
        if not any(case.options for case in cases):
            raise UserError(f"none of {len(cases)} cases has options to shuffle; use another strategy.")
        if not any(_shows(case, how.template) for case in cases if case.options):
            raise UserError(
                f"template '{how.template}' shows no options, so every order asks the same; "
                "use one with {question}, such as choice@1."
            )
        return Shuffle(inner, cases, how.count)
    if how.strategy == "structured":
        return Structured(inner)
    if how.teach is None:
        raise UserError("--strategy few-shot needs --teach with the cases to take examples from.")
    teach = list(files.read_jsonl(how.teach, Case))
    return FewShot(inner, teach, how.template, lambda case, trace: marker.mark(case, trace).correct is True, how.count)


def _shows(case: Case, template: str) -> bool:
    """Whether another order of its options asks another prompt."""
    turned = case.model_copy(update={"options": case.options[::-1]})
    return render(case, template).messages != render(turned, template).messages


def sampling_of(called: Mapping[str, str] | None = None, **options: float) -> Sampling:
    """The sampling of options of the same names, or of those that `called` tells by field.

    Raises:
        UserError: one is out of range.
    """
    try:
        return Sampling.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        option = (called or {}).get(field, field).replace("_", "-")
        raise UserError(f"--{option} {first['input']}: {first['msg']}.") from error
