"""What the report tells of how the models of a run were made, in words and from the run's own lineage.

Left out on purpose: figures of the exam, which `rounds.exam.figures` has.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

from rounds import __version__, files, recipe
from rounds.chain.stage import cores, versions
from rounds.records import Step


def machine(chosen: recipe.Recipe) -> dict[str, str]:
    """Recipe, seed, processor and versions."""
    return {
        "recipe": f"{chosen.name}, {files.digest_of(chosen.model_dump(mode='json'))}",
        "seed": str(chosen.seed),
        "processor": f"{platform.machine()}, {cores()} cores",
        "python": platform.python_version(),
        **({"rounds": __version__} | versions()),
    }


def made(chosen: recipe.Recipe, steps: Mapping[str, Step]) -> dict[str, str]:
    """Models, data and work; what the run has no stage for is absent."""
    told = {"student": _model(chosen.student), "teacher": _model(chosen.teacher), "stages": _stages(steps)}
    splits = [f"{name} {size:,}" for name in ("teach", "tune", "exam") if (size := _count(steps, "cases", name))]
    told["splits"] = ", ".join(splits)
    told["overlap"] = "a run stops when an exam or tune case repeats a case that is taught"
    lessons, kept = _count(steps, "traces", "lessons"), _count(steps, "traces", "kept")
    if lessons:
        told["lessons"] = f"{lessons:,} lessons from {kept:,} answers of the teacher that passed verification"
    if "reasoned" in steps:
        weights = {
            name.removesuffix("_weight").replace("_", " "): value
            for name, value in chosen.grpo.model_dump().items()
            if name.endswith("_weight") and value
        }
        weighed = ", ".join(f"{name} {value:g}" for name, value in weights.items())
        told["alignment"] = f"GRPO, rewards by rule and their weights: {weighed}"
    seconds, peak = sum(step.seconds for step in steps.values()), max(step.peak_memory_mb for step in steps.values())
    told["work"] = f"{seconds:,.0f} s in {len(steps)} stages on {cores()} cores, at most {peak:,.0f} MB in one process"
    return {name: text for name, text in told.items() if text}


def _stages(steps: Mapping[str, Step]) -> str:
    return ", ".join(dict.fromkeys(step.verb for step in steps.values()))


def _count(steps: Mapping[str, Step], stage: str, figure: str) -> int:
    value = steps[stage].figures.get(figure) if stage in steps else None
    return value if isinstance(value, int) else 0


def _model(given: recipe.Model) -> str:
    """A model in a few words; an endpoint by its name, as its address may be private."""
    if given.backbone is not None:
        shape = given.backbone
        return f"made here: {shape.structure}, {shape.layers} layers, width {shape.width}, {shape.heads} heads"
    if given.checkpoint is not None:
        return f"checkpoint {given.checkpoint}"
    return f"endpoint {given.name}"
