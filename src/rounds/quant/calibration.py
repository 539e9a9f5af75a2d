"""Which of the model's own traces a quantiser sees: spread over specialty and incidence, never an exam case.

Error-compensated rounding keeps what the calibration text exercises, so the text is the student's own reasoning, and
a rare condition's words must be in it. Left out on purpose: foreign corpora (measured: four times the divergence).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from rounds.quant.classes import Told
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
    refuse_shown(traces, [*exam, *(case for case in cases if case.split == "exam")])
    unknown = next((trace.prompt.case_id for trace in traces if trace.prompt.case_id not in by_id), None)
    if unknown is not None:
        raise UserError(f"calibration trace of case '{unknown}': no such case; give its cases file.")
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


def refuse_shown(told: Iterable[Told], exam: Sequence[Case]) -> None:
    """See that no answer belongs to an exam case or shows one's vignette, under whatever name.

    Raises:
        UserError: one does.
    """
    ids, texts = {case.id for case in exam}, {_flat(case.vignette): case.id for case in exam}
    for one in told:
        name = one.prompt.case_id
        shown = _flat(" ".join(message.content for message in one.prompt.messages))
        twin = name if name in ids else next((of for text, of in texts.items() if text in shown), None)
        if twin is not None:
            raise UserError(f"the trace of case '{name}' shows exam case '{twin}'; use traces of teach or tune cases.")


def _flat(text: str) -> str:
    return " ".join(text.lower().split())
