"""`rounds probe`: attacks, over-refusal and bias, on a checkpoint or at an endpoint. Exits as `rounds compare`.

Left out on purpose: exam cases, which open once a candidate, and any attack that is dangerous to read.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.chain.probe import Asking, Rules, Sources
    from rounds.exam.safety_judge import Agreed
    from rounds.exam.safety_result import Probe
    from rounds.recipe import Recipe
    from rounds.records import Case, Sampling

HELP = "Probe a model with attacks, questions that must be answered, and counterfactual twins; offline."

PAGE, ANSWERS = "safety.html", "probe"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("model", metavar="MODEL", help="a run, a checkpoint, or an endpoint's URL ending in /v1")
    parser.add_argument(
        "--before", metavar="OTHER", help="the model to hold it against: as MODEL, or a stage of the run"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (the run, else ./probe-MODEL)")
    parser.add_argument("--name", help="the model's name at the endpoint")
    parser.add_argument("--before-name", help="the other model's name at its endpoint")
    parser.add_argument("--key-env", default="OPENAI_API_KEY", help="environment variable with the endpoint's key")
    parser.add_argument("--cases", type=Path, metavar="FILE", help="JSONL of cases (default: tune cases of the run)")
    parser.add_argument("--most", type=int, default=100, help="cases at most, spread evenly (default: %(default)s)")
    parser.add_argument("--attacks", type=Path, metavar="FILE", help="TOML of other forms of attack")
    parser.add_argument("--requests", type=Path, metavar="FILE", help="JSONL of other harmful requests")
    parser.add_argument(
        "--questions", type=Path, metavar="FILE", help="more that must be answered: XSTest's CSV, JSONL"
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="JSONL of answers people have labelled: tests the judge"
    )
    parser.add_argument("--only", action="append", choices=("attacks", "questions", "bias"), help="this part alone")
    parser.add_argument("--bare", action="store_true", help="send control tokens written in attacks as they are")
    parser.add_argument(
        "--margin", type=float, help="largest rise of attack success accepted (default: the run's recipe)"
    )
    parser.add_argument("--bias-margin", type=float, help="largest share of flips beyond asking again (as --margin)")
    parser.add_argument("--refusal-margin", type=float, help="largest rise of over-refusal accepted (as --margin)")
    parser.add_argument("--alpha", type=float, help="level of the tests (default: the run's recipe, else 0.01)")
    parser.add_argument("--template", help="template of the cases (default: the run's, else differential@1)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="of attacks and questions; 0 is greedy (default)"
    )
    parser.add_argument("--twin-temperature", type=float, default=0.6, help="of twins (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=2048, help="thinking and reply together")
    parser.add_argument("--seed", type=int, default=0, help="of sampling and of the diagnoses demanded")
    parser.add_argument("--json", action="store_true", help="print probe-full.json instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Ask, judge, write probe.json and safety.html, and give the exit code of the findings."""
    import sys

    from rounds import files
    from rounds.chain.probe import judge, measure, structural
    from rounds.exam.later import PROBE, WHOLE
    from rounds.exam.remake import refresh
    from rounds.exam.safety_page import write_page
    from rounds.exam.safety_result import summary
    from rounds.grade.mark import Marker
    from rounds.knowledge.base import load

    home = _run_of(arguments.model)
    rules = _rules(arguments, home)
    sources = _sources(arguments, home)
    agreed = _agreed(arguments)
    marker = Marker(load())
    place: Path = arguments.out or (Path(arguments.model) if _is_run(arguments.model) else _default_out(arguments))
    asking, local = _asking(arguments, arguments.model, arguments.name, place / ANSWERS / "model", "--name")
    other = _other(arguments, place)
    found = measure(asking, sources, rules, marker)
    before = None if other is None else measure(other, sources, rules, marker)
    probe = judge(found, before, rules, agreed)
    if local is not None and "attacks" in rules.parts:
        probe = probe.model_copy(update={"structural": structural(sources, rules, marker, local)})
    probe = probe.model_copy(update={"asked": _asked(arguments, sources, rules)})
    files.write_text(place / WHOLE, probe.model_dump_json(indent=1) + "\n")
    files.write_text(place / PROBE, summary(probe).model_dump_json(indent=1) + "\n")
    write_page(probe, place / PAGE)
    refresh(place)
    print(probe.model_dump_json(indent=1) if arguments.json else "\n".join(lines(probe)))
    if not arguments.json:
        print(f"page: {place / PAGE}", file=sys.stderr)
    return probe.code


def _is_run(where: str) -> bool:
    return (Path(where) / "recipe.toml").is_file() and (Path(where) / "cases").is_dir()


def _run_of(where: str) -> Path | None:
    from rounds.chain.same import run_of
    from rounds.engine.choose import is_endpoint

    if is_endpoint(where):
        return None
    return Path(where) if _is_run(where) else run_of(Path(where))


def _default_out(arguments: argparse.Namespace) -> Path:
    from rounds import files

    return Path(f"probe-{files.file_name(arguments.name or Path(arguments.model).name)}")


def _asking(
    arguments: argparse.Namespace, where: str, name: str | None, place: Path, option: str
) -> tuple[Asking, Path | None]:
    """The engine of a model with its journal, and its directory where it has one."""
    from rounds.chain.probe import Asking
    from rounds.chain.stage import alone
    from rounds.engine.choose import is_endpoint, open_named
    from rounds.model import checkpoint
    from rounds.records import UserError

    if is_endpoint(where):
        return Asking(open_named(where, name, arguments.key_env, option=option), place), None
    directory = Path(where)
    if _is_run(where):
        stages = [directory / stage for stage in ("packed", "reasoned", "distilled", "base")]
        made = next((stage for stage in stages if stage.is_dir()), None)
        if made is None:
            raise UserError(f"{where}: the run has made no model yet; run the chain first.")
        directory = made
    directory = checkpoint.resolve(str(directory))
    with alone(directory):
        return Asking(open_named(str(directory), None, arguments.key_env, option=option), place, directory), directory


def _other(arguments: argparse.Namespace, place: Path) -> Asking | None:
    where: str | None = arguments.before
    if where is None:
        return None
    home = _run_of(arguments.model)
    if home is not None and not Path(where).is_dir() and (home / where).is_dir():
        where = str(home / where)
    return _asking(arguments, where, arguments.before_name, place / ANSWERS / "before", "--before-name")[0]


def _rules(arguments: argparse.Namespace, home: Path | None) -> Rules:
    from rounds import recipe
    from rounds.chain.probe import PARTS, Rules
    from rounds.exam.compare import check_rules
    from rounds.records import UserError

    chosen: Recipe | None = (
        recipe.read(str(home / "recipe.toml")) if home and (home / "recipe.toml").is_file() else None
    )
    margin = arguments.margin if arguments.margin is not None or chosen is None else chosen.compare.margin
    margins = [
        margin,
        *(one if one is not None else margin for one in (arguments.bias_margin, arguments.refusal_margin)),
    ]
    alpha = arguments.alpha if arguments.alpha is not None else chosen.compare.alpha if chosen else 0.01
    for one in margins:
        check_rules(0.5 if one is None else one, alpha)
    if not 1 <= arguments.most <= 100_000:
        raise UserError(f"--most {arguments.most} is not within 1 to 100,000; give how many cases to ask, as 100.")
    template = arguments.template or (chosen.examine.template if chosen else recipe.Examine().template)
    return Rules(
        template=template,
        sampling=_sampling(arguments, "temperature"),
        twin_sampling=_sampling(arguments, "twin_temperature"),
        alpha=alpha,
        margin=margins[0],
        bias_margin=margins[1],
        refusal_margin=margins[2],
        seed=arguments.seed,
        bare=arguments.bare,
        parts=tuple(arguments.only or PARTS),
    )


def _sampling(arguments: argparse.Namespace, option: str) -> Sampling:
    from rounds.exam.asking import sampling_of

    return sampling_of(
        {"temperature": option},
        temperature=getattr(arguments, option),
        max_tokens=arguments.max_tokens,
        seed=arguments.seed,
    )


def _sources(arguments: argparse.Namespace, home: Path | None) -> Sources:
    from rounds.chain.probe import Sources
    from rounds.exam import safety
    from rounds.exam.safety_judge import read_questions

    more = [] if arguments.questions is None else read_questions(arguments.questions)
    own = arguments.requests is None
    return Sources(
        families=safety.families() if arguments.attacks is None else safety.families(arguments.attacks),
        requests=safety.requests() if own else safety.requests(arguments.requests),
        questions=[*safety.questions(), *more],
        cases=_cases(arguments, home),
    )


def _cases(arguments: argparse.Namespace, home: Path | None) -> list[Case]:
    """Cases that may be seen: never those of the run's exam."""
    from rounds import files
    from rounds.chain.prepare import read_cases
    from rounds.exam.examine import unique
    from rounds.records import Case, UserError

    if arguments.cases is None:
        return _together(read_cases(home / "cases", "tune"), arguments.most) if home is not None else []
    cases = list(files.read_jsonl(arguments.cases, Case))
    unique(cases)
    exam = home / "cases" / "exam.jsonl" if home is not None else None
    known = {case.vignette for case in files.read_jsonl(exam, Case)} if exam is not None and exam.is_file() else set()
    shown = next((case.id for case in cases if case.vignette in known), None)
    if shown is not None:
        raise UserError(f"case '{shown}' is of the exam split, which opens once a candidate; give tune cases.")
    return _together(cases, arguments.most)


def _together(cases: Sequence[Case], most: int) -> list[Case]:
    """At most so many cases, spread evenly, and with each those that name it as their twin."""
    from rounds.chain.same import spread

    known = {case.id for case in cases}
    first = [case for case in cases if case.twin_of not in known]
    chosen = {case.id for case in spread(first, most)}
    return [case for case in cases if case.id in chosen or case.twin_of in chosen]


def _agreed(arguments: argparse.Namespace) -> Agreed | None:
    from rounds.exam.safety_judge import agreed, read_labelled

    if arguments.labels is None:
        return None
    return agreed(read_labelled(arguments.labels), arguments.labels.name)


def _asked(arguments: argparse.Namespace, sources: Sources, rules: Rules) -> dict[str, str]:
    from rounds import files

    given = {"attacks": arguments.attacks, "requests": arguments.requests, "questions": arguments.questions}
    digests = {f"{name} (SHA-256)": files.digest(path) for name, path in given.items() if path is not None}
    return {
        "requests": f"{len(sources.requests):,} in {len(sources.families):,} forms",
        "questions that must be answered": f"{len(sources.questions):,}",
        "cases": f"{len(sources.cases):,}",
        "template": rules.template,
        "temperature": f"{rules.sampling.temperature:g}; twins {rules.twin_sampling.temperature:g}",
        "seed": str(rules.seed),
        **digests,
    }


def lines(found: Probe) -> list[str]:
    """What a probe showed, for a terminal, in plain ASCII signs."""
    from rounds.exam.safety_result import flipped, rated, told

    held = [f"{found.model}" + (f" against {found.before}" if found.before else "")]
    held.append(f"judge of requests and refusals: {found.standing}")
    width = max((len(share.name) for share in (*found.attacks, *found.refusals)), default=0)
    if found.attacks:
        held += ["", "attack success"]
        held += [f"  {share.name:<{width}}  {rated(share)}" for share in found.attacks]
    if found.refusals:
        held += ["", "refused although it must be answered"]
        held += [f"  {share.name:<{width}}  {rated(share)}" for share in found.refusals]
        if found.off_topic:
            held.append(f"  {found.off_topic:,} questions were neither refused nor answered")
    if found.flips:
        held += ["", "flips beyond asking again"]
        held += [f"  {row.attribute}={row.value}, {row.kind}: {flipped(row)}" for row in found.flips]
    if found.structural:
        held += ["", "control tokens"]
        held += [f"  {name}: {value:,}" for name, value in found.structural.items()]
    if found.verdicts:
        held += ["", "findings"]
        held += [f"  {one.group}: {told(one, found.margins.get(one.group))}" for one in found.verdicts]
    held += ["", *found.notes] if found.notes else []
    return [line.replace("\u2212", "-").replace("\u2013", "-") for line in held]
