"""docs/run.md holds every field of the recipe with its default, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from rounds import recipe
from rounds.records import Record

PAGE = (Path(__file__).parent.parent / "docs" / "run.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[Record]] = {
    "[student] and [teacher]": recipe.Model,
    "[student.backbone] and [teacher.backbone]": recipe.Backbone,
    "[distil.lora]": recipe.Lora,
    **{
        f"[{name}]": field.annotation
        for name, field in recipe.Recipe.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, Record)
        and name not in ("student", "teacher")
    },
}


def rows(title: str) -> dict[str, str]:
    """Field to default of the table under a heading."""
    part = PAGE.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", part, re.MULTILINE))


def written(value: Any) -> str:
    """A default as the page writes it."""
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, Record):
        return "section"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{word}"' for word in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`"


def test_the_page_knows_every_section() -> None:
    assert len(SECTIONS) == 14
    assert re.findall(r"^### (\[.+)$", PAGE, re.MULTILINE) != []
    assert set(re.findall(r"^### (\[.+)$", PAGE, re.MULTILINE)) == set(SECTIONS)


@pytest.mark.parametrize("title", SECTIONS)
def test_every_field_stands_there_with_its_default(title: str) -> None:
    fields = SECTIONS[title].model_fields
    assert rows(title) == {name: written(field.default) for name, field in fields.items()}


def test_the_top_of_the_file_has_name_and_seed() -> None:
    assert rows("top of the file") == {"name": "required", "seed": "`1`"}
