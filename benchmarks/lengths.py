"""Memory of the bare engine by answers, when prompts have every length: `python benchmarks/lengths.py CHECKPOINT`.

    python benchmarks/lengths.py RUN/packed [--answers 3000] [--kept 64] [--one-length]

Eight answers of one to four tokens side by side, their prompts of 5 to 120 tokens, as short as can be so that thousands
take seconds. Prints resident memory and what the C library has given out (glibc), so that what is kept can be told from
what lies free. --kept is how many kernels of each kind the engine keeps: 5000 is OpenVINO's own way.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import time
from pathlib import Path
from typing import Any

SIDE_BY_SIDE = 8
FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class Heap(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def tell(answers: int, heap: Any) -> None:
    """One line."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    resident, found = pages * os.sysconf("SC_PAGE_SIZE"), heap()
    sizes = (f"{size / 1e6:>9.1f}" for size in (resident, found.uordblks, found.fordblks))
    print(f"{answers:>8}{''.join(sizes)}{time.process_time():>9.1f}", flush=True)


def main() -> None:
    """Ask, and tell ten times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="an OpenVINO checkpoint, such as RUN/packed")
    parser.add_argument("--answers", type=int, default=3000)
    parser.add_argument("--kept", type=int, help="kernels of each kind (default: the engine's own choice)")
    parser.add_argument("--one-length", action="store_true", help="prompts of 40 tokens and answers of 2, all of them")
    given = parser.parse_args()
    import numpy as np
    import openvino

    from rounds.engine import openvino as engine

    if given.kept is not None:
        engine.KERNELS = str(given.kept)
        if given.kept >= 1024:
            os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "1024"
    heap = ctypes.CDLL(None).mallinfo2
    heap.restype = Heap
    opened = engine.OpenVINO(given.checkpoint, settings=engine.Settings(batch=SIDE_BY_SIDE))
    pipe, genai, draw = opened._pipes[""], opened._genai, random.Random(1)
    print(f"{'answers':>8}{'RSS MB':>9}{'used':>9}{'free':>9}{'CPU s':>9}")
    done, asked, told, line = 0, 0, 0, []
    while done < given.answers:
        if done >= told:
            tell(done, heap)
            told += given.answers // 10
        while len(line) < SIDE_BY_SIDE:
            config = genai.GenerationConfig()
            config.max_new_tokens = 2 if given.one_length else draw.randint(1, 4)
            config.eos_token_id = opened.codec.eos_ids[0]
            length = 40 if given.one_length else draw.randint(5, 120)
            ids = np.array([[draw.randint(10, 1000) for _ in range(length)]], dtype=np.int64)
            line.append(pipe.add_request(asked, openvino.Tensor(ids), config))
            asked += 1
        pipe.step()
        going = []
        for handle in line:
            outputs = handle.read().values() if handle.can_read() else ()
            ended = any(one.finish_reason != genai.GenerationFinishReason.NONE for one in outputs)
            done += ended
            going += [] if ended else [handle]
        line = going
    tell(done, heap)
    for handle in line:
        handle.cancel()
    pipe.step()


if __name__ == "__main__":
    main()
