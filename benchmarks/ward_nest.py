"""A process that has imported what `rounds serve` imports, and forks a server for each line it reads.

    echo '["serve", "runs/tiny", "--unproven", "--port", "0", "--json"]' | python benchmarks/ward_nest.py

Most of the start of a server is imports and the reading of shipped files: with them done once, a benchmark can kill a
thousand servers. What is forked is the command `rounds` itself: it opens its audit log, its engine and its threads
after the fork. A line is a JSON list of arguments; the child prints {"pid": N}, then what the command prints. Nothing
is forked once a thread runs here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading


def warm() -> None:
    """Import, read what is shipped and never changes (knowledge, templates of the pages), and start nothing."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # or numpy and scipy start threads; the engine has its own
    from rounds.engine import telemetry

    telemetry.silence()
    import fastapi.exceptions
    import fastapi.responses  # noqa: F401
    import hypercorn.asyncio  # noqa: F401
    import numpy as np  # noqa: F401
    import openvino_genai  # noqa: F401

    import rounds.cli.main
    import rounds.cli.serve
    import rounds.engine.openvino
    import rounds.serve.app
    import rounds.serve.operate_drift  # noqa: F401
    from rounds.knowledge.base import load
    from rounds.serve.views import Pages

    load()
    Pages()


def main() -> None:
    """Fork until the input ends."""
    warm()
    assert threading.active_count() == 1, "an import started a thread: nothing may be forked"
    native = len(os.listdir("/proc/self/task"))
    assert native == 1, f"imports started {native - 1} threads of their own: nothing may be forked"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # killed servers leave no zombies
    for line in sys.stdin:
        if os.fork():
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        print(json.dumps({"pid": os.getpid()}), flush=True)
        from rounds.cli.main import main as rounds

        os._exit(rounds(json.loads(line)))


if __name__ == "__main__":
    main()
