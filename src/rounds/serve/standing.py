"""What may be claimed of a served model: proven, demonstration, or unproven; and which checkpoint is meant.

A checkpoint is served when a passport beside it names its digest and none of the passport's verdicts is *lost*.
Everything else opens only when asked for by name (`--unproven`), and then says so everywhere. Left out on purpose:
writing passports (`rounds.chain`), and believing one that claims more than its evidence can show.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rounds.files import digest, read_text
from rounds.recipe import Examine, read
from rounds.records import Record, UserError

PACKED = "packed"
PASSPORT = "passport.json"
RECIPE = "recipe.toml"

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
    why: str = ""
    """For an unproven checkpoint, one sentence."""


@dataclass(frozen=True, slots=True)
class Served:
    """A checkpoint, what may be claimed of it, and how it was examined: it is served as it was examined."""

    name: str
    checkpoint: Path
    standing: Standing
    examine: Examine


def find(place: Path, unproven: bool) -> Served:
    """The checkpoint of a run directory (its `packed/`) or a checkpoint directory itself, with its standing.

    Raises:
        UserError: nothing to serve there; or, unless `unproven`, no passport, one of another checkpoint, or a verdict
            that is *lost*.
    """
    if not place.is_dir():
        raise UserError(f"{place}: is not a directory; give a run (runs/tiny) or a checkpoint.")
    run = place if (place / RECIPE).is_file() or (place / PACKED).is_dir() else None
    checkpoint = place / PACKED if run else place
    if run and not checkpoint.is_dir():
        raise UserError(f"{place}: has no {PACKED}/ yet; finish the run first, or give one of its checkpoints.")
    if not any((checkpoint / name).is_file() for name in ("config.json", "openvino_model.xml")):
        raise UserError(f"{checkpoint}: holds no checkpoint (no config.json); give a run or a checkpoint directory.")
    home = run or place.resolve().parent
    standing = _standing(home / PASSPORT, digest(checkpoint))
    if standing.why and not unproven:
        raise UserError(f"{place}: {standing.why}; --unproven opens it under a banner that says so.")
    recipe = home / RECIPE
    examine = read(str(recipe)).examine if recipe.is_file() else Examine()
    return Served(place.resolve().name, checkpoint, standing, examine)


def _standing(passport: Path, checkpoint: str) -> Standing:
    if not passport.is_file():
        return _unproven(checkpoint, "", f"no {PASSPORT} stands beside this checkpoint")
    stated = _read(passport)
    evidence = stated.get("evidence")
    evidence = evidence if isinstance(evidence, str) else ""
    named = stated.get("checkpoint")
    if named is not None and named != checkpoint:
        return _unproven(checkpoint, evidence, f"{PASSPORT} is that of another checkpoint (its digest differs)")
    verdicts = stated.get("verdicts")
    verdicts = verdicts if isinstance(verdicts, list) else []
    if any(isinstance(verdict, dict) and verdict.get("finding") == "lost" for verdict in verdicts):
        return _unproven(checkpoint, evidence, f"{PASSPORT} holds a verdict that is lost")
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
