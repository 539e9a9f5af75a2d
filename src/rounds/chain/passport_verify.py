"""Whether a passport still tells the truth: every digest it names computed anew, its claims, and its signature.

Needs no connection. A stage whose directory is gone cannot be checked and is listed as such: only what is served must
be there. Left out on purpose: whether the findings are right, which the cases, answers and grades of the run show.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rounds import files
from rounds.chain.passport import CANDIDATES, LATER, NAME, Passport, has_passed
from rounds.progress import track
from rounds.records import Record, UserError
from rounds.serve.signing import fault_of, signature_of


class Check(Record):
    """What a whole reading found."""

    whole: bool
    passport: str
    """SHA-256 of the passport file."""
    faults: tuple[str, ...]
    """One sentence each."""
    checked: tuple[str, ...]
    """Directories and files whose digest was computed and is the one named."""
    absent: tuple[str, ...]
    """Named, but not here any more: not checked."""
    signature: Literal["valid", "not valid", "not checked", "none"]
    """`not checked`: there is one, and no public key was given."""


def home_of(place: Path) -> Path:
    """The directory that holds the passport: a run, or the parent of one of its checkpoints.

    Raises:
        UserError: there is none.
    """
    for home in (place, place.resolve().parent):
        if (home / NAME).is_file():
            return home
    raise UserError(f"{place}: has no {NAME}, nor has the directory above; give a run, or a checkpoint in one.")


def verify(place: Path, public: Path | None = None) -> Check:
    """Check the passport of a run, or of a checkpoint in one, and its signature against a public key.

    Raises:
        UserError: no passport, one that cannot be read, or a key that is none.
    """
    home = home_of(place)
    document = home / NAME
    named = files.read_json(document, Passport)
    faults = [*_claims(named), *_chain(named)]
    checked: list[str] = []
    absent: list[str] = []
    for name, path, digest in track(list(_named(named, home)), "computing digests"):
        if not path.exists():
            absent.append(name)
        elif files.digest(path) == digest:
            checked.append(name)
        elif not digest:
            faults.append(f"{name} was added after this passport was drawn: rounds passport renew takes it in.")
        else:
            faults.append(f"{name} was changed: its digest is not the one named.")
    faults += _served(named, place, home, checked)
    signature: Literal["valid", "not valid", "not checked", "none"]
    signature = "not checked" if signature_of(document).is_file() else "none"
    if public is not None:
        fault = fault_of(document, public)
        signature = "not valid" if fault else "valid"
        faults += [f"{fault}."] if fault else []
    return Check(
        whole=not faults,
        passport=files.digest(document),
        faults=tuple(faults),
        checked=tuple(checked),
        absent=tuple(absent),
        signature=signature,
    )


def unexpected(check: Check) -> tuple[str, ...]:
    """Faults that stand against taking later measurements in: all but changes of the files they come in."""
    return tuple(fault for fault in check.faults if not fault.startswith(tuple(f"{name} was" for name in LATER)))


def _named(named: Passport, home: Path) -> Iterator[tuple[str, Path, str]]:
    """(name, place, digest) of everything a passport names."""
    for name, step in named.lineage.items():
        yield f"{name}/", home / name, step.output
    for name, digest in named.files.items():
        yield name, home / name, digest
    for name in LATER:  # what was added later is news that the passport does not tell
        if name not in named.files and (home / name).is_file():
            yield name, home / name, ""


def _served(named: Passport, place: Path, home: Path, checked: list[str]) -> Iterator[str]:
    """The checkpoint spoken for must be there; and it must be the one pointed at, when a checkpoint was given."""
    stages = [name for name in CANDIDATES if name in named.lineage and named.lineage[name].output == named.checkpoint]
    stage = stages[0] if stages else CANDIDATES[0]
    if not (home / stage).is_dir():
        yield f"{stage}/ is missing: it is the checkpoint this passport speaks for."
    elif f"{stage}/" not in checked and files.digest(home / stage) != named.checkpoint:
        yield f"{stage}/ is not the checkpoint this passport speaks for: its digest differs."
    if place.resolve() != home.resolve() and place.resolve() != (home / stage).resolve():
        yield f"{place.name} is not the checkpoint this passport speaks for, which is {stage}."


def _claims(named: Passport) -> Iterator[str]:
    """What is claimed must follow from the verdicts and floors that are told."""
    passed = has_passed([one.finding for one in named.verdicts], [bool(floor.get("met")) for floor in named.floors])
    if named.passed and not passed:
        yield "it claims to have passed, which its own verdicts and floors do not show."
    if named.proven and not (passed and named.evidence == "local-reviewed"):
        yield "it claims to be proven, which its own verdicts and evidence do not show."


def _chain(named: Passport) -> Iterator[str]:
    """Each stage must have read what the stage before it made."""
    for name, step in named.lineage.items():
        for given, digest in step.inputs.items():
            if given in named.lineage and named.lineage[given].output != digest:
                yield f"{name} was made from another {given} than the one named."
