"""Releases: checkpoints that were put in service with their papers, kept so that there is a way back in one command.

A release is a directory of its own, RUN/operation/releases/NAME, with the packed checkpoint (hard links where the file
system has them), its passport and signature, recipe, report and exam cases; RUN/served is a link to the one in service,
moved in one rename. A run that is made anew does not touch them. Left out on purpose: several models in service at once
and shares of traffic, which belong before the server.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rounds import files
from rounds.records import Record, UserError
from rounds.serve.operate import OPERATION, now, person
from rounds.serve.standing import PACKED, PASSPORT, RECIPE, SERVED, Standing, find

RELEASES = "releases"
LOG = "releases.jsonl"
PAPERS = (
    PASSPORT,
    "passport.sig",
    RECIPE,
    "report.json",
    "report.html",
    "passport.html",
    "probe.json",
    "budget.json",
    "serving.toml",
    "licences.toml",
    "cases/exam.jsonl",
)


class Release(Record):
    """One checkpoint that was put in service."""

    name: str
    """Its directory: the first 16 digits of its passport's digest."""
    passport: str
    checkpoint: str
    standing: str
    time: str
    by: str


def release(home: Path, *, unproven: bool = False, public_key: Path | None = None) -> Release:
    """Keep the run's packed checkpoint with its papers and put it in service.

    Raises:
        UserError: it is not to be served (`rounds.serve.standing.find`), or the disk is full.
    """
    passport = home / PASSPORT
    if not passport.is_file() or not (home / PACKED).is_dir():
        raise UserError(f"{home}: has no {PASSPORT} with a {PACKED}/; finish the run first.")
    name = files.digest(passport)[:16]
    place = home / OPERATION / RELEASES / name
    if not place.is_dir():
        with files.making(place) as out:
            _link(home / PACKED, out / PACKED)
            for one in PAPERS:
                if (home / one).is_file():
                    (out / one).parent.mkdir(exist_ok=True)
                    shutil.copyfile(home / one, out / one)
            _look(out, home, unproven, public_key)  # of the copy: what is kept is what was looked at
    elif (home / "passport.sig").is_file():  # signed since
        shutil.copyfile(home / "passport.sig", place / "passport.sig")
    standing = _look(place, home, unproven, public_key)
    made = Release(
        name=name,
        passport=standing.passport,
        checkpoint=standing.checkpoint,
        standing=standing.word,
        time=now(),
        by=person(),
    )
    kept = [one for one in releases(home) if one.name != name]
    files.write_jsonl(home / OPERATION / LOG, [*kept, made])
    point(home, name)
    return made


def _look(place: Path, home: Path, unproven: bool, public_key: Path | None) -> Standing:
    try:
        return find(place, unproven, public_key).standing
    except UserError as error:  # the place is of no use to whoever reads the sentence
        raise UserError(str(error).replace(str(place), str(home))) from error


def rollback(home: Path, to: str = "", *, unproven: bool = False, public_key: Path | None = None) -> Release:
    """Put the release before the one in service, or the one named, in service again.

    Raises:
        UserError: there is none, it is ambiguous, or its passport does not speak for it any more.
    """
    found = releases(home)
    chosen = _named(found, to) if to else _before(found, in_service(home))
    _look(home / OPERATION / RELEASES / chosen.name, home, unproven, public_key)
    point(home, chosen.name)
    return chosen


def releases(home: Path) -> list[Release]:
    """Every release of a run, the oldest first.

    Raises:
        UserError: the list cannot be read.
    """
    path = home / OPERATION / LOG
    return list(files.read_jsonl(path, Release)) if path.is_file() else []


def in_service(home: Path) -> str:
    """Name of the release in service, '' when the run's own packed/ is."""
    try:
        return Path(os.readlink(home / SERVED)).name
    except OSError:
        return ""


def point(home: Path, name: str) -> None:
    """Move the pointer in one rename.

    Raises:
        UserError: something else stands there, or it cannot be written.
    """
    pointer = home / SERVED
    if pointer.exists() and not pointer.is_symlink():
        raise UserError(f"{pointer}: is no link; move it away, as it is the name of the release in service.")
    partial = home / f".{SERVED}.{os.getpid()}.partial"
    try:
        partial.unlink(missing_ok=True)
        partial.symlink_to(Path(OPERATION) / RELEASES / name, target_is_directory=True)
        partial.replace(pointer)
        files.sync_directory(home)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise files.unwritable(pointer, error) from error


def _named(found: Sequence[Release], to: str) -> Release:
    fitting = [one for one in found if one.name.startswith(to)]
    if len(fitting) != 1:
        names = ", ".join(one.name for one in found) or "none yet"
        raise UserError(f"release '{to}' names {len(fitting)} releases; give one of: {names}.")
    return fitting[0]


def _before(found: Sequence[Release], current: str) -> Release:
    places = [place for place, one in enumerate(found) if one.name == current]
    if not places or places[0] == 0:
        raise UserError("there is no earlier release to go back to; stop the model with rounds operate stop instead.")
    return found[places[0] - 1]


def _link(source: Path, out: Path) -> None:
    """The files of a checkpoint once more: hard links, or copies where that cannot be. Hidden ones are left out."""
    out.mkdir()
    for path in sorted(source.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        try:
            os.link(path.resolve(), out / path.name)
        except OSError:
            shutil.copyfile(path, out / path.name)
