"""`rounds templates`: the templates there are, one rendered, a hospital's own checked, and the gate of the router.

Needs no torch but for a checkpoint at the gate. Left out on purpose: editing; a template is a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rounds.exam.asking import Asking
    from rounds.exam.routing import Gate
    from rounds.records import Case, Sampling

HELP = "List, show, check and render the prompt templates; hold routing against no routing (gate)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("what", choices=("list", "show", "check", "render", "gate"), help="what to do")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="kind or kind@version; check: files or folders; render: also auto, and nothing for all; gate: MODEL CASES",
    )
    parser.add_argument(
        "--own", type=Path, metavar="DIR", help="a hospital's own templates (default: $ROUNDS_TEMPLATES)"
    )
    parser.add_argument("--text", help="render: the case or question, or - to read it from stdin (default: an example)")
    parser.add_argument("--language", metavar="CODE", help="render: the language of the template, such as es")
    parser.add_argument("--budget", type=int, metavar="TOKENS", help="render: most tokens; the least needed goes first")
    parser.add_argument("--one", default="differential@2", help="gate: the one template for all (default: %(default)s)")
    parser.add_argument("--margin", type=float, help="gate: the loss that must be ruled out, as a share such as 0.05")
    parser.add_argument("--why", default="not stated", help="gate: the clinical reason for the margin, for the report")
    parser.add_argument(
        "--evidence",
        default="synthetic",
        choices=("synthetic", "public", "local-reviewed"),
        help="gate: what the cases are (default: %(default)s)",
    )
    parser.add_argument("--alpha", type=float, default=0.01, help="gate: level of the tests (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="gate: new folder for the grades and the report")
    parser.add_argument("--name", help="gate: the model's name at an endpoint")
    parser.add_argument(
        "--key-env", default="OPENAI_API_KEY", help="gate: environment variable with the endpoint's key"
    )
    parser.add_argument("--max-tokens", type=int, default=4096, help="gate: thinking and reply together")
    parser.add_argument(
        "--strategy",
        action="append",
        default=[],
        choices=("vote", "shuffle", "few-shot", "structured"),
        help="gate: hold this strategy around the one template against that template alone; may be given several times",
    )
    parser.add_argument("--count", type=int, default=5, help="gate: answers of a vote, or examples shown (default 5)")
    parser.add_argument("--temperature", type=float, default=0.6, help="gate: of a vote (default: %(default)s)")
    parser.add_argument("--teach", type=Path, metavar="CASES", help="gate, few-shot: cases to take examples from")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """0 done; the gate: 0 kept or gained, 1 lost, 3 too few cases."""
    from rounds.records import UserError

    if arguments.own is not None and not arguments.own.is_dir():
        raise UserError(f"--own {arguments.own}: is no directory; name the folder with your templates.")
    return {"list": _list, "show": _show, "check": _check, "render": _render, "gate": _gate}[arguments.what](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from rounds.prompts.template import load, names

    found = [load(name, arguments.own) for name in names(arguments.own)]
    if arguments.json:
        print(json.dumps([one.model_dump(exclude={"texts"}) for one in found], ensure_ascii=False))
        return 0
    width = max(len(one.name) for one in found)
    for one in found:
        whose = f"  (your own, {one.own})" if one.own else ""
        print(f"{one.name:<{width}}  {','.join(one.languages):<8}  {one.answer:<10}  {one.purpose}{whose}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from rounds.prompts.template import load

    found = [load(name, arguments.own) for name in _named(arguments)]
    if arguments.json:
        print(json.dumps([one.model_dump() for one in found], ensure_ascii=False))
        return 0
    for one in found:
        for field in ("name", "purpose", "languages", "answer", "source", "changelog"):
            value = getattr(one, field)
            print(f"{field}: {', '.join(value) if isinstance(value, tuple) else value}")
        for language, text in one.texts.items():
            print(f"\n## {language}\n{text}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from rounds.prompts.template import TEMPLATES, load, read
    from rounds.records import UserError

    places = [Path(name) for name in arguments.names] or [arguments.own or TEMPLATES]
    paths = [path for place in places for path in (sorted(place.glob("*.md")) if place.is_dir() else [place])]
    if not paths:
        raise UserError(f"{places[0]}: has no templates; name a folder with files <kind>@<version>.md.")
    faults = []
    for path in paths:
        try:
            read(path)
            load(path.stem, path.parent)
        except UserError as error:
            faults.append(str(error))
    if arguments.json:
        print(json.dumps({"checked": len(paths), "faults": faults}, ensure_ascii=False))
    elif faults:
        print("\n".join(faults))
    else:
        print(f"{len(paths)} templates, no fault")
    return 2 if faults else 0


def _render(arguments: argparse.Namespace) -> int:
    from rounds.prompts.budget import estimate
    from rounds.prompts.template import AUTO, render

    if not arguments.names:
        print(rendered(), end="")
        return 0
    found = []
    for name in [AUTO] if arguments.names == [AUTO] else _named(arguments):
        case = _case(arguments, name)
        prompt = render(case, name, language=arguments.language, budget=arguments.budget, own=arguments.own)
        found.append(prompt)
        content = prompt.messages[0].content
        if not arguments.json:
            print(content)
        print(f"{prompt.template}: about {estimate(content)} tokens", file=sys.stderr)
        if "[Left out to fit: " in content:
            print(content[content.rindex("[Left out to fit: ") :].partition("]")[0][1:], file=sys.stderr)
    if arguments.json:
        print(json.dumps([prompt.model_dump() for prompt in found], ensure_ascii=False))
    return 0


def rendered() -> str:
    """Every shipped template in every language as Markdown, each with an example: the body of docs/templates.md."""
    from rounds.prompts.template import TEMPLATES, load, render

    parts = []
    for path in sorted(TEMPLATES.glob("*.md")):
        template = load(path.stem, TEMPLATES)
        about = f"Answer: `{template.answer}`. Source of the form: {template.source}."
        parts.append(f"## {template.name}\n\n{template.purpose}\n\n{about}\n")
        for language in template.languages:
            prompt = render(example(template.kind, language), template.name, language=language, own=TEMPLATES)
            parts.append(f"{language}:\n\n```text\n{prompt.messages[0].content}\n```\n")
    return "\n".join(parts)


def example(kind: str, language: str) -> Case:
    """A hand-written example of a kind: the first of the router's lessons; a plain question for an own kind."""
    from rounds.prompts.lessons import questions
    from rounds.records import Case

    listed = questions()["written"]
    by_language = listed.get(kind) or listed.get(kind.partition("-")[0]) or listed["plain"]
    text = (by_language.get(language) or by_language["en"])[0]
    return Case(id="example", vignette=text, diagnosis="", language=language)


def _named(arguments: argparse.Namespace) -> list[str]:
    """Full names; a kind alone is its newest version."""
    from rounds.prompts.template import newest
    from rounds.records import UserError

    if not arguments.names:
        raise UserError(f"rounds templates {arguments.what} needs a name; rounds templates list shows them.")
    return [name if "@" in name else newest(name, arguments.own) for name in arguments.names]


def _case(arguments: argparse.Namespace, name: str) -> Case:
    from rounds.prompts.template import AUTO
    from rounds.records import Case, UserError

    if arguments.text is None:
        if name == AUTO:
            raise UserError("the router needs a text to choose by; give --text.")
        return example(name.partition("@")[0], arguments.language or "en")
    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    if not text.strip():
        raise UserError("the text is empty; give --text the case or question.")
    from rounds.prompts.router import language_of

    return Case(id="typed", vignette=text.strip(), diagnosis="", language=language_of(text))


def _gate(arguments: argparse.Namespace) -> int:
    from rounds import files
    from rounds.engine.choose import open_named
    from rounds.exam.asking import sampling_of
    from rounds.exam.compare import exit_code
    from rounds.exam.routing import gate
    from rounds.grade.mark import Marker
    from rounds.knowledge.base import load
    from rounds.records import Case, UserError

    if len(arguments.names) != 2:
        raise UserError(
            "rounds templates gate needs MODEL CASES; give a checkpoint or an endpoint, and a file of cases."
        )
    if arguments.margin is None or arguments.out is None:
        raise UserError("the gate needs --margin and --out; state the loss that must be ruled out, and a new folder.")
    if arguments.out.exists():
        raise UserError(f"{arguments.out} exists already; choose a new directory for this gate.")
    if arguments.own is not None:
        raise UserError(f"the gate takes no --own; set the environment variable ROUNDS_TEMPLATES to {arguments.own}.")
    where, cases = arguments.names[0], list(files.read_jsonl(Path(arguments.names[1]), Case))
    greedy = sampling_of(temperature=0.0, max_tokens=arguments.max_tokens)
    found = gate(
        cases,
        open_named(where, arguments.name, arguments.key_env, option="--name"),
        Marker(load()),
        one=arguments.one,
        sampling=greedy,
        margin=arguments.margin,
        alpha=arguments.alpha,
        strategies=_strategies(arguments, greedy),
    )
    _write_gate(found, arguments)
    decided = [verdict for verdict in found.verdicts if verdict.arm == "accuracy" and verdict.finding is not None]
    if arguments.json:
        costs = {arm: asdict(cost) for arm, cost in found.costs.items()}
        print(json.dumps({"verdicts": [verdict.model_dump() for verdict in found.verdicts], "costs": costs}))
    else:
        print("\n".join(_gate_lines(found, arguments.margin, arguments.one)))
    return exit_code(decided)


def _strategies(arguments: argparse.Namespace, greedy: Sampling) -> list[tuple[Asking, Sampling]]:
    """Each strategy with its sampling: only a vote draws."""
    from rounds.exam.asking import Asking, sampling_of

    drawn = sampling_of(temperature=arguments.temperature, max_tokens=arguments.max_tokens)
    return [
        (Asking(name, arguments.count, arguments.one, arguments.teach), drawn if name == "vote" else greedy)
        for name in dict.fromkeys(arguments.strategy)
    ]


def _write_gate(found: Gate, arguments: argparse.Namespace) -> None:
    from rounds import files
    from rounds.exam.report import write_json, write_report
    from rounds.records import Report

    counts: dict[str, Any] = {}
    for name in found.templates.values():
        counts[name] = counts.get(name, 0) + 1
    report = Report(
        title="Routing on against off and against one template",
        alpha=arguments.alpha,
        margin=arguments.margin,
        why_margin=arguments.why,
        evidence=arguments.evidence,
        verdicts=tuple(verdict for verdict in found.verdicts if verdict.finding is not None),
        cells=tuple(verdict for verdict in found.verdicts if verdict.finding is None),
        notes=(
            *(f"The router chose {name} for {times} cases." for name, times in sorted(counts.items())),
            *(f"{_arm(arm, arguments.one)}: {cost.told()}." for arm, cost in found.costs.items()),
        ),
    )
    with files.making(arguments.out) as out:
        for arm, grades in found.grades.items():
            files.write_jsonl(out / f"{arm}.jsonl", grades)
        write_json(report, out / "report.json")
        write_report(report, (), {}, out / "report.html")


def _gate_lines(found: Gate, margin: float, one: str) -> list[str]:
    from rounds.exam import words

    lines = []
    for verdict in found.verdicts:
        pair = f"{verdict.before} -> {verdict.after}"
        if verdict.finding is None:
            lines.append(f"  {pair}, {verdict.group}: {words.verdict_sentence(verdict, margin)}")
        else:
            share = f"{verdict.difference:+.1%} ({verdict.tango.low:+.1%} to {verdict.tango.high:+.1%})"
            lines.append(f"{pair}, {verdict.arm}: {verdict.finding}, {share} on {verdict.n} cases")
            lines.append(f"  {words.verdict_sentence(verdict, margin)}")
    lines += [f"{_arm(arm, one)}: {cost.told()}" for arm, cost in found.costs.items()]
    chosen = sorted(set(found.templates.values()))
    return [*(line.replace("−", "-") for line in lines), f"templates the router chose: {', '.join(chosen)}"]


def _arm(arm: str, one: str) -> str:
    return {"off": "routing off", "one": one, "on": "routing on"}.get(arm, arm)
