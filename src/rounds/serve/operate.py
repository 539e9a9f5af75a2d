"""Operation after go-live: the kill switch, the incident log, and what a running server asks before each answer.

The state is a directory of small files beside what is served, RUN/operation, so that stopping needs no connection to
the server, no key and no database: a file is put there, and every server of that run refuses from then on, also the
answers under way. Whatever keeps the switch from being read stops as well. An incident is a row of the audit log.
Left out on purpose: ending processes and starting new ones, which the machine's service manager does.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from rounds import files
from rounds.records import Prompt, Record, Trace, UserError
from rounds.serve.audit import Audit, Entry, Unaudited
from rounds.serve.standing import SERVED, is_run

if TYPE_CHECKING:  # it brings scipy, which takes as long to import as everything else
    from rounds.serve.operate_drift import Watch

OPERATION = "operation"
"""The state directory, in a run or beside a lone checkpoint."""
STOPPED = "stopped.json"
LONGEST_WHY = 400
"""Characters; such a sentence is of the model, never of a patient."""


class Stopped(Unaudited):
    """The model may not answer: handled as a log that cannot be written, with 503 or a stream that is broken off."""


class Stop(Record):
    """Who stopped a model, when and why."""

    time: str
    by: str
    why: str = Field(max_length=LONGEST_WHY)


class Operation:
    """What one running server watches: the switch, the pointer to what it serves, and its inputs."""

    def __init__(self, home: Path, watching: Callable[[], Watch | None] | None = None) -> None:
        """`home` holds the state directory; `watching` makes what raises the alarm of drift, with the first answer."""
        self.home = home
        self._watching = watching
        self._watch: Watch | None = None
        self._switch = home / OPERATION / STOPPED
        self._pointer = home / SERVED
        self._served = _target(self._pointer)
        self._later = ThreadPoolExecutor(1, thread_name_prefix="rounds-operate")

    def check(self) -> None:
        """To be asked before an answer begins and before it is finished; costs two looks at the file system.

        Raises:
            Stopped: the switch is set or cannot be read, or another release was pointed at since the server began.
        """
        try:
            os.stat(self._switch)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Stopped(f"the kill switch cannot be read ({error.strerror}); the model does not answer.") from error
        else:
            raise Stopped("this model was stopped by those responsible for it; work without it.")
        if _target(self._pointer) != self._served:
            raise Stopped("another release of this model was put in service; this server must be started anew.")

    def note(self, prompt: Prompt, traces: Sequence[Trace], audit: Audit) -> None:
        """Keep what the alarm of drift needs of one finished answer, off the caller's thread; an alarm is an incident.

        Figures only: no text is kept.
        """
        if self._watching is not None:
            self._later.submit(self._look, prompt, list(traces), audit)

    def close(self) -> None:
        """Finish what is noted."""
        self._later.shutdown()

    def _look(self, prompt: Prompt, traces: Sequence[Trace], audit: Audit) -> None:
        try:
            if self._watch is None and self._watching is not None:
                self._watch = self._watching()
                self._watching = self._watching if self._watch is not None else None  # nothing to hold a ward against
            alarm = self._watch.note(prompt, traces) if self._watch is not None else ""
        except (OSError, UserError) as error:  # answers go on without the watch; its log tells that it is blind
            self._watching = self._watch = None
            alarm = f"the watch for drift ended: {type(error).__name__}"
        if alarm:
            with suppress(Unaudited):
                audit.append(Entry(kind="incident", caller="rounds", door="drift", note=alarm))


def _target(pointer: Path) -> str:
    try:
        return os.readlink(pointer)
    except OSError:  # no pointer: the run itself is served
        return ""


def home_of(place: Path) -> Path:
    """The run, or the directory of a lone checkpoint: as `rounds.serve.standing.find` has it.

    Raises:
        UserError: it is no directory.
    """
    if not place.is_dir():
        raise UserError(f"{place}: is not a directory; give a run (runs/tiny) or a checkpoint.")
    return place if is_run(place) else place.resolve().parent


def stop(home: Path, why: str) -> Stop:
    """Set the switch: every server of this run refuses from now on. Set again, it keeps the first reason.

    Raises:
        UserError: no reason, or the switch cannot be written.
    """
    reason = checked(why)
    found = stopped(home)
    if found is not None:
        return found
    made = Stop(time=now(), by=person(), why=reason)
    files.write_text(home / OPERATION / STOPPED, made.model_dump_json(indent=1) + "\n")
    return made


def stopped(home: Path) -> Stop | None:
    """Who stopped it and why; None when nobody did. A switch that cannot be read is set."""
    path = home / OPERATION / STOPPED
    if not path.exists():
        return None
    try:
        return files.read_json(path, Stop)
    except UserError:
        return Stop(time="", by="", why=f"{path} is there and cannot be read")


def start(home: Path, why: str) -> None:
    """Take the switch away.

    Raises:
        UserError: no reason, it was not set, or it cannot be removed.
    """
    checked(why)
    path = home / OPERATION / STOPPED
    try:
        path.unlink()
    except FileNotFoundError as error:
        raise UserError(f"{home}: is not stopped; there is nothing to start.") from error
    except OSError as error:
        raise files.unwritable(path, error) from error


def report(audit: Audit, what: str, why: str) -> None:
    """Write an incident into the audit log and wait for it.

    Raises:
        UserError: it cannot be written.
    """
    try:
        audit.append(Entry(kind="incident", caller=person(), door="operate", note=f"{what}: {checked(why)}"))
    except Unaudited as error:
        raise UserError(f"{what} is in force, but is not in the audit log: {error}") from error


def checked(why: str) -> str:
    """A reason in one line.

    Raises:
        UserError: none was given, or it is too long.
    """
    reason = " ".join(why.split())
    if not reason:
        raise UserError("say why with --why, in a sentence without a patient's data: it goes into the audit log.")
    if len(reason) > LONGEST_WHY:
        raise UserError(f"--why has {len(reason)} characters; at most {LONGEST_WHY} fit, and no patient's data.")
    return reason


def person() -> str:
    """Who is at this machine, for the log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return f"uid {os.getuid()}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
