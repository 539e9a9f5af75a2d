"""`rounds same BEFORE AFTER`: whether an export still gives its parent's answers. Exits as `rounds compare`.

Left out on purpose: the exam, which opens once a candidate; this looks at tune cases and kept-back traces alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rounds.chain.same import Check, Rules, Sameness
    from rounds.quant.inventory import Held

HELP = "Check that two checkpoints or exports give the same answers: bytes, divergence by class of token, tune cases."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("before", metavar="BEFORE", type=Path, help="checkpoint or OpenVINO folder of the parent")
    parser.add_argument("after", metavar="AFTER", type=Path, help="checkpoint or OpenVINO folder made from it")
    parser.add_argument("--cases", type=Path, metavar="FILE", help="JSONL of tune cases (default: those of the run)")
    parser.add_argument(
        "--traces", type=Path, metavar="FILE", help="JSONL of kept-back traces or lessons to measure divergence on"
    )
    parser.add_argument("--texts", type=int, metavar="N", help="answers the divergence is measured on (64)")
    parser.add_argument(
        "--margin", type=float, help="largest loss you would accept, as 0.02 (default: the run's recipe; else needed)"
    )
    parser.add_argument("--alpha", type=float, help="level of the tests (default: the run's recipe, else 0.01)")
    parser.add_argument(
        "--engine",
        choices=("auto", "openvino", "transformers"),
        default="auto",
        help="engine that runs both (default: the one that serves them)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Check, print, and give the exit code of the finding."""
    from rounds.chain.same import TEXTS, check, kept_back, run_of
    from rounds.grade.mark import Marker
    from rounds.knowledge.base import load
    from rounds.model import checkpoint
    from rounds.records import UserError

    if arguments.texts is not None and arguments.texts < 1:
        raise UserError(f"--texts {arguments.texts} is below 1; give how many answers to measure on, such as 64.")
    before, after = (checkpoint.resolve(str(path)) for path in (arguments.before, arguments.after))
    if before.resolve() == after.resolve():
        raise UserError(f"{before}: is given twice; compare it with the checkpoint it came from.")
    home = run_of(after) or run_of(before)
    rules = _rules(arguments, home)
    kept = kept_back(home, arguments.cases, arguments.traces, rules.template)
    texts = arguments.texts or TEXTS
    found = check(before, after, kept, rules, Marker(load()), engine=arguments.engine, texts=texts)
    print(found.model_dump_json(indent=1) if arguments.json else "\n".join(lines(found)))
    return found.same.code


def _rules(arguments: argparse.Namespace, home: Path | None) -> Rules:
    from rounds import recipe
    from rounds.chain.judge import exam_sampling
    from rounds.chain.run import RECIPE
    from rounds.chain.same import Rules
    from rounds.exam.compare import check_rules
    from rounds.records import Sampling

    margin, alpha = arguments.margin, arguments.alpha
    template, sampling = recipe.Examine().template, Sampling(temperature=0, max_tokens=recipe.Examine().max_tokens)
    if home is not None and (home / RECIPE).is_file():
        chosen = recipe.read(str(home / RECIPE))
        template, sampling = chosen.examine.template, exam_sampling(chosen)
        margin = chosen.compare.margin if margin is None else margin
        alpha = chosen.compare.alpha if alpha is None else alpha
    alpha = 0.01 if alpha is None else alpha
    check_rules(0.5 if margin is None else margin, alpha)
    return Rules(margin, alpha, template, sampling)


def lines(found: Check) -> list[str]:
    """The whole check for a terminal."""
    told = [_inventory_line(name, found.bytes[name], table) for name, table in found.inventory.items()]
    told += [f"both on {found.engine}, f32 activations, the same order", *same_lines(found.same)]
    if found.margin is not None:
        told.append(f"margin {100 * found.margin:.1f} points, alpha {found.alpha}")
    return told


def _inventory_line(name: str, size: int, table: dict[str, Held]) -> str:
    parts = [f"{kind} {held.tensors} in {held.bits:.2f} bits" for kind, held in table.items() if kind != "other"]
    return f"{name}: {size:,} bytes: {', '.join(parts)}"


def same_lines(same: Sameness) -> list[str]:
    """Divergence, form, paired answers and finding, in plain ASCII signs."""
    from rounds.exam import words

    told = ["class of token       tokens  KL nats   argmax changed"]
    for name, one in same.divergence.items():
        told.append(f"  {name:<17} {one.tokens:>8,}  {one.kl:<8.2g}  {100 * one.flips:.2f} %")
    for name, said in same.said.items():
        told.append(
            f"{name}: readable {100 * said.format:.1f} %, closed reasoning {100 * said.thought:.1f} %, ended "
            f"{100 * said.finished:.1f} %, {said.thinking_tokens:.1f} thinking and {said.reply_tokens:.1f} reply tokens"
        )
    if same.said:
        told.append(f"red flags lost {same.red_flags_lost}, gained {same.red_flags_gained}")
    for verdict in same.verdicts:
        told.append(
            f"{verdict.arm}: {verdict.finding}, {words.points(verdict.difference)} points "
            f"({words.interval(verdict)}), {verdict.n} cases, only before {verdict.only_before}, "
            f"only after {verdict.only_after}"
        )
    told += same.broken
    distance = "close in every class of token" if same.close else "not close in every class of token"
    told.append(f"{same.after} against {same.before}: {same.finding}, {distance}")
    return [line.replace("−", "-") for line in told]
