"""Templates as versioned files a clinician can read: `<kind>@<version>.md`, front matter above the text.

All instructions stand in the user turn, as R1 asks for no system prompt
(https://github.com/deepseek-ai/DeepSeek-R1, usage recommendations). Left out on purpose: a template language. The only
placeholder is {vignette}.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from rounds.files import read_text
from rounds.records import Case, Message, Prompt, Record, UserError

TEMPLATES = Path(__file__).parent / "templates"
PLACEHOLDER = "{vignette}"


class Template(Record):
    """One template file."""

    name: str
    """`kind@version`"""
    kind: str
    purpose: str
    languages: tuple[str, ...]
    answer: str
    """Which reader takes the reply: five."""
    source: str
    changelog: str
    text: str


@cache
def load(name: str, directory: Path = TEMPLATES) -> Template:
    """Read one template by `kind@version`.

    Raises:
        UserError: unknown name, front matter missing or wrong, placeholder missing.
    """
    path = directory / f"{name}.md"
    if "/" in name or not path.is_file():
        known = ", ".join(sorted(p.stem for p in directory.glob("*.md")))
        raise UserError(f"template '{name}' does not exist; use one of {known}.")
    parts = read_text(path).split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        raise UserError(f"{path.name}: has no front matter; begin the file with a block between two --- lines.")
    fields = _front_matter(parts[1], path.name)
    text = parts[2].strip("\n")
    if PLACEHOLDER not in text:
        raise UserError(f"{path.name}: lacks the placeholder {PLACEHOLDER}; say where the case goes.")
    unknown = sorted(set(fields) ^ (set(Template.model_fields) - {"name", "text"}))
    if unknown:
        raise UserError(f"{path.name}: front matter field '{unknown[0]}' is unknown or missing; see docs/templates.md.")
    languages = tuple(part.strip() for part in fields["languages"].strip("[]").split(","))
    return Template.model_validate({**fields, "languages": languages, "name": name, "text": text})


def _front_matter(block: str, where: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for line in block.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            raise UserError(f"{where}: front matter line '{line}' is not 'field: value'; mend it.")
        fields[key.strip()] = value.strip()
    return MappingProxyType(fields)


def render(case: Case, template: str) -> Prompt:
    """The prompt for one case. The vignette is inserted as it is: control tokens are kept out by the tokenizer."""
    text = load(template).text.replace(PLACEHOLDER, case.vignette)
    return Prompt(case_id=case.id, template=template, messages=(Message(role="user", content=text),))
