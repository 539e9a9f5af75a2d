"""The times `rounds plan` tells for a finished run, against the seconds its lineage holds.

    python benchmarks/hours.py RUN_DIR [--rate N --bandwidth SIZE]

The rates are those of all cores of the machine the run was made on; without them this machine's are measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rounds import files, recipe
from rounds.chain.hours import MEASURED, Rates, measured, timed
from rounds.chain.plan import machine_memory, plan
from rounds.chain.stage import cores


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rate")
    parser.add_argument("--bandwidth")
    given = parser.parse_args()
    here = measured()
    if given.rate is not None and given.bandwidth is not None:
        sizes = (recipe.bytes_of(given.rate, "--rate"), recipe.bytes_of(given.bandwidth, "--bandwidth"))
        here = Rates(*map(float, sizes), cores(), MEASURED)
    print(f"{here.operations / 1e9:.0f} billion operations and {here.bandwidth / 1e9:.1f} GB a second")
    chosen = recipe.read(str(given.run / "recipe.toml"))
    found = timed(plan(chosen, machine_memory()), chosen, here, here)
    told = took = 0.0
    for need in found.stages:
        step = files.lineage(given.run / need.stage)
        if step is None or need.seconds is None:
            continue
        told, took = told + need.seconds, took + step.seconds
        ratio = need.seconds / step.seconds
        print(f"{need.stage:<28} told {need.seconds:7.1f} s  took {step.seconds:7.1f} s  {ratio:.2f}")
    print(f"{'all stages':<28} told {told:7.1f} s  took {took:7.1f} s  {told / took:.2f}")


if __name__ == "__main__":
    main()
