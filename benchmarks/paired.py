"""Do the statistics keep their promises, and at what cost? Prints what it measured; nothing is fetched.

    python benchmarks/paired.py [--quick]

Type I error of the non-inferiority test at its margin (exact enumeration, and simulation as a check of it), coverage
of Tango's interval (simulation), seconds for a million paired cases, seconds and peak memory of `rounds compare` on two
files of a million lines.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from rounds.exam.compare import compare_marks
from rounds.exam.marks import Ids, Table
from rounds.records import Answer, Grade
from rounds.stats import cluster, intervals, multiplicity, noninferior, paired
from rounds.stats.paired import Pairs

SEED = 20260101
SIZES = (110, 220, 440, 660, 880)
MARGINS = (0.02, 0.03, 0.05, 0.10)
DISCORDANCES = (0.05, 0.10, 0.20, 0.30)


def type_one() -> None:
    """Chance to call a loss of just the margin kept by the score test alone: as it is decided it can only be less."""
    found = {
        (n, margin, discordance): noninferior.noninferior_power(n, discordance, margin, -margin, rule="score")
        for n in SIZES
        for margin in MARGINS
        for discordance in DISCORDANCES
        if discordance > margin
    }
    worst = max(found, key=lambda key: found[key])
    over = [key for key, error in found.items() if error > 0.027]
    print(f"type I error of non-inferiority at the margin, one-sided .025, the score test alone, {len(found)} settings")
    print(
        f"  least {min(found.values()):.4f}, mean {np.mean(list(found.values())):.4f}, largest {found[worst]:.4f}",
        end="",
    )
    print(" at n {}, margin {}, discordance {}; above .027: {}".format(*worst, len(over)))
    for key in over:
        print("    n {}, margin {}, discordance {}: ".format(*key) + f"{found[key]:.4f}")


def sizes() -> None:
    """The same for more sizes, also where nearly every case changes: by either rule."""
    every = {
        (n, margin, discordance): noninferior.noninferior_power(n, discordance, margin, -margin, rule="score")
        for n in range(30, 1000, 7)
        for margin in MARGINS
        for discordance in sorted({margin, 0.05, 0.10, 0.20, 0.30, 0.50, 0.80, 0.999})
        if discordance >= margin
    }
    print("the same, every seventh n from 30 to 1,000, the score test alone:")
    _largest(every)
    # As it is decided can only be less; many tables a setting, so asked where the score test is not near enough alone.
    asked = [key for key, error in every.items() if key[0] <= 200 or error > 0.0265]
    print("the same, as it is decided, for n up to 200, above where the score test alone errs by more than .0265:")
    _largest({(n, m, d): noninferior.noninferior_power(n, d, m, -m) for n, m, d in asked})


def _largest(found: dict[tuple[int, float, float], float]) -> None:
    for name, within in (("n up to 200", range(201)), ("n above 200", range(201, 1000))):
        for kind, least, most in (("half the cases change or fewer", 0.0, 0.5), ("more than half", 0.5001, 1.0)):
            some = {key: e for key, e in found.items() if key[0] in within and least <= key[2] <= most}
            if not some:
                continue
            worst = max(some, key=lambda key: some[key])
            over = sum(error > 0.027 for error in some.values())
            print(f"  {name}, {kind}: largest {some[worst]:.4f} at {worst}; above .027: {over} of {len(some)}")


def simulated(draws: int) -> None:
    """The same by drawing tables, for three settings."""
    rng = np.random.default_rng(SEED)
    print(f"the same by simulation, {draws:,} tables each (standard error {(0.025 * 0.975 / draws) ** 0.5:.4f})")
    for n, margin, discordance in ((110, 0.05, 0.10), (440, 0.05, 0.10), (720, 0.02, 0.05)):
        lost, gained = (discordance + margin) / 2, (discordance - margin) / 2
        tables = Counter(map(tuple, rng.multinomial(n, [lost, gained, 1 - discordance], size=draws).tolist()))
        kept = sum(
            times
            for (b, c, same), times in tables.items()
            if noninferior.decided(Pairs(same, b, c, 0), margin) < noninferior.ALPHA
        )
        exact = noninferior.noninferior_power(n, discordance, margin, difference=-margin)
        print(f"  n {n}, margin {margin}, discordance {discordance}: {kept / draws:.4f} (exact {exact:.4f})")


def coverage(draws: int) -> None:
    """Share of drawn tables whose 95 % Tango interval holds the true difference."""
    rng = np.random.default_rng(SEED)
    found = {}
    for n in (30, 50, 110, 220, 440, 880):
        for lost, gained in ((0.05, 0.05), (0.10, 0.05), (0.05, 0.10), (0.10, 0.10), (0.20, 0.05), (0.15, 0.25)):
            shares = [lost, gained, 1 - lost - gained]
            tables = Counter(map(tuple, rng.multinomial(n, shares, size=draws).tolist()))
            held = 0
            for (b, c, same), times in tables.items():
                ends = intervals.tango(Pairs(same, b, c, 0))
                held += times * (ends.low <= gained - lost <= ends.high)
            found[n, lost, gained] = held / draws
    print(f"coverage of Tango's 95 % interval, {len(found)} settings, {draws:,} tables each, promised .93-.965")
    for n in sorted({key[0] for key in found}):
        here = {key: share for key, share in found.items() if key[0] == n}
        outside = [
            f"{share:.4f} at lost {key[1]}, gained {key[2]}"
            for key, share in here.items()
            if not 0.93 <= share <= 0.965
        ]
        print(f"  n {n}: {min(here.values()):.4f} to {max(here.values()):.4f}", "; ".join(["", *outside]))


def million() -> None:
    """Everything a comparison computes, on a million pairs already in memory."""
    rng = np.random.default_rng(SEED)
    before = rng.random(1_000_000) < 0.70
    after = np.where(rng.random(1_000_000) < 0.1, ~before, before)
    start = time.process_time()
    pairs = paired.count(before, after)
    _ = [paired.exact(pairs), paired.midp(pairs)]
    _ = [paired.asymptotic(pairs), paired.edwards(pairs), paired.half_yates(pairs)]
    _ = [
        method(pairs) for method in (intervals.tango, intervals.newcombe, intervals.bonett_price, intervals.agresti_min)
    ]
    _ = [noninferior.decided(pairs, 0.02), noninferior.cases_needed(pairs, 0.02)]
    noninferior.minimum_detectable(pairs, 0.01)
    tests = time.process_time() - start
    start = time.process_time()
    cluster.bootstrap(cluster.singles(pairs), seed=1)
    bootstrap = time.process_time() - start
    start = time.process_time()
    multiplicity.cochran_q(np.stack([before, after, before, after, before], axis=1))
    cochran = time.process_time() - start
    ids: Ids = {f"c{k:07d}": k for k in range(1_000_000)}
    tables = [_table(ids, marks) for marks in (before, after)]
    start = time.process_time()
    compare_marks(tables[0], tables[1], names=("a", "b"), margin=0.02, alpha=0.01)
    verdict = time.process_time() - start
    print("a million paired cases in memory, seconds of processor time:")
    print(f"  all tests and intervals {tests:.2f}, bootstrap of 10,000 {bootstrap:.2f}", end="")
    print(f", Cochran's Q of five models {cochran:.2f}, a verdict from two tables {verdict:.2f}")


def _table(ids: Ids, marks: np.ndarray) -> Table:
    n = len(marks)
    return Table(
        ids=ids,
        case=np.random.default_rng(1).permutation(n).astype(np.int32),
        correct=marks.astype(np.int8),
        share=marks.astype(np.float16),
        samples=np.ones(n, dtype=np.uint8),
        red_flags=np.full(n, -1, dtype=np.int8),
        columns={},
        known=frozenset(),
    )


def files(lines: int) -> None:
    """`rounds compare` on two files of so many lines, as its own process."""
    print(f"rounds compare on two files of {lines:,} lines, --by specialty,incidence:")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("plain", "grades"):
            paths = [Path(folder) / f"{kind}-{share}.jsonl" for share in (0.70, 0.71)]
            for path, share in zip(paths, (0.70, 0.71), strict=True):
                _write(path, kind, lines, share)
            size = sum(path.stat().st_size for path in paths)
            command = [sys.executable, "-m", "rounds.cli.main", "compare", *map(str, paths), "--margin", "0.02"]
            start = time.perf_counter()
            with subprocess.Popen([*command, "--by", "specialty,incidence"], stdout=subprocess.DEVNULL) as child:
                _, status, used = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            wall = time.perf_counter() - start
            cpu = used.ru_utime + used.ru_stime
            print(
                f"  {kind}: {size / 1e6:,.0f} MB read, {wall:.0f} s ({cpu:.0f} s of processor time), "
                f"peak {used.ru_maxrss / 1024:,.0f} MB, exit code {child.returncode}"
            )
            for path in paths:
                path.unlink()


def _write(path: Path, kind: str, lines: int, share: float) -> None:
    luck = random.Random(share)
    order = list(range(lines))
    luck.shuffle(order)
    specialties = ("surgery", "neurology", "paediatrics", "gynaecology", "internal medicine")
    with path.open("w", encoding="utf-8") as out:
        for k in order:
            name, right = f"case-{k:07d}", luck.random() < share
            groups = {"specialty": specialties[k % 5], "incidence": ("rare", "frequent")[k % 2]}
            if kind == "plain":
                out.write(json.dumps({"case_id": name, "correct": right, **groups}) + "\n")
                continue
            answer = Answer(case_id=name, diagnoses=("pulmonary embolism", "pneumonia", "pleurisy"))
            grade = Grade(case_id=name, answer=answer, correct=right, rank=1 if right else None, groups=groups)
            out.write(grade.model_dump_json() + "\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws and lines")
    less = 10 if parser.parse_args().quick else 1
    # First, as a child's peak counts from what its parent held when it was started.
    files(1_000_000 // less)
    type_one()
    sizes()
    simulated(200_000 // less)
    coverage(50_000 // less)
    million()


if __name__ == "__main__":
    main()
