"""`rounds serve`: open a run or a checkpoint and serve it on this machine until told to stop.

Left out on purpose: other hosts than this one, which need keys and TLS first.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "Serve a model on this machine: an OpenAI-compatible API and a page where a case is typed."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("place", type=Path, metavar="RUN_DIR|CHECKPOINT", help="a run (runs/tiny) or a checkpoint")
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1; 0 takes a free one (default 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; only this machine's are accepted")
    parser.add_argument("--threads", type=int, default=0, help="engine threads; 0 lets the engine choose (default)")
    parser.add_argument("--unproven", action="store_true", help="open a checkpoint no passport speaks for")
    parser.add_argument("--json", action="store_true", help="print where and what is served as one line of JSON")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 0 after a clean stop."""
    from rounds.engine.choose import open_responder
    from rounds.records import Sampling
    from rounds.serve.app import bind, create_app, serve_until_stopped, url_of
    from rounds.serve.standing import find

    # Cheap faults first: a model takes long to load.
    served = find(arguments.place, arguments.unproven)
    listening = bind(arguments.host, arguments.port)
    try:
        examine = served.examine
        responder = open_responder(served.checkpoint, engine="auto", threads=arguments.threads)
        sampling = Sampling(temperature=examine.temperature, top_p=examine.top_p, max_tokens=examine.max_tokens)
        app = create_app(
            responder, name=served.name, standing=served.standing, template=examine.template, sampling=sampling
        )
        url = url_of(listening)
        if arguments.json:
            print(json.dumps({"url": url, "model": served.name, **served.standing.model_dump()}), flush=True)
        else:
            print(f"{served.standing.banner}.", file=sys.stderr)
            print(f"{served.name} is served at {url} (page) and {url}/v1 (API); Ctrl-C stops.", flush=True)
        serve_until_stopped(app, listening)
    finally:
        listening.close()
    return 0
