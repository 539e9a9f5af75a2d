"""`rounds operate ACTION PLACE`: stop a model, start it, put it in service, go back, and look how it fares.

Left out on purpose: restarting servers, which the service manager of the machine does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.serve.operate_drift import Look
    from rounds.serve.operate_shadow import Summary

HELP = "Operate a served model: kill switch, releases and the way back, incidents, shadow mode, drift."

ACTIONS = {
    "status": "whether it is stopped, what is in service, what was recorded",
    "stop": "the kill switch: every server of this run refuses from now on, also answers under way",
    "start": "take the switch away",
    "release": "keep the packed checkpoint with its papers and put it in service",
    "rollback": "put the release before it, or --to, in service again",
    "incident": "write an incident into the audit log",
    "agreement": "how far the model agreed with the clinicians in shadow mode",
    "drift": "hold what was asked and answered against the exam: 0 nothing shown, 1 an alarm in the last window",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    told = "; ".join(f"{name}: {line}" for name, line in ACTIONS.items())
    parser.add_argument("action", choices=tuple(ACTIONS), metavar="ACTION", help=told)
    parser.add_argument("place", type=Path, metavar="RUN_DIR|CHECKPOINT", help="what rounds serve was given")
    parser.add_argument("--why", default="", help="reason, without a patient's data: it goes into the audit log")
    parser.add_argument("--to", default="", metavar="NAME", help="release to go back to, or the start of its name")
    parser.add_argument("--unproven", action="store_true", help="release a checkpoint whose exam was not passed")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="demand a passport signed by this key's owner")
    parser.add_argument("--audit", metavar="FILE|URL", help="the audit log (audit.sqlite beside what is served)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Do one thing; 1 for an alarm of drift in the last window."""
    from rounds.serve.operate import home_of

    home = home_of(arguments.place)
    done: dict[str, Callable[[argparse.Namespace, Path], int]] = {
        "status": _status,
        "stop": _stop,
        "start": _start,
        "release": _release,
        "rollback": _rollback,
        "incident": _incident,
        "agreement": _agreement,
        "drift": _drift,
    }
    return done[arguments.action](arguments, home)


def _log(arguments: argparse.Namespace, home: Path, what: str, why: str) -> None:
    from rounds.serve.audit_open import open_audit
    from rounds.serve.operate import report

    audit = open_audit(arguments.audit or str(home))
    try:
        report(audit, what, why)
    finally:
        audit.close()


def _tell(arguments: argparse.Namespace, told: dict[str, object], *lines: str) -> int:
    print(json.dumps(told, indent=1) if arguments.json else "\n".join(lines))
    return 0


def _status(arguments: argparse.Namespace, home: Path) -> int:
    from rounds.serve.operate import stopped
    from rounds.serve.operate_drift import LOG as INPUTS
    from rounds.serve.operate_release import in_service, releases
    from rounds.serve.operate_shadow import LOG as SHADOW

    off, name = stopped(home), in_service(home)
    counts = {"answers": _lines(home / INPUTS), "shadow": _lines(home / SHADOW)}
    told: dict[str, object] = {
        "stopped": off.model_dump() if off else None,
        "in_service": name or None,
        "releases": [one.model_dump() for one in releases(home)],
        **counts,
    }
    said = f"stopped {off.time} by {off.by}: {off.why}" if off else "not stopped"
    kept = [f"release {one.name}, {one.standing}, {one.time} by {one.by}" for one in releases(home)]
    serving = f"in service: {name or 'the packed checkpoint of the run itself'}"
    recorded = f"{counts['answers']} answers watched, {counts['shadow']} recorded in shadow"
    return _tell(arguments, told, said, serving, *kept, recorded)


def _lines(path: Path) -> int:
    return sum(1 for _ in path.open("rb")) if path.is_file() else 0


def _stop(arguments: argparse.Namespace, home: Path) -> int:
    from rounds.serve.operate import stop

    made = stop(home, arguments.why)
    print("the model is stopped.", file=sys.stderr)  # before the log, which may be what is broken
    _log(arguments, home, "stopped", made.why)
    return _tell(arguments, {"stopped": made.model_dump()}, f"stopped {made.time} by {made.by}: {made.why}")


def _start(arguments: argparse.Namespace, home: Path) -> int:
    from rounds.records import UserError
    from rounds.serve.operate import checked, start, stopped

    checked(arguments.why)
    if stopped(home) is None:
        raise UserError(f"{home}: is not stopped; there is nothing to start.")
    # The log first: a model that answers again without a row of who let it would be worse than one that waits.
    _log(arguments, home, "started", arguments.why)
    start(home, arguments.why)
    return _tell(arguments, {"stopped": None}, "the model may answer again")


def _release(arguments: argparse.Namespace, home: Path) -> int:
    from rounds.serve.operate_release import release

    made = release(home, unproven=arguments.unproven, public_key=arguments.public_key)
    _log(arguments, home, "released", arguments.why or f"{made.name}, {made.standing}")
    return _tell(arguments, made.model_dump(), f"in service: {made.name}, {made.standing}", RESTART)


def _rollback(arguments: argparse.Namespace, home: Path) -> int:
    from rounds.serve.operate import checked
    from rounds.serve.operate_release import rollback

    why = checked(arguments.why)
    made = rollback(home, arguments.to, unproven=arguments.unproven, public_key=arguments.public_key)
    _log(arguments, home, f"rolled back to {made.name}", why)
    return _tell(arguments, made.model_dump(), f"in service: {made.name}, {made.standing}", RESTART)


RESTART = "servers that run refuse from now on; start them anew"


def _incident(arguments: argparse.Namespace, home: Path) -> int:
    _log(arguments, home, "incident", arguments.why)
    return _tell(arguments, {"incident": arguments.why}, "written into the audit log")


def _agreement(arguments: argparse.Namespace, home: Path) -> int:
    from rounds.serve.operate_shadow import summary

    found = summary(home)
    if arguments.json:
        print(found.model_dump_json(indent=1))
    else:
        print("\n".join(_agreed(found)))
    return 0


def _agreed(found: Summary) -> list[str]:
    def share(hits: int, low: float, high: float) -> str:
        rate = 100 * hits / max(1, found.answered)
        return f"{hits} of {found.answered}, {rate:.1f} % ({100 * low:.1f} to {100 * high:.1f})"

    first, among = found.same_first_interval, found.first_among_five_interval
    return [
        f"{found.recorded} recorded, {found.answered} answered",
        f"the same first diagnosis: {share(found.same_first, first.low, first.high)}",
        f"the clinician's first among the model's five: {share(found.first_among_five, among.low, among.high)}",
        f"{found.shared:.2f} diagnoses in both lists on average",
        f"the model abstained {found.abstained} times and could not be read {found.unreadable} times",
        "agreement is not accuracy: where the two differ, either may be right",
    ]


def _drift(arguments: argparse.Namespace, home: Path) -> int:
    from rounds.knowledge.base import load
    from rounds.records import UserError
    from rounds.serve.audit_open import FILE, open_audit
    from rounds.serve.operate_drift import JUDGED, LEVEL, LOG, WINDOW, looks, looks_at_judgements, reference
    from rounds.serve.standing import PACKED, find

    served = find(arguments.place, unproven=True)
    exam = reference(served.papers, PACKED, load())
    if exam is None:
        raise UserError(f"{arguments.place}: has no exam of its own to hold the ward against (cases/exam.jsonl).")
    found, judged = list(looks(home / LOG, exam)), []
    if arguments.audit or (home / FILE).is_file():
        audit = open_audit(arguments.audit or str(home), existing=True)
        judged = list(looks_at_judgements(audit.every(), served.standing.checkpoint, exam))
        audit.close()
    alarm = any(part and part[-1].alarm for part in (found, judged))
    if arguments.json:
        told = {"level": LEVEL, "answers": _dumped(found), "judgements": _dumped(judged), "alarm": alarm}
        print(json.dumps(told, indent=1))
        return int(alarm)
    print(f"a false alarm in at most {100 * LEVEL:g} % of the windows")
    for what, size, part in (("answers", WINDOW, found), ("judgements", JUDGED, judged)):
        print(f"{len(part)} windows of {size} {what}" + ("" if part else ": none is full yet, nothing was looked at"))
        print("".join(f"{_looked(one)}\n" for one in part[-5:]), end="")
    return int(alarm)


def _dumped(found: list[Look]) -> list[dict[str, object]]:
    return [one.model_dump() for one in found]


def _looked(one: Look) -> str:
    told = "; ".join(f"{name}: {one.shown[name]} (p {one.p[name]:.2g})" for name in one.p)
    return f"window {one.window}: {'ALARM: ' + ', '.join(one.alarm) if one.alarm else 'nothing shown'}; {told}"
