"""The ladder of bits: the smallest export that is held against its parent on tune cases, found from below.

Rungs: 4 bits in the groups asked for, in groups of 32, with the most sensitive tenth and fifth of the linear layers in
8 bits, in groups of 32 again after distillation from the parent, and 8 bits. A rung is held when nothing is lost
(`rounds.chain.same`) and it is kept, or, where the tune cases are too few to show that, close in every class of token.
Rungs after the first that is held are never made, and the exam never looks at any but that one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rounds import files, recipe
from rounds.chain.same import TEXTS, Rules, Sameness, judge, logits_of, sit, spread
from rounds.engine.answering import context_of
from rounds.exam.examine import Examined
from rounds.grade.mark import Marker
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.quant import classes
from rounds.quant.compressed import compress
from rounds.quant.distil import distil
from rounds.quant.divergence import ALL, divergence
from rounds.quant.openvino import group_for, quantize
from rounds.quant.sensitivity import Layer, most_sensitive, sensitivity
from rounds.records import Case, Figures, Record, UserError

LADDER = "ladder.json"
FINE = 32
"""Group of every rung after the first."""
SHARES = (0.1, 0.2)
"""Of the weights of all linear layers, held in 8 bits."""
SENSED = 16
"""Calibration answers the sensitivity of layers is measured on: their order is wanted, not a figure."""


class Rung(Record):
    """One export and how it stands against its parent."""

    name: str
    bits: int
    group: int
    """-1 is a row."""
    everything: bool
    kv_cache: str
    eight: tuple[str, ...] = ()
    """Linear layers in 8 bits."""
    bytes: int
    bits_per_weight: float
    same: Sameness | None
    """None for a rung over the budget, which was not measured."""
    held: bool
    why: str
    distil_seconds: float | None = None
    """What training took; None for a rung that was not trained."""


class Ladder(Record):
    """ladder.json: every rung that was made, in the order of the climb: by size, save for the one that is trained."""

    budget: str | None
    margin: float | None
    alpha: float
    tune_cases: int
    rungs: tuple[Rung, ...]
    chosen: str
    layers: tuple[Layer, ...] = ()
    """Sensitivity of the linear layers, where it was measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A rung yet to be made."""

    name: str
    settings: recipe.Quantize
    share: float = 0.0
    """Of the linear weights, to be kept in 8 bits."""
    distilled: bool = False
    """Trained first: as small as the rung it starts from, but dear to make, and so tried after larger ones."""


@dataclass(frozen=True, slots=True)
class Target:
    """What exports are made for."""

    engine: Literal["openvino", "transformers"]
    """Runs parent and exports when they are held against each other."""
    pack: Callable[..., dict[str, Any]]
    """As `rounds.quant.openvino.quantize`."""


CPU = Target("openvino", quantize)
GPU = Target("transformers", compress)
"""Served by vLLM or SGLang; measured where the weights can be read without a GPU."""


@dataclass(slots=True)
class Parent:
    """The unquantised model, its answers, and what exports of it are judged and calibrated by."""

    directory: Path
    answers: Examined
    cases: Sequence[Case]
    calibration: Sequence[classes.Told]
    """Its own answers to teach cases."""
    marker: Marker
    rules: Rules
    target: Target = CPU


def plans(settings: recipe.Quantize) -> list[Plan]:
    """The rungs of a recipe, in the order of the climb."""
    eight = Plan("8 bits", settings.model_copy(update={"bits": 8}))
    if settings.bits == 8:
        return [eight]
    first = Plan(_in_groups(settings.group), settings)
    if not settings.ladder:
        return [first]
    fine = settings.model_copy(update={"group": FINE}) if not 0 < settings.group <= FINE else settings
    name = _in_groups(fine.group)
    found = [first] if fine is settings else [first, Plan(name, fine)]
    found += [Plan(f"{name}, {share:.0%} of the layers in 8", fine, share) for share in SHARES]
    found += [Plan(f"{name}, distilled", fine, distilled=True)] if settings.distil_steps else []
    return [*found, eight]


def climb(parent: Parent, settings: recipe.Quantize, out: Path) -> Figures:
    """Fill `out` with the first rung that is held, and ladder.json; returns the figures of that export.

    Without `settings.ladder` the one rung is measured and taken as it is.

    Raises:
        UserError: no rung is held within the budget, or the quantiser's own faults.
    """
    directory = parent.directory
    reader = classes.Reader(Codec.load(directory), parent.marker.knowledge, parent.cases)
    own = classes.texts(reader, parent.calibration, context_of(directory))
    kept_back = classes.texts(reader, spread(parent.answers.traces, TEXTS), context_of(directory))
    layers: list[Layer] = []
    rungs: list[Rung] = []
    fitting: list[recipe.Quantize] = []
    trial = out / ".rung"
    for plan in plans(settings):
        if len(fitting) < len(rungs) and not (plan.distilled and plan.settings in fitting):
            continue  # the one before was over the budget, and this is larger
        if plan.share and not layers:
            layers = sensitivity(directory, spread(own, SENSED), rungs[-1].group)
        eight = most_sensitive(layers, plan.share) if plan.share else []
        figures = made(directory, own, plan, trial, eight, parent.target)
        over = settings.budget is not None and _over(figures, settings.budget)
        same = None if over else _same(parent, kept_back, trial, plan.name)
        rungs.append(_rung(plan, eight, figures, same))
        fitting += [] if over else [plan.settings]
        if not over and (rungs[-1].held or not settings.ladder):
            _take(trial, out)
            found = Ladder(
                budget=settings.budget,
                margin=parent.rules.margin,
                alpha=parent.rules.alpha,
                tune_cases=len(parent.cases),
                rungs=tuple(rungs),
                chosen=plan.name,
                layers=tuple(layers),
            )
            files.write_text(out / LADDER, found.model_dump_json(indent=1))
            return {**figures, **_summary(found)}
    raise UserError(_none_held(rungs, settings))


def rows(ladder: Ladder) -> list[dict[str, float | int | str | bool | None]]:
    """One flat row a rung, for a report."""
    found = []
    for rung in ladder.rungs:
        row: dict[str, float | int | str | bool | None] = {
            "rung": rung.name,
            "chosen": rung.name == ladder.chosen,
            "bytes": rung.bytes,
            "bits": round(rung.bits_per_weight, 3),
            "kv_cache": rung.kv_cache,
            "why": rung.why,
        }
        if rung.distil_seconds is not None:
            row["distil_seconds"] = round(rung.distil_seconds, 1)
        if rung.same is not None:
            row["finding"] = rung.same.finding
            for name, one in rung.same.divergence.items():
                row |= {f"KL, {name}": one.kl, f"flips, {name}": one.flips}
        found.append(row)
    return found


def made(
    directory: Path, own: Sequence[classes.Text], plan: Plan, trial: Path, eight: Sequence[str], target: Target = CPU
) -> Figures:
    """Write the export of a rung to `trial`; its figures."""
    if not plan.distilled:
        return target.pack(directory, [text.ids for text in own], plan.settings, trial, eight)
    trained = trial.with_name(".distilled")
    group = group_for(checkpoint.check(directory), plan.settings.group)
    taught = distil(directory, own, group, trained, plan.settings.distil_steps)
    # Rounding that makes up for its errors would take the weights off the grid they were trained on.
    figures = target.pack(trained, [], plan.settings.model_copy(update={"gptq": False}), trial)
    shutil.rmtree(trained)
    return {**figures, **taught}


def _same(parent: Parent, kept_back: Sequence[classes.Text], trial: Path, name: str) -> Sameness:
    engine = parent.target.engine
    logits = logits_of(engine)
    found = divergence(logits(parent.directory), logits(trial), kept_back, f"divergence, {name}")
    after = sit(trial, engine, parent.cases, parent.rules, parent.marker)
    return judge((parent.directory.name, name), found, (parent.answers, after), parent.rules)


def _rung(plan: Plan, eight: Sequence[str], figures: Figures, same: Sameness | None) -> Rung:
    held, why = _held(same)
    return Rung(
        name=plan.name,
        bits=plan.settings.bits,
        group=int(figures["group"] or 0),
        everything=plan.settings.everything and plan.settings.bits == 4,
        kv_cache=plan.settings.kv_cache,
        eight=tuple(eight),
        bytes=int(figures["bytes_after"] or 0),
        bits_per_weight=float(figures["bits_per_weight"] or 0),
        same=same,
        held=held,
        why=why,
        distil_seconds=None if "distil_seconds" not in figures else float(figures["distil_seconds"] or 0),
    )


def _held(same: Sameness | None) -> tuple[bool, str]:
    """The rule of the ladder, and how it came out."""
    if same is None:
        return False, "over the budget"
    if same.finding == "lost":
        return False, "lost: " + " ".join(same.broken)
    if same.finding in ("kept", "gained"):
        return True, f"{same.finding} on the tune cases"
    if same.close:
        return True, "nothing lost and close in every class of token; too few tune cases to show it kept"
    return False, "too few tune cases to show it kept, and not close in every class of token"


def _over(figures: Figures, budget: str) -> bool:
    if budget.endswith("bits"):
        return float(figures["bits_per_weight"] or 0) > float(budget.removesuffix("bits"))
    return int(figures["bytes_after"] or 0) > recipe.bytes_of(budget, "quantize.budget")


def _take(trial: Path, out: Path) -> None:
    for path in trial.iterdir():
        path.rename(out / path.name)
    trial.rmdir()


def _summary(ladder: Ladder) -> Figures:
    """What the lineage of an export says of its ladder."""
    chosen = ladder.rungs[-1]
    assert chosen.same is not None
    whole = chosen.same.divergence[ALL]
    return {
        "rung": chosen.name,
        "rungs_made": len(ladder.rungs),
        "held": chosen.held,
        "tune": chosen.same.finding,
        "kl": whole.kl,
        "flips": whole.flips,
    }


def _none_held(rungs: Sequence[Rung], settings: recipe.Quantize) -> str:
    last = rungs[-1]
    if last.same is None:
        what = f"takes {last.bytes:,} bytes ({last.bits_per_weight:.2f} bits a weight)"
        return f"no rung of the ladder is held within the budget of {settings.budget}: {last.name} {what}; raise it."
    return (
        f"no rung of the ladder is held against its parent on the tune cases: {last.name} is {last.why.rstrip('.')}; "
        "look at rounds same, or set ladder = false in [quantize] to pack it all the same."
    )


def _in_groups(group: int) -> str:
    return "4 bits, a scale a row" if group == -1 else f"4 bits, groups of {group}"
