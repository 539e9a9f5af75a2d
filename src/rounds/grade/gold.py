"""The right answer of every case is put before the readers first: a case that none could get right is not asked.

Left out on purpose: whether the right answer is right, and cases whose right answer is to abstain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rounds.grade.cascade import Cascade
from rounds.grade.choice import check_key, chooses, counts, mark_given
from rounds.knowledge.base import load
from rounds.records import Case, UserError


def accepted(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield the cases as they come.

    Raises:
        UserError: a case whose own right answer, given as an answer, would not be marked right.
    """
    cascade: Cascade | None = None
    for case in cases:
        check_key(case)
        if chooses(case) or counts(case):
            fine = case.limits is not None or mark_given(case, case.right or (case.diagnosis,)).correct is True
        elif not case.outside:
            cascade = cascade or Cascade(load())
            names = cascade.places(case, (case.diagnosis,))
            fine = any(cascade.rule(case, name).state == "right" for name in names)
        else:
            fine = True
        if not fine:
            raise UserError(
                f"case '{case.id}': no reader accepts its right answer '{case.diagnosis}', so no answer could be "
                "right; name one disease, the letters of options, or a number."
            )
        yield case
