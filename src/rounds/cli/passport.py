"""`rounds passport ACTION`: show, sign, verify and renew the passport of a run, draw its page, make the key.

Left out on purpose: writing a first passport, which the run does after its exam.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.chain.passport import Passport
    from rounds.chain.passport_verify import Check

HELP = "Show, sign, verify and renew the passport of a run, or draw its page: what the served model is and rests on."

ACTIONS = {
    "show": "what the model is and what was shown about it",
    "verify": "compute every digest anew and check the signature: 0 whole, 1 a fault",
    "sign": "verify, then sign with the hospital's private key",
    "renew": "take in probe.json, budget.json, serving.toml and licences.toml written since; then sign anew",
    "page": "write passport.html",
    "key": "make a private key (DIR is its file, mode 0600) and FILE.pub",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    told = "; ".join(f"{name}: {line}" for name, line in ACTIONS.items())
    parser.add_argument("action", choices=tuple(ACTIONS), metavar="ACTION", help=told)
    parser.add_argument("place", type=Path, metavar="DIR", help="a run, or its served checkpoint; for key, a file")
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key to sign with (Ed25519, PEM, mode 0600)")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="public key the signature must be of")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where page writes (DIR/passport.html)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Do one thing; 1 when a check found a fault."""
    done = {"show": _show, "verify": _verify, "sign": _sign, "renew": _renew, "page": _page, "key": _key}
    return done[arguments.action](arguments)


def _show(arguments: argparse.Namespace) -> int:
    from rounds.chain.passport import NAME, Passport
    from rounds.chain.passport_verify import home_of
    from rounds.files import digest, read_json

    path = home_of(arguments.place) / NAME
    found = read_json(path, Passport)
    if arguments.json:
        print(found.model_dump_json(indent=1))
    else:
        print("\n".join(lines(found, digest(path))))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from rounds.chain.passport_verify import verify

    found = verify(arguments.place, arguments.public_key)
    _say(found, arguments.json)
    return 0 if found.whole else 1


def _sign(arguments: argparse.Namespace) -> int:
    from rounds.chain.passport import NAME
    from rounds.chain.passport_verify import home_of, verify
    from rounds.records import UserError
    from rounds.serve.signing import private_key, sign, signature_of

    if arguments.key is None:
        raise UserError("sign needs --key FILE, the hospital's private key; rounds passport key FILE makes one.")
    private_key(arguments.key)  # before the digests, which take long
    found = verify(arguments.place)
    if not found.whole:
        _say(found, arguments.json)
        return 1
    document = home_of(arguments.place) / NAME
    by = sign(document, arguments.key)
    written = signature_of(document)
    if arguments.json:
        print(json.dumps({"passport": found.passport, "signature": str(written), "key": by}))
    else:
        print(f"{written}\npassport {found.passport}\nkey      {by}")
    return 0


def _renew(arguments: argparse.Namespace) -> int:
    from rounds.chain.passport import NAME, renew, write_passport
    from rounds.chain.passport_verify import home_of, unexpected, verify
    from rounds.files import digest

    found = verify(arguments.place)
    if unexpected(found):
        _say(found, arguments.json)
        return 1
    path = home_of(arguments.place) / NAME
    write_passport(renew(path.parent), path)
    if arguments.json:
        print(json.dumps({"passport": digest(path), "before": found.passport}))
    else:
        print(f"{path}\npassport {digest(path)}")
    return 0


def _page(arguments: argparse.Namespace) -> int:
    from rounds.chain.passport_page import PAGE, write_page
    from rounds.chain.passport_verify import home_of, verify

    home = home_of(arguments.place)
    page = arguments.html or home / PAGE
    found = verify(arguments.place, arguments.public_key)
    write_page(home, found, page)
    print(json.dumps({"html": str(page), "whole": found.whole}) if arguments.json else page)
    return 0


def _key(arguments: argparse.Namespace) -> int:
    from rounds.serve.signing import PUBLIC, make_key

    by = make_key(arguments.place)
    public = f"{arguments.place}{PUBLIC}"
    print(json.dumps({"private": str(arguments.place), "public": public, "key": by}) if arguments.json else public)
    return 0


def _say(found: Check, as_json: bool) -> None:
    if as_json:
        print(found.model_dump_json(indent=1))
        return
    for fault in found.faults:
        print(f"fault: {fault}")
    print(f"{len(found.checked)} digests hold" + (f", {len(found.absent)} named are not here" if found.absent else ""))
    print(f"signature: {found.signature}")
    print(f"passport {found.passport}")


def lines(found: Passport, digest: str) -> list[str]:
    """A passport for a terminal, in plain ASCII signs."""
    from rounds.exam import words

    times = "time" if found.exam_opened == 1 else "times"
    told = [f"{found.banner}. Evidence: {found.evidence}; the exam was opened {found.exam_opened} {times}."]
    told += [f"passport    {digest}", f"checkpoint  {found.checkpoint}", f"recipe      {found.recipe}"]
    told.append(f"margin {words.points(found.margin, signed=False)} points: {found.why_margin}")
    for one in found.verdicts:
        smallest = "-" if one.minimum_detectable is None else words.points(one.minimum_detectable, signed=False)
        told.append(
            f"{one.after} against {one.before} ({one.arm}): {one.finding}, {words.points(one.difference)} points "
            f"({words.interval(one)}), {one.n} cases, smallest loss seen {smallest}"
        )
    for floor in found.floors:
        met = "met" if floor["met"] else "not met"
        told.append(f"floor {floor['name']}: {words.percent(floor['lower'])} of {words.percent(floor['floor'])}, {met}")
    for model, shares in found.error_modes.items():
        told += [f"{model}, {one.name}: {one.events} of {one.chances} ({one.standing})" for one in shares]
    told += [f"{one.part}: {one.what}: {one.licence} ({one.stated})" for one in found.licences]
    told += [f"{name}: {value}" for name, value in found.engine.items()]
    for name, table in (("safety", found.safety), ("budget", found.budget), ("serving", found.serving)):
        told.append(f"{name}: {', '.join(table) if table else 'not measured'}")
    return [line.replace("−", "-") for line in told]
