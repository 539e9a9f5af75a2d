"""`rounds ask`: one case in the terminal, five diagnoses and red flags back.

What a model writes may hold control characters; they are dropped before they reach a terminal. Left out on purpose:
conversation, and refusing an unproven checkpoint (the banner says what it is).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rounds.records import Answer, Trace

HELP = "Ask a model about one case: five diagnoses and the red flags, in the terminal."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("place", type=Path, metavar="RUN_DIR|CHECKPOINT", help="a run (runs/tiny) or a checkpoint")
    parser.add_argument("case", metavar="CASE", help="the case in quotes, or - to read it from stdin")
    parser.add_argument("--thinking", action="store_true", help="print the reasoning before the answer")
    parser.add_argument("--threads", type=int, default=0, help="engine threads; 0 lets the engine choose (default)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask once; 0 whether or not a list could be read, as the answer says itself."""
    from rounds.engine.choose import open_responder
    from rounds.records import Sampling
    from rounds.serve.consult import prompt_for, read_trace
    from rounds.serve.standing import find

    served = find(arguments.place, unproven=True)
    examine = served.examine
    prompt = prompt_for(_case(arguments.case), examine.template)
    responder = open_responder(served.checkpoint, engine="auto", threads=arguments.threads)
    sampling = Sampling(temperature=examine.temperature, top_p=examine.top_p, max_tokens=examine.max_tokens)
    trace = next(iter(responder.respond([prompt], sampling)))
    answer = read_trace(trace)
    print(f"{served.standing.banner}.", file=sys.stderr)
    if arguments.json:
        thinking = {"thinking": trace.thinking} if arguments.thinking else {}
        standing = served.standing.model_dump()
        print(json.dumps({**answer.model_dump(exclude={"case_id"}), **thinking, "finish": trace.finish, **standing}))
    else:
        print(printable("\n".join(_lines(answer, trace, arguments.thinking))))
    return 0


def printable(text: str) -> str:
    """The text without control characters, line breaks and tabs kept."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def _case(given: str) -> str:
    from rounds.records import UserError

    if given != "-":
        return given
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError("the case on stdin is not UTF-8; save it as UTF-8.") from error


def _lines(answer: Answer, trace: Trace, thinking: bool) -> list[str]:
    lines = [trace.thinking.strip(), ""] if thinking and trace.thinking else []
    lines += [f"{place}. {diagnosis}" for place, diagnosis in enumerate(answer.diagnoses, start=1)]
    if answer.abstained:
        lines.append("No diagnoses: the model says that this case lies outside what it knows.")
    elif answer.refused:
        lines.append("No diagnoses: the model declined to answer.")
    elif answer.unreadable:
        lines += ["No diagnoses could be read in the reply:", trace.reply.strip()]
    if answer.diagnoses or answer.red_flags:
        lines.append(f"Red flags: {'; '.join(answer.red_flags) or 'none named'}")
    if trace.finish == "length":
        lines.append(f"The answer was cut off at the limit of {trace.sampling.max_tokens} tokens.")
    return lines
