"""`rounds compare BEFORE AFTER`: a gate for anyone's CI. Exit 0 kept or gained, 1 lost, 2 usage, 3 too few cases.

Left out on purpose: asking a model anything. The marks are already there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rounds.exam.agreed import Plan
    from rounds.exam.compare import Clustered
    from rounds.exam.marks import Table
    from rounds.records import Grade, Interval, Trace, Verdict

HELP = "compare two models on the same cases: gained, kept, lost or too few cases"

ALPHA = 0.01
KIND = "kind"
"""Column of our own grades: the kind of question."""
GRID = 5_000
"""Cases up to which a page has its grid: more would make a page that no browser opens."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "before",
        metavar="BEFORE",
        type=Path,
        nargs="?",
        help="marks of the model before: our grades, plain JSONL, samples_*.jsonl of lm-evaluation-harness, "
        "or an Inspect log",
    )
    parser.add_argument(
        "after", metavar="AFTER", type=Path, nargs="?", help="marks of the model after, on the same cases"
    )
    parser.add_argument(
        "--margin", type=float, help="largest loss you would accept, as a share: 0.02 is two points; has no default"
    )
    parser.add_argument("--why-margin", default="", help="the clinical reason for that margin; needed by --html")
    parser.add_argument("--alpha", type=float, help=f"level of the tests for loss and gain ({ALPHA})")
    parser.add_argument(
        "--by", default="", metavar="COLUMNS", help="columns to split by, commas between; a*b crosses two"
    )
    parser.add_argument("--metric", help="which figure of another program's log counts: acc, or exact_match,FILTER")
    parser.add_argument(
        "--right-from", type=float, help="value from which on such a figure counts as right; 0 and 1 need none"
    )
    parser.add_argument("--cluster", metavar="COLUMN", help="also count the cases of one value as one, as condition")
    parser.add_argument("--seed", type=int, help="also give bootstrap intervals, drawn with this seed")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="hold the comparison to a plan written before")
    parser.add_argument("--write-plan", type=Path, metavar="FILE", help="write such a plan and stop; no marks needed")
    parser.add_argument(
        "--family", default="", metavar="PAIRS", help="with --write-plan: every comparison planned, BEFORE:AFTER,..."
    )
    parser.add_argument(
        "--evidence",
        choices=("synthetic", "public", "local-reviewed"),
        default="synthetic",
        help="kind of the cases, for the page: only local-reviewed can show proven (synthetic)",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to look at")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for this comparison, from the command line or from its plan."""

    margin: float
    why: str
    alpha: float
    by: tuple[str, ...]
    metric: str
    right_from: float | None
    cluster: str
    others: int = 0
    """Planned comparisons that are not made here."""
    digest: str = ""
    """SHA-256 of the plan; '' without one."""


@dataclass(frozen=True, slots=True)
class Found:
    """Everything one comparison showed."""

    verdicts: Sequence[Verdict]
    clustered: Clustered | None
    """None where every case is one sample and no column was asked for."""
    bootstraps: Mapping[str, Interval]
    """By name of the cell; empty without a seed."""
    seed: int | None


def run(arguments: argparse.Namespace) -> int:
    """Compare, print, and give the exit code of the findings."""
    from rounds.exam.compare import exit_code
    from rounds.records import UserError

    if arguments.write_plan:
        return _write_plan(arguments)
    if arguments.before is None or arguments.after is None:
        raise UserError("two files of marks are needed; write rounds compare BEFORE AFTER --margin 0.02.")
    if arguments.family:
        raise UserError("--family belongs to --write-plan; a comparison takes its family from --plan.")
    names = _names(arguments.before, arguments.after)
    rules = _rules(arguments, names)
    if arguments.html and not rules.why.strip():
        raise UserError("--html needs --why-margin: a page with a margin must say why; give the clinical reason.")
    tables = _read(arguments, rules, names)
    if arguments.html and KIND not in rules.by and all(_several_kinds(table) for table in tables):
        # Kinds of question are asked with templates of their own: one figure over all of them would hide that.
        rules = replace(rules, by=(*rules.by, KIND))
    found = _compare(tables, rules, names, arguments.seed)
    if arguments.html:
        _write_page(arguments, rules, names, tables, found)
    if arguments.json:
        print(json.dumps(as_json(found, rules), indent=1))
    else:
        print(as_text(found, rules, dict(zip(names, tables, strict=True))))
    return exit_code(found.verdicts)


def _several_kinds(table: Table) -> bool:
    column = table.columns.get(KIND)
    return table.source == "grades" and column is not None and len(set(column.values)) > 1


def _rules(arguments: argparse.Namespace, names: tuple[str, str]) -> Rules:
    from rounds.exam.agreed import check_departure, read_plan
    from rounds.exam.compare import check_rules
    from rounds.records import UserError

    by = _columns(arguments.by)
    if arguments.plan:
        plan, digest = read_plan(arguments.plan)
        fields = ("margin", "alpha", "metric", "right_from", "cluster")
        given = {name: value for name in fields if (value := getattr(arguments, name)) is not None}
        check_departure(plan, names, given, by)
        splits = by or plan.splits
        why = arguments.why_margin or plan.why
        return Rules(
            plan.margin, why, plan.alpha, splits, plan.metric, plan.right_from, plan.cluster, plan.others(), digest
        )
    if arguments.margin is None:
        raise UserError("--margin is missing and has no default; state the largest loss you would accept, as 0.02.")
    alpha = ALPHA if arguments.alpha is None else arguments.alpha
    check_rules(arguments.margin, alpha)
    metric, cluster = arguments.metric or "", arguments.cluster or ""
    return Rules(arguments.margin, arguments.why_margin, alpha, by, metric, arguments.right_from, cluster)


def _write_plan(arguments: argparse.Namespace) -> int:
    from rounds.exam.agreed import Plan, family_of, write_plan
    from rounds.records import UserError

    if arguments.margin is None or not arguments.why_margin.strip():
        raise UserError("--write-plan needs --margin and --why-margin; a plan states the margin and its reason.")
    if arguments.plan or arguments.html:
        raise UserError("--write-plan only writes a plan; leave out --plan and --html.")
    if arguments.family:
        family = family_of(arguments.family)
    elif arguments.before is not None and arguments.after is not None:
        family = (_names(arguments.before, arguments.after),)
    else:
        raise UserError("--write-plan needs BEFORE and AFTER, or --family base:distilled; name what will be compared.")
    plan = Plan(
        margin=arguments.margin,
        why=arguments.why_margin,
        alpha=ALPHA if arguments.alpha is None else arguments.alpha,
        family=family,
        splits=_columns(arguments.by),
        metric=arguments.metric or "",
        right_from=arguments.right_from,
        cluster=arguments.cluster or "",
    )
    digest = write_plan(plan, arguments.write_plan)
    if arguments.json:
        print(json.dumps({"plan": str(arguments.write_plan), "digest": digest}, indent=1))
    else:
        print(f"{arguments.write_plan}: written, SHA-256 {digest}\n{_told(plan)}")
    return 0


def _told(plan: Plan) -> str:
    pairs = "; ".join(f"{after} against {before}" for before, after in plan.family)
    return f"planned: {pairs}\nput the digest where its date can be trusted, before the answers exist"


def _columns(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column.strip() for column in text.split(",") if column.strip()))


def _read(arguments: argparse.Namespace, rules: Rules, names: tuple[str, str]) -> tuple[Table, Table]:
    """Both files, with one set of ids; only columns that are asked for are kept."""
    from rounds.exam.marks import Ids, read_table
    from rounds.records import UserError

    kept = {part.strip() for column in rules.by for part in column.split("*")} | {rules.cluster}
    if arguments.html:
        kept |= {"specialty", KIND}
    ids: Ids = {}
    before, after = (
        read_table(path, ids, columns=kept, metric=rules.metric, right_from=rules.right_from)
        for path in (arguments.before, arguments.after)
    )
    if not (before.metric or after.metric) and (arguments.metric or arguments.right_from is not None):
        raise UserError(
            "--metric and --right-from are for logs of other programs; both files hold marks: leave them out."
        )
    if before.source == after.source and before.metric != after.metric:
        raise UserError(
            f"{names[0]} counts '{before.metric}' and {names[1]} '{after.metric}'; choose one figure with --metric."
        )
    return before, after


def _compare(tables: tuple[Table, Table], rules: Rules, names: tuple[str, str], seed: int | None) -> Found:
    from rounds.exam.compare import bootstraps, clustered, compare_marks
    from rounds.records import UserError

    if seed is not None and seed < 0:
        raise UserError(f"--seed {seed} is below 0; give a whole number from 0 on.")
    before, after = tables
    verdicts = compare_marks(
        before, after, names=names, margin=rules.margin, alpha=rules.alpha, by=rules.by, others=rules.others
    )
    if rules.cluster and not any(rules.cluster in table.columns for table in tables):
        known = ", ".join(sorted(before.known | after.known))
        use = f"use one of {known}" if known else "there is none to cluster by"
        raise UserError(f"no case has the column '{rules.cluster}'; {use}.")
    together: Clustered | None = None
    if rules.cluster or any(bool((table.samples > 1).any()) for table in tables):
        together = clustered(before, after, column=rules.cluster, seed=seed or 0, margin=rules.margin)
    drawn = {} if seed is None else bootstraps(before, after, by=rules.by, column=rules.cluster, seed=seed)
    return Found(verdicts, together, drawn, seed)


def as_json(found: Found, rules: Rules) -> dict[str, Any]:
    """`overall`, `groups` by column and value, `holm` by arm; what only some comparisons have stands beside them."""
    decided = [verdict for verdict in found.verdicts if verdict.finding is not None]
    groups: dict[str, dict[str, Any]] = {}
    for cell in found.verdicts:
        if cell.finding is None:
            column, _, value = cell.group.partition("=")
            groups.setdefault(column, {})[value] = _figures(cell) | _drawn(found, cell.group)
    by_arm = {verdict.arm: verdict for verdict in decided}
    extra: dict[str, Any] = {}
    if found.clustered is not None:
        extra["clustered"] = _cluster_figures(found.clustered)
    if found.seed is not None:
        extra["seed"] = found.seed
    if rules.digest:
        extra["plan"] = rules.digest
    return {
        "overall": _figures(by_arm["accuracy"]) | _drawn(found, "all"),
        **({"red_flags": _figures(by_arm["red flags"])} if "red flags" in by_arm else {}),
        "groups": groups,
        "holm": {arm: verdict.p_holm for arm, verdict in by_arm.items()},
        "alpha": rules.alpha,
        "margin": rules.margin,
        **extra,
    }


def _drawn(found: Found, group: str) -> dict[str, list[float]]:
    ends = found.bootstraps.get(group)
    return {} if ends is None else {"bootstrap": [ends.low, ends.high]}


def _cluster_figures(together: Clustered) -> dict[str, Any]:
    return {
        "column": together.column or "case",
        "clusters": together.clusters,
        "difference": together.difference,
        "interval": [together.interval.low, together.interval.high],
        "bootstrap": [together.bootstrap.low, together.bootstrap.high],
        "p": together.p,
        "p_noninferior": together.p_noninferior,
        "seed": together.seed,
    }


def _figures(verdict: Verdict) -> dict[str, Any]:
    return {
        "n": verdict.n,
        "both": verdict.both,
        "only_before": verdict.only_before,
        "only_after": verdict.only_after,
        "neither": verdict.neither,
        "unpaired_before": verdict.unpaired_before,
        "unpaired_after": verdict.unpaired_after,
        "ungradable": verdict.ungradable,
        "difference": verdict.difference,
        "tango": [verdict.tango.low, verdict.tango.high],
        "newcombe": [verdict.newcombe.low, verdict.newcombe.high],
        "p_exact": verdict.p_exact,
        "p_midp": verdict.p_midp,
        "p_noninferior": verdict.p_noninferior,
        "finding": verdict.finding,
        "cases_needed": verdict.cases_needed,
        "minimum_detectable": verdict.minimum_detectable,
    }


def as_text(found: Found, rules: Rules, tables: Mapping[str, Table]) -> str:
    """A few lines for a terminal, in plain ASCII signs."""
    from rounds.exam import words

    lines: list[str] = []
    for verdict in found.verdicts:
        if verdict.finding is not None:
            lines += _told_verdict(verdict, rules.margin)
    for name, table in tables.items():
        if table.metric:
            lines.append(f"{name}: log of {table.source}, counted by {table.metric}")
    if found.clustered is not None:
        lines.append(cluster_line(found.clustered))
    cells = [verdict for verdict in found.verdicts if verdict.finding is None]
    if cells:
        width = max(len(cell.group) for cell in cells)
        lines.append("by group (an interval each, no finding):")
        for cell in cells:
            ends = found.bootstraps.get(cell.group)
            drawn = f"  bootstrap {words.points(ends.low)} to {words.points(ends.high)}" if ends else ""
            difference = f"{words.points(cell.difference):>6}  ({words.interval(cell)})"
            lines.append(f"  {cell.group:<{width}}  {difference}  {cell.n} cases{drawn}")
    if found.seed is not None:
        whole = found.bootstraps["all"]
        unit = "clusters" if rules.cluster else "cases"
        lines.append(f"bootstrap of {unit} {_ends(whole)} (BCa, 10,000 resamples, seed {found.seed})")
    lines.append(f"margin {words.points(rules.margin, signed=False)} points, alpha {rules.alpha}")
    if rules.digest:
        lines.append(f"plan SHA-256 {rules.digest}, {rules.others + 1} in the family")
    return "\n".join(lines).replace("−", "-")


def cluster_line(together: Clustered) -> str:
    """The difference with clusters counted instead of cases or samples."""
    from rounds.exam import words

    what = f"values of {together.column}" if together.column else "cases, their samples together"
    return (
        f"{together.clusters:,} clusters ({what}): {words.points(together.difference)} points, 95 % interval "
        f"{_ends(together.interval)}, bootstrap {_ends(together.bootstrap)} (BCa, seed {together.seed}), "
        f"p {words.p_value(together.p)}"
    )


def _ends(interval: Interval) -> str:
    from rounds.exam import words

    return f"{words.points(interval.low)} to {words.points(interval.high)}"


def _told_verdict(verdict: Verdict, margin: float) -> list[str]:
    from rounds.exam import words

    noninferior = "" if verdict.p_noninferior is None else f", non-inferiority p {words.p_value(verdict.p_noninferior)}"
    left_out = f"{verdict.unpaired_before} only before, {verdict.unpaired_after} only after"
    return [
        f"{verdict.arm}: {verdict.finding}",
        f"  {words.verdict_sentence(verdict, margin)}",
        f"  difference {words.points(verdict.difference)} points, 95 % interval {words.interval(verdict)} (Tango), "
        f"{verdict.n} cases",
        f"  both right {verdict.both}, only before {verdict.only_before}, only after {verdict.only_after}, "
        f"neither {verdict.neither}",
        f"  exact p {words.p_value(verdict.p_exact)}, mid-p {words.p_value(verdict.p_midp)}{noninferior}",
        f"  left out: {left_out}, {verdict.ungradable} not gradable",
    ]


def _names(before: Path, after: Path) -> tuple[str, str]:
    """The shortest ends of the two paths that tell them apart: `distilled`, `packed` for two `grades.jsonl`."""
    from rounds.records import UserError

    if before.stem != after.stem:
        return before.stem, after.stem
    here, there = before.absolute(), after.absolute()
    if here == there:
        raise UserError(f"{before}: is given twice; compare it with the marks of another model.")
    for old, new in zip(reversed(here.parts[:-1]), reversed(there.parts[:-1]), strict=False):
        if old != new:
            return old, new
    return str(before), str(after)


def _answers(path: Path, table: Table) -> list[tuple[Trace | None, Grade]]:
    """What stands behind marks of our own: grades, with their traces where `rounds examine` left them beside it."""
    from rounds.exam.examine import GRADES, TRACES
    from rounds.files import read_jsonl
    from rounds.records import Grade, Trace

    if table.source != "grades":
        return []
    grades = list(read_jsonl(path, Grade))
    beside = path.with_name(TRACES)
    traces = list(read_jsonl(beside, Trace)) if path.name == GRADES and beside.is_file() else []
    asked = {(trace.prompt.case_id, trace.sample): trace for trace in traces}
    return [(asked.get((grade.case_id, grade.sample)), grade) for grade in grades]


def _write_page(
    arguments: argparse.Namespace, rules: Rules, names: tuple[str, str], tables: tuple[Table, Table], found: Found
) -> None:
    from rounds.exam.figures import with_sittings
    from rounds.exam.report import write_report
    from rounds.files import digest
    from rounds.records import Report

    paths = (arguments.before, arguments.after)
    notes = [
        f"{name}: log of {table.source}, counted by {table.metric}."
        for name, table in zip(names, tables, strict=True)
        if table.metric
    ]
    if found.clustered is not None:
        notes.append(f"{cluster_line(found.clustered)}.")
    if rules.digest:
        notes.append(f"Held to a plan of {rules.others + 1} comparisons with SHA-256 {rules.digest}.")
    shown = max(map(len, tables)) <= GRID
    if not shown:
        notes.append(f"The grid of cases is left out above {GRID:,} cases.")
    report = Report(
        title=f"{names[1]} against {names[0]}",
        alpha=rules.alpha,
        margin=rules.margin,
        why_margin=rules.why,
        evidence=arguments.evidence,
        verdicts=tuple(verdict for verdict in found.verdicts if verdict.finding is not None),
        cells=tuple(verdict for verdict in found.verdicts if verdict.finding is None),
        notes=tuple(notes),
        digests={name: digest(path) for name, path in zip(names, paths, strict=True)},
    )
    answers = {name: _answers(path, table) for name, path, table in zip(names, paths, tables, strict=True)}
    report = with_sittings(report, answers)
    marks = {name: table.marks() for name, table in zip(names, tables, strict=True)} if shown else None
    write_report(report, (), {}, arguments.html, marks=marks)
