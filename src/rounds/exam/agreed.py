"""What was agreed before the answers existed: margin, alpha, family, splits and why, in a file with a digest.

A margin chosen after the figures are known proves nothing. The plan is written once, its digest (SHA-256 of the file,
as `sha256sum` prints it) is put where its date can be trusted (a commit, a letter, a registry), and a comparison that
departs from it is refused. Left out on purpose: a date in the file, which anyone could set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from rounds.exam.compare import check_rules
from rounds.files import digest, read_json, write_text
from rounds.records import Record, UserError


class Plan(Record):
    """The rules of a comparison, or of several that belong together."""

    margin: float
    """Largest acceptable loss, as a share."""
    why: str = Field(min_length=1)
    """The clinical reason for it."""
    alpha: float = 0.01
    family: tuple[tuple[str, str], ...] = Field(min_length=1)
    """Every comparison that will be made, (before, after) by name; each makes a gain harder to claim (Holm)."""
    splits: tuple[str, ...] = ()
    """Columns the cases will be split by; `specialty*incidence` crosses two."""
    metric: str = ""
    """For logs of other programs: the figure that counts."""
    right_from: float | None = None
    """For figures that are not only 0 and 1: the value from which on a case counts as right."""
    cluster: str = ""
    """Column whose cases are counted as one cluster."""

    def others(self) -> int:
        """Members of the family beside the one at hand."""
        return len(self.family) - 1


def write_plan(plan: Plan, path: Path) -> str:
    """Write the plan, whole or not at all, and give its digest.

    Raises:
        UserError: margin or alpha out of range, no reason, a comparison twice in the family or of a model with itself,
            the file exists already, full disk.
    """
    _check(plan)
    if path.exists():
        raise UserError(f"{path}: exists already; a plan is written once: choose another name.")
    write_text(path, plan.model_dump_json(indent=1) + "\n")
    return digest(path)


def read_plan(path: Path) -> tuple[Plan, str]:
    """The plan and its digest.

    Raises:
        UserError: unreadable, not a plan, or rules out of range.
    """
    plan = read_json(path, Plan)
    try:
        _check(plan)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return plan, digest(path)


def check_departure(plan: Plan, names: tuple[str, str], given: Mapping[str, object], by: Sequence[str]) -> None:
    """Refuse what was not agreed: another comparison, another rule, a split that was not planned.

    given: what the command line states itself, by field of the plan; what it leaves open follows the plan.

    Raises:
        UserError: the first departure, in one sentence.
    """
    if names not in plan.family:
        planned = "; ".join(f"{after} against {before}" for before, after in plan.family)
        raise UserError(f"{names[1]} against {names[0]} is not in the plan ({planned}); compare what was agreed.")
    for field, value in given.items():
        agreed = getattr(plan, field)
        if value != agreed:
            option = "--" + field.replace("_", "-")
            raise UserError(
                f"{option} {value} departs from the plan, which says {_said(agreed)}; "
                "leave the option out, or agree on another plan before the answers exist."
            )
    for column in by:
        if column not in plan.splits:
            raise UserError(f"--by {column} departs from the plan, which splits by {_said(', '.join(plan.splits))}.")


def family_of(text: str) -> tuple[tuple[str, str], ...]:
    """`base:distilled,distilled:packed` as pairs (before, after).

    Raises:
        UserError: a part without exactly one colon.
    """
    pairs = []
    for part in (part.strip() for part in text.split(",")):
        before, _, after = (word.strip() for word in part.partition(":"))
        if not before or not after or ":" in after:
            raise UserError(f"family member '{part}' is not BEFORE:AFTER; write base:distilled,distilled:packed.")
        pairs.append((before, after))
    return tuple(pairs)


def _check(plan: Plan) -> None:
    check_rules(plan.margin, plan.alpha)
    if not plan.why.strip():
        raise UserError("the plan has no reason for its margin; give the clinical reason with --why-margin.")
    for before, after in plan.family:
        if before == after:
            raise UserError(f"the family compares {before} with itself; name two models.")
    if len(set(plan.family)) < len(plan.family):
        raise UserError("the family names a comparison twice; each comparison is one chance to claim a gain.")


def _said(value: object) -> str:
    return str(value) if value not in ("", None) else "none"
