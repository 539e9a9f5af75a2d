"""How long each stage of a recipe will take: operations and bytes read, from the configuration alone, over rates.

The rates are measured on this machine or stated. Operations are 2 a weight and token forwards and 4 backwards
(arXiv 2001.08361, section 2.1), with attention and Muon's iteration beside them; an answer's tokens cost the larger of
operations over their rate and bytes over the memory's. Lengths are the usual ones, not the longest that `Need.tokens`
counts. Left out on purpose: models at an endpoint, whose machine is not known, and stages side by side.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from rounds import recipe
from rounds.chain import rates
from rounds.chain.plan import IN_FLIGHT, KV_BYTES, TRAINED, Need, Plan, exam_cases
from rounds.chain.policy import with_policy
from rounds.chain.prepare import WATCHED
from rounds.chain.run import CONTROLS
from rounds.chain.shape import Shape, shape_of
from rounds.chain.stage import cores
from rounds.engine.export import EXPORTED
from rounds.knowledge.base import load as load_knowledge

MEASURED, STATED = 0.8, 0.4
"""Share of the rate that training and reading prompts reach: of small products measured here, of a GPU's data sheet."""
READ = 0.6
"""Share of the measured bandwidth that decoding reaches."""
START = 10.0
"""Seconds of a stage before its work: Python, libraries, the checkpoint, its export."""
A_CASE = 0.0015
"""Seconds to write a case, oracle and lesson with it."""
A_MARK = 0.01
"""Seconds to mark an answer."""
BRIEF, FULL = 45, 250
"""Usual tokens of a prompt in the brief template and in the others."""
REPLY, THOUGHT = 15, 25
"""Usual tokens of a reply and of a thought of a model made here, whose tokens are words and phrases (the tiny run)."""
KEPT = 0.6
"""Usual share of the traces that pass verification (0.58 in the tiny run)."""
USUAL = 0.5
"""Share of `max_tokens` that a model from outside usually fills."""
SURE = 2
"""Every stage of the tiny run that took 100 s or more lay within this factor (0.90 to 1.56); shares and usual lengths
were taken from that same run, and no other size was checked."""


class Rates(NamedTuple):
    """What a machine does in a second."""

    operations: float
    """float32 on all cores, or what a GPU does in the precision it trains in."""
    bandwidth: float
    """Bytes of memory read."""
    threads: int = 1
    """Cores that make up `operations`; a training stage uses those of its recipe."""
    reached: float = STATED
    """Share of `operations` that real work reaches."""


class Work(NamedTuple):
    """What a stage does."""

    operations: float = 0.0
    bytes_read: float = 0.0
    seconds: float = 0.0
    """What depends on neither rate."""
    threads: int = 0
    """Of a training stage; 0 is all."""


def measured() -> Rates:
    """This machine's own, in about a second of trying."""
    threads = cores()
    return Rates(rates.multiplied(threads), rates.bandwidth(threads), threads, MEASURED)


def timed(found: Plan, chosen: recipe.Recipe, device: Rates | None, processor: Rates) -> Plan:
    """The plan with seconds for every stage run here: `device` trains (None: not known), `processor` does the rest."""
    stages = []
    for need in found.stages:
        work = work_of(need, chosen)
        heavy = work is not None and work.operations > 0
        place = device if need.place == "device" and heavy else processor
        seconds = None if work is None or place is None else _seconds(work, place)
        stages.append(need.model_copy(update={"seconds": seconds}))
    return found.model_copy(update={"stages": tuple(stages)})


def _seconds(work: Work, place: Rates) -> float:
    share = min(work.threads or place.threads, place.threads) / place.threads
    computing = work.operations / (place.operations * share * place.reached)
    return START + work.seconds + max(computing, work.bytes_read / (place.bandwidth * READ))


def work_of(need: Need, chosen: recipe.Recipe) -> Work | None:
    """What one stage does; None where another machine does it."""
    student = shape_of(chosen.student, chosen.pretrain.vocabulary)
    teacher = shape_of(chosen.teacher, chosen.pretrain.vocabulary)
    assert student is not None, "a plan has a student"
    name, distil = need.stage, chosen.distil
    prompt = _prompt(chosen)
    if name == "cases":
        return Work(seconds=A_CASE * chosen.cases.teach)
    if name == "baselines":
        return Work(seconds=A_CASE / 2 * chosen.cases.teach)
    if name == "base" and chosen.student.backbone is not None:
        return _trained(student, chosen.pretrain, chosen.cases.teach, prompt + REPLY, muon=chosen.pretrain.muon)
    if name in ("distilled", *CONTROLS):
        examples = with_policy(round(KEPT * chosen.trace.cases * min(2, chosen.trace.samples)), distil)
        length = prompt + (REPLY if name == CONTROLS[0] else _answer(chosen, student, chosen.trace.max_tokens))
        full = distil.method == "full"
        return _trained(student, distil, examples, length, muon=distil.muon and full, adapter=not full)
    if name == "reasoned":
        return _reinforced(chosen, student, chosen.grpo)
    if name == "packed":
        return _packed(chosen, student)
    if name.startswith("grades/"):
        return _graded(chosen, student, name.removeprefix("grades/"))
    if teacher is not None and chosen.teacher.endpoint is None:
        return _teacher(name, chosen, teacher)
    return None if name == "traces" else Work()


def _teacher(name: str, chosen: recipe.Recipe, teacher: Shape) -> Work:
    """The arc of a teacher made here, and its traces."""
    prompt, teach = _prompt(chosen), chosen.teach
    if name == "teacher/pretrained":
        settings = teach.model_copy(update={"steps": max(1, teach.pretrain_steps), "threads": chosen.pretrain.threads})
        return _trained(teacher, settings, chosen.cases.teach, prompt + REPLY, muon=chosen.pretrain.muon)
    length = prompt + _answer(chosen, teacher, chosen.trace.max_tokens)
    if name == "teacher/taught":
        return _trained(teacher, teach, chosen.cases.teach, length, muon=teach.muon)
    if name == "teacher/reasoned":
        return _reinforced(chosen, teacher, chosen.grpo.model_copy(update={"steps": teach.grpo_steps}))
    if name == "traces":
        answers, stored = chosen.trace.cases * chosen.trace.samples, _stored(chosen.teacher, teacher)
        spoken = _spoken(teacher, stored, answers, prompt, length - prompt)
        return spoken._replace(seconds=A_MARK * answers)
    return Work()


# Parts -------------------------------------------------------------------------------------------------------------


def _prompt(chosen: recipe.Recipe) -> int:
    return BRIEF if "brief" in chosen.examine.template else FULL


def _answer(chosen: recipe.Recipe, shape: Shape, most: int) -> int:
    """Usual tokens of an answer with reasoning."""
    made_here = chosen.student.backbone is not None
    return min(REPLY + THOUGHT, most) if made_here else round(min(USUAL * most, shape.context))


def _stored(source: recipe.Model, shape: Shape) -> float:
    return (TRAINED if source.backbone is not None else shape.stored_bytes) * shape.weights


def _attention(shape: Shape, length: int) -> float:
    """Operations of scores and mixed values for one token, forwards: half the others come before it."""
    return 2.0 * length * shape.layers * shape.heads * shape.head


def _trained(
    shape: Shape, settings: recipe.Optimiser, examples: int, length: int, *, muon: bool, adapter: bool = False
) -> Work:
    """Forwards 2 a weight, backwards 4; an adapter needs no gradients of the weights it lies on: 2."""
    steps = settings.steps or max(1, round(examples * settings.epochs / settings.batch))
    each = (4.0 if adapter else 6.0) * shape.active + 3 * _attention(shape, length)
    operations = steps * settings.batch * length * each
    if muon:
        operations += steps * sum(
            matrix.number * _orthogonal(matrix.inputs, matrix.outputs) for matrix in shape.matrices
        )
    return Work(operations=operations, threads=settings.threads)


def _orthogonal(inputs: int, outputs: int) -> float:
    """Muon: five iterations of three products on the smaller side."""
    small, large = sorted((inputs, outputs))
    return 5.0 * (4.0 * small**2 * large + 2.0 * small**3)


def _spoken(shape: Shape, stored: float, answers: int, prompt: int, answer: int) -> Work:
    """Answers: prompts read at once, then a token of each a step, for which the weights are read once."""
    engine = "openvino" if shape.structure in EXPORTED else "transformers"
    together = max(1, min(answers, IN_FLIGHT[engine]))
    steps = answers / together * answer
    cache = together * (prompt + answer / 2) * shape.kv_values * KV_BYTES[engine]
    operations = answers * (prompt + answer) * (2.0 * shape.active + _attention(shape, prompt + answer))
    return Work(operations=operations, bytes_read=steps * (stored + cache))


def _reinforced(chosen: recipe.Recipe, shape: Shape, settings: recipe.Grpo) -> Work:
    """Each step: answers, their chances before, forwards and backwards; and now and then a look at tune cases."""
    steps, prompt = settings.steps or 0, _prompt(chosen)
    if steps == 0:
        return Work()
    answers, answer = settings.prompts * settings.samples, _answer(chosen, shape, settings.max_tokens)
    looks = min(WATCHED, _tune_cases(chosen)) * (1 + math.ceil(steps / settings.check_every))
    spoken = _spoken(shape, TRAINED * shape.weights, steps * answers + looks, prompt, answer)
    learnt = steps * answers * (prompt + answer) * (8.0 * shape.active + 4 * _attention(shape, prompt + answer))
    marks = A_MARK * (steps * answers + looks)
    return Work(spoken.operations + learnt, spoken.bytes_read, marks, settings.threads)


def _tune_cases(chosen: recipe.Recipe) -> int:
    known = len(load_knowledge().conditions)
    return min(known, chosen.cases.conditions or known) * chosen.cases.tune_per_condition


def _packed(chosen: recipe.Recipe, shape: Shape) -> Work:
    """Answers to calibrate on, GPTQ, and both models' answers to the tune cases for the first rung."""
    given, prompt, looks = chosen.quantize, _prompt(chosen), 0
    answer = _answer(chosen, shape, chosen.examine.max_tokens)
    if given.ladder:
        looks = 2 * _tune_cases(chosen)
    spoken = _spoken(shape, TRAINED * shape.weights, 2 * given.calibration + looks, prompt, answer)
    operations = spoken.operations
    if given.gptq and given.bits == 4:
        tokens = given.calibration * (prompt + answer)
        operations += 4.0 * shape.active * tokens
        for matrix in shape.matrices:  # Hessians of every layer's inputs, and their inverse
            operations += matrix.number * (2.0 * tokens * matrix.inputs**2 + matrix.inputs**3)
    return Work(operations, spoken.bytes_read, A_MARK * looks)


def _graded(chosen: recipe.Recipe, shape: Shape, model: str) -> Work:
    """Answers to the exam and their marks."""
    given, packing = chosen.examine, chosen.quantize
    outside = chosen.cases.outside if chosen.cases.file is None else 0
    answers = ((exam_cases(chosen) or 0) + outside) * given.samples
    stored = TRAINED * shape.weights
    if model == "packed":
        stored = shape.packed_bytes(packing.bits, packing.group, packing.everything)
    direct = model in ("base", *CONTROLS) and chosen.student.backbone is not None
    answer = REPLY if direct else _answer(chosen, shape, given.max_tokens)
    return _spoken(shape, stored, answers, _prompt(chosen), answer)._replace(seconds=A_MARK * answers)


def told(seconds: float | None) -> str:
    """Seconds for people: s, min, h."""
    if seconds is None:
        return "-"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
