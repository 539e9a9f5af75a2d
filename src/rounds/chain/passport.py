"""The passport: one JSON file that says what a checkpoint is, how it was made and what was shown about it.

Left out on purpose in this version: a hospital's signature. Digests alone do not prove who wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rounds import __version__, files, recipe
from rounds.records import Record, Report, Step, Verdict

DEMONSTRATION = "Demonstration, not for patients"
UNPROVEN = "Unproven: not for patients"
PROVEN = "Proven on local, reviewed cases"


class Passport(Record):
    """What `serve` reads before it opens a checkpoint."""

    rounds: str
    recipe: str
    recipe_digest: str
    checkpoint: str
    """Digest of the served directory."""
    parent: str
    evidence: str
    proven: bool
    passed: bool
    """No verdict lost or undecided, and every floor met."""
    banner: str
    alpha: float
    margin: float
    why_margin: str
    exam_opened: int
    verdicts: tuple[Verdict, ...]
    floors: tuple[dict[str, Any], ...]
    lineage: dict[str, Step]
    notes: tuple[str, ...]


def passport(report: Report, gates: Sequence[Verdict], steps: Mapping[str, Step], chosen: recipe.Recipe) -> Passport:
    """Draw the passport of a run's last checkpoint. Only local, reviewed evidence can show proven."""
    decided = [verdict.finding for verdict in gates]
    passed = bool(decided) and all(f in ("kept", "gained") for f in decided) and all(f.met for f in report.floors)
    proven = passed and report.evidence == "local-reviewed"
    last = next((name for name in ("packed", "reasoned", "distilled") if name in steps), "base")
    banner = PROVEN if proven else DEMONSTRATION if report.evidence == "synthetic" else UNPROVEN
    return Passport(
        rounds=__version__,
        recipe=chosen.name,
        recipe_digest=files.digest_of(chosen.model_dump(mode="json")),
        checkpoint=steps[last].output if last in steps else "",
        parent=steps["base"].output if "base" in steps else "",
        evidence=report.evidence,
        proven=proven,
        passed=passed,
        banner=banner,
        alpha=report.alpha,
        margin=report.margin,
        why_margin=report.why_margin,
        exam_opened=report.exam_opened,
        verdicts=tuple(gates),
        floors=tuple(floor.model_dump() for floor in report.floors),
        lineage=dict(steps),
        notes=report.notes,
    )


def write_passport(document: Passport, path: Path) -> None:
    """Write passport.json, whole or not at all.

    Raises:
        UserError: full disk, no permission.
    """
    files.write_text(path, document.model_dump_json(indent=1) + "\n")
