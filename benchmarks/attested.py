"""How much of the knowledge base three public sources attest: Orphanet, DDXPlus and the Columbia table.

    python benchmarks/attested.py [DATA]      DATA holds 08_…, 22_… and 23_…; default ../shared/data

A condition is shared when a source has it under one of its names (longer than four letters: abbreviations mean too
many things) or under a name of `SAME_CONDITION`. Each finding it shows is then looked for among the terms the source
gives for it. The word rule: spelling is brought to one, filling words and plural endings fall away, and a term attests
a finding when it holds every word of one of the finding's wordings, or of one of the phrases `MEANS` gives for it.
A source that says less than we do ("abdominal pain" for pain low on the right) is counted apart, by `WIDER`.

Printed are shares and the ids of findings not attested, never a word of the sources. What a source does not hold
(Orphanet lists few histories, Columbia few tests) is not a fault of ours: the list is for a reader to judge.
Left out on purpose: frequencies, which the sources give in classes of their own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from rounds.grade.names import normalise
from rounds.knowledge.base import FREQUENCY, Condition, KnowledgeBase, load

sys.path.insert(0, str(Path(__file__).parent))
from attested_words import MEANS, SAME_CONDITION, WIDER

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
ORPHANET = "08_orphapacket_kb/disorders_with_phenotypes.jsonl.gz"
DDXPLUS = "22_ddxplus_kb/kb_condition_findings.jsonl"
COLUMBIA = "23_columbia_disease_symptom/disease_symptoms.jsonl"

FILLERS = frozenset(
    """a an the of in on at to for by from with and or your you do have has had is are any very that this it its one
    over under per was were been being circulating level concentration abnormal abnormality""".split()  # noqa: SIM905
)


@dataclass(slots=True)
class Entry:
    """One disease of one source."""

    names: list[str]
    terms: list[str]


@dataclass(slots=True)
class Result:
    """What was looked for and found."""

    shared: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Source to ids of the conditions it shares with us."""
    attested: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    """Source to (condition, finding) pairs it attests."""
    wider: set[tuple[str, str]] = field(default_factory=set)
    """(condition, finding) pairs that some source attests in a wider term only."""
    sought: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    """Source to (condition, finding) pairs of the conditions it shares."""

    said: dict[str, set[str]] = field(default_factory=dict)
    """Source to the findings it says of any disease at all: what it could attest."""

    def share(self, source: str | None = None) -> float:
        """Share of our pairs attested by one source, or by any."""
        if source is not None:
            return len(self.attested[source]) / max(1, len(self.sought[source]))
        sought = set().union(*self.sought.values())
        return len(set().union(*self.attested.values())) / max(1, len(sought))

    def share_of_said(self) -> float:
        """Share attested by any source, of the pairs whose finding it says of some disease."""
        could = {pair for source, pairs in self.sought.items() for pair in pairs if pair[1] in self.said[source]}
        return len(set().union(*self.attested.values())) / max(1, len(could))

    def missing(self) -> dict[str, list[str]]:
        """Condition to the findings no source attests, in a wider term neither."""
        out: dict[str, list[str]] = defaultdict(list)
        absent = set().union(*self.sought.values()) - set().union(*self.attested.values()) - self.wider
        for condition, finding in sorted(absent):
            out[condition].append(finding)
        return out


def orphanet(path: Path) -> Iterator[Entry]:
    """Orphanet's disorders: phenotype labels, the clauses of the definition, inheritance."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            seen = [label for _, label, frequency in row["phenotypes"] if not frequency.startswith("Excluded")]
            told = [*seen, *re.split(r"[.;:]", row["definition"] or ""), *row["inheritance"]]
            yield Entry([row["label"], *row["synonyms"]], told)


def ddxplus(path: Path) -> Iterator[Entry]:
    """DDXPlus conditions: the questions answered yes by more than 2 % of their patients."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Entry([row["condition"]], [found["question_en"] for found in row["findings"]])


def columbia(path: Path) -> Iterator[Entry]:
    """Columbia's diseases and symptoms, each under all its names."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        parts = [name.split("_", 1)[1] for name in row["disease"].split("^")]
        yield Entry(parts, [name.split("_", 1)[1] for item in row["symptoms"] for name in item.split("^")])


SOURCES = {"Orphanet": (ORPHANET, orphanet), "DDXPlus": (DDXPLUS, ddxplus), "Columbia": (COLUMBIA, columbia)}


@cache
def words(text: str) -> frozenset[str]:
    """The words of a phrase that say something, in one spelling and number."""
    return frozenset(_singular(word) for word in normalise(text).split() if word not in FILLERS)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def attests(term: str, phrases: tuple[str, ...]) -> bool:
    """Whether a source's term holds every word of one of the phrases."""
    told = words(term)
    return any(words(phrase) and words(phrase) <= told for phrase in phrases)


def compare(knowledge: KnowledgeBase, data: Path) -> Result:
    """Look up every finding of every shared condition, those kept outside included."""
    conditions = [*knowledge.conditions.values(), *knowledge.outside.values()]
    called = {normalise(name): c for c in conditions for name in c.names if len(name) > 4}
    result = Result()
    for source, (file, read) in SOURCES.items():
        terms: dict[str, list[str]] = defaultdict(list)
        entries = list(read(data / file))
        result.said[source] = _said({term for entry in entries for term in entry.terms}, knowledge)
        for entry in entries:
            for meant in _meant(entry, called, SAME_CONDITION.get(source, {})):
                terms[meant] += entry.terms
        for condition in conditions:
            if condition.id in terms:
                _look_up(result, source, condition, terms[condition.id], knowledge)
    return result


def _phrases(finding: str, knowledge: KnowledgeBase) -> tuple[str, ...]:
    return (*knowledge.findings[finding].says, *MEANS.get(finding, ()))


def _said(terms: set[str], knowledge: KnowledgeBase) -> set[str]:
    by_word: dict[str, list[tuple[frozenset[str], str]]] = defaultdict(list)
    for finding in knowledge.findings:
        for phrase in _phrases(finding, knowledge):
            if words(phrase):
                by_word[min(words(phrase))].append((words(phrase), finding))
    return {
        finding
        for term in terms
        for word in words(term)
        for phrase, finding in by_word.get(word, ())
        if phrase <= words(term)
    }


def _meant(entry: Entry, called: Mapping[str, Condition], same: Mapping[str, str]) -> set[str]:
    names = [normalise(name) for name in entry.names]
    by_name = {called[name].id for name in names if name in called}
    return by_name | {same[name] for name in entry.names if name in same}


def _look_up(result: Result, source: str, condition: Condition, terms: list[str], knowledge: KnowledgeBase) -> None:
    result.shared[source].add(condition.id)
    for finding, chance in condition.findings.items():
        if chance > FREQUENCY["excluded"]:
            result.sought[source].add((condition.id, finding))
            if any(attests(term, _phrases(finding, knowledge)) for term in terms):
                result.attested[source].add((condition.id, finding))
            elif any(attests(term, WIDER.get(finding, ())) for term in terms):
                result.wider.add((condition.id, finding))


def main() -> int:
    """Print the shares, then what no source attests."""
    parser = argparse.ArgumentParser(description="Share of the knowledge base's findings attested by public sources.")
    parser.add_argument("data", nargs="?", type=Path, default=DATA, help="folder with 08_…, 22_… and 23_…")
    data = parser.parse_args().data
    absent = [file for file, _ in SOURCES.values() if not (data / file).is_file()]
    if absent:
        print(f"{data / absent[0]}: is not there; give the folder that holds it.", file=sys.stderr)
        return 2
    knowledge = load()
    result = compare(knowledge, data)
    for source in SOURCES:
        found, sought = len(result.attested[source]), len(result.sought[source])
        shared = len(result.shared[source])
        print(
            f"{source:10} {shared:3} conditions shared, {found:4} of {sought:4} findings attested: {found / sought:.1%}"
        )
    every = set().union(*result.sought.values())
    exactly = set().union(*result.attested.values())
    widely = exactly | result.wider
    shared = len({condition for condition, _ in every})
    counts = f"{len(exactly):4} of {len(every):4} findings attested: {result.share():.1%}"
    print(f"{'any':10} {shared:3} conditions shared, {counts}")
    print(f"  of findings that the source says of some disease: {result.share_of_said():.1%}")
    print(f"  with wider terms: {len(widely) / len(every):.1%}")
    for kind in ("symptom", "history", "sign", "test"):
        pairs = {pair for pair in every if knowledge.findings[pair[1]].kind == kind}
        print(f"  {kind:8} {len(pairs & exactly):4} of {len(pairs):4}: {len(pairs & exactly) / len(pairs):.1%}")
    print("not attested:")
    for condition, findings in result.missing().items():
        print(f"  {condition}: {' '.join(findings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
