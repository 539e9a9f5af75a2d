"""Letters of options in a short recorded answer: `C`, `c, e`, `B. Propranolol`, `ｂ`, or the option's own words.

Left out on purpose: free replies, which are for `rounds.prompts.choices`; a source that recorded a sentence where a
letter was asked for answered unreadably.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from rounds.cases.importers.outcome import fold
from rounds.records import LETTERS

SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")

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


def option_in(text: str, options: Sequence[str]) -> tuple[str, ...]:
    """The letter of the option whose words the text is, or that its first sentence with an option names.

    An option inside a longer one that is named gives way. A sentence that names two chooses none.
    """
    wanted = [" ".join(fold(option)) for option in options]
    for part in (text, *SENTENCE.split(text)):
        said = " ".join(fold(part))
        whole = [place for place, option in enumerate(wanted) if option and option == said]
        if len(whole) == 1:
            return (letter(whole[0]),)
    for part in (*SENTENCE.split(text), text):
        said = f" {' '.join(fold(part))} "
        named = [place for place, option in enumerate(wanted) if option and f" {option} " in said]
        longest = [p for p in named if not any(wanted[p] != wanted[q] and wanted[p] in wanted[q] for q in named)]
        if named:
            return (letter(longest[0]),) if len(longest) == 1 else ()
    return ()
