"""Templates as versioned files a clinician can read: `<kind>@<version>.md`, front matter above the text.

All instructions stand in the user turn, as R1 asks for no system prompt
(https://github.com/deepseek-ai/DeepSeek-R1, usage recommendations). A hospital's own directory, named by the
environment variable ROUNDS_TEMPLATES, comes first: a file there replaces the shipped one of the same name and must
answer in the same form. Left out on purpose: a template language. {vignette} or {question} is where
the case goes, {schema} is the JSON schema of the answer, and that is all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from rounds import files
from rounds.prompts.budget import Count, estimate, trim
from rounds.prompts.outputs import FREE, OUTPUTS, schema_of
from rounds.records import Case, Message, Prompt, Record, UserError

TEMPLATES = Path(__file__).parent / "templates"
OWN = "ROUNDS_TEMPLATES"
"""Environment variable with a hospital's own directory."""

AUTO = "auto"
"""Instead of a name: the router chooses by the text of each case."""

CASE = ("{vignette}", "{question}")
"""Where the case goes: without or with its lettered options. A text has one of them, once."""
SCHEMA = "{schema}"
HEADING = re.compile(r"^## (?P<language>[a-z]{2,3})$", re.MULTILINE)
NAME = re.compile(r"(?P<kind>[a-z][a-z-]*)@(?P<version>[1-9][0-9]*)")
REQUIRED = {"kind", "purpose", "languages", "answer", "source", "changelog"}
OPTIONAL = {"trims"}

CONTROL = re.compile(
    r"<(?=[|｜]|/?(?:think|s|bos|eos|pad|unk|start_of_turn|end_of_turn)>)|\[(?=/?(?:INST|SYSTEM_PROMPT)\])",
    re.IGNORECASE,
)
"""The first sign of what some chat format reads as a control token."""


class Template(Record):
    """One template file."""

    name: str
    """`kind@version`"""
    kind: str
    purpose: str
    languages: tuple[str, ...]
    answer: str
    """Form of the answer: a key of `rounds.prompts.outputs.OUTPUTS`, or `text`."""
    source: str
    """Where the form comes from."""
    changelog: str
    trims: tuple[str, ...] = ()
    """Titles of the parts of a case that may go first when the budget is small, the least needed first."""
    texts: dict[str, str]
    """Language to text."""
    own: str = ""
    """First eight signs of the SHA-256 of a hospital's own file; '' for one of ours."""

    def text(self, language: str | None) -> str:
        """The text in a language; None for the first there is.

        Raises:
            UserError: it is not written in that language.
        """
        chosen = self.languages[0] if language is None else language
        if chosen not in self.texts:
            raise UserError(
                f"template '{self.name}' is not written in '{chosen}'; use one of {', '.join(self.languages)}."
            )
        return self.texts[chosen]


def own_directory() -> Path | None:
    """A hospital's own templates.

    Raises:
        UserError: the variable names no directory.
    """
    named = os.environ.get(OWN)
    if not named:
        return None
    if not Path(named).is_dir():
        raise UserError(f"{OWN} is '{named}', which is no directory; name one, or leave the variable unset.")
    return Path(named)


def load(name: str, own: Path | None = None) -> Template:
    """Read one template by `kind@version`; `own` is a hospital's directory, by default the one in ROUNDS_TEMPLATES.

    Raises:
        UserError: unknown name, front matter missing or wrong, placeholder missing or unknown, a language announced
            and not written, an own file that answers in another form than the shipped one it replaces.
    """
    return _load(name, own or own_directory())


@cache
def _load(name: str, own: Path | None) -> Template:
    path = TEMPLATES / f"{name}.md"
    if own is not None and (own / f"{name}.md").is_file():
        path = own / f"{name}.md"
    if not NAME.fullmatch(name) or not path.is_file():
        raise UserError(f"template '{name}' does not exist; use one of {', '.join(_names(own))}.")
    template = read(path)
    if path.parent == TEMPLATES:
        return template
    _check_override(template)
    return template.model_copy(update={"own": files.digest(path)[:8]})


def names(own: Path | None = None) -> list[str]:
    """Every template there is, a hospital's own among them: by kind, oldest version first."""
    return _names(own or own_directory())


def _names(own: Path | None) -> list[str]:
    found = {path.stem for place in (TEMPLATES, own) if place is not None for path in place.glob("*@*.md")}
    return sorted((name for name in found if NAME.fullmatch(name)), key=_order)


def newest(kind: str, own: Path | None = None) -> str:
    """Name of the highest version of a kind.

    Raises:
        UserError: there is none.
    """
    found = [name for name in names(own) if _order(name)[0] == kind]
    if not found:
        kinds = dict.fromkeys(_order(name)[0] for name in names(own))
        raise UserError(f"there is no template of kind '{kind}'; use one of {', '.join(kinds)}.")
    return found[-1]


def _order(name: str) -> tuple[str, int]:
    kind, _, version = name.partition("@")
    return kind, int(version)


def read(path: Path) -> Template:
    """One template file, checked by itself.

    Raises:
        UserError: as `load`.
    """
    where = path.name
    named = NAME.fullmatch(path.stem)
    if not named:
        raise UserError(f"{where}: is not named <kind>@<version>.md; rename it, as in triage@2.md.")
    parts = files.read_text(path).split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        raise UserError(f"{where}: has no front matter; begin the file with a block between two --- lines.")
    fields = _front_matter(parts[1], where)
    wrong = sorted((set(fields) - REQUIRED - OPTIONAL) | (REQUIRED - set(fields)))
    if wrong:
        raise UserError(f"{where}: front matter field '{wrong[0]}' is unknown or missing; see docs/templates.md.")
    if fields["kind"] != named["kind"]:
        raise UserError(f"{where}: says kind '{fields['kind']}'; make it the kind in the file's name.")
    if fields["answer"] not in (*OUTPUTS, FREE):
        known = ", ".join((*OUTPUTS, FREE))
        raise UserError(f"{where}: answer '{fields['answer']}' is unknown; use one of {known}.")
    languages = _listed(fields["languages"])
    texts = _texts(parts[2], languages, where)
    for language, text in texts.items():
        _check_text(text, fields["answer"], f"{where} ({language})" if len(texts) > 1 else where)
    listed = {"languages": languages, "trims": _listed(fields.get("trims", ""))}
    return Template.model_validate({**fields, **listed, "name": path.stem, "texts": texts})


def _front_matter(block: str, where: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for line in block.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            raise UserError(f"{where}: front matter line '{line}' is not 'field: value'; mend it.")
        fields[key.strip()] = value.strip()
    return MappingProxyType(fields)


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.strip("[]").split(",") if part.strip())


def _texts(body: str, languages: tuple[str, ...], where: str) -> dict[str, str]:
    """Text by language. A template in one language needs no headings."""
    if not languages:
        raise UserError(f"{where}: names no language; write languages: [en].")
    headed = HEADING.split(body)
    if len(languages) == 1 and len(headed) == 1:
        return {languages[0]: body.strip("\n")}
    texts = {code: text.strip("\n") for code, text in zip(headed[1::2], headed[2::2], strict=True)}
    apart = sorted(set(texts) ^ set(languages))
    if apart:
        raise UserError(
            f"{where}: language '{apart[0]}' is announced but not written, or written but not announced; "
            f"give each language of the front matter a part headed '## {apart[0]}'."
        )
    return {code: texts[code] for code in languages}


def _check_text(text: str, answer: str, where: str) -> None:
    found = re.findall(r"\{[a-z_]+\}", text)
    unknown = [one for one in found if one not in (*CASE, SCHEMA)]
    if unknown:
        raise UserError(f"{where}: placeholder {unknown[0]} is unknown; use one of {', '.join((*CASE, SCHEMA))}.")
    places = [one for one in found if one in CASE]
    if not places:
        raise UserError(f"{where}: lacks the placeholder {' or '.join(CASE)}; say where the case goes.")
    if len(places) > 1:
        raise UserError(f"{where}: has {len(places)} placeholders for the case; keep one.")
    if SCHEMA in found and answer == FREE:
        raise UserError(f"{where}: asks for a schema and answers in free text; name another answer, or drop {SCHEMA}.")


def _check_override(template: Template) -> None:
    """A hospital's own template of a shipped kind answers in the form that readers of that kind expect."""
    for name in _names(None):
        if _order(name)[0] != template.kind:
            continue
        shipped = read(TEMPLATES / f"{name}.md")
        if shipped.answer != template.answer:
            raise UserError(
                f"{template.name}.md: answers '{template.answer}' where Rounds' own {name} answers '{shipped.answer}'; "
                "keep that form, or give the template a kind of its own."
            )
        if any(SCHEMA in text for text in shipped.texts.values()):
            missing = [code for code, text in template.texts.items() if SCHEMA not in text]
            if missing:
                raise UserError(
                    f"{template.name}.md ({missing[0]}): lacks {SCHEMA}, which Rounds' own {name} has; add it."
                )


def render(
    case: Case,
    template: str,
    *,
    language: str | None = None,
    budget: int | None = None,
    count: Count = estimate,
    own: Path | None = None,
) -> Prompt:
    """The prompt for one case. The case is inserted as it is, but for signs that open a control token.

    template: a name, or `auto` for the router's choice. language: by default the case's where the template has it,
    else the template's first. budget: most tokens of the prompt as `count` counts them; the parts of the case that are
    least needed go first, and the prompt says what went.

    Raises:
        UserError: see `load`; the language is not there; the case does not fit the budget at all.
    """
    if template == AUTO:
        from rounds.prompts.router import template_for

        template = template_for(case, own)
    chosen = load(template, own)
    if language is None and case.language in chosen.texts:
        language = case.language
    text = chosen.text(language)
    place = next(one for one in CASE if one in text)
    asked = harmless(case.question if place == "{question}" else case.vignette)
    if SCHEMA in text:
        text = text.replace(SCHEMA, schema_of(chosen.answer))
    if budget is not None:
        room = budget - count(text.replace(place, ""))
        asked = trim(asked, room, chosen.trims, count, f"case '{case.id}'").text
    name = f"{template}#{chosen.own}" if chosen.own else template
    content = text.replace(place, asked)
    return Prompt(case_id=case.id, template=name, messages=(Message(role="user", content=content),))


def harmless(text: str) -> str:
    """The text with a blank after each sign that would open a control token: `< think>`, `< |im_end|>`, `[ INST]`.

    The engines here never make control tokens of text; a server behind an endpoint may.
    """
    return CONTROL.sub(r"\g<0> ", text)
