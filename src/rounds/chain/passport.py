"""The passport: one JSON file that says what a checkpoint is, how it was made and what was shown about it.

It is signed as it lies on the disk (`rounds.serve.signing`): digests alone do not prove who wrote it. Left out on
purpose: checking one (`rounds.chain.passport_verify`), and whatever a later measurement of the same checkpoint shows:
`renew` takes that in, and the hospital signs anew.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from rounds import __version__, files, recipe
from rounds.chain.licences import FILE as LICENCES
from rounds.chain.licences import Licence, licences
from rounds.exam.later import BUDGET, PROBE, SPECIALISE
from rounds.records import Evidence, Record, Report, Share, Step, UserError, Verdict

NAME = "passport.json"
REPORT = "report.json"
RECIPE = "recipe.toml"
SERVING = "serving.toml"
"""What was chosen for serving."""
NAMED = (RECIPE, REPORT, PROBE, BUDGET, SPECIALISE, SERVING, LICENCES)
LATER = (PROBE, BUDGET, SPECIALISE, SERVING, LICENCES)
"""What `renew` may take in changed."""
CANDIDATES = ("packed", "reasoned", "distilled")
"""What may be served, the last step first."""

DEMONSTRATION = "Demonstration, not for patients"
UNPROVEN = "Unproven: not for patients"
PROVEN = "Proven on local, reviewed cases"


class Passport(Record):
    """What `serve` reads before it opens a checkpoint."""

    rounds: str
    recipe: str
    recipe_digest: str
    """SHA-256 of every choice of the recipe, defaults included."""
    checkpoint: str
    """Digest of the served directory."""
    parent: str
    evidence: Evidence
    proven: bool
    passed: bool
    """No verdict lost or undecided, and every floor met."""
    banner: str
    alpha: float
    margin: float
    """Largest loss that counts as kept; each verdict also tells the smallest loss it could have seen."""
    why_margin: str
    exam_opened: int
    verdicts: tuple[Verdict, ...]
    floors: tuple[dict[str, Any], ...]
    lineage: dict[str, Step]
    notes: tuple[str, ...]
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of single files of the run by their place in it: recipe, report, cases, and what was measured later."""
    error_modes: dict[str, tuple[Share, ...]] = Field(default_factory=dict)
    """By model: errors of reasoning, each with what its detector is worth (kappa)."""
    engine: dict[str, str] = Field(default_factory=dict)
    """What answered the exam, and how it was asked."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of what the last step and its exam ran on."""
    licences: tuple[Licence, ...] = ()
    safety: dict[str, Any] = Field(default_factory=dict)
    """probe.json, when the run has one."""
    budget: dict[str, Any] = Field(default_factory=dict)
    """budget.json, when the run has one."""
    serving: dict[str, Any] = Field(default_factory=dict)
    """serving.toml, when the run has one."""


def passport(
    report: Report,
    gates: Sequence[Verdict],
    steps: Mapping[str, Step],
    chosen: recipe.Recipe,
    run: Path | None = None,
) -> Passport:
    """Draw the passport of a run's last checkpoint. Only local, reviewed evidence can show proven.

    run: its directory, for digests of single files, licences and later measurements.

    Raises:
        UserError: a file of the run cannot be read.
    """
    passed = has_passed([verdict.finding for verdict in gates], [floor.met for floor in report.floors])
    proven = passed and report.evidence == "local-reviewed"
    last = next((name for name in CANDIDATES if name in steps), "base")
    banner = PROVEN if proven else DEMONSTRATION if report.evidence == "synthetic" else UNPROVEN
    drawn = Passport(
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
        engine=_engine(report, steps, last),
        versions=_versions(report, steps, last),
        error_modes={name: sat.reasoning for name, sat in report.sittings.items() if name in (last, "base")},
    )
    return drawn if run is None else _with_files(drawn, run, chosen)


def has_passed(findings: Sequence[str | None], floors: Sequence[bool]) -> bool:
    """Something was compared, every comparison was kept or gained, and every floor is met."""
    return bool(findings) and all(one in ("kept", "gained") for one in findings) and all(floors)


def write_passport(document: Passport, path: Path) -> None:
    """Write passport.json, whole or not at all.

    Raises:
        UserError: full disk, no permission.
    """
    files.write_text(path, document.model_dump_json(indent=1) + "\n")


def renew(run: Path) -> Passport:
    """The passport of a run with what was measured, chosen or stated since; findings and lineage stay as they are.

    Raises:
        UserError: no passport there, or a file cannot be read.
    """
    drawn = files.read_json(run / NAME, Passport)
    report = files.read_json(run / REPORT, Report)
    last = next((name for name in CANDIDATES if name in drawn.lineage), "base")
    modes = {name: sat.reasoning for name, sat in report.sittings.items() if name in (last, "base")}
    told = {
        "engine": _engine(report, drawn.lineage, last),
        "versions": _versions(report, drawn.lineage, last),
        "error_modes": modes,
    }
    return _with_files(drawn.model_copy(update=told), run, recipe.read(str(run / RECIPE)))


def digests_of_files(run: Path) -> dict[str, str]:
    """SHA-256 of the single files that a passport names, of those that are there.

    Raises:
        UserError: one cannot be read.
    """
    found = [run / name for name in NAMED if (run / name).is_file()]
    found += sorted((run / "cases").glob("*.jsonl"))
    return {path.relative_to(run).as_posix(): files.digest(path) for path in found}


def _with_files(drawn: Passport, run: Path, chosen: recipe.Recipe) -> Passport:
    told = {
        "files": digests_of_files(run),
        "licences": licences(run, chosen),
        "safety": _table(run / PROBE),
        "budget": _table(run / BUDGET),
        "serving": _table(run / SERVING),
    }
    return drawn.model_copy(update=told)


def _engine(report: Report, steps: Mapping[str, Step], last: str) -> dict[str, str]:
    """Of the exam of the last model, then what its packing says of bits and bytes."""
    sat = report.sittings.get(last)
    told = dict(sat.asked) if sat is not None else {}
    step = steps.get(f"grades/{last}")
    figures = {**(steps[last].figures if last in steps else {}), **(step.figures if step is not None else {})}
    for key in ("engine", "batch_invariant", "bytes", "rung", "bits_per_weight", "kv_cache", "attention"):
        if key in figures:
            told[key.replace("_", " ")] = _written(figures[key])
    return told


def _written(value: float | int | str | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _versions(report: Report, steps: Mapping[str, Step], last: str) -> dict[str, str]:
    found: dict[str, str] = {key: report.machine[key] for key in ("processor", "python") if key in report.machine}
    for name in (last, f"grades/{last}"):
        found |= steps[name].versions if name in steps else {}
    return found


def _table(path: Path) -> dict[str, Any]:
    """A JSON or TOML object, {} where there is none.

    Raises:
        UserError: it is there and is no such thing.
    """
    if not path.is_file():
        return {}
    text = files.read_text(path)
    try:
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise UserError(f"{path}: is not valid {kind}; make it anew.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: is not a JSON object; make it anew.")
    return found
