"""Letters of options in a short recorded answer: `C`, `c, e`, `B. Propranolol`, `ｂ`.

Left out on purpose: sentences. Reading a model's free reply is for `rounds.prompts.reader`; a source that recorded
a sentence instead of a letter answered unreadably.
"""

from __future__ import annotations

import re
import unicodedata

from rounds.records import LETTERS

LIST = re.compile(r"[A-Z](?:\s*[,、/&+\s]\s*[A-Z])*")
LEADING = re.compile(r"\(?([A-Z])(?:[.:)]|\s+\().*", re.DOTALL)


def letters_in(text: str) -> tuple[str, ...]:
    """Distinct letters, upper case, in the order of the alphabet; empty when the text is something else."""
    whole = unicodedata.normalize("NFKC", text).strip(" \t\r\n.'\"*")
    upper = whole.upper()
    if LIST.fullmatch(upper):
        return tuple(sorted(set(re.findall(r"[A-Z]", upper))))
    leading = LEADING.fullmatch(whole[:1].upper() + whole[1:]) or LEADING.fullmatch(whole[:2].upper() + whole[2:])
    return (leading[1],) if leading else ()


def letter(place: int) -> str:
    """The letter of an option, from 0."""
    return LETTERS[place]
