"""ORPHApackets (https://github.com/Orphanet/orphapacket): a rare disorder with its findings, as a textbook case.

The findings that at least 30 % of patients have are present, those marked excluded are absent. Reads the original
packets (one a file, a folder of them) and flat rows. In the originals a field changes between list, object and text
with how much there is of it; all are read as lists. Left out on purpose: genes, and the definition, which is the answer
in prose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rounds.cases.importers.outcome import Outcome, gives_away, name_and_brackets, names_of
from rounds.cases.importers.reading import objects
from rounds.records import Case, UserError

FREQUENT = ("obligate", "very frequent", "frequent")
FEW = "fewer than three findings are frequent"
FEWEST = 3
SOURCE = "Orphanet"
LICENCE = "CC BY 4.0"


def read(path: Path) -> Iterator[Outcome]:
    """One textbook case a disorder; present and absent hold HPO ids.

    Raises:
        UserError: neither of the layouts, or a finding without id, name and frequency.
    """
    found = False
    for where, value in objects(path):
        found = True
        packet = value.get("Orphapacket", value)
        yield _outcome(where, packet) if isinstance(packet, Mapping) else _refuse(where)
    if not found:
        raise UserError(f"{path}: holds no rows; expected one disorder each.")


def listed(value: Any) -> list[Any]:
    """What a field holds, as a list: nothing, one thing, or several."""
    if value is None or value == "" or value == {}:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def text_of(value: Any) -> str:
    """The words of a field that is text, or an object with one under a name such as value, Label or Synonym."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        for key in ("value", "Label", "label", "Synonym", "name"):
            if isinstance(value.get(key), str):
                return str(value[key]).strip()
    return ""


def _outcome(where: str, packet: Mapping[str, Any]) -> Outcome:
    code = text_of(packet.get("orpha", packet.get("ORPHAcode")))
    label = text_of(packet.get("label", packet.get("Label")))
    if not code or not label:
        _refuse(where)
    name, brackets = name_and_brackets(label)
    synonyms = tuple(filter(None, map(text_of, _synonyms(packet))))
    case = Case(
        id=f"ORPHA:{code}",
        vignette=" ",
        diagnosis=name,
        also_called=(*brackets, *synonyms),
        condition=f"ORPHA:{code}",
        incidence="rare",
        source=SOURCE,
        licence=LICENCE,
    )
    names = names_of(case)
    findings = [_finding(where, item) for item in listed(packet.get("phenotypes", packet.get("Phenotypes")))]
    frequent = [(hpo, term) for hpo, term, how_often in findings if how_often.lower().startswith(FREQUENT)]
    shown = [(hpo, term) for hpo, term in frequent if not gives_away(term, names)]
    absent = [(hpo, term) for hpo, term, how_often in findings if how_often.lower().startswith("excluded")]
    dropped = tuple(term for hpo, term in frequent if (hpo, term) not in shown)
    onset = [text.lower() for text in _onsets(packet) if text and not text.lower().startswith("no data")]
    lines = [f"Onset: {' or '.join(onset)}."] if onset else []
    lines.append(f"Present: {'; '.join(term for _, term in shown)}.")
    if absent:
        lines.append(f"Absent: {'; '.join(term for _, term in absent)}.")
    whole = case.model_copy(
        update={
            "vignette": "\n".join(lines),
            "present": tuple(hpo for hpo, _ in shown),
            "absent": tuple(hpo for hpo, _ in absent),
        }
    )
    few = len(shown) < FEWEST
    return Outcome(where, case.id, whole, FEW if few else "", () if few else dropped)


def _synonyms(packet: Mapping[str, Any]) -> list[Any]:
    return [
        name
        for item in listed(packet.get("synonyms", packet.get("Synonyms")))
        for name in listed(item.get("Synonym", item) if isinstance(item, Mapping) else item)
    ]


def _onsets(packet: Mapping[str, Any]) -> list[str]:
    found = []
    for item in listed(packet.get("age_of_onset", packet.get("AverageAgeOfOnsets"))):
        inner = item.get("AverageAgeOfOnset", item) if isinstance(item, Mapping) else item
        found += [text_of(one) for one in listed(inner)]
    return found


def _finding(where: str, item: Any) -> tuple[str, str, str]:
    """(HPO id, term, frequency) of one link, in any layout."""
    if isinstance(item, Mapping):
        inner = item.get("Phenotype", item)
        parts = [inner.get(key) for key in ("HPOId", "HPOTerm", "HPOFrequency")] if isinstance(inner, Mapping) else []
    else:
        parts = listed(item)
    texts = [part for part in parts if isinstance(part, str)]
    if len(parts) != 3 or len(texts) != 3:
        raise UserError(f"{where}: finding {str(item)[:60]!r} is not an id, a name and a frequency; mend that packet.")
    return texts[0], texts[1], texts[2]


def _refuse(where: str) -> Outcome:
    raise UserError(f"{where}: is not an ORPHApacket (no ORPHA code or no name); expected one disorder each.")
