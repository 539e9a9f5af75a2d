"""`rounds audit`: look into the audit log of a server, compute its chain anew, and sign where it stands.

Needs no model and no server. Left out on purpose: removing rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.serve.audit import Audit, Row

HELP = "Verify the chain of a server's audit log, show its last rows, or sign its head."

BROKEN = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("what", choices=("verify", "show", "head"), help="what to do")
    parser.add_argument("log", metavar="LOG", help="a run, an audit.sqlite, or a postgresql:// URL")
    parser.add_argument("--newest", type=int, default=20, metavar="N", help="show: how many rows (default %(default)s)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="head: private Ed25519 key in PEM that signs it")
    parser.add_argument("--head", type=Path, metavar="FILE", help="verify: a signed head the log must still hold")
    parser.add_argument("--public", type=Path, metavar="FILE", help="verify: public key in PEM of the signed head")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """0 done, 1 the chain is broken or does not hold the signed head."""
    from rounds.records import UserError
    from rounds.serve.audit import Unaudited
    from rounds.serve.audit_open import open_audit

    if (arguments.head is None) != (arguments.public is None):
        raise UserError("a signed head is checked with its public key; give both --head and --public.")
    if not 1 <= arguments.newest <= 100_000:
        raise UserError(f"--newest is {arguments.newest}; give 1 to 100000.")
    audit = open_audit(arguments.log, existing=True)
    try:
        return {"verify": _verify, "show": _show, "head": _head}[arguments.what](audit, arguments)
    except Unaudited as error:
        raise UserError(f"{audit.store.place}: {error}") from error
    finally:
        audit.close()


def _verify(audit: Audit, arguments: argparse.Namespace) -> int:
    from rounds.serve.audit_head import check

    found = audit.verify()
    against = check(audit, arguments.head, arguments.public) if arguments.head else ""
    if found.whole and against:
        found = found.model_copy(update={"whole": False, "fault": against})
    if arguments.json:
        print(found.model_dump_json())
    elif found.whole:
        print(f"whole: {found.head.rows} rows, head {found.head.hash}")
        if arguments.head:
            print(f"holds the signed head of {arguments.head}")
        if found.unanswered:
            print(f"{found.unanswered} requests have no result: under way now, or cut off when the server died")
        if found.backwards:
            print(f"{found.backwards} times the clock was put back; the order of rows is that of their numbers")
    else:
        print(f"broken: {found.fault}")
        print(f"sound up to row {found.head.rows}" if found.head.rows else "no row is sound")
    return 0 if found.whole else BROKEN


def _show(audit: Audit, arguments: argparse.Namespace) -> int:
    rows = list(reversed(audit.rows(arguments.newest)))
    for row in rows:
        print(row.model_dump_json() if arguments.json else _line(row))
    return 0


def _line(row: Row) -> str:
    what = " ".join(part for part in (row.finish, row.template, row.note) if part)
    who = f"{row.kind:<8}  {row.door or '-':<8}  {row.caller or '-':<16}"
    return f"{row.sequence:>8}  {row.time[:19]}Z  {who}  {what}".rstrip()


def _head(audit: Audit, arguments: argparse.Namespace) -> int:
    from rounds.records import UserError
    from rounds.serve.audit_head import sign

    found = audit.verify()  # a head of a broken chain must not be signed
    if not found.whole:
        raise UserError(f"{audit.store.place}: the chain is broken and is not signed: {found.fault}")
    if arguments.key is None:
        print(found.head.model_dump_json() if arguments.json else f"{found.head.rows} rows, head {found.head.hash}")
    else:
        print(json.dumps(sign(found.head, arguments.key).model_dump()))
    return 0
