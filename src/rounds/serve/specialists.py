"""Specialists of a run: the adapters of `rounds specialise`, which of them may answer, and what may be claimed of them.

Each is offered as a model of its own beside the one that is served, when specialise.json shows that nothing was lost
and the specialty itself gained or kept; `--unproven` opens the others under a banner that says why not. It answers on
the checkpoint it was trained on and with the weights that were examined, told by their digests, or not at all. Left out
on purpose: adapters of a release or a lone checkpoint, and calling one proven, which no passport does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rounds.files import digest, file_name, read_text
from rounds.records import Delta, Prompt, Record, Sampling, Streams, Trace, UserError
from rounds.serve.standing import DEMONSTRATION, PACKED, PASSPORT, UNPROVEN, Served, Standing, unnamed

MATRIX, ROOM, ADAPTER = "specialise.json", "specialise", "adapter"
NO_PASSPORT = "no passport proves an adapter"
GOOD = ("gained", "kept")


class Specialist(Record):
    """One adapter that may answer."""

    name: str
    """Of the adapter in a request to the engine; after the model's name and a colon, that of a model in the API."""
    specialty: str
    adapter: Path
    """Its folder."""
    standing: Standing


class Specialists(NamedTuple):
    """What a run offers beside its model."""

    start: Path
    """The checkpoint that the adapters were trained on, and answer on."""
    offered: tuple[Specialist, ...]
    refused: tuple[str, ...]
    """A sentence for each that is not offered."""


NONE = Specialists(Path(), (), ())


def specialists(served: Served, unproven: bool) -> Specialists:
    """The specialists of what is served, each with its standing.

    Where a signature is demanded, the signed passport must name specialise.json, which names every adapter.
    unproven: offer also those of whom something was lost or is not known.

    Raises:
        UserError: specialise.json is not what `rounds specialise` writes.
    """
    path = served.papers / MATRIX
    if served.checkpoint.resolve() != served.home.resolve() / PACKED or not path.is_file():
        return NONE
    found = _read(path)
    try:
        start, told = served.home / str(found["start"]), str(found.get("start_digest", ""))
        rows = [dict(row) for row in found["rows"]]
        names = [str(row["trained_on"]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(path) from error
    if served.standing.signed and (unsaid := unnamed(served.papers / PASSPORT, MATRIX)):
        return Specialists(start, (), (f"{path}: {unsaid}, so no specialist is offered.",))
    fault = _not_that(start, told)
    offered: list[Specialist] = []
    refused: list[str] = []
    for name, row in zip(names, rows, strict=True):
        slug = file_name(name.replace(" ", "-"))
        folder = served.home / ROOM / "on" / slug / ADAPTER
        other = fault or _not_that(folder, str(row.get("adapter", "")))
        why = _why_not(path, row, str(found.get("evidence", "")))
        if other or (why and not unproven):
            advice = "run rounds specialise again" if other else "--unproven opens it under a banner that says so"
            refused.append(f"{served.name}:{slug} is not offered: {other or why}; {advice}.")
        else:
            standing = _standing(str(found.get("evidence", "")), told, str(row["adapter"]), why)
            offered.append(Specialist(name=slug, specialty=name, adapter=folder, standing=standing))
    return Specialists(start, tuple(offered), tuple(refused))


def _not_that(place: Path, examined: str) -> str:
    """Why a directory is not the one that was examined; '' when it is."""
    if not examined:
        return f"{MATRIX} tells no digest of {place.name}/, as an older version wrote it"
    if not place.is_dir():
        return f"{place} is missing"
    return "" if digest(place) == examined else f"{place} is not the one that was examined (its digest differs)"


def _why_not(path: Path, row: Mapping[str, Any], evidence: str) -> str:
    """Why the matrix does not speak for a specialist; '' when it does.

    A demonstration opens with too few cases elsewhere, as its checkpoint does: its banner says what it is.
    """
    try:
        home = str(row["trained_on"])
        findings = {str(name): str(cell["finding"]) for name, cell in dict(row["cells"]).items()}
        whole = {f"{one['arm']} over all": str(one["finding"]) for one in row["over_all"]}
        at_home = findings.pop(home)
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(path) from error
    if at_home not in GOOD:
        return f"at home it is {at_home}"
    bad = ("lost",) if evidence == "synthetic" else ("lost", "too few cases")
    return next((f"{name} is {found}" for name, found in (findings | whole).items() if found in bad), "")


def _standing(evidence: str, start: str, adapter: str, why: str) -> Standing:
    """What may be claimed: at most a demonstration, as only a passport proves, and it speaks of the checkpoint."""
    if evidence == "synthetic" and not why:
        return Standing(
            word="demonstration", banner=DEMONSTRATION, evidence=evidence, checkpoint=start, adapter=adapter
        )
    return Standing(
        word="unproven",
        banner=f"{UNPROVEN}: {why or NO_PASSPORT}",
        evidence=evidence,
        checkpoint=start,
        adapter=adapter,
        why=why,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise _wrong(path) from error
    if not isinstance(found, dict):
        raise _wrong(path)
    return found


def _wrong(path: Path) -> UserError:
    return UserError(f"{path}: is not what rounds specialise writes; run it again, or serve with --no-specialists.")


class Together:
    """A Responder and Streams: the model answers what names no adapter, another engine what names one."""

    batch_invariant = False

    def __init__(self, model: Streams, adapters: Streams) -> None:
        self.name, self.model = model.name, model.model
        self._model, self._adapters = model, adapters

    def _of(self, prompt: Prompt) -> Streams:
        return self._adapters if prompt.adapter else self._model

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """As the two do, in the order of the prompts. Raises as they do."""
        for prompt in prompts:
            yield from self._of(prompt).respond([prompt], sampling)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta | Trace]:
        """As the two do. Raises as they do."""
        return self._of(prompt).stream(prompt, sampling)
