"""Marks of questions that are not lists of diagnoses: options to choose, yes/no/maybe, numbers and dates.

Several right options are right only all together and with nothing else; an option never to be chosen is an error mode
of its own (`never event`), whatever else was chosen. A number is right within the limits of its case, ends included.
Left out on purpose: part marks, and reading replies (`rounds.prompts.choices`).
"""

from __future__ import annotations

from collections.abc import Sequence

from rounds.prompts.choices import read_choices, read_date, read_number
from rounds.records import Answer, Case, Grade, UserError

NEVER = "never event"

CLOSE = 1e-9
"""Relative difference below which two numbers are one, for a case without limits."""


def chooses(case: Case) -> bool:
    """Whether a case asks for options."""
    return bool(case.options)


def counts(case: Case) -> bool:
    """Whether a case asks for a number or a date."""
    return case.limits is not None or case.kind == "number"


def check_key(case: Case) -> None:
    """A right answer that no reader accepts fails the case before anything is marked.

    Raises:
        UserError: right options missing or beyond the options, limits the wrong way round, no number to compare with.
    """
    if chooses(case):
        letters = [chr(ord("A") + place) for place in range(len(case.options))]
        if not case.right or any(letter not in letters for letter in case.right):
            raise UserError(
                f"case '{case.id}': right is {', '.join(case.right) or 'empty'}; give letters A to {letters[-1]}."
            )
    elif counts(case):
        if case.limits is not None and not case.limits[0] <= case.limits[1]:
            raise UserError(f"case '{case.id}': limits {case.limits} are no range; give the lowest value first.")
        if case.limits is None and read_number(case.diagnosis) is None and read_date(case.diagnosis) is None:
            raise UserError(f"case '{case.id}': the right number is '{case.diagnosis}'; give a number or limits.")


def mark_choices(case: Case, answer: Answer) -> Grade:
    """A mark for letters already read."""
    return Grade(
        case_id=case.id,
        answer=answer,
        correct=not answer.unreadable and set(answer.choices) == set(case.right),
        error_modes=(NEVER,) if set(answer.choices) & set(case.never) else (),
        groups=groups(case),
    )


def mark_reply(case: Case, reply: str) -> Grade:
    """A mark for a reply to a question of options, a number or a date."""
    if chooses(case):
        return mark_choices(case, read_choices(reply, case.id, case.options))
    said, right = _numeric(case, reply)
    unreadable = said is None
    answer = Answer(case_id=case.id, diagnoses=() if said is None else (said,), unreadable=unreadable)
    return Grade(case_id=case.id, answer=answer, correct=right, groups=groups(case))


def mark_given(case: Case, given: Sequence[str]) -> Grade:
    """A mark for an answer given as a list: letters of options or their texts, or one number."""
    if not chooses(case):
        return mark_reply(case, given[0] if given else "")
    read = [read_choices(item, case.id, case.options) for item in given]
    letters = tuple(sorted({letter for one in read for letter in one.choices}))
    broken = not letters or any(one.unreadable for one in read)
    return mark_choices(case, Answer(case_id=case.id, choices=() if broken else letters, unreadable=broken))


def groups(case: Case) -> dict[str, str]:
    """Columns to report by."""
    return {
        "specialty": case.specialty,
        "incidence": case.incidence,
        "condition": case.condition,
        "kind": case.kind,
    }


def _numeric(case: Case, reply: str) -> tuple[str | None, bool]:
    """(what was read, whether it is right)."""
    date = read_date(case.diagnosis) if case.limits is None else None
    if date is not None:
        told = read_date(reply)
        return (None, False) if told is None else ("{:04d}-{:02d}-{:02d}".format(*told), told == date)
    value = read_number(reply)
    if value is None:
        return None, False
    if case.limits is not None:
        return f"{value:g}", case.limits[0] <= value <= case.limits[1]
    wanted = read_number(case.diagnosis)
    assert wanted is not None, "check_key lets no such case through"
    return f"{value:g}", abs(value - wanted) <= CLOSE * max(1.0, abs(wanted))
