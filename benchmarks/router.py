"""The router on real questions: confusion table, macro-F1 over kinds with at least 30 items, milliseconds an item.

    python benchmarks/router.py [DATA]        what is there of the data sets; others are skipped by name
    python benchmarks/router.py --write       teach the router anew and write its weights first

Nothing here was taught with these questions.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rounds.cases.importers import formats
from rounds.knowledge.base import load
from rounds.prompts import router
from rounds.prompts.lessons import lessons

DATA = Path(__file__).parents[2] / "shared" / "data"
ENOUGH = 30
KIND = {"diagnosis": "differential", "choice": "choice", "yes-no-maybe": "evidence", "number": "calculation"}

Items = list[tuple[str, str]]
"""(right kind, text)"""


def imported(name: str) -> Callable[[Path], Items]:
    """Cases of an importer; the abstract of an evidence question is asked without letters, as its template does."""

    def read(path: Path) -> Items:
        cases = formats.cases(formats.outcomes(name, path), formats.Count())
        kinds = [(KIND["choice" if case.options and case.kind == "diagnosis" else case.kind], case) for case in cases]
        return [(kind, case.vignette if kind == "evidence" else case.question) for kind, case in kinds]

    return read


def dialogues(path: Path) -> Items:
    with path.open(encoding="utf-8", newline="") as rows:
        return [("record", row["dialogue"]) for row in csv.DictReader(rows)]


def visits(path: Path) -> Items:
    return [("record", row["src"]) for row in json.loads(path.read_text(encoding="utf-8"))["data"]]


def calculations(path: Path) -> Items:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [("calculation", f"{row['Patient Note']}\n{row['Question']}") for row in rows]


def evidence_first(path: Path) -> Items:
    """The same questions with the abstract behind them, its parts without titles."""
    rows = json.loads(gzip.decompress(path.read_bytes())).values()
    return [("evidence", f"{row['QUESTION']}\n{' '.join(row['CONTEXTS'])}") for row in rows]


SETS: dict[str, tuple[str, Callable[[Path], Items]]] = {
    "01 vignettes": ("01_avey_vignettes_five_ddx/vignettes.jsonl", imported("avey")),
    "04 asked freely": ("04_craft_md/cases.jsonl.gz", imported("craft-md")),
    "04 with options": ("04_craft_md/cases.jsonl.gz", imported("craft-md-choice")),
    "09 options": ("09_medagents_recorded_mcq/medqa.items.jsonl.gz", imported("medqa")),
    "10 abstract, question": ("10_pubmedqa/ori_pqal_train_500.json.gz", imported("pubmedqa")),
    "20 dialogues, test": ("20_mts_dialog/MTS-Dialog-TestSet-1.csv", dialogues),
    "20 dialogues, validation": ("20_mts_dialog/MTS-Dialog-ValidationSet.csv", dialogues),
    "21 visits": ("21_aci_bench/valid.json", visits),
    "30 calculations": ("30_medcalc_one_shot/one_shot.jsonl", calculations),
    "12 Japanese, English": ("12_igakuqa_ja_en/items_2021.jsonl.gz", imported("igakuqa")),
    "16 French": ("16_french_medmcqa/test_part.jsonl", imported("french-medmcqa")),
    "33 Spanish, English": ("33_head_qa_es_en/test_medicine_nursing.jsonl.gz", imported("head-qa")),
}
ALSO: dict[str, tuple[str, Callable[[Path], Items]]] = {
    "05 records": ("05_agentclinic_medqa/agentclinic_medqa.jsonl", imported("agentclinic")),
    "06 case reports": ("06_medrbench/cases.jsonl.gz", imported("medr-bench")),
    "10 question, abstract": ("10_pubmedqa/ori_pqal_train_500.json.gz", evidence_first),
}
"""Shown, and counted apart: other ways of writing the same kinds."""


def confusion(pairs: Items) -> dict[str, Counter[str]]:
    """Right kind to how often each kind was chosen."""
    table: dict[str, Counter[str]] = {}
    for right, chosen in pairs:
        table.setdefault(right, Counter())[chosen] += 1
    return table


def f1(table: dict[str, Counter[str]], kind: str) -> float:
    """Harmonic mean of precision and recall of one kind."""
    right = table[kind][kind]
    chosen = sum(row[kind] for row in table.values())
    return 2 * right / (chosen + sum(table[kind].values()))


def show(table: dict[str, Counter[str]]) -> None:
    columns = sorted({*table, *(kind for row in table.values() for kind in row)})
    print("right \\ chosen".ljust(16) + "".join(column[:11].rjust(13) for column in columns))
    for kind in sorted(table):
        print(kind.ljust(16) + "".join(str(table[kind][column] or "").rjust(13) for column in columns))


def measure(sets: dict[str, tuple[str, Callable[[Path], Items]]], data: Path) -> None:
    pairs: Items = []
    weights = router.read()
    times: list[float] = []
    for name, (path, read) in sets.items():
        if not (data / path).is_file():
            print(f"{name}: skipped, {path} is not there")
            continue
        counted: Counter[tuple[str, bool]] = Counter()
        for kind, text in read(data / path):
            # Time of this thread alone: what else runs on the machine does not count.
            start = time.thread_time()
            chosen = router.route(text, weights).kind
            times.append(1000 * (time.thread_time() - start))
            pairs.append((kind, chosen))
            counted[kind, chosen == kind] += 1
        for kind in sorted({kind for kind, _ in counted}):
            right, wrong = counted[kind, True], counted[kind, False]
            print(f"{name}, {kind}: {right} of {right + wrong}")
    table = confusion(pairs)
    show(table)
    enough = [kind for kind in sorted(table) if sum(table[kind].values()) >= ENOUGH]
    for kind in enough:
        print(f"F1 {kind}: {f1(table, kind):.4f} ({sum(table[kind].values())} items)")
    print(f"macro-F1 over {len(enough)} kinds: {statistics.fmean(f1(table, kind) for kind in enough):.4f}")
    high = statistics.quantiles(times, n=20)[-1]
    print(f"milliseconds an item: median {statistics.median(times):.2f}, 95 % below {high:.2f}, {len(times)} items")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--write", action="store_true", help="teach the router anew and write its weights")
    arguments = parser.parse_args()
    if arguments.write:
        start = time.perf_counter()
        asked = lessons(load())
        router.save(router.fit(asked))
        print(f"taught with {len(asked)} questions of our own in {time.perf_counter() - start:.0f} s")
    measure(SETS, arguments.data)
    print("\nother ways of writing, counted apart")
    measure(ALSO, arguments.data)


if __name__ == "__main__":
    main()
