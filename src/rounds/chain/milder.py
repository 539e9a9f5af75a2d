"""Milder recipes: the changes `rounds plan` tries for a stage that does not fit, the mildest first.

Left out on purpose: judging what a change costs in quality. That is for the exam.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from rounds import recipe
from rounds.chain.ladder import plans
from rounds.chain.shape import KNOWN, shape_of

ADAPTER = 'distil.method = "lora" on attention without embeddings'
SMALL = {"method": "lora", "lora": recipe.Lora(targets="attention", embeddings=False)}
UNDISTILLED = "quantize.distil_steps = 0"
SHORT = 1024
"""Tokens of an answer that is still worth reading."""

Change = tuple[str, recipe.Recipe]


def changes(chosen: recipe.Recipe, stage: str, verb: str) -> Iterator[Change]:
    """(words, recipe) of each change worth trying for a stage."""
    if verb == "quantize" and is_distilled(chosen.quantize):
        without = _changed(chosen, {"quantize": {"distil_steps": 0}})
        yield UNDISTILLED, without
        yield from ((f"{UNDISTILLED} with {words}", other) for words, other in changes(without, stage, verb))
        return
    change = partial(_changed, chosen)
    if verb in ("pretrain", "teach"):
        yield f"{verb}.batch = 1", change({verb: {"batch": 1}})
    if stage == "teacher/reasoned":
        yield "teach.grpo_steps = 0", change({"teach": {"grpo_steps": 0}})
    if verb == "distil":
        bare = chosen.distil.lora.model_copy(update={"embeddings": False})
        yield "distil.batch = 1", change({"distil": {"batch": 1}})
        yield "distil.lora.embeddings = false", change({"distil": {"lora": bare}})
        yield ADAPTER, change({"distil": SMALL})
        yield f"{ADAPTER} and distil.batch = 1", change({"distil": {**SMALL, "batch": 1}})
    if verb == "grpo":
        yield "grpo.prompts = 1 with grpo.samples = 4", change({"grpo": {"prompts": 1, "samples": 4}})
        yield "grpo.steps = 0", change({"grpo": {"steps": 0}})
    if verb == "quantize":
        yield "quantize.gptq = false", change({"quantize": {"gptq": False}})
        yield "quantize.calibration = 8", change({"quantize": {"calibration": 8}})
    if verb == "examine" and chosen.quantize.bits == 8:
        yield "quantize.bits = 4", change({"quantize": {"bits": 4}})
    if verb in ("examine", "quantize") and chosen.examine.max_tokens > SHORT:
        yield f"examine.max_tokens = {SHORT}", change({"examine": {"max_tokens": SHORT}})
    if verb == "trace" and chosen.trace.max_tokens > SHORT:
        yield f"trace.max_tokens = {SHORT}", change({"trace": {"max_tokens": SHORT}})
    if verb != "trace" and chosen.student.checkpoint is not None:
        yield from _smaller_students(chosen, verb)


def is_distilled(settings: recipe.Quantize) -> bool:
    """Whether a rung of the ladder trains the student on its grid."""
    return any(rung.distilled for rung in plans(settings))


def _smaller_students(chosen: recipe.Recipe, verb: str) -> Iterator[Change]:
    now = shape_of(chosen.student, chosen.pretrain.vocabulary)
    for name, shape in KNOWN.items():
        if now is None or shape.weights >= now.weights:
            continue
        words, other = f'student.checkpoint = "{name}"', {"student": {"checkpoint": name}}
        yield words, _changed(chosen, other)
        if verb == "distil":
            small = _changed(chosen, {**other, "distil": {**SMALL, "batch": 1}})
            yield f"{words} with {ADAPTER} and distil.batch = 1", small


def _changed(chosen: recipe.Recipe, update: Mapping[str, Mapping[str, Any]]) -> recipe.Recipe:
    sections = {name: getattr(chosen, name).model_copy(update=dict(fields)) for name, fields in update.items()}
    return chosen.model_copy(update=sections)
