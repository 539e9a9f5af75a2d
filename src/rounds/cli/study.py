"""`rounds study STUDY`: several models on the same cases, the pairs named beforehand, one report. Exits as `compare`.

Left out on purpose: making models, and starting servers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.exam.study import Model, Study
    from rounds.exam.study_answers import Sat
    from rounds.exam.study_result import Result
    from rounds.records import Case, Grade, Responder, Trace, Verdict

HELP = "compare several models on the same cases: named pairs, Cochran's Q first, one report"

PLAN, REPORT, PAGE, CASES_PAGE = "plan.json", "report.json", "report.html", "cases.html"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("study", metavar="STUDY", help="name of a shipped study, or path of a TOML file")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="directory of the study (runs/NAME); resumed when there"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="where its relative paths start (beside the file)")
    parser.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="address of one model, or URL alone for all of them; may be given several times",
    )
    parser.add_argument(
        "--plan-only", action="store_true", help="write the plan, print its digest and stop, before any answer exists"
    )
    parser.add_argument("--json", action="store_true", help="print report.json instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Ask and compare what is not done yet, print it, and give the exit code of the findings."""
    from rounds import files
    from rounds.exam.compare import exit_code
    from rounds.exam.study import addressed, read_study
    from rounds.exam.study_answers import inputs_of

    study, base, text = read_study(arguments.study)
    base = arguments.data or base
    out: Path = arguments.out or Path("runs") / Path(arguments.study).stem
    plan = _plan(study, out)
    if arguments.plan_only:
        told = {"plan": str(out / PLAN), "digest": plan}
        print(json.dumps(told, indent=1) if arguments.json else f"{out / PLAN}: SHA-256 {plan}")
        return 0
    study = addressed(study, arguments.endpoint, os.environ)
    inputs = inputs_of(study, base)
    result = _done(study, out, inputs)
    if result is None:
        files.write_text(out / "study.toml", text)
        digests = {"study.toml": files.digest(out / "study.toml"), PLAN: plan}
        result = _judge(study, base, out, inputs, digests)
    print(result.model_dump_json(indent=1) if arguments.json else "\n".join(as_text(result)))
    if not arguments.json:
        print(f"report: {out / PAGE}", file=sys.stderr)
    return exit_code(result.report.verdicts)


def _plan(study: Study, out: Path) -> str:
    """Digest of the plan in `out`, written there when it is new.

    Raises:
        UserError: the plan there holds other rules.
    """
    from rounds.exam.agreed import read_plan, write_plan
    from rounds.records import UserError

    agreed = study.plan()
    if not (out / PLAN).exists():
        return write_plan(agreed, out / PLAN)
    plan, digest = read_plan(out / PLAN)
    field = next((name for name in type(plan).model_fields if getattr(plan, name) != getattr(agreed, name)), None)
    if field is not None:
        raise UserError(
            f"{out / PLAN}: was agreed with another {field} than the study has now; keep to the plan, "
            "or choose a new directory with --out."
        )
    return digest


def _identity(study: Study, out: Path, inputs: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Digest of the study, and of everything it reads, the sheet that people fill included."""
    from rounds import files
    from rounds.exam.study_answers import SHEET

    sheet = {SHEET: files.digest(out / SHEET)} if (out / SHEET).is_file() else {}
    return files.digest_of(study.model_dump(mode="json")), {**inputs, **sheet}


def _done(study: Study, out: Path, inputs: Mapping[str, str]) -> Result | None:
    """The result in `out`, when it is whole and of this study and these files."""
    from rounds import files
    from rounds.exam.study_result import Result

    step = files.lineage(out)
    if step is None or (step.recipe, step.inputs) != _identity(study, out, inputs):
        return None
    whole = (out / REPORT).is_file() and files.digest(out / REPORT) == step.output
    return files.read_json(out / REPORT, Result) if whole else None


def _judge(study: Study, base: Path, out: Path, inputs: Mapping[str, str], digests: Mapping[str, str]) -> Result:
    """Ask, mark, compare, and write everything into `out`; the lineage last, as a sign that all is there."""
    from rounds import files
    from rounds.chain.stage import peak_memory_mb, versions
    from rounds.exam.study_answers import SHEET, cases_of, sit, write_queue
    from rounds.exam.study_page import write_page
    from rounds.exam.study_result import judge
    from rounds.records import Step

    started = time.monotonic()
    cases = cases_of(study.cases, base)
    found = sit(study, base, out, cases, inputs, _opener(study, base))
    sources = {
        model.name: f"{model.served or model.name} at {model.endpoint}" for model in study.model if model.endpoint
    }
    result = judge(study, found, cases, machine=versions() | sources, digests={**digests, **inputs})
    files.write_text(out / REPORT, result.model_dump_json(indent=1) + "\n")
    _write_cases(study, found, cases, result, out / CASES_PAGE)
    write_page(result, out / PAGE, cases_page=CASES_PAGE)
    waiting = write_queue(study, found, out / SHEET)
    if waiting:
        print(f"{waiting} rulings on which a pair differs wait for people in {out / SHEET}", file=sys.stderr)
    recipe, read = _identity(study, out, inputs)
    step = Step(
        verb="study",
        recipe=recipe,
        inputs=read,
        output=files.digest(out / REPORT),
        versions=versions(),
        seconds=round(time.monotonic() - started, 2),
        peak_memory_mb=peak_memory_mb(),
    )
    files.write_text(out / files.LINEAGE, step.model_dump_json(indent=1) + "\n")
    return result


def _opener(study: Study, base: Path) -> Callable[[Model], Responder]:
    def opened(model: Model) -> Responder:
        from rounds import recipe
        from rounds.engine.choose import open_responder

        if model.endpoint is not None:
            named = recipe.Model(endpoint=model.endpoint, name=model.served or model.name, key_env=model.key_env)
            return open_responder(named)
        assert model.checkpoint is not None, "only models that are asked are opened"
        here = base / model.checkpoint
        return open_responder(recipe.Model(checkpoint=str(here) if here.exists() else model.checkpoint), study.engine)

    return opened


def _write_cases(study: Study, found: Mapping[str, Sat], cases: Sequence[Case], result: Result, path: Path) -> None:
    """The page with every case of every pair, up to the number a browser can open."""
    from rounds.cli.compare import GRID
    from rounds.exam import figures
    from rounds.exam.report import write_report

    report = result.report.model_copy(update={"title": f"{study.title}: case by case", "models": {}})
    answers: dict[str, list[tuple[Trace | None, Grade]]] = {}
    marks = {name: sat.marks for name, sat in found.items()}
    if max(map(len, marks.values())) > GRID:
        marks = {}
        report = report.model_copy(update={"notes": (*report.notes, f"No grid of cases above {GRID:,} cases.")})
    else:
        for name, sat in found.items():
            shown = {mark.case_id for mark in sat.marks}
            traces: Sequence[Trace | None] = sat.traces or [None] * len(sat.grades)
            answers[name] = [
                (trace, grade) for trace, grade in zip(traces, sat.grades, strict=True) if grade.case_id in shown
            ]
    listed = {name: pairs for name, pairs in answers.items() if pairs}
    report = figures.with_sittings(report, listed, figures.outside_of(cases))
    write_report(report, cases, listed, path, marks=marks)


def as_text(result: Result) -> list[str]:
    """What a study showed, for a terminal, in plain ASCII signs."""
    from rounds.exam import words
    from rounds.exam.study_page import omnibus_sentences

    report = result.report
    width = max(map(len, report.models))
    lines = [*omnibus_sentences(result.omnibus, report.alpha), "", f"{'model':<{width}}   cases   right  95 % interval"]
    for name, row in report.models.items():
        right = row["right"]
        if right is None:
            lines.append(f"{name:<{width}}  {row['cases']:>6}       -")
        else:
            low, high = (100 * float(row[end] or 0) for end in ("low", "high"))
            lines.append(f"{name:<{width}}  {row['cases']:>6,}  {float(right):>6.1%}  {low:.1f} to {high:.1f}")
    lines += ["", f"margin {words.points(report.margin, signed=False)} points, alpha {report.alpha}"]
    for verdict in report.verdicts:
        arm = f" ({verdict.arm})" if verdict.arm != "accuracy" else ""
        lines.append(f"{verdict.after} against {verdict.before}{arm}: {verdict.finding}")
        gain = f", after Holm {words.p_value(verdict.p_holm or 0.0)}" if verdict.difference > 0 else ""
        lines.append(f"  {_figures(verdict)}{gain}")
    if result.all_pairs:
        lines += ["", f"all {len(result.all_pairs)} pairs, to explore: no finding, p after Holm over all of them"]
        for verdict in result.all_pairs:
            lines.append(f"{verdict.after} against {verdict.before}")
            lines.append(f"  {_figures(verdict)}, after Holm {words.p_value(verdict.p_holm or 0.0)}")
    for floor in report.floors:
        state = "met" if floor.met else "NOT met"
        lines.append(f"floor {floor.name} {floor.floor:.1%}, {floor.model}: {state}, lower bound {floor.lower:.1%}")
    lines += ["", *report.notes, f"plan SHA-256 {report.digests[PLAN]}"]
    return [line.replace("\u2212", "-") for line in lines]


def _figures(verdict: Verdict) -> str:
    from rounds.exam import words

    gone = verdict.unpaired_before + verdict.unpaired_after + verdict.ungradable
    left_out = f", {gone} left out" if gone else ""
    return (
        f"{words.points(verdict.difference)} points ({words.interval(verdict)}), {verdict.only_before} lost and "
        f"{verdict.only_after} gained of {verdict.n:,} cases{left_out}, exact p {words.p_value(verdict.p_exact)}"
    )
