"""Every shipped recipe reads, bears the name of its file, and opens with the command that runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds import recipe

SHIPPED = sorted(recipe.SHIPPED.glob("*.toml"))


def test_the_recipes_of_the_readme_are_shipped() -> None:
    assert {"tiny", "r1-qwen-7b", "one-gpu", "cpu-1.5b"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipe_reads(path: Path) -> None:
    assert recipe.read(path.stem).name == path.stem
    assert recipe.read(path.stem) == recipe.read(str(path))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipe_opens_with_its_command(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("#")
    assert f"rounds run {path.stem}" in first
