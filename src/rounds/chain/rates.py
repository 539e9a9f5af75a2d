"""What this machine does in a second: bytes read from memory, numbers multiplied, joules spent.

Measured with numpy alone, on as many threads as are to be used. Left out on purpose: GPUs, whose rates are stated.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

BLOCK = 128 * 2**20
"""Bytes each thread reads: several times any cache."""
SIDE = 1024
"""Side of the square matrices that are multiplied."""
ROUNDS = 3
POWERCAP, PROCESSORS = Path("/sys/class/powercap"), Path("/proc/cpuinfo")


def bandwidth(threads: int) -> float:
    """Bytes a second that `threads` threads read from memory together, the best of three passes.

    The smallest of int8 numbers is sought: of numpy's reductions the one that keeps up best with the memory.
    """
    blocks = [np.ones(BLOCK, np.int8) for _ in range(threads)]
    return max(_seconds(threads, lambda i: blocks[i].min(), BLOCK) for _ in range(ROUNDS))


def multiplied(threads: int) -> float:
    """Floating-point operations a second in float32 that `threads` threads do together, the best of three passes.

    One product a thread. Where numpy's BLAS has threads of its own they are those of OMP_NUM_THREADS.
    """
    matrices = [np.ones((SIDE, SIDE), np.float32) for _ in range(threads)]
    return max(_seconds(threads, lambda i: matrices[i] @ matrices[i], 2 * SIDE**3) for _ in range(ROUNDS))


def _seconds(threads: int, work: Callable[[int], object], amount: int) -> float:
    """`amount` of work a thread, over the time all take together."""
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(work, range(threads)))
        return threads * amount / (time.perf_counter() - started)


def joules() -> float | None:
    """Energy the processor packages have counted, joules; None where the machine does not tell (RAPL, root only).

    https://docs.kernel.org/power/powercap/powercap.html
    """
    packages = [path for path in POWERCAP.glob("intel-rapl:*") if path.name.count(":") == 1]
    try:
        return sum(int((path / "energy_uj").read_text()) for path in packages) / 1e6 if packages else None
    except (OSError, ValueError):
        return None


def spent(before: float | None, after: float | None) -> float | None:
    """Joules between two readings; None where none were told, or a counter began anew in between."""
    return after - before if before is not None and after is not None and after >= before else None


def processor() -> str:
    """Name of the processor and how many cores this process may use."""
    try:
        lines = PROCESSORS.read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        name = ""
    return f"{name or platform.machine()}, {len(os.sched_getaffinity(0))} cores"
