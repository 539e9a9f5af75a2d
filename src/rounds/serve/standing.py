"""What may be claimed of a served model: proven, demonstration, or unproven; and which checkpoint is meant.

A checkpoint is served when a passport beside it names its digest and tells of an exam that was passed: every verdict
kept or gained, every floor met. Everything else opens only when asked for by name (`--unproven`), and then says so
everywhere. A run may hold a pointer to one of its releases (`rounds.serve.operate_release`), which is then what is
served. Left out on purpose: writing passports (`rounds.chain`), and believing one that claims more than its evidence
can show.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from rounds.files import digest, read_text
from rounds.recipe import Examine, read
from rounds.records import Record, UserError
from rounds.serve.signing import fault_of

PACKED = "packed"
PASSPORT = "passport.json"
RECIPE = "recipe.toml"
SERVING = "serving.toml"
SERVED = "served"
"""In a run, a link to the release that is served; without it the run's own packed/ is."""

DEMONSTRATION = "Demonstration, not for patients"
UNPROVEN = "Unproven, not for patients"
PROVEN = "For research, not a medical device"


class Standing(Record):
    """Shown on every page, card and reply."""

    word: Literal["proven", "demonstration", "unproven"]
    banner: str
    evidence: str
    """Kind of evidence in the passport, '' when there is none."""
    checkpoint: str
    """SHA-256 of the checkpoint's directory."""
    adapter: str = Field(default="", exclude_if=lambda digest: digest == "")
    """SHA-256 of the adapter's directory that answers on it; '' for the checkpoint itself, and not written then."""
    passport: str = ""
    """SHA-256 of the passport file that says so, '' without one."""
    signed: bool = False
    """The passport's signature was checked against the public key that the server was given."""
    why: str = ""
    """For an unproven checkpoint, one sentence."""

    @property
    def label(self) -> dict[str, str]:
        """What any reply carries, for a machine."""
        return {
            "standing": self.word,
            "banner": self.banner,
            "evidence": self.evidence,
            "checkpoint": self.checkpoint,
            "passport": self.passport,
            **({"adapter": self.adapter} if self.adapter else {}),
        }


@dataclass(frozen=True, slots=True)
class Served:
    """A checkpoint, what may be claimed of it, and how it was examined: it is served as it was examined."""

    name: str
    checkpoint: Path
    standing: Standing
    examine: Examine
    home: Path
    """The run, or the directory of a lone checkpoint: where its audit log and its state go."""
    papers: Path
    """Where its passport, recipe, report and exam are: the same, or the release that is in service."""


def find(place: Path, unproven: bool, public_key: Path | None = None) -> Served:
    """The checkpoint of a run directory (its release or its `packed/`) or a checkpoint directory, with its standing.

    public_key: demand a passport signed by this key, whatever else is allowed.

    Raises:
        UserError: nothing to serve there; no signature of the key; or, unless `unproven`, no passport, one of another
            checkpoint, or one whose exam was not passed.
    """
    if not place.is_dir():
        raise UserError(f"{place}: is not a directory; give a run (runs/tiny) or a checkpoint.")
    run = place if is_run(place) else None
    papers = _papers(run) if run else place.resolve().parent
    checkpoint = papers / PACKED if run else place
    if run and not checkpoint.is_dir():
        raise UserError(f"{place}: has no {PACKED}/ yet; finish the run first, or give one of its checkpoints.")
    if not any((checkpoint / name).is_file() for name in ("config.json", "openvino_model.xml")):
        raise UserError(f"{checkpoint}: holds no checkpoint (no config.json); give a run or a checkpoint directory.")
    passport = papers / PASSPORT
    standing = _standing(passport, digest(checkpoint))
    if passport.is_file():
        standing = standing.model_copy(update={"passport": digest(passport)})
    if public_key is not None:
        fault = _unsigned(passport, public_key)
        if fault:
            raise UserError(f"{place}: {fault}; sign it with rounds passport sign, or serve without a public key.")
        standing = standing.model_copy(update={"signed": True})
    if standing.why and not unproven:
        raise UserError(f"{place}: {standing.why}; --unproven opens it under a banner that says so.")
    recipe = papers / RECIPE
    examine = read(str(recipe)).examine if recipe.is_file() else Examine()
    return Served(place.resolve().name, checkpoint, standing, examine, run or papers, papers)


def _unsigned(passport: Path, public_key: Path) -> str:
    """What keeps a key's signature from covering all that decides how a model is served; '' when nothing does."""
    if not passport.is_file():
        return f"there is no {PASSPORT} to check"
    faults = (fault_of(passport, public_key), *(unnamed(passport, name) for name in (RECIPE, SERVING)))
    return next(filter(None, faults), "")


def unnamed(passport: Path, name: str) -> str:
    """What keeps a signed passport from covering a file beside it; '' when it does, or there is no such file."""
    stated = _read(passport).get("files")
    named = stated if isinstance(stated, dict) else {}
    path = passport.with_name(name)
    if not path.is_file() or named.get(name) == digest(path):
        return ""
    return f"{name} is not the one that the signed {PASSPORT} names (rounds passport renew takes it in)"


def is_run(place: Path) -> bool:
    """Whether a directory is a run, and no lone checkpoint."""
    return (place / RECIPE).is_file() or (place / PACKED).is_dir() or (place / SERVED).is_symlink()


def _papers(run: Path) -> Path:
    """Where passport, recipe and packed/ of what a run serves are: its release, or the run itself.

    Raises:
        UserError: the pointer leads nowhere.
    """
    pointer = run / SERVED
    if pointer.is_symlink() and not pointer.is_dir():
        raise UserError(f"{pointer}: leads nowhere; point it at a release with rounds operate {run} rollback.")
    return pointer.resolve() if pointer.is_dir() else run


def _standing(passport: Path, checkpoint: str) -> Standing:
    if not passport.is_file():
        return _unproven(checkpoint, "", f"no {PASSPORT} stands beside this checkpoint")
    stated = _read(passport)
    evidence = stated.get("evidence")
    evidence = evidence if isinstance(evidence, str) else ""
    named = stated.get("checkpoint")
    if named is not None and named != checkpoint:
        return _unproven(checkpoint, evidence, f"{PASSPORT} is that of another checkpoint (its digest differs)")
    fault = _not_passed(stated, demonstration=evidence == "synthetic")
    if fault:
        return _unproven(checkpoint, evidence, f"{PASSPORT} {fault}")
    if named is None or not evidence or not isinstance(stated.get("proven"), bool):
        # Written by something older or unfinished: it opens, but nothing is claimed.
        return Standing(word="unproven", banner=UNPROVEN, evidence=evidence, checkpoint=checkpoint)
    banner = stated.get("banner")
    banner = banner.strip() if isinstance(banner, str) else ""
    word: Literal["proven", "demonstration", "unproven"] = "demonstration" if evidence == "synthetic" else "unproven"
    if evidence == "local-reviewed" and stated["proven"] is True:  # nothing else proves, whatever the passport says
        return Standing(word="proven", banner=banner or PROVEN, evidence=evidence, checkpoint=checkpoint)
    banner = _warning(banner, DEMONSTRATION if word == "demonstration" else UNPROVEN)
    return Standing(word=word, banner=banner, evidence=evidence, checkpoint=checkpoint)


def _not_passed(stated: dict[str, object], demonstration: bool) -> str:
    """Why a passport tells of no passed exam; '' when it does, or is too old to tell.

    A demonstration opens unless something is lost: its banner says of every answer that it is not for patients.
    """
    found = {name: value for name in ("verdicts", "floors") if isinstance(value := stated.get(name), list)}
    findings = {verdict.get("finding") for verdict in found.get("verdicts", []) if isinstance(verdict, dict)}
    if "lost" in findings:
        return "holds a verdict that is lost"
    if demonstration:
        return ""
    if "too few cases" in findings:
        return "holds a verdict that is too few cases"
    if any(isinstance(floor, dict) and floor.get("met") is not True for floor in found.get("floors", [])):
        return "holds an absolute floor that is not met"
    return "tells of an exam that was not passed" if stated.get("passed") is False else ""


def _warning(banner: str, least: str) -> str:
    """The passport's own banner when it warns as much as the least that must be said."""
    return banner if "not for patients" in banner.casefold() else ". ".join(part for part in (least, banner) if part)


def _unproven(checkpoint: str, evidence: str, why: str) -> Standing:
    return Standing(word="unproven", banner=f"{UNPROVEN}: {why}", evidence=evidence, checkpoint=checkpoint, why=why)


def _read(passport: Path) -> dict[str, object]:
    try:
        stated = json.loads(read_text(passport))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{passport}: is not valid JSON; make it anew with rounds run.") from error
    if not isinstance(stated, dict):
        raise UserError(f"{passport}: is not a JSON object; make it anew with rounds run.")
    return stated
