"""The command `rounds`: finds the verb, runs it, and turns every fault of the user's into one sentence.

A verb is a module `rounds.cli.<verb>` with `HELP`, `configure(parser)` and `run(arguments) -> exit code`; it is
imported only when called, so that `rounds --help` needs neither pydantic nor torch. Exit codes: 0 done, 2 the user's
fault, 70 a fault of ours, 130 interrupted, 141 the reader of our output went away; 1 and 3 belong to the verbs
(*lost* and *too few cases*), so that a crash is never mistaken for a finding. Left out on purpose: plugins and
configuration files.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

VERBS = {
    "run": "run a whole recipe: cases, teacher, student, GRPO, 4 bits, exam, report",
    "plan": "say what a recipe needs of memory, disk, time and cases before anything starts",
    "cases": "write the teach, tune and exam cases, or import other people's",
    "pretrain": "make the base student from scratch",
    "teach": "make the teacher: pretrained, taught chain of thought, GRPO",
    "trace": "let the teacher answer teach cases and keep the verified traces",
    "distil": "teach the student the kept traces",
    "grpo": "reinforce the student with medical rewards",
    "quantize": "pack a checkpoint into 4 bits for the engine that serves",
    "examine": "let a model sit the exam",
    "grade": "mark answers against right diagnoses, options or numbers, no judge model needed",
    "compare": "compare two models on the same cases: gained, kept, lost or too few cases",
    "same": "check that an export still gives its parent's answers, before any exam",
    "study": "compare several models on the same cases: named pairs, Cochran's Q first, one report",
    "probe": "probe a model with attacks, questions that must be answered, and counterfactual twins",
    "overlap": "find exam cases in training data: copies, near copies, paraphrases",
    "label": "let two people label answers on a local page, and print how far they and the rules agree",
    "report": "write report.html and report.json of a run",
    "serve": "serve a model: OpenAI-compatible API, clinician's page, CDS Hooks, audit log",
    "keys": "make, list and remove the keys with which others may ask a server",
    "audit": "verify, show or sign the audit log of a server",
    "ask": "ask a model about one case in the terminal",
    "operate": "operate a served model: kill switch, releases, rollback, shadow mode, drift",
    "passport": "show, sign and verify what a served model is and rests on",
    "budget": "find how long a model should think: its tune cases at several thinking budgets",
    "engine": "start vLLM or llama-server for a recipe or a checkpoint, or print the exact command",
    "bench": "measure load, first token, speed, memory and energy of the engines on this machine",
    "specialise": "teach one specialty by an adapter, and show what it costs the others",
    "templates": "list, show, check and render the prompt templates, and gate the router",
}
"""Every verb and its one line; the module of a verb bears its name."""

EXTRAS = {
    "torch": "cpu",
    "transformers": "cpu",
    "trl": "cpu",
    "peft": "cpu",
    "datasets": "cpu",
    "accelerate": "cpu",
    "optimum": "cpu",
    "nncf": "cpu",
    "openvino": "cpu",
    "openvino_genai": "cpu",
    "sklearn": "cpu",
    "safetensors": "cpu",
    "tokenizers": "cpu",
    "fastapi": "serve",
    "hypercorn": "serve",
    "cryptography": "serve",
    "jwt": "serve",
    "prometheus_client": "serve",
    "sqlalchemy": "postgresql",
    "psycopg": "postgresql",
    "openpyxl": "tables",
}
"""Optional package to the extra of Rounds that brings it."""

USAGE, FAULT, INTERRUPTED, PIPE_CLOSED = 2, 70, 130, 141


class UsageError(Exception):
    """A command line that cannot be read: one sentence, exit code 2."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence (the library asks for a subclass)."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving the process."""
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give its exit code; never raises for what the user or the machine did."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # so that a reader who has gone is noticed here, not while Python shuts down
        return code
    except KeyboardInterrupt:
        return _say("interrupted; what was finished is kept, the next run goes on from there.", INTERRUPTED)
    except BrokenPipeError:
        _silence_stdout()
        return PIPE_CLOSED
    except MemoryError:
        return _say("out of memory; close other programs, or choose smaller sizes (see rounds plan).", USAGE)
    except UsageError as error:
        return _say(str(error), USAGE)
    except OSError as error:
        return _say(_about(error), USAGE)
    except Exception as error:
        return _failed(error)


def verb_parser(verb: str) -> Parser:
    """The parser of one verb, with its options; imports that verb's module."""
    module = importlib.import_module(f"rounds.cli.{verb}")
    parser = Parser(prog=f"rounds {verb}", description=module.HELP, allow_abbrev=False)
    module.configure(parser)
    parser.set_defaults(run=module.run)
    return parser


def _dispatch(words: list[str]) -> int:
    try:
        return _front(words) if not words or words[0].startswith("-") else _call(words)
    except SystemExit as leaving:  # argparse's own way out after --help and --version
        return leaving.code if isinstance(leaving.code, int) else 0


def _call(words: list[str]) -> int:
    verb = words[0]
    if verb not in VERBS:
        raise UsageError(f"'{verb}' is not a verb of rounds; {_nearest(verb)}")
    arguments = verb_parser(verb).parse_args(words[1:])
    code = arguments.run(arguments)
    assert isinstance(code, int), f"rounds {verb} gave no exit code"
    return code


def _front(words: list[str]) -> int:
    width = max(map(len, VERBS))
    parser = Parser(
        prog="rounds",
        usage="rounds VERB [options]",
        description="Make a medical reasoning model on your own machines, and prove that no step lost anything.",
        epilog="verbs:\n"
        + "\n".join(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items())
        + "\n\nrounds VERB --help tells the options of a verb. For research: not a medical device.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rounds {_version()}")
    parser.parse_args(words)
    parser.print_help()
    return 0 if words else USAGE


def _version() -> str:
    from rounds import __version__

    return __version__


def _nearest(verb: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1, cutoff=0.5)
    return f"did you mean 'rounds {near[0]}'?" if near else f"use one of {', '.join(VERBS)}."


def _failed(error: Exception) -> int:
    """Sentence for a UserError or a missing extra; traceback for a fault of ours."""
    from rounds.records import UserError

    if isinstance(error, UserError):
        return _say(str(error), USAGE)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            extra = EXTRAS[package]
            return _say(f"'{package}' is not installed; run: pip install \"rounds[{extra}]\"", USAGE)
    import traceback

    traceback.print_exception(error)
    return _say("this is a fault in Rounds; please report the lines above.", FAULT)


def _about(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        where = f" at {error.filename}" if error.filename else ""
        return f"the disk is full{where}; free space and run the same command again, it goes on where it stopped."
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or type(error).__name__}; check the path, its permissions and the network."


def _say(sentence: str, code: int) -> int:
    try:
        print(sentence if sentence.startswith(("rounds: ", "rounds ")) else f"rounds: {sentence}", file=sys.stderr)
    except BrokenPipeError:
        return PIPE_CLOSED
    return code


def _silence_stdout() -> None:
    """Point stdout at nothing, so that Python's last flush does not complain on stderr."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # stdout is no real file, as under a test


if __name__ == "__main__":
    sys.exit(main())
