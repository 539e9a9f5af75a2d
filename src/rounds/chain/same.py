"""Do two models give the same answers? What a gate looks at after every export, before any exam is opened.

Inventory and bytes; divergence by class of token inside the engine that serves; format, thinking and length; lost red
flags; paired answers to tune cases, never to exam cases. Left out on purpose: choosing between exports
(`rounds.chain.ladder`), and the exam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from pydantic import Field

from rounds import files
from rounds.chain.prepare import read_cases
from rounds.chain.stage import alone
from rounds.engine.answering import context_of
from rounds.engine.choose import engine_for, open_responder
from rounds.exam.compare import compare_marks, exit_code
from rounds.exam.examine import Examined, examine
from rounds.exam.marks import from_grades
from rounds.grade.mark import Marker
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.prompts.template import render
from rounds.quant import classes, divergence
from rounds.quant.calibration import refuse_shown
from rounds.quant.inventory import Held, inventory
from rounds.records import Case, Finding, Lesson, Record, Sampling, Trace, UserError, Verdict
from rounds.stats import paired

T = TypeVar("T")

BROKEN_KL, BROKEN_FLIPS = 0.2, 0.25
"""A class of tokens beyond either is broken: the model is lost whatever its cases say. Plain rounding to 4 bits of a
model of 2.3 million weights gave 0.033 nats and 10 % of names changed; embeddings rounded wrongly give 4.5 nats."""
CLOSE_KL, CLOSE_CLASS_KL = 0.01, 0.05
"""Close: all tokens together and every class stay below these (nats a token)."""
FEWEST = 20
"""Tokens below which a class says nothing alone; it counts with all tokens."""
TEXTS = 64
"""Answers the divergence is measured on, spread over the cases."""


class Apart(Record):
    """How far the second model is from the first on one class of tokens."""

    kl: float
    """Mean KL, nats a token."""
    flips: float
    """Share of tokens whose likeliest successor changes."""
    tokens: int


class Said(Record):
    """How one model answers, whether right or not; shares of the answers, means in tokens."""

    format: float
    """Answers that could be read."""
    thought: float
    """Answers with reasoning closed by `</think>` and a reply after it."""
    finished: float
    """Answers that ended by themselves."""
    thinking_tokens: float
    reply_tokens: float


class Sameness(Record):
    """What the check found; `finding` is lost, kept, gained or too few cases, in the order of `rounds compare`."""

    before: str
    after: str
    divergence: dict[str, Apart]
    said: dict[str, Said] = Field(default_factory=dict)
    red_flags_lost: int = 0
    """Red flags the first names and the second does not, summed over answers."""
    red_flags_gained: int = 0
    verdicts: tuple[Verdict, ...] = ()
    broken: tuple[str, ...] = ()
    """A sentence for each thing that makes it lost."""
    close: bool
    """Divergence is small in every class."""
    finding: Finding

    @property
    def code(self) -> int:
        """Exit code: 0 kept or gained, 1 lost, 3 too few cases."""
        return {"lost": 1, "too few cases": 3}.get(self.finding, 0)


class Check(Record):
    """A whole check of two directories."""

    engine: str
    bytes: dict[str, int]
    inventory: dict[str, dict[str, Held]]
    margin: float | None
    alpha: float
    same: Sameness


@dataclass(frozen=True, slots=True)
class Rules:
    """How the two are asked and judged. `margin` is None only where there are no cases."""

    margin: float | None
    alpha: float
    template: str
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept back to judge by: tune cases, or answers somebody gave."""

    cases: Sequence[Case]
    told: Sequence[classes.Told]


def check(
    before: Path, after: Path, kept: Kept, rules: Rules, marker: Marker, *, engine: str = "auto", texts: int = TEXTS
) -> Check:
    """The whole check; the divergence is measured on `kept.told`, or else on the first model's answers to the cases.

    Raises:
        UserError: the models have different vocabularies or engines, nothing to judge by, or the engine's own faults.
    """
    names = names_of(before, after)
    _refuse_other_vocabulary(before, after)
    chosen = _one_engine(before, after, engine)
    logits = logits_of(chosen)
    pair: tuple[Examined, Examined] | None = None
    if kept.cases:
        one, two = (sit(directory, chosen, kept.cases, rules, marker) for directory in (before, after))
        pair = (one, two)
    told = spread(kept.told or (pair[0].traces if pair else ()), texts)
    if not told:
        raise UserError(f"{before.name} and {after.name} have nothing to be judged by; give --cases or --traces.")
    reader = classes.Reader(Codec.load(before), marker.knowledge, kept.cases)
    read = classes.texts(reader, told, context_of(before))
    with alone(before):
        first = logits(before)
    found = divergence.divergence(first, logits(after), read)
    return Check(
        engine=chosen,
        bytes={name: checkpoint.bytes_of(path) for name, path in zip(names, (before, after), strict=True)},
        inventory={name: inventory(path) for name, path in zip(names, (before, after), strict=True)},
        margin=rules.margin,
        alpha=rules.alpha,
        same=judge(names, found, pair, rules),
    )


def judge(
    names: tuple[str, str],
    found: dict[str, divergence.Divergence],
    pair: tuple[Examined, Examined] | None,
    rules: Rules,
) -> Sameness:
    """Put divergence and paired answers together; without cases nothing can be shown to be kept."""
    broken = [*_broken_classes(found)]
    verdicts: tuple[Verdict, ...] = ()
    said: dict[str, Said] = {}
    lost = gained = 0
    if pair is not None:
        if rules.margin is None:
            raise UserError("--margin is missing and has no default; state the largest loss you would accept, as 0.02.")
        marks = [from_grades(exam.grades) for exam in pair]
        verdicts = compare_marks(marks[0], marks[1], names=names, margin=rules.margin, alpha=rules.alpha)
        said = {name: _said(exam) for name, exam in zip(names, pair, strict=True)}
        broken += _broken_form(pair, rules.alpha)
        steps = [b.red_flags_named - a.red_flags_named for a, b in zip(pair[0].grades, pair[1].grades, strict=True)]
        lost, gained = -sum(step for step in steps if step < 0), sum(step for step in steps if step > 0)
        broken += [_lost_sentence(verdict) for verdict in verdicts if verdict.finding == "lost"]
    return Sameness(
        before=names[0],
        after=names[1],
        divergence={name: Apart(kl=one.kl, flips=one.flips, tokens=one.tokens) for name, one in found.items()},
        said=said,
        red_flags_lost=lost,
        red_flags_gained=gained,
        verdicts=verdicts,
        broken=tuple(broken),
        close=_close(found),
        finding="lost" if broken else _finding(verdicts),
    )


def sit(directory: Path, engine: str, cases: Sequence[Case], rules: Rules, marker: Marker) -> Examined:
    """One model's answers to the cases, marked."""
    with alone(directory):
        responder = open_responder(directory, "openvino" if engine == "openvino" else "transformers")
    return examine(cases, responder, template=rules.template, sampling=rules.sampling, marker=marker)


def logits_of(engine: str) -> Callable[[Path], divergence.Logits]:
    """How an engine's logits are got."""
    return divergence.in_openvino if engine == "openvino" else divergence.in_transformers


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items at even distances, so that sorted cases do not all come from one specialty."""
    step = max(1.0, len(items) / max(1, count))
    return [items[int(step * place)] for place in range(min(count, len(items)))]


def read_told(path: Path) -> list[Trace | Lesson]:
    """Answers of a JSONL of traces or of lessons, whichever its first line is.

    Raises:
        UserError: neither, or unreadable.
    """
    first = next(files.numbered_lines(path), None)
    kind: type[Trace] | type[Lesson] = Lesson if first is not None and '"teacher"' in first[1] else Trace
    return list(files.read_jsonl(path, kind))


def kept_back(run: Path | None, cases: Path | None, traces: Path | None, template: str) -> Kept:
    """Cases and answers to judge by: the files given, else the tune cases of the run.

    Raises:
        UserError: one of them is an exam case or shows one, or there are none.
    """
    exam = read_cases(run / "cases", "exam") if run is not None and (run / "cases" / "exam.jsonl").is_file() else []
    chosen: list[Case] = []
    if cases is not None:
        chosen = list(files.read_jsonl(cases, Case))
    elif run is not None and traces is None:
        chosen = read_cases(run / "cases", "tune")
    told = read_told(traces) if traces is not None else []
    examined = next((case.id for case in chosen if case.split == "exam"), None)
    if examined is not None:
        raise UserError(f"case '{examined}' is of the exam split, which opens once a candidate; give tune cases.")
    refuse_shown([*told, *(_shown(case, template) for case in chosen)], exam)
    return Kept(chosen, told)


def _shown(case: Case, template: str) -> Lesson:
    return Lesson(prompt=render(case, template), thinking="", reply="", teacher="")


def names_of(before: Path, after: Path) -> tuple[str, str]:
    """The last names of two directories, whole paths where they are alike."""
    short = (before.resolve().name, after.resolve().name)
    return short if short[0] != short[1] else (str(before), str(after))


def run_of(directory: Path) -> Path | None:
    """The run a checkpoint lies in; None outside of one."""
    above = list(directory.resolve().parents)[:2]
    return next((path for path in above if (path / "cases" / "tune.jsonl").is_file()), None)


def _one_engine(before: Path, after: Path, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    engines = {engine_for(before), engine_for(after)}
    if len(engines) > 1:
        raise UserError(
            f"{before} runs on {engine_for(before)} and {after} on {engine_for(after)}, and two engines differ by "
            "themselves; export both, or choose one with --engine."
        )
    return engines.pop()


def _refuse_other_vocabulary(before: Path, after: Path) -> None:
    for directory in (before, after):
        Codec.load(directory)
    try:
        checkpoint.same_vocabulary(before, after)
    except UserError as error:
        raise UserError(
            f"{before} and {after} have different vocabularies, so their tokens cannot be set side by side; "
            "compare their exams with rounds compare."
        ) from error


def _broken_classes(found: dict[str, divergence.Divergence]) -> list[str]:
    sentences = []
    for name, one in found.items():
        if (name == divergence.ALL or one.tokens >= FEWEST) and (one.kl > BROKEN_KL or one.flips > BROKEN_FLIPS):
            what = "all tokens" if name == divergence.ALL else name
            sentences.append(
                f"{what} broke: KL {one.kl:.3g} nats a token (at most {BROKEN_KL}), "
                f"{100 * one.flips:.1f} % of likeliest tokens changed (at most {100 * BROKEN_FLIPS:.0f} %)."
            )
    return sentences


def _close(found: dict[str, divergence.Divergence]) -> bool:
    every = all(one.kl <= CLOSE_CLASS_KL for one in found.values() if one.tokens >= FEWEST)
    return every and found[divergence.ALL].kl <= CLOSE_KL


def _said(exam: Examined) -> Said:
    return Said(
        format=fmean(not grade.answer.unreadable for grade in exam.grades),
        thought=fmean(_thought(trace) for trace in exam.traces),
        finished=fmean(trace.finish == "stop" for trace in exam.traces),
        thinking_tokens=fmean(trace.thinking_tokens for trace in exam.traces),
        reply_tokens=fmean(trace.reply_tokens for trace in exam.traces),
    )


def _thought(trace: Trace) -> bool:
    return bool(trace.thinking) and bool(trace.reply)


def _broken_form(pair: tuple[Examined, Examined], alpha: float) -> list[str]:
    """Format and `</think>` by the rule for losses: exact McNemar on the first answer to each case, and worse."""
    first = [list(zip(exam.traces, exam.grades, strict=True)) for exam in pair]
    first = [[(trace, grade) for trace, grade in exam if trace.sample == 0] for exam in first]
    shown: list[tuple[str, list[list[bool]]]] = [
        ("readable answers", [[not grade.answer.unreadable for _, grade in exam] for exam in first]),
        ("answers with closed reasoning", [[_thought(trace) for trace, _ in exam] for exam in first]),
    ]
    sentences = []
    for what, (old, new) in shown:
        pairs = paired.count(old, new)
        if pairs.difference < 0 and paired.exact(pairs) < alpha:
            sentences.append(f"{what} fell from {sum(old)} to {sum(new)} of {len(old)}, p {paired.exact(pairs):.2g}.")
    return sentences


def _lost_sentence(verdict: Verdict) -> str:
    return (
        f"{verdict.arm} fell by {-100 * verdict.difference:.1f} points on {verdict.n} cases, p {verdict.p_exact:.2g}."
    )


def _finding(verdicts: Sequence[Verdict]) -> Finding:
    if exit_code(verdicts) == 3:
        return "too few cases"
    return "gained" if any(verdict.finding == "gained" for verdict in verdicts) else "kept"
