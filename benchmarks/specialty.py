"""How often a case text is read as the specialty it is of: right, wrong, and in doubt.

    python benchmarks/specialty.py CASES.jsonl [--most N]

CASES are lines of `rounds.records.Case` with a specialty. Specialties that the knowledge base does not hold are counted
apart: the right reading of them is doubt. Prints a line a threshold; `rounds.serve.specialty.SURE` was chosen by it on
tune cases.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from random import Random

from rounds.files import read_jsonl
from rounds.knowledge.base import load
from rounds.records import Case
from rounds.serve.specialty import shares_of

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--most", type=int, default=1000, help="cases drawn (default %(default)s)")
    given = parser.parse_args()
    knowledge = load()
    held = {one.specialty for one in knowledge.conditions.values()}
    cases = list(read_jsonl(given.cases, Case))
    Random(0).shuffle(cases)
    read = []
    started = time.monotonic()
    for case in cases[: given.most]:
        shares = shares_of(case.vignette, knowledge)
        best = max(shares, key=lambda name: shares[name], default="")
        inside = not case.outside and case.specialty in held
        read.append((case.specialty if inside else "", best, shares.get(best, 0.0)))
    seconds = (time.monotonic() - started) / max(1, len(read))
    own = [one for one in read if one[0]]
    other = [one for one in read if not one[0]]
    print(f"{given.cases}: {len(own)} cases of a known specialty, {len(other)} others, {1000 * seconds:.1f} ms a case")
    for least in THRESHOLDS:
        right = sum(truth == best and sure >= least for truth, best, sure in own)
        wrong = sum(truth != best and sure >= least for truth, best, sure in own)
        taken = sum(sure >= least for _, _, sure in other)
        n = max(1, len(own))
        doubt = len(own) - right - wrong
        print(
            f"sure {least}: right {right / n:.1%}, wrong {wrong / n:.1%}, in doubt {doubt / n:.1%};"
            f" of the others {taken} of {len(other)} taken for one"
        )


if __name__ == "__main__":
    main()
