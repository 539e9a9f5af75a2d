"""What `rounds overlap` finds: planted leaks in every dress, real rewritten items, false alarms, speed and memory.

    python benchmarks/overlap.py [DATA]

DATA is a folder of public sets as named in REAL (default ../shared/data); without it the planted leaks are made of
generated cases alone. Beside each figure stands what two usual checks find: a whole-string ratio of at least .95, and
plain 13-grams. The thresholds were chosen with these public sets in view: other sets may fare worse. Left out on
purpose: nothing is written, and no text of DATA is shown.
"""

from __future__ import annotations

import random
import re
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from rounds import recipe
from rounds.cases.generate import generate
from rounds.cases.importers.formats import Count, cases, outcomes
from rounds.cases.overlap import Index, Passage, leaks
from rounds.knowledge.base import load
from rounds.records import Case

REAL = {
    "AgentClinic": ("agentclinic", "05_agentclinic_medqa/agentclinic_medqa.jsonl"),
    "Avey": ("avey", "01_avey_vignettes_five_ddx/vignettes.jsonl"),
    "CRAFT-MD": ("craft-md", "04_craft_md/cases.jsonl.gz"),
    "MedQA part": ("medqa", "09_medagents_recorded_mcq/medqa.items.jsonl.gz"),
    "MedR-Bench": ("medr-bench", "06_medrbench/cases.jsonl.gz"),
    "PubMedQA": ("pubmedqa", "10_pubmedqa/ori_pqal_train_500.json.gz"),
}
RATIO = 0.95


def passage(case: Case, name: str = "") -> Passage:
    """A case as the verb reads it."""
    answers = tuple(text for text in (case.diagnosis, *case.also_called) if text)
    return Passage(where=case.id, id=name or case.id, text=case.vignette, answers=answers)


def reworded(share: float) -> Callable[[str, random.Random, Sequence[str]], str]:
    """Sentences in another order, other numbers, and a share of the longer words replaced by words of other cases."""

    def change(text: str, chance: random.Random, words: Sequence[str]) -> str:
        parts = re.split(r"(?<=[.!?])\s+|\n", text)
        chance.shuffle(parts)
        changed = re.sub(r"\d+", lambda _: str(chance.randint(1, 99)), " ".join(parts))
        return re.sub(
            r"[A-Za-z]{4,}", lambda found: chance.choice(words) if chance.random() < share else found[0], changed
        )

    return change


def numbers(text: str, chance: random.Random, words: Sequence[str]) -> str:
    """Other numbers."""
    return re.sub(r"\d+", lambda _: str(chance.randint(1, 99)), text)


DRESSES: dict[str, Callable[[str, random.Random, Sequence[str]], str]] = {
    "verbatim": lambda text, chance, words: text,
    "other numbers": numbers,
    "other order and numbers": reworded(0),
    "and 15 % of the words": reworded(0.15),
    "and 30 % of the words": reworded(0.30),
    "and 40 % of the words": reworded(0.40),
}


def planted(name: str, exam: list[Passage], honest: list[Passage], count: int = 60) -> None:
    """Plant each dress of some items among honest rows, alone and inside a long page; print what is found."""
    chance = random.Random(1)
    words = sorted({word for item in exam for word in re.findall(r"[a-z]{4,}", item.text)})
    items = chance.sample(exam, min(count, len(exam)))
    print(f"\nplanted among {len(honest)} honest rows, {len(items)} of {len(exam)} items of {name}:")
    print(f"  {'dress':<26} {'found':>6} {'in a page':>10} {'13-gram':>8} {'ratio':>6}")
    for dress, change in DRESSES.items():
        texts = [change(item.text, chance, words) for item in items]
        rows = [Passage(where="", id=f"leak-{item.id}", text=text) for item, text in zip(items, texts, strict=True)]
        page = " ".join(chance.choice(words) for _ in range(400))
        pages = [row.model_copy(update={"text": f"{page} {row.text} {page}"}) for row in rows]
        alone, inside = (leaks(lambda: [*honest, *some], exam) for some in (rows, pages))  # noqa: B023
        hit = {leak.held for leak in alone if leak.other == f"leak-{leak.held}"}
        deep = {leak.held for leak in inside if leak.other == f"leak-{leak.held}"}
        grams = sum(plain_gram(item.text, text) for item, text in zip(items, texts, strict=True))
        like = sum(
            SequenceMatcher(None, item.text, text, autojunk=False).ratio() >= RATIO
            for item, text in zip(items, texts, strict=True)
        )
        share = [f"{value / len(items):.0%}" for value in (len(hit), len(deep), grams, like)]
        print(f"  {dress:<26} {share[0]:>6} {share[1]:>10} {share[2]:>8} {share[3]:>6}")


def plain_gram(first: str, second: str) -> bool:
    """The usual check: any thirteen words in a row are the same, whatever they are."""
    runs = [
        {tuple(words[i : i + 13]) for i in range(len(words) - 12)}
        for words in (re.findall(r"[^\W_]+", text.lower()) for text in (first, second))
    ]
    return bool(runs[0] & runs[1])


def plain_alarms(train: list[Passage], exam: list[Passage]) -> int:
    """Exam items that the usual check reports."""
    runs: dict[tuple[str, ...], set[str]] = {}
    for item in exam:
        words = re.findall(r"[^\W_]+", item.text.lower())
        for i in range(len(words) - 12):
            runs.setdefault(tuple(words[i : i + 13]), set()).add(item.id)
    hit: set[str] = set()
    for row in train:
        words = re.findall(r"[^\W_]+", row.text.lower())
        for i in range(len(words) - 12):
            hit |= runs.get(tuple(words[i : i + 13]), set())
    return len(hit)


def real(data: Path) -> dict[str, list[Passage]]:
    """The sets that are here."""
    found = {}
    for name, (format, file) in REAL.items():
        if (data / file).exists():
            found[name] = [passage(case) for case in cases(outcomes(format, data / file), Count())]
        else:
            print(f"skipped, not here: {file}")
    return found


def between(sets: dict[str, list[Passage]]) -> None:
    """Every set against every other: AgentClinic and CRAFT-MD are both made from MedQA, the others share nothing."""
    print("\nset against set (training -> exam):")
    for first, train in sets.items():
        for second, exam in sets.items():
            if first == second:
                continue
            found = leaks(lambda: train, exam)  # noqa: B023
            if not found:
                print(f"  {first} -> {second}: none of {len(exam)}; plain 13-grams {plain_alarms(train, exam)}")
                continue
            kinds = ", ".join(f"{kind} {n}" for kind, n in Counter(leak.kind for leak in found).items())
            text = {item.id: item for item in train}
            held = {item.id: item for item in exam}
            told = [leak for leak in found if leak.kind.startswith("paraphrase")]
            same = sum(
                bool({a.casefold() for a in held[leak.held].answers} & {a.casefold() for a in text[leak.other].answers})
                for leak in told
            )
            like = sum(
                SequenceMatcher(None, held[leak.held].text, text[leak.other].text, autojunk=False).ratio() >= RATIO
                for leak in found
            )
            print(
                f"  {first} -> {second}: {len(found)} of {len(exam)} ({kinds}); "
                f"of {len(told)} paraphrases {same} have the same answer; whole-string ratio sees {like}, "
                f"plain 13-grams {plain_alarms(train, exam)}"
            )


def speed(exam: list[Passage], rows: list[Passage], count: int) -> None:
    """Stream many rows past an exam; seconds and the memory that grows meanwhile."""

    def stream(wanted: int) -> Iterator[Passage]:
        for i in range(wanted):
            yield rows[i % len(rows)].model_copy(update={"id": str(i)})

    tracemalloc.start()
    index = Index(exam)
    built = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    start = time.process_time()
    index.weigh(stream(count))
    for row in stream(count):
        for _ in index.look(row):
            pass
    seconds = time.process_time() - start
    print(
        f"\n{count} rows past {len(exam)} items: {seconds:.1f} s of CPU (both passes), {count / seconds:,.0f} rows a "
        f"second; the index takes {built / 2**20:.0f} MiB, rows take none"
    )


def main() -> None:
    """Print every figure."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1].parent / "shared" / "data"
    drawn = generate(load(), recipe.Cases(teach=12000), seed=1)
    teach, exam = ([passage(one.case) for one in drawn[split]] for split in ("teach", "exam"))
    found = leaks(lambda: teach, exam)
    kinds = ", ".join(f"{kind} {n}" for kind, n in Counter(leak.kind for leak in found).items()) or "none"
    print(f"default recipe, {len(exam)} exam cases against {len(teach)} lessons: {len(found)} found ({kinds})")
    planted("the default exam", exam, teach[:3000])
    sets = real(data)
    if "MedQA part" in sets and "MedR-Bench" in sets:
        planted("MedQA part", sets["MedQA part"], sets["MedR-Bench"])
    if "MedR-Bench" in sets and "Avey" in sets:
        planted("MedR-Bench", sets["MedR-Bench"], sets["Avey"])
    between(sets)
    speed(exam, teach, 50_000)


if __name__ == "__main__":
    main()
