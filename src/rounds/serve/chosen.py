"""serving.toml: what was chosen on the tune split for serving one checkpoint; beside its run, never in the recipe.

`rounds budget` writes it and `rounds serve` reads it. It names the checkpoint it was chosen for, so that a choice made
for one model is never carried over to another. Left out on purpose: choosing (`rounds.chain.budget`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from rounds import files
from rounds.records import Record, UserError

SERVING = "serving.toml"


class Serving(Record):
    """What a checkpoint is served with, beside what it was examined with."""

    checkpoint: str
    """SHA-256 of the directory this was chosen for."""
    thinking_budget: int | None = Field(default=None, ge=0, le=131072)
    """Tokens allowed before `</think>`; None, in the file a missing line, is no limit."""
    why: str = Field(default="", max_length=2000)
    """The choice in one sentence."""


def write_serving(home: Path, serving: Serving) -> None:
    """Write serving.toml into a run, whole or not at all.

    Raises:
        UserError: full disk, no permission.
    """
    lines = [
        "# What rounds budget chose on the tune split; rounds serve reads it.",
        f'checkpoint = "{serving.checkpoint}"',
    ]
    if serving.thinking_budget is not None:
        lines.append(f"thinking_budget = {serving.thinking_budget}")
    quoted = serving.why.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    lines.append(f'why = "{quoted}"')
    files.write_text(home / SERVING, "\n".join(lines) + "\n")


def read_serving(home: Path, checkpoint: str) -> Serving | None:
    """What was chosen for the checkpoint of this digest; None where nothing was, or for another checkpoint.

    Raises:
        UserError: the file is not what `write_serving` writes.
    """
    path = home / SERVING
    if not path.is_file():
        return None
    try:
        found = Serving.model_validate(tomllib.loads(files.read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is not valid TOML ({error}); make it anew with rounds budget.") from error
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{path}: {place}: {error.errors()[0]['msg']}; make it anew with rounds budget.") from error
    return found if found.checkpoint == checkpoint else None


def budget_of(home: Path, checkpoint: str) -> int | None:
    """The thinking budget chosen for the checkpoint of this digest; None is no limit.

    Raises:
        UserError: as `read_serving`.
    """
    found = read_serving(home, checkpoint)
    return None if found is None else found.thinking_budget
