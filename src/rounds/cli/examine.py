"""`rounds examine`: any model sits the exam: a checkpoint here, or a model behind an OpenAI-compatible endpoint.

At an endpoint the answers are journalled, so that a broken exam goes on where it stopped, with a strategy too. Needs no
torch for an endpoint. Left out on purpose: comparing (`rounds compare`).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rounds.grade.mark import Marker
    from rounds.prompts.strategies import Strategy
    from rounds.records import Case, Responder

HELP = "Let a model sit the exam: a checkpoint, or a model behind an OpenAI-compatible endpoint."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("model", metavar="MODEL", help="a checkpoint directory, or an endpoint's URL ending in /v1")
    parser.add_argument("cases", type=Path, metavar="CASES", help="JSONL of cases, as in RUN/cases/exam.jsonl")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new directory for traces and grades")
    parser.add_argument("--name", help="the model's name at the endpoint")
    parser.add_argument("--key-env", default="OPENAI_API_KEY", help="environment variable with the endpoint's key")
    parser.add_argument(
        "--template", help="template of the prompts (default: that of the model's run, else differential@1)"
    )
    parser.add_argument(
        "--engine",
        default="auto",
        choices=("auto", "openvino", "transformers", "remote"),
        help="auto reads it from the files (default)",
    )
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default); R1 asks for 0.6")
    parser.add_argument("--top-p", type=float, default=0.95, help="nucleus of sampling (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=4096, help="thinking and reply together")
    parser.add_argument(
        "--budget", type=int, metavar="TOKENS", help="most tokens of a prompt; the least needed of a case goes first"
    )
    parser.add_argument("--samples", type=int, default=1, help="answers a case; a case stays one case")
    parser.add_argument("--seed", type=int, default=0, help="of sampling, recorded in each trace")
    parser.add_argument("--limit", type=int, help="only the first so many cases")
    parser.add_argument(
        "--counterfactual",
        action="store_true",
        help="ask again about each case without each of its red flags: an unchanged list never used the flag",
    )
    parser.add_argument(
        "--strategy",
        choices=("vote", "shuffle", "few-shot", "structured"),
        help="ask in another way: vote of several answers or over shuffled options, solved examples, JSON by grammar",
    )
    parser.add_argument("--count", type=int, default=5, help="answers of a vote, or examples shown (default 5)")
    parser.add_argument("--teach", type=Path, metavar="CASES", help="few-shot: cases to take examples from")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Sit the exam; 0 when every case was answered and marked."""
    from rounds import files
    from rounds.engine.choose import is_endpoint, open_named
    from rounds.exam import audits
    from rounds.exam.asking import sampling_of
    from rounds.exam.examine import Journalled, ask_without_flags, examine, save
    from rounds.exam.figures import model_figures, outside_of
    from rounds.grade.choice import NEVER
    from rounds.grade.mark import Marker
    from rounds.knowledge.base import load
    from rounds.records import UserError

    arguments.template = arguments.template or _template_of(arguments.model)
    cases = _cases(arguments)
    if arguments.budget is not None and (arguments.counterfactual or arguments.strategy not in (None, "vote")):
        other = "--counterfactual" if arguments.counterfactual else f"--strategy {arguments.strategy}"
        raise UserError(f"--budget does not go with {other}, whose prompts differ; leave one of them out.")
    sampling = sampling_of(
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        max_tokens=arguments.max_tokens,
        samples=arguments.samples,
        seed=arguments.seed,
    )
    if arguments.out.exists():
        raise UserError(f"{arguments.out} exists already; choose a new directory for this exam.")
    responder = open_named(arguments.model, arguments.name, arguments.key_env, option="--name", engine=arguments.engine)
    journal = arguments.out.with_name(f".{arguments.out.name}.journal.jsonl")
    marker = Marker(load())
    # All a strategy asks, and the questions without a red flag, are kept like plain answers.
    kept = Journalled(responder, journal) if is_endpoint(arguments.model) else responder
    strategy = _strategy(arguments, kept, cases, marker)
    asking = strategy or kept
    done = examine(
        cases, asking, template=arguments.template, sampling=sampling, marker=marker, budget=arguments.budget
    )
    asked = None
    if arguments.counterfactual:
        asked = ask_without_flags(cases, done, asking, template=arguments.template, knowledge=marker.knowledge)
    with files.making(arguments.out) as out:
        save(done, out)
        if asked is not None:
            files.write_jsonl(out / "counterfactual.jsonl", asked)
    journal.unlink(missing_ok=True)
    found = model_figures(done.grades, outside_of(cases))
    if any(case.never for case in cases):
        found["never_events"] = sum(NEVER in grade.error_modes for grade in done.grades)
    audit = audits.audit(done.grades)
    flags = None if asked is None else audits.ignored(asked, {case.id: case.condition for case in cases})
    if strategy is not None:
        print(strategy.cost.told(), file=sys.stderr)
    if arguments.json:
        cost = {} if strategy is None else {"cost": asdict(strategy.cost)}
        print(json.dumps(found | {"audit": audits.as_json(audit, flags)} | cost))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")
        print("\n".join(audits.lines(audit, flags)))
        print(f"traces and grades: {arguments.out}", file=sys.stderr)
    return 0


def _template_of(model: str) -> str:
    """What the run that a checkpoint lies in examines by: the checkpoint may know no other form."""
    from rounds import recipe
    from rounds.chain.run import RECIPE
    from rounds.chain.same import run_of
    from rounds.engine.choose import is_endpoint

    home = None if is_endpoint(model) else run_of(Path(model))
    told = home / RECIPE if home is not None else None
    return recipe.read(str(told)).examine.template if told is not None and told.is_file() else "differential@1"


def _strategy(
    arguments: argparse.Namespace, responder: Responder, cases: Sequence[Case], marker: Marker
) -> Strategy | None:
    from rounds.exam.asking import Asking, around
    from rounds.records import UserError

    if arguments.strategy is None:
        return None
    if arguments.counterfactual and arguments.strategy in ("vote", "shuffle"):
        raise UserError(f"--counterfactual does not go with --strategy {arguments.strategy}; leave one of them out.")
    how = Asking(arguments.strategy, arguments.count, arguments.template, arguments.teach)
    return around(responder, cases, marker, how)


def _cases(arguments: argparse.Namespace) -> list[Case]:
    from rounds import files
    from rounds.records import Case

    cases = list(files.read_jsonl(arguments.cases, Case))
    return cases[: arguments.limit] if arguments.limit is not None else cases
