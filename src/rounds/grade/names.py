"""Which condition a name means: normalise, then exact name, then synonym.

Left out on purpose in this version: ICD-10 neighbours, a judge model, the human queue; `Grade.level` has their places.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from rounds.knowledge.base import KnowledgeBase
from rounds.records import Case, Level

SPELLING = (
    (r"aemia\b", "emia"),
    (r"haem", "hem"),
    (r"oedema", "edema"),
    (r"oeso", "eso"),
    (r"gynae", "gyne"),
    (r"paed", "ped"),
    (r"rrhoea", "rrhea"),
    (r"pnoea", "pnea"),
    (r"oestr", "estr"),
    (r"leuco", "leuko"),
    (r"neurone\b", "neuron"),
    (r"leuk?aem", "leukem"),
    (r"tumour", "tumor"),
    (r"ischaem", "ischem"),
    (r"anaem", "anem"),
    (r"phaeo", "pheo"),
    (r"coeli", "celi"),
    (r"isation\b", "ization"),
    (r"ising\b", "izing"),
    (r"ised\b", "ized"),
)
"""US and UK spelling, brought to one."""


@lru_cache(maxsize=65536)
def normalise(name: str) -> str:
    """Lower case, no accents or punctuation, one spelling, 's dropped: two names are equal when these are."""
    text = unicodedata.normalize("NFKD", name.casefold())
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"[’']s\b", "", text)
    text = re.sub(r"[^a-z0-9]+", " ", text).strip()
    for pattern, replacement in SPELLING:
        text = re.sub(pattern, replacement, text)
    return text


class Names:
    """All names of a knowledge base, looked up by their normal form."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self._meaning: dict[str, str] = {}
        for condition in knowledge.conditions.values():
            for name in condition.names:
                self._meaning.setdefault(normalise(name), condition.id)

    def meaning(self, name: str) -> str | None:
        """Id of the condition a name means, None when unknown."""
        return self._meaning.get(normalise(name))

    def match(self, case: Case, name: str) -> Level | None:
        """How `name` matches the right diagnosis of `case`; None when it does not."""
        wanted = normalise(name)
        if wanted == normalise(case.diagnosis):
            return "exact"
        if any(wanted == normalise(other) for other in case.also_called):
            return "synonym"
        if case.condition and self.meaning(name) == case.condition:
            return "synonym"
        return None
