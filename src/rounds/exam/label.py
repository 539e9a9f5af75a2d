"""Labelling by people: a blinded sheet of answers, each rater's marks on it, and the agreement of raters and rules.

A sheet is a folder: `items.jsonl` (what raters see, shuffled, without the model), `key.jsonl` (the model, and what the
rules found: never shown) and `labels-RATER.jsonl` for each rater, written whole after every mark, so that a rater goes
on where they stopped. Left out on purpose: the page (`rounds.exam.label_page`), and any settling of disagreement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from types import MappingProxyType

from rounds import files
from rounds.exam.audits import audited
from rounds.grade.mark import Marker
from rounds.grade.modes import DISMISSED, DRIFT, INVERSION, NOT_RANKED, NOT_SEEN
from rounds.records import Case, Grade, Record, Trace, UserError
from rounds.stats.agreement import Agreement, cohen, pabak

ITEMS, KEY = "items.jsonl", "key.jsonl"
RATER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
WRONG_SHARE = 0.75
"""Share of a drawn sheet that is wrong answers, as far as there are so many: errors are what is labelled."""

INVENTED, DENIED = "finding invented", "finding denied"
QUESTIONS: Mapping[str, str] = MappingProxyType(
    {
        INVENTED: "States a finding that the case does not have.",
        DENIED: "Denies a finding that the case has.",
        DRIFT: "Drifts: leaves the case, contradicts itself, or lists what the thoughts did not come to.",
        NOT_SEEN: "A red flag of the case is not mentioned anywhere.",
        DISMISSED: "A red flag is mentioned and set aside or passed over.",
        NOT_RANKED: "A red flag is taken up, and nothing it warns of is in the list.",
        INVERSION: "The right or dangerous diagnosis stands below a harmless one, or was thought of and left out.",
    }
)
"""What a rater is asked of each answer, in the order of the page: label to its sentence."""


class Item(Record):
    """One answer as a rater sees it."""

    id: str
    vignette: str
    diagnosis: str
    red_flags: tuple[str, ...]
    must_not_miss: tuple[str, ...]
    thinking: str
    reply: str


class Secret(Record):
    """What is kept from raters."""

    item: str
    case_id: str
    sample: int
    model: str
    found: tuple[str, ...]
    """Labels the rules gave."""


class Label(Record):
    """One rater's marks on one answer."""

    item: str
    marks: tuple[str, ...]
    """Keys of `QUESTIONS`; none is a judgement too."""
    cannot_tell: bool = False
    """Left out of every agreement."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet on disk, read."""

    directory: Path
    items: tuple[Item, ...]

    def order(self, rater: str) -> list[Item]:
        """The items in this rater's own order, always the same, so that tiring falls on different items."""
        return Random(rater).sample(self.items, len(self.items))

    def labels(self, rater: str) -> dict[str, Label]:
        """What a rater marked so far, by item.

        Raises:
            UserError: a name that cannot be a file's, or a file that is not labels.
        """
        path = self.directory / f"labels-{checked(rater)}.jsonl"
        return {label.item: label for label in files.read_jsonl(path, Label)} if path.exists() else {}

    def save(self, rater: str, label: Label) -> None:
        """Add or replace one label; read anew first, so that a second window of the same rater loses nothing.

        Raises:
            UserError: the file cannot be read or written.
        """
        labels = self.labels(rater) | {label.item: label}
        files.write_jsonl(self.directory / f"labels-{checked(rater)}.jsonl", labels.values())

    def raters(self) -> list[str]:
        """Everyone who marked something."""
        return sorted(path.stem.removeprefix("labels-") for path in self.directory.glob("labels-*.jsonl"))


def checked(rater: str) -> str:
    """The name of a rater.

    Raises:
        UserError: not 1 to 32 small letters, digits and hyphens.
    """
    if not RATER.fullmatch(rater):
        raise UserError(f"rater '{rater}' must be 1 to 32 small letters, digits or hyphens; use a short name.")
    return rater


def make(
    directory: Path, cases: Sequence[Case], traces: Sequence[Trace], marker: Marker, *, count: int | None, seed: int
) -> Sheet:
    """Write a new sheet: `count` answers drawn by seed (None: all), three in four wrong where there are so many.

    Raises:
        UserError: the folder exists, a trace belongs to no case, there is nothing to label, or the disk is at fault.
    """
    if directory.exists():
        raise UserError(f"{directory} exists already; go on with it by leaving out --cases and --answers.")
    by_id = {case.id: case for case in cases}
    marked: list[tuple[Case, Trace, Grade]] = []
    for trace in traces:
        case = by_id.get(trace.prompt.case_id)
        if case is None:
            raise UserError(f"answer to case '{trace.prompt.case_id}': no such case; give the file it was asked from.")
        marked.append((case, trace, audited(case, trace, marker.mark(case, trace), marker.knowledge)))
    if not marked:
        raise UserError("there are 0 answers to label; check the files given with --answers.")
    chosen = _drawn(marked, count, Random(seed))
    items, secrets = [], []
    for number, (case, trace, grade) in enumerate(chosen, start=1):
        items.append(_item(f"item-{number:04}", case, trace))
        secrets.append(_secret(f"item-{number:04}", trace, grade))
    with files.making(directory) as made:
        files.write_jsonl(made / ITEMS, items)
        files.write_jsonl(made / KEY, secrets)
    return Sheet(directory, tuple(items))


def read(directory: Path) -> Sheet:
    """Read a sheet.

    Raises:
        UserError: no sheet there, an empty one, or one that cannot be read.
    """
    if not (directory / ITEMS).is_file():
        raise UserError(f"{directory} holds no sheet; make one with --cases and --answers.")
    items = tuple(files.read_jsonl(directory / ITEMS, Item))
    if not items:
        raise UserError(f"{directory / ITEMS} has 0 items; make the sheet anew with --cases and --answers.")
    return Sheet(directory, items)


@dataclass(frozen=True, slots=True)
class Row:
    """Two who judged the same items, on one question."""

    label: str
    first: str
    second: str
    """A rater, or 'rules'."""
    n: int
    positive: tuple[int, int]
    """How often each of the two said yes."""
    kappa: Agreement
    pabak: Agreement
    """Stands beside kappa, which falls when a label is rare."""


def agreement(sheet: Sheet) -> list[Row]:
    """Every pair of raters, then the rules against what two raters agree on (or the only rater), question by question.

    Raises:
        UserError: files of the sheet cannot be read.
    """
    by_rater = {rater: _sure(sheet.labels(rater)) for rater in sheet.raters()}
    rules = {secret.item: secret.found for secret in files.read_jsonl(sheet.directory / KEY, Secret)}
    rows = []
    for label in QUESTIONS:
        said = {rater: {item: label in marks for item, marks in judged.items()} for rater, judged in by_rater.items()}
        found = {item: label in marks for item, marks in rules.items()}
        rows += [_row(label, (one, said[one]), (two, said[two])) for one, two in combinations(said, 2)]
        if said:
            rows.append(
                _row(label, ("all raters" if len(said) > 1 else next(iter(said)), _agreed(said)), ("rules", found))
            )
    return rows


def _agreed(said: Mapping[str, Mapping[str, bool]]) -> dict[str, bool]:
    """What all raters say alike, of the items that all of them judged."""
    first, *others = said.values()
    return {i: yes for i, yes in first.items() if all(i in other and other[i] == yes for other in others)}


def _sure(labels: Mapping[str, Label]) -> dict[str, tuple[str, ...]]:
    return {item: label.marks for item, label in labels.items() if not label.cannot_tell}


def _row(label: str, first: tuple[str, Mapping[str, bool]], second: tuple[str, Mapping[str, bool]]) -> Row:
    both = sorted(first[1].keys() & second[1].keys())
    one, two = [first[1][item] for item in both], [second[1][item] for item in both]
    same = sum(a == b for a, b in zip(one, two, strict=True))
    return Row(label, first[0], second[0], len(both), (sum(one), sum(two)), cohen(one, two), pabak(same, len(both)))


def _drawn(
    marked: Sequence[tuple[Case, Trace, Grade]], count: int | None, random: Random
) -> list[tuple[Case, Trace, Grade]]:
    shuffled = random.sample(marked, len(marked))
    if count is None or count >= len(shuffled):
        return shuffled
    wrong = [one for one in shuffled if one[2].correct is False]
    others = [one for one in shuffled if one[2].correct is not False]
    taken = wrong[: max(round(count * WRONG_SHARE), count - len(others))]
    return random.sample([*taken, *others[: count - len(taken)]], count)


def _item(name: str, case: Case, trace: Trace) -> Item:
    return Item(
        id=name,
        vignette=case.vignette,
        diagnosis=case.diagnosis,
        red_flags=case.red_flags,
        must_not_miss=case.must_not_miss,
        thinking=trace.thinking,
        reply=trace.reply,
    )


_STEPS: Mapping[str, Callable[[Grade], bool]] = MappingProxyType(
    {
        INVENTED: lambda grade: grade.steps is not None and bool(grade.steps.invented),
        DENIED: lambda grade: grade.steps is not None and bool(grade.steps.denied),
    }
)


def _secret(name: str, trace: Trace, grade: Grade) -> Secret:
    found = [label for label in QUESTIONS if label in grade.error_modes or (label in _STEPS and _STEPS[label](grade))]
    return Secret(item=name, case_id=grade.case_id, sample=grade.sample, model=trace.model, found=tuple(found))
