"""Adapter beside the model, or merged into it: the same answers, at what size and speed?

Both on the transformers engine, the same cases in the same order, in float32. A merged model is a whole checkpoint
for each specialty and can be quantised as one; a separate adapter is small and can be taken off again. Left out on
purpose: adapters on a quantised model, whose rounding was done without them.
"""

from __future__ import annotations

from statistics import median

from rounds import recipe
from rounds.chain.judge import exam_sampling
from rounds.chain.prepare import read_cases
from rounds.chain.stage import Work, cores
from rounds.chain.timing import Way, in_turn
from rounds.engine.choose import Named
from rounds.engine.reference import Reference
from rounds.exam.examine import examine, save
from rounds.grade.mark import Marker
from rounds.knowledge.base import load as load_knowledge
from rounds.model import checkpoint
from rounds.records import Figures

ADAPTER = "adapter"
MERGED, BESIDE = "merged", "beside"
TIMED = 12
"""Cases that both ways answer one at a time, in turn."""


def make_separate(work: Work, chosen: recipe.Recipe, specialty: str, start: str, model: str) -> Figures:
    """specialise/separate/<name>/: both ways of serving one specialty's adapter, on its own cases."""
    cases = [c for c in read_cases(work.inputs["specialise/cases"], "exam") if c.specialty == specialty]
    step = max(1, len(cases) // chosen.specialise.separate)
    cases = cases[::step][: chosen.specialise.separate]
    sat = {}
    template, sampling, marker = chosen.examine.template, exam_sampling(chosen), Marker(load_knowledge())
    beside = Reference(work.inputs[start], threads=cores(), adapters={specialty: work.inputs[model] / ADAPTER})
    ways = {
        MERGED: Way(Reference(work.inputs[model], threads=cores()), sampling),
        BESIDE: Way(Named(beside, specialty), sampling),
    }
    for name, way in ways.items():
        sat[name] = examine(cases, way.responder, template=template, sampling=sampling, marker=marker)
        (work.out / name).mkdir()
        save(sat[name], work.out / name)
    seconds = in_turn(ways, cases[:TIMED], template)
    pairs = list(zip(sat[MERGED].traces, sat[BESIDE].traces, strict=True))
    answers = list(zip(sat[MERGED].grades, sat[BESIDE].grades, strict=True))
    return {
        "specialty": specialty,
        "cases": len(cases),
        "same_text": sum((a.thinking, a.reply) == (b.thinking, b.reply) for a, b in pairs),
        "same_five": sum(a.answer == b.answer for a, b in answers),
        "right_merged": sum(bool(a.correct) for a, _ in answers),
        "right_beside": sum(bool(b.correct) for _, b in answers),
        "seconds_merged": round(median(seconds[MERGED]), 3),
        "seconds_beside": round(median(seconds[BESIDE]), 3),
        "bytes_merged": checkpoint.bytes_of(work.inputs[model]),
        "bytes_adapter": checkpoint.bytes_of(work.inputs[model] / ADAPTER),
    }
