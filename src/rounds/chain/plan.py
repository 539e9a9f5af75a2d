"""What a recipe needs before anything starts: memory and disk of every stage, and cases for its exam.

Counted from the recipe and config.json alone, by rules that stand beside their numbers below and in docs/plan.md; no
weights are read. Left out on purpose: time, which `rounds.chain.hours` adds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rounds import files, recipe
from rounds.chain.judge import RERUN_CASES
from rounds.chain.milder import changes, is_distilled
from rounds.chain.policy import with_policy
from rounds.chain.run import CONTROLS, stages
from rounds.chain.shape import Shape, shape_of
from rounds.chain.stage import Stage
from rounds.engine.export import EXPORTED
from rounds.knowledge.base import load as load_knowledge
from rounds.quant.distil import BATCH
from rounds.records import Case, Record, UserError
from rounds.stats.noninferior import cases_for, minimum_detectable, noninferior_power
from rounds.stats.paired import Pairs
from rounds.train.distil import ATTENTION, FEED_FORWARD

TRAINED = 4
"""Bytes of a weight in training and in what training writes: float32 throughout."""
ADAM = 8
"""Bytes of AdamW's two moments for a weight."""
MUON = 4
"""Bytes of Muon's momentum for a weight of a matrix."""
MUON_COPIES = 4
"""Copies of the largest group of equal matrices that one step of Muon holds at once."""
GRID = 5
"""Bytes of a weight that is distilled on a grid: its rounded value, and whether it spans its group."""
COPIES = 2
"""Copies of the weights GRPO holds at once while it keeps the best so far."""
HESSIANS = 12
"""Square float32 matrices of the widest input that GPTQ takes at once: NNCF's numpy inverts in float64."""
PROMPT = 400
"""Tokens of a prompt: a vignette of this generator in the longest template of differential diagnosis."""
IN_FLIGHT = {"openvino": 256, "transformers": 128}
"""Answers generated together."""
KV_BYTES = {"openvino": 2, "transformers": 4}
"""Bytes of a number of the KV cache."""
PROCESS = 750_000_000
"""Bytes of a process that has torch, transformers and OpenVINO loaded (a toy run's stages peaked at 570 to 930 MB)."""
RECORD = 1500
"""Bytes of a case, or of a lesson of the oracle, in JSON."""
TOKEN = 6
"""Bytes of a token of text in JSON."""


class Need(Record):
    """What one stage needs, in bytes."""

    stage: str
    verb: str
    weights: int = 0
    optimiser: int = 0
    """Gradients, moments and copies."""
    activations: int = 0
    """Kept for the backward pass, at the longest example and the batch of the recipe."""
    kv: int = 0
    """KV cache at the longest answer, all answers in flight."""
    disk: int = 0
    tokens: int = 0
    """Tokens read or written at most."""
    seconds: float | None = None
    """At usual lengths; None where another machine works, or nobody asked."""
    memory: int = 0
    """Together; activations and KV cache never stand side by side."""
    place: Literal["device", "RAM"] = "device"
    """RAM where the CPU engine works, which leaves a GPU alone; else the device that trains."""
    fits: bool = True
    advice: str = ""
    """What would make it fit."""


class Size(Record):
    """One model."""

    role: str
    where: str
    structure: str
    weights: int
    bytes_16_bit: int
    bytes_32_bit: int
    bytes_packed: int
    """In the recipe's [quantize]."""
    kv_bytes_a_token: int
    """16 bit."""


class Exam(Record):
    """Whether the exam can decide at the recipe's margin."""

    cases: int | None
    """Cases inside the knowledge base; None when the file of cases is not there yet."""
    margin: float
    alpha: float
    discordance: float
    """Share of cases on which two models are taken to differ."""
    needed: int | None
    """Pairs that show 'kept' with 80 % power at that discordance, were both truly equal."""
    power: float | None = None
    """Chance that this exam shows it."""
    decides_up_to: float | None = None
    """Largest discordance at which this exam has 80 % power."""
    smallest_loss_seen: float | None = None
    """Smallest true loss that the test at alpha shows with 80 % power."""
    enough: bool | None = None


class Plan(Record):
    """What `rounds plan` says."""

    recipe: str
    memory: int
    """Bytes of the device that trains."""
    ram: int
    """Bytes for the CPU engine."""
    models: tuple[Size, ...]
    stages: tuple[Need, ...]
    disk: int
    exam: Exam

    @property
    def fits(self) -> bool:
        return all(need.fits for need in self.stages)


@dataclass(slots=True, frozen=True)
class _Chain:
    """A recipe with the shapes of its two models."""

    chosen: recipe.Recipe
    student: Shape
    teacher: Shape | None


def plan(chosen: recipe.Recipe, memory: int, discordance: float = 0.1, ram: int | None = None) -> Plan:
    """Count what every stage needs against `memory` bytes, and the cases against the margin.

    `ram` is for the stages of the CPU engine, where it is not the memory that trains (None).

    Raises:
        UserError: the student is at an endpoint, or a model that is run here has no known shape.
    """
    chain = _chain(chosen)
    needs = []
    given = {"device": memory, "RAM": memory if ram is None else ram}
    for need in _needs(chain):
        fits = need.memory <= given[need.place]
        advice = "" if fits else _advice(chosen, need, given[need.place])
        needs.append(need.model_copy(update={"fits": fits, "advice": advice}))
    return Plan(
        recipe=chosen.name,
        memory=memory,
        ram=given["RAM"],
        models=tuple(_sizes(chain)),
        stages=tuple(needs),
        disk=sum(need.disk for need in needs),
        exam=exam_of(chosen, discordance),
    )


def machine_memory() -> int:
    """Bytes of RAM of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _chain(chosen: recipe.Recipe) -> _Chain:
    vocabulary = chosen.pretrain.vocabulary
    student = shape_of(chosen.student, vocabulary)
    if chosen.student.endpoint is not None or student is None:
        raise UserError(
            f"the student is at the endpoint {chosen.student.endpoint}, where nothing can be trained; "
            "give a checkpoint or a backbone."
        )
    return _Chain(chosen, student, shape_of(chosen.teacher, vocabulary))


def _sizes(chain: _Chain) -> Iterator[Size]:
    given = chain.chosen.quantize
    models = (("student", chain.chosen.student, chain.student), ("teacher", chain.chosen.teacher, chain.teacher))
    for role, source, shape in models:
        if shape is not None:
            yield Size(
                role=role,
                where=source.endpoint or source.checkpoint or "made here",
                structure=shape.structure,
                weights=shape.weights,
                bytes_16_bit=2 * shape.weights,
                bytes_32_bit=4 * shape.weights,
                bytes_packed=shape.packed_bytes(given.bits, given.group, given.everything),
                kv_bytes_a_token=2 * shape.kv_values,
            )


def _needs(chain: _Chain) -> Iterator[Need]:
    for stage in stages(chain.chosen).values():
        numbers = _numbers(chain, stage)
        heavy = any(numbers.get(key) for key in ("weights", "optimiser", "activations", "kv"))
        together = numbers.get("weights", 0) + numbers.get("optimiser", 0) + (PROCESS if heavy else 0)
        together += max(numbers.get("activations", 0), numbers.get("kv", 0))
        place = "RAM" if _by_cpu_engine(chain, stage) else "device"
        told = {"stage": stage.name, "verb": stage.verb, "memory": together, "place": place}
        yield Need.model_validate(told | numbers)


def _by_cpu_engine(chain: _Chain, stage: Stage) -> bool:
    if stage.verb == "trace":
        return chain.teacher is not None and _engine(chain.teacher, "auto") == "openvino"
    if stage.verb == "examine":
        return _engine(chain.student, chain.chosen.examine.engine) == "openvino"
    return stage.verb == "quantize"


def _engine(shape: Shape, wanted: str) -> str:
    """The engine that answers: the one a recipe names, else as `rounds.engine.choose` does."""
    if wanted in IN_FLIGHT:
        return wanted
    return "openvino" if shape.structure in EXPORTED else "transformers"


def _numbers(chain: _Chain, stage: Stage) -> dict[str, int]:
    """The columns of one stage."""
    by_name: Mapping[str, Callable[[_Chain], dict[str, int]]] = {
        "cases": _cases,
        "base": _base,
        "teacher/pretrained": _teacher_pretrained,
        "teacher/taught": _teacher_taught,
        "teacher/reasoned": _teacher_reasoned,
        "traces": _traces,
        "distilled": _distilled,
        "reasoned": _reasoned,
        "packed": _packed,
        **dict.fromkeys(CONTROLS, _distilled),
    }
    if stage.name.startswith("grades/"):
        return _graded(chain, stage.name.removeprefix("grades/"))
    return by_name[stage.name](chain) if stage.name in by_name else {}


def _cases(chain: _Chain) -> dict[str, int]:
    return {"disk": 2 * RECORD * chain.chosen.cases.teach}


def _base(chain: _Chain) -> dict[str, int]:
    chosen, shape = chain.chosen, chain.student
    if chosen.student.backbone is not None:
        return _trained(shape, chosen.pretrain, chosen.cases.teach, muon=chosen.pretrain.muon, answer=0)
    here = Path(str(chosen.student.checkpoint)).expanduser().is_dir()
    return {"disk": 0 if here else shape.stored_bytes * shape.weights}


def _teacher_pretrained(chain: _Chain) -> dict[str, int]:
    shape, chosen = _made_here(chain), chain.chosen
    settings = chosen.teach.model_copy(update={"steps": max(1, chosen.teach.pretrain_steps)})
    return _trained(shape, settings, chosen.cases.teach, muon=chosen.pretrain.muon, answer=0)


def _teacher_taught(chain: _Chain) -> dict[str, int]:
    shape, chosen = _made_here(chain), chain.chosen
    return _trained(shape, chosen.teach, chosen.cases.teach, muon=chosen.teach.muon, answer=chosen.trace.max_tokens)


def _teacher_reasoned(chain: _Chain) -> dict[str, int]:
    settings = chain.chosen.grpo.model_copy(update={"steps": chain.chosen.teach.grpo_steps})
    return _reinforced(_made_here(chain), settings)


def _made_here(chain: _Chain) -> Shape:
    assert chain.teacher is not None, "a backbone has a shape"
    return chain.teacher


def _traces(chain: _Chain) -> dict[str, int]:
    chosen, given = chain.chosen, chain.chosen.trace
    answers = given.cases * given.samples
    text = {"disk": 2 * answers * given.max_tokens * TOKEN, "tokens": answers * (PROMPT + given.max_tokens)}
    if chosen.teacher.endpoint is not None or chain.teacher is None:
        return text
    shape = chain.teacher
    bytes_each = TRAINED if chosen.teacher.backbone is not None else shape.stored_bytes
    return text | _answered(shape, bytes_each * shape.weights, answers, given.max_tokens)


def _distilled(chain: _Chain) -> dict[str, int]:
    chosen, shape, given = chain.chosen, chain.student, chain.chosen.distil
    examples = with_policy(chosen.trace.cases * min(2, chosen.trace.samples), given)
    lora = given.lora
    adapted = _adapter(shape, lora) if given.method == "lora" else None
    frozen = adapted is not None and lora.targets == "attention" and not lora.embeddings
    answer = chosen.trace.max_tokens
    numbers = _trained(shape, given, examples, muon=True, answer=answer, adapted=adapted, frozen=frozen)
    return numbers | {"disk": numbers["disk"] + _exported(shape, TRAINED * shape.weights)}


def _reasoned(chain: _Chain) -> dict[str, int]:
    numbers = _reinforced(chain.student, chain.chosen.grpo)
    return numbers | {"disk": numbers["disk"] + _exported(chain.student, TRAINED * chain.student.weights)}


def _packed(chain: _Chain) -> dict[str, int]:
    """Answers to calibrate on by the exported parent, then GPTQ, which puts rounded weights in its place.

    Exporting and plain rounding take less (`rounds.chain.making`). With the rung of the ladder that is distilled, the
    last but one: whether it is reached only the tune cases tell.
    """
    chosen, shape, given = chain.chosen, chain.student, chain.chosen.quantize
    packed = shape.packed_bytes(given.bits, given.group, given.everything)
    widest = max(matrix.inputs for matrix in shape.matrices)
    gptq = given.gptq and given.bits == 4
    length = min(shape.context, PROMPT + chosen.examine.max_tokens)
    answers = 2 * given.calibration
    spoken = _answered(shape, TRAINED * shape.weights, answers, chosen.examine.max_tokens)
    seen = 4 * given.calibration * length * (widest + 2 * shape.width) if gptq else 0
    taught = 4 * min(BATCH, given.calibration) * length * shape.activations() if is_distilled(given) else 0
    student = TRAINED * shape.weights + (TRAINED + ADAM + GRID) * shape.body if is_distilled(given) else 0
    return spoken | {
        "optimiser": max(HESSIANS * 4 * widest**2 if gptq else 0, student),
        "activations": max(seen, taught),
        "disk": packed,
        "tokens": answers * (PROMPT + chosen.examine.max_tokens),
    }


def _graded(chain: _Chain, model: str) -> dict[str, int]:
    chosen, given = chain.chosen, chain.chosen.examine
    shape = _made_here(chain) if model == "teacher" else chain.student
    packing = chosen.quantize
    weights = {
        "base": shape.stored_bytes * shape.weights,
        "packed": shape.packed_bytes(packing.bits, packing.group, packing.everything),
    }.get(model, TRAINED * shape.weights)
    cases = (exam_cases(chosen) or 0) + (chosen.cases.outside if chosen.cases.file is None else 0)
    again = 2 * RERUN_CASES if given.rerun and model == "packed" else 0
    answers = (cases + again) * given.samples
    export = _exported(shape, weights) if model == "base" else 0
    engine = "auto" if model == "teacher" else given.engine
    return _answered(shape, weights, answers, given.max_tokens, engine) | {
        "disk": export + 2 * answers * given.max_tokens * TOKEN,
        "tokens": answers * (PROMPT + given.max_tokens),
    }


def _exported(shape: Shape, weights: int) -> int:
    """The copy an exam keeps beside a checkpoint for the CPU engine."""
    return weights if shape.structure in EXPORTED else 0


def _answered(shape: Shape, weights: int, answers: int, max_tokens: int, engine: str = "auto") -> dict[str, int]:
    engine = _engine(shape, engine)
    length = min(shape.context, PROMPT + max_tokens)
    together = min(answers, IN_FLIGHT[engine])
    return {"weights": weights, "kv": together * length * shape.kv_values * KV_BYTES[engine]}


def _trained(
    shape: Shape,
    settings: recipe.Optimiser,
    examples: int,
    *,
    muon: bool,
    answer: int,
    adapted: int | None = None,
    frozen: bool = False,
) -> dict[str, int]:
    """Weights, gradients, moments and activations.

    `adapted` counts the weights of an adapter, None trains all; `frozen` says that it lies on attention alone.
    """
    length = min(shape.context, PROMPT + answer)
    if adapted is not None:
        weights, extra = TRAINED * (shape.weights + adapted), (TRAINED + ADAM) * adapted
    elif muon:
        weights = TRAINED * shape.weights
        extra = (TRAINED + MUON) * shape.body + (TRAINED + ADAM) * (shape.weights - shape.body)
        extra += MUON_COPIES * TRAINED * _largest_stack(shape)
    else:
        weights, extra = TRAINED * shape.weights, (TRAINED + ADAM) * shape.weights
    steps = settings.steps or max(1, round(examples * settings.epochs / settings.batch))
    return {
        "weights": weights,
        "optimiser": extra,
        "activations": 4 * settings.batch * length * shape.activations(frozen),
        "disk": TRAINED * shape.weights,
        "tokens": steps * settings.batch * length,
    }


def _largest_stack(shape: Shape) -> int:
    by_shape: dict[tuple[int, int], int] = {}
    for matrix in shape.matrices:
        key = (min(matrix.inputs, matrix.outputs), max(matrix.inputs, matrix.outputs))
        by_shape[key] = by_shape.get(key, 0) + matrix.weights
    return max(by_shape.values())


def _adapter(shape: Shape, lora: recipe.Lora) -> int:
    """Weights of a recipe's adapter."""
    chosen = lora.targets
    if isinstance(chosen, str):
        chosen = ATTENTION[shape.structure] + (() if chosen == "attention" else FEED_FORWARD.get(shape.structure, ()))
    total = shape.embeddings if lora.embeddings else 0
    for matrix in shape.matrices:
        if matrix.name in chosen:
            total += matrix.number * (lora.rank * (matrix.inputs + matrix.outputs) + lora.dora * matrix.outputs)
    return total


def _reinforced(shape: Shape, settings: recipe.Grpo) -> dict[str, int]:
    """GRPO trains all weights by AdamW, and keeps the best; with a KL term the start as well."""
    steps = settings.steps or 0
    weights = TRAINED * shape.weights
    if steps == 0:
        return {"weights": weights, "disk": weights}
    answers, length = settings.prompts * settings.samples, min(shape.context, PROMPT + settings.max_tokens)
    copies = COPIES + (1 if settings.beta else 0)
    return {
        "weights": weights,
        "optimiser": (TRAINED + ADAM + TRAINED * copies) * shape.weights,
        "activations": 4 * answers * length * shape.activations(),
        "kv": 4 * max(answers, 128) * length * shape.kv_values,
        "disk": weights,
        "tokens": 2 * steps * answers * length,
    }


# What would fit ----------------------------------------------------------------------------------------------------


def _advice(chosen: recipe.Recipe, need: Need, memory: int) -> str:
    """The mildest change of the recipe that makes a stage fit, in words."""
    least = need.memory
    for words, other in changes(chosen, need.stage, need.verb):
        found = next((one for one in _needs(_chain(other)) if one.stage == need.stage), None)
        if found is None:
            continue
        least = min(least, found.memory)
        if found.memory <= memory:
            return f"{words} would fit ({gigabytes(found.memory)})"
    return f"no change of this recipe fits it; the least is {gigabytes(least)}: use a machine with that much"


def gigabytes(count: int) -> str:
    """Bytes for people, decimal units."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            digits = 0 if count >= 100 * size else 1 if count >= 10 * size else 2
            return f"{count / size:.{digits}f} {unit}"
    return f"{count} B"


# The exam ----------------------------------------------------------------------------------------------------------


def exam_cases(chosen: recipe.Recipe) -> int | None:
    """Exam cases inside the knowledge base; None when a file of cases is not there."""
    if chosen.cases.file is None:
        known = len(load_knowledge().conditions)
        return min(known, chosen.cases.conditions or known) * chosen.cases.exam_per_condition
    path = Path(chosen.cases.file)
    if not path.is_file():
        return None
    return sum(case.split == "exam" and not case.outside for case in files.read_jsonl(path, Case))


def exam_of(chosen: recipe.Recipe, discordance: float) -> Exam:
    """Cases needed for the recipe's margin and alpha, against those the exam has."""
    margin, alpha, cases = chosen.compare.margin, chosen.compare.alpha, exam_cases(chosen)
    needed = cases_for(discordance, margin)
    found = Exam(cases=cases, margin=margin, alpha=alpha, discordance=discordance, needed=needed)
    if not cases:
        return found
    changed = round(cases * discordance / 2)
    pairs = Pairs(cases - 2 * changed, changed, changed, 0)
    return found.model_copy(
        update={
            "power": round(noninferior_power(cases, discordance, margin, rule="score"), 3),
            "decides_up_to": _decides_up_to(cases, margin),
            "smallest_loss_seen": minimum_detectable(pairs, alpha),
            "enough": needed is not None and needed <= cases,
        }
    )


def _decides_up_to(cases: int, margin: float) -> float:
    """Largest discordance, to a thousandth, at which so many cases are enough; 0 when none is."""
    fits = (share for share in range(1000, -1, -1) if (cases_for(share / 1000, margin) or cases + 1) <= cases)
    return next(fits, 0) / 1000
