"""Distillation and its two controls again with other training seeds: did reasoning earn its tokens, or the draw?

    python benchmarks/seeds.py RUN_DIR --seeds 2,3 [--out DIR]

Base, teacher, traces and exam are those of the finished run (seed of its recipe, shown too). A seed decides the order
of the lessons and where strange words stand. Two stages run side by side; what is there already is not made again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rounds.chain.prepare import read_cases
from rounds.chain.run import CONTROLS, RECIPE, stages
from rounds.chain.stage import fresh, make
from rounds.exam.compare import Comparison, compare_family
from rounds.exam.examine import read
from rounds.exam.figures import outside_of
from rounds.exam.marks import Mark, from_grades
from rounds.recipe import Recipe
from rounds.recipe import read as read_recipe

GIVEN = ("cases", "tokenizer", "base", "teacher", "traces")
"""Taken from the run as they are."""
TAUGHT = ("distilled", *CONTROLS)


def main() -> None:
    """Make what is missing, then print each seed and the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", default="2,3")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", metavar="MODEL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    run = given.run.resolve()
    chosen = read_recipe(str(run / RECIPE))
    seeds = [int(seed) for seed in given.seeds.split(",")]
    places = {seed: (given.out or Path(f"{run}-seeds")) / str(seed) for seed in seeds}
    if given.one:
        teach(chosen.model_copy(update={"seed": seeds[0]}), places[seeds[0]], given.one)
        return
    for place in places.values():
        share(run, place)
    jobs = [(seed, model) for seed in seeds for model in TAUGHT]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: alone(run, places[job[0]].parent, *job), jobs))
    show(chosen, {chosen.seed: run, **places})


def share(run: Path, place: Path) -> None:
    """A run's directory for one seed, with links to what it shares."""
    place.mkdir(parents=True, exist_ok=True)
    for name in GIVEN:
        if not (place / name).exists():
            (place / name).symlink_to(run / name)


def alone(run: Path, out: Path, seed: int, model: str) -> None:
    """One model in a process of its own, on one thread."""
    command = [sys.executable, __file__, str(run), "--seeds", str(seed), "--out", str(out), "--one", model]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})


def teach(chosen: Recipe, place: Path, model: str) -> None:
    """Train one model and let it sit the exam."""
    planned = stages(chosen)
    for name in (model, f"grades/{model}"):
        if fresh(place, planned[name]) is None:
            make(place, planned[name])


def show(chosen: Recipe, places: dict[int, Path]) -> None:
    """A row a seed and model, the distilled student against base and controls, and medians."""
    cases = read_cases(next(iter(places.values())) / "cases", "exam")
    outside = outside_of(cases)
    base = marks_of(next(iter(places.values())), "base", outside)
    differences: dict[str, list[float]] = {}
    for seed, place in places.items():
        marks = {name: marks_of(place, name, outside) for name in TAUGHT} | {"base": base}
        for name in TAUGHT:
            print(f"seed {seed}  {name:<20} {rate(marks[name]):.4f}")
        family = [Comparison(name, "distilled", marks[name], marks["distilled"]) for name in ("base", *CONTROLS)]
        rules = chosen.compare
        for verdict in compare_family(family, margin=rules.margin, alpha=rules.alpha):
            low, high = verdict.tango.low, verdict.tango.high
            print(
                f"seed {seed}  {verdict.before} -> distilled, {verdict.arm}: {verdict.finding}, "
                f"{100 * verdict.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}), p {verdict.p_exact:.2g}"
            )
            differences.setdefault(f"{verdict.before} -> distilled, {verdict.arm}", []).append(verdict.difference)
    for name, found in differences.items():
        print(f"median of {len(found)} seeds  {name}: {100 * statistics.median(found):+.1f}")


def marks_of(place: Path, model: str, outside: set[str]) -> list[Mark]:
    """Marks of one model on the exam's cases inside the knowledge base."""
    return from_grades(one for one in read(place / "grades" / model).grades if one.case_id not in outside)


def rate(marks: list[Mark]) -> float:
    """Share of cases whose right diagnosis is among the five."""
    return statistics.mean(mark.correct is True for mark in marks)


if __name__ == "__main__":
    main()
