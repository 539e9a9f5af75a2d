"""How large the KV cache of the CPU engine may grow: so many blocks as memory allows and the requests can fill.

Left alone the engine lets its cache grow with the requests until the machine is out of memory; a fixed pool makes the
last requests wait instead. A pool takes memory only as far as it is written, but the engine writes it from end to end
before it takes a block again: sooner or later all of it. Left out on purpose: paging to disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from rounds.model import checkpoint
from rounds.model.tokenizer import read_object

BLOCK = 32
"""Tokens of one block, the size the CPU plugin has."""
FEWEST = 16
"""Blocks of the smallest pool: below it nothing of use can be answered."""
VALUE_BYTES = {"f32": 4, "f16": 2, "u8": 1}
SCALE_BYTES = 8
"""Scale and zero point, float32: 8 bits keep them for each channel of a block of keys and for each row of values."""
MEMORY, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def blocks(
    directory: Path, kv_cache: str, requests: int, context: int, gigabytes: float | None, pipelines: int = 1
) -> int:
    """Blocks of the pool of the model in `directory`: what `requests` of `context` tokens fill, or what memory holds.

    gigabytes: GiB the pools may take; None is half the memory that is free beside the weights, which the engine holds
    twice while it loads them. pipelines: how many share that memory, each with weights and a pool of its own.
    """
    beside = (free_memory() - (pipelines + 1) * checkpoint.bytes_of(directory)) / 2
    room = (beside if gigabytes is None else gigabytes * 2**30) / pipelines
    wanted = requests * -(-context // BLOCK)
    return max(FEWEST, min(wanted, int(room // (BLOCK * bytes_a_token(directory, kv_cache)))))


def bytes_a_token(directory: Path, kv_cache: str) -> float:
    """Bytes of keys and values of one token, all layers, from config.json."""
    config = read_object(directory / "config.json")
    heads = int(config["num_attention_heads"])
    width = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
    rows = int(config["num_hidden_layers"]) * int(config.get("num_key_value_heads") or heads)
    scales = SCALE_BYTES * (width / BLOCK + 1) if kv_cache == "u8" else 0.0
    return rows * (2 * width * VALUE_BYTES[kv_cache] + scales)


def free_memory() -> int:
    """Bytes this process may still take: what the kernel calls available, or less where its control group says so.

    https://docs.kernel.org/admin-guide/cgroup-v2.html: pages of files not used lately count as free.
    """
    try:
        told = dict(line.split(":", 1) for line in MEMORY.read_text(encoding="ascii").splitlines())
        free = 1024 * int(told["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        most = int((GROUP / "memory.max").read_text(encoding="ascii"))
        taken = int((GROUP / "memory.current").read_text(encoding="ascii"))
        pages = dict(line.split() for line in (GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return min(free, most - taken + int(pages["inactive_file"]))
    except (OSError, KeyError, ValueError):  # no control group, or one without a limit ("max")
        return free
