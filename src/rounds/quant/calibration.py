"""Which of the model's own traces a quantiser sees: spread over specialty and incidence, never an exam case.

Error-compensated rounding keeps what the calibration text exercises, so the text is the student's own reasoning, and
a rare condition's words must be in it. Left out on purpose: foreign corpora (measured: four times the divergence).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from rounds.model.tokenizer import Codec
from rounds.records import Case, Trace, UserError


def choose(
    traces: Sequence[Trace], cases: Sequence[Case], count: int, *, exam: Sequence[Case], seed: int = 0
) -> list[Trace]:
    """`count` finished traces, one cell of specialty x incidence after the other until there are enough.

    `cases` are those the traces answer, `exam` those no trace may show; the same seed chooses the same traces.

    Raises:
        UserError: a trace belongs to an exam case or shows one's vignette, its case is unknown, or there are too few.
    """
    by_id = {case.id: case for case in cases}
    _refuse_exam(traces, by_id, exam)
    cells: dict[tuple[str, str], list[Trace]] = defaultdict(list)
    for trace in traces:
        if trace.finish == "stop":
            case = by_id[trace.prompt.case_id]
            cells[case.specialty, case.incidence].append(trace)
    there = sum(map(len, cells.values()))
    if there < count:
        raise UserError(
            f"calibration asks for {count} finished traces and {there} are there; "
            "make more traces or lower calibration in [quantize]."
        )
    draw = random.Random(seed)
    for cell in cells.values():
        draw.shuffle(cell)
    chosen: list[Trace] = []
    while len(chosen) < count:
        for key in sorted(cells):
            if cells[key] and len(chosen) < count:
                chosen.append(cells[key].pop())
    return chosen


def sequences(codec: Codec, traces: Sequence[Trace], context: int) -> list[list[int]]:
    """Token ids of prompt and answer, cut at `context` tokens."""
    return [
        (codec.encode_prompt(trace.prompt.messages) + codec.encode_completion(trace.thinking, trace.reply))[:context]
        for trace in traces
    ]


def _refuse_exam(traces: Sequence[Trace], by_id: dict[str, Case], exam: Sequence[Case]) -> None:
    forbidden = [*exam, *(case for case in by_id.values() if case.split == "exam")]
    ids, texts = {case.id for case in forbidden}, {_flat(case.vignette): case.id for case in forbidden}
    for trace in traces:
        name = trace.prompt.case_id
        shown = _flat(" ".join(message.content for message in trace.prompt.messages))
        twin = name if name in ids else next((of for text, of in texts.items() if text in shown), None)
        if twin is not None:
            raise UserError(
                f"calibration trace of case '{name}' shows exam case '{twin}'; calibrate on traces of teach cases."
            )
        if name not in by_id:
            raise UserError(f"calibration trace of case '{name}': no such case; give its cases file.")


def _flat(text: str) -> str:
    return " ".join(text.lower().split())
