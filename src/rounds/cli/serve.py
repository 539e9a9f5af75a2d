"""`rounds serve`: open a run or a checkpoint and serve it until told to stop.

To this machine alone, or to others with keys and TLS. Left out on purpose: becoming a daemon, which the machine's
service manager does (a unit for systemd is in docs/serve.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.records import Responder
    from rounds.serve.app import Doors
    from rounds.serve.feedback import Keep
    from rounds.serve.fhir_server import FhirServer
    from rounds.serve.listen import Tls
    from rounds.serve.operate_drift import Watch
    from rounds.serve.specialists import Specialists
    from rounds.serve.standing import Served

HELP = "Serve a model: OpenAI-compatible API, clinician's page, CDS Hooks, audit log; to this machine unless guarded."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("place", type=Path, metavar="RUN_DIR|CHECKPOINT", help="a run (runs/tiny) or a checkpoint")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="engine threads; 0 (default): the engine chooses")
    parser.add_argument("--unproven", action="store_true", help="open a checkpoint no passport speaks for")
    parser.add_argument("--no-specialists", action="store_true", help="leave out the adapters of rounds specialise")
    parser.add_argument("--at-once", type=int, default=8, help="answers written side by side (default %(default)s)")
    parser.add_argument("--waiting", type=int, default=8, help="requests that may wait (default %(default)s)")
    parser.add_argument(
        "--audit", metavar="PATH|URL", help="the audit log (default audit.sqlite beside what is served)"
    )
    parser.add_argument("--keys", type=Path, metavar="FILE", help="who may ask: a file of rounds keys")
    parser.add_argument("--oidc", type=Path, metavar="FILE", help="sign in at the hospital's issuer: a TOML file")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain in PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="private key of the certificate in PEM")
    parser.add_argument("--behind-proxy", action="store_true", help="a proxy before this server ends TLS")
    parser.add_argument(
        "--public-name", action="append", default=[], metavar="HOST", help="name by which clients call; may be repeated"
    )
    parser.add_argument("--cds-issuers", type=Path, metavar="FILE", help="who may send CDS Hooks calls with tokens")
    parser.add_argument("--fhir", metavar="URL", help="FHIR R4 server from which a clinician may pick a patient")
    parser.add_argument("--fhir-token", type=Path, metavar="FILE", help="bearer token for that server, alone in a file")
    parser.add_argument("--store", type=Path, metavar="DIR", help="keep consented judgements there, encrypted")
    parser.add_argument("--store-key", type=Path, metavar="FILE", help="key of the store; made when it is not there")
    parser.add_argument("--keep-days", type=int, default=30, help="days a judgement is kept (default %(default)s)")
    parser.add_argument("--log-requests", action="store_true", help="a line of JSON on stderr for each request")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="demand a passport signed by this key's owner")
    parser.add_argument("--shadow", action="store_true", help="compare answers with the clinician's own, show none")
    parser.add_argument("--json", action="store_true", help="print where and what is served as one line of JSON")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 0 after a clean stop."""
    from rounds.records import Sampling, UserError
    from rounds.serve import logs
    from rounds.serve.app import create_app
    from rounds.serve.audit_open import FILE, open_audit
    from rounds.serve.chosen import budget_of
    from rounds.serve.listen import bind, serve_until_stopped, url_of
    from rounds.serve.operate import Operation
    from rounds.serve.standing import find
    from rounds.serve.worker import step_back

    for name, number in (("--at-once", arguments.at_once), ("--waiting", arguments.waiting)):
        if not 1 <= number <= 1024:
            raise UserError(f"{name} is {number}; give 1 to 1024.")
    # Cheap faults first: a model takes long to load.
    tls = _tls(arguments)
    served = find(arguments.place, arguments.unproven, arguments.public_key)
    special = _specialists(arguments, served)
    doors = _doors(arguments, tls is not None)
    keep = _keep(arguments)
    fhir = _fhir(arguments)
    logs.configure(arguments.log_requests)
    listening = bind(arguments.host, arguments.port, doors.keys is not None and doors.secure)
    try:
        audit = open_audit(arguments.audit or str(served.home / FILE))
        examine = served.examine
        # The engine fills its KV cache from end to end before it uses a place again: no larger than can be used.
        with ThreadPoolExecutor(1, initializer=step_back) as aside:
            responder = aside.submit(_open, served, special, arguments.threads, arguments.at_once).result()
        sampling = Sampling(
            temperature=examine.temperature,
            top_p=examine.top_p,
            max_tokens=examine.max_tokens,
            thinking_budget=budget_of(served.papers, served.standing.checkpoint),
        )
        app = create_app(
            responder,
            name=served.name,
            standing=served.standing,
            template=examine.template,
            sampling=sampling,
            audit=audit,
            home=served.papers,
            operation=Operation(served.home, lambda: _watch(served)),
            keep=keep,
            doors=doors,
            shadow=arguments.shadow,
            most_waiting=arguments.waiting,
            at_once=arguments.at_once,
            log_requests=arguments.log_requests,
            fhir=fhir,
            specialists=special.offered,
        )
        _say(served, special, url_of(listening, tls is not None), arguments.json)
        serve_until_stopped(app, listening, tls=tls)
    finally:
        listening.close()
    return 0


def _watch(served: Served) -> Watch | None:
    from rounds.serve.operate_drift import watch  # brings scipy: not before it first looks
    from rounds.serve.standing import PACKED

    return watch(served.home, served.papers, PACKED)


def _specialists(arguments: argparse.Namespace, served: Served) -> Specialists:
    """The adapters that answer beside the model; none in shadow mode, which compares the model alone."""
    from rounds.serve.specialists import NONE, specialists

    if arguments.no_specialists or arguments.shadow:
        return NONE
    return specialists(served, arguments.unproven)


def _open(served: Served, special: Specialists, threads: int, at_once: int) -> Responder:
    """The engine of the model, and beside it one over the checkpoint that the specialists were trained on."""
    from rounds.engine import choose
    from rounds.serve.specialists import Together

    adapters = {one.name: one.adapter for one in special.offered}
    if not adapters:
        return choose.open_responder(served.checkpoint, engine="auto", threads=threads, at_once=at_once)
    shared = 1 + len(adapters)
    model = choose.open_directory(served.checkpoint, "auto", threads, at_once=at_once, pipelines=shared)
    beside = choose.open_directory(
        special.start, "auto", threads, at_once=at_once, adapters=adapters, pipelines=shared, bare=False
    )
    return Together(model, beside)


def _say(served: Served, special: Specialists, url: str, as_json: bool) -> None:
    for sentence in special.refused:
        print(sentence, file=sys.stderr)
    if as_json:
        offered = {f"{served.name}:{one.name}": one.standing.model_dump() for one in special.offered}
        more = {"specialists": offered} if offered else {}
        print(json.dumps({"url": url, "model": served.name, **served.standing.model_dump(), **more}), flush=True)
    else:
        print(f"{served.standing.banner}.", file=sys.stderr)
        for one in special.offered:
            print(f"{served.name}:{one.name} answers too. {one.standing.banner}.", file=sys.stderr)
        print(f"{served.name} is served at {url} (page) and {url}/v1 (API); Ctrl-C stops.", flush=True)


def _tls(arguments: argparse.Namespace) -> Tls | None:
    from rounds.records import UserError
    from rounds.serve.listen import Tls

    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        raise UserError("TLS needs both halves; give --tls-cert and --tls-key.")
    if arguments.tls_cert is None:
        return None
    if arguments.behind_proxy:
        raise UserError("TLS ends here or at the proxy; give --tls-cert with --tls-key, or --behind-proxy.")
    tls = Tls(arguments.tls_cert, arguments.tls_key)
    tls.check()
    return tls


def _doors(arguments: argparse.Namespace, tls: bool) -> Doors:
    """Who may come in. Whoever can be reached from elsewhere needs keys, HTTPS, and a name to be called by."""
    from rounds.records import UserError
    from rounds.serve.app import HOSTS, Doors
    from rounds.serve.jwt import read_issuers
    from rounds.serve.keys import Keys
    from rounds.serve.listen import LOOPBACK
    from rounds.serve.oidc import read_oidc

    secure = tls or arguments.behind_proxy
    reached = arguments.behind_proxy or bool(arguments.public_name) or arguments.host not in LOOPBACK
    keys = Keys(arguments.keys) if arguments.keys else None
    if (arguments.behind_proxy or arguments.public_name) and keys is None:
        raise UserError("a server that others reach needs to know them; make keys with rounds keys, and give --keys.")
    named = {name.lower().rstrip(".") for name in arguments.public_name}
    if reached and secure and not named and arguments.host in ("0.0.0.0", "::", *LOOPBACK):
        raise UserError("clients call by a name that must be known here; give --public-name, such as ward.example.org.")
    own = frozenset() if arguments.host in ("0.0.0.0", "::") else frozenset({arguments.host})
    issuers = read_issuers(arguments.cds_issuers) if arguments.cds_issuers else None
    if arguments.oidc is not None and keys is None:
        raise UserError(
            "people sign in at the issuer beside keys for programs; make one with rounds keys, give --keys."
        )
    oidc = read_oidc(arguments.oidc) if arguments.oidc is not None else None
    return Doors(keys, HOSTS | own | named, secure, issuers, oidc)


def _fhir(arguments: argparse.Namespace) -> FhirServer | None:
    from rounds.records import UserError
    from rounds.serve.fhir_server import FhirServer

    if arguments.fhir is None:
        if arguments.fhir_token is not None:
            raise UserError("a token opens one FHIR server; give --fhir with --fhir-token.")
        return None
    return FhirServer(arguments.fhir, arguments.fhir_token)


def _keep(arguments: argparse.Namespace) -> Keep | None:
    from rounds.records import UserError
    from rounds.serve.store import Store

    if (arguments.store is None) != (arguments.store_key is None):
        raise UserError("an encrypted store needs a place and a key; give --store and --store-key.")
    if arguments.store is None:
        return None
    store = Store(arguments.store, arguments.store_key, arguments.keep_days)
    return lambda judgement: store.put("feedback", judgement.model_dump_json())
