"""`rounds keys`: make, list and remove the keys of a server's file.

Left out on purpose: showing a key again, which nobody can.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.serve.keys import Key, Scope

HELP = "Make, list and remove the keys with which others may ask a server."

SCOPES: tuple[Scope, ...] = ("diagnose", "records", "audit", "admin")
"""As `rounds.serve.keys` has them; here so that help needs nothing else."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the file of keys; made with the first")
    parser.add_argument("--new", metavar="NAME", help="make a key of this name and print it, once")
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=["diagnose"], help="what the new key may do")
    parser.add_argument("--until", type=date.fromisoformat, metavar="YYYY-MM-DD", help="the new key's last day")
    parser.add_argument("--remove", metavar="NAME", help="take a key out; it stops at once")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """0 done."""
    from rounds.records import UserError
    from rounds.serve.keys import read_keys

    if arguments.new and arguments.remove:
        raise UserError("one thing at a time; give --new or --remove.")
    keys = read_keys(arguments.file) if arguments.file.exists() or not arguments.new else ()
    if arguments.new:
        return _new(arguments, keys)
    if arguments.remove:
        return _remove(arguments, keys)
    for key in keys:
        until = f"until {key.until}" if key.until else "no end"
        line = f"{key.name:<24}  {','.join(key.scopes):<22}  {until}"
        print(key.model_dump_json(exclude={"sha256"}) if arguments.json else line)
    return 0


def _new(arguments: argparse.Namespace, keys: tuple[Key, ...]) -> int:
    from pydantic import ValidationError

    from rounds.records import UserError
    from rounds.serve.keys import new_key, write_keys

    if any(key.name == arguments.new for key in keys):
        raise UserError(
            f"{arguments.file}: has a key '{arguments.new}' already; remove it first, or choose another name."
        )
    try:
        token, key = new_key(arguments.new, tuple(dict.fromkeys(arguments.scopes)), arguments.until)
    except ValidationError as error:
        raise UserError(
            f"'{arguments.new}' is no name for a key; use letters, digits, and . _ @ - between them."
        ) from error
    write_keys(arguments.file, (*keys, key))
    print(json.dumps({"name": key.name, "key": token}) if arguments.json else token)
    return 0


def _remove(arguments: argparse.Namespace, keys: tuple[Key, ...]) -> int:
    from rounds.records import UserError
    from rounds.serve.keys import write_keys

    left = tuple(key for key in keys if key.name != arguments.remove)
    if len(left) == len(keys):
        raise UserError(f"{arguments.file}: has no key '{arguments.remove}'; rounds keys {arguments.file} lists them.")
    write_keys(arguments.file, left)
    return 0
