"""Every sentence a clinician reads, from one file a language: `web/strings.<language>.toml`.

Another language is another file with the same keys; a visitor gets the first of the languages the browser asks for
that there is, else English. Left out on purpose: plural rules beyond what two keys can say, and translating what the
model writes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rounds.files import read_text
from rounds.records import UserError

WEB = Path(__file__).parent / "web"
FIRST = "en"


@dataclass(frozen=True, slots=True)
class Wording:
    """The sentences of one language by dotted key."""

    language: str
    """ISO 639-1, as the page's `lang`."""
    strings: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """A sentence with its {named} places filled. A key that is missing is a fault of ours: KeyError."""
        return self.strings[key].format(**values)

    def either(self, key: str, otherwise: str) -> str:
        """A sentence, or what is given where the language has none for it."""
        return self.strings.get(key, otherwise)

    def below(self, prefix: str) -> dict[str, str]:
        """Every sentence below a key, by the rest of its key: what a script of the page needs."""
        start = f"{prefix}."
        return {key.removeprefix(start): text for key, text in self.strings.items() if key.startswith(start)}


def languages(directory: Path = WEB) -> tuple[str, ...]:
    """Languages there is a file for, English first."""
    found = {path.name.split(".")[1] for path in directory.glob("strings.*.toml")}
    return tuple(sorted(found, key=lambda code: (code != FIRST, code)))


@cache
def wording(language: str = FIRST, directory: Path = WEB) -> Wording:
    """The sentences of one language.

    Raises:
        UserError: the file is missing, is not TOML, or lacks or adds a key beside the English one.
    """
    path = directory / f"strings.{language}.toml"
    try:
        strings = _flat(tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is not valid TOML ({error}); mend that line.") from error
    if language != FIRST:
        apart = sorted(set(strings) ^ set(wording(FIRST, directory).strings))
        if apart:
            raise UserError(f"{path}: key '{apart[0]}' is missing or unknown; give it the keys of strings.en.toml.")
    return Wording(language, strings)


def preferred(header: str, directory: Path = WEB) -> Wording:
    """The wording for an Accept-Language header; English when nothing it names is there."""
    there = languages(directory)
    for part in header[:256].split(","):
        code = part.partition(";")[0].strip().lower().partition("-")[0]
        if code in there:
            return wording(code, directory)
    return wording(FIRST, directory)


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": str(value)}
    return found
