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
STACK, SIDE = 512, 64
"""Square matrices that are multiplied in one call, and their side."""
ROUNDS = 3
POWERCAP, PROCESSORS = Path("/sys/class/powercap"), Path("/proc/cpuinfo")


def bandwidth(threads: int) -> float:
    """Bytes a second that `threads` threads read from memory side by side, the best of three passes.

    Too high where other work keeps them from running at the same moment: each then has the memory to itself. The
    smallest of int8 numbers is sought: of numpy's reductions the one that keeps up best with the memory.
    """
    blocks = [np.ones(BLOCK, np.int8) for _ in range(threads)]
    return _rate(threads, lambda i: blocks[i].min(), BLOCK)


def multiplied(threads: int) -> float:
    """Floating-point operations a second in float32 that `threads` threads do side by side, the best of three passes.

    Of products too small for numpy's BLAS to share them out among threads of its own.
    """
    stacks = [np.ones((STACK, SIDE, SIDE), np.float32) for _ in range(threads)]
    return _rate(threads, lambda i: stacks[i] @ stacks[i], 2 * STACK * SIDE**3)


def _rate(threads: int, work: Callable[[int], object], amount: int) -> float:
    """`amount` of work a thread over the time each really ran: other work on its core does not count."""

    def rate(i: int) -> float:
        started = time.thread_time()
        work(i)
        return amount / (time.thread_time() - started)

    with ThreadPoolExecutor(threads) as pool:
        return max(sum(pool.map(rate, range(threads))) for _ in range(ROUNDS))


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
