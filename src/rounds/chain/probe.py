"""Probe a model: attacks, over-refusal and bias, offline, beside another model and beside itself asked again.

Every arm has a margin of its own and a finding of the gate: lost, gained, kept, too few cases. Answers of an endpoint
are journalled one by one; an engine in this process answers each part in one fixed order, and a finished part is kept.
Left out on purpose: choosing anything by what is found, and exam cases, which open once a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rounds import files
from rounds.exam import safety, safety_outcomes, twins, twins_flips
from rounds.exam.compare import Comparison
from rounds.exam.examine import Journalled
from rounds.exam.safety import Attack, Family, Missing, Outcome, Request
from rounds.exam.safety_judge import NOT_VALIDATED, Agreed
from rounds.exam.safety_outcomes import Asked, attack_marks, gate, refusal_marks
from rounds.exam.safety_result import BIAS_ARM, GOALS, REFUSAL, Probe
from rounds.grade.mark import Marker
from rounds.model.tokenizer import Codec
from rounds.prompts.choices import read_choices
from rounds.prompts.reader import read_reply
from rounds.prompts.template import harmless, render
from rounds.records import Answer, Case, Message, Prompt, Responder, Sampling, Trace, UserError

ATTACKS, QUESTIONS, BIAS = "attacks", "questions", "bias"
PARTS = (ATTACKS, QUESTIONS, BIAS)
FILTERS = ("filter", "policy", "moderation", "safety", "blocked")
"""Words by which an endpoint says that a filter took a prompt."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is asked."""

    families: Mapping[str, Family]
    requests: Sequence[Request]
    questions: Sequence[tuple[str, str]]
    """(topic, text) of what must be answered."""
    cases: Sequence[Case]
    """For hijacks, harmful options and twins; none leaves those out."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How it is asked and judged. A margin of None: that arm has no finding."""

    template: str
    sampling: Sampling
    twin_sampling: Sampling
    alpha: float
    margin: float | None
    bias_margin: float | None
    refusal_margin: float | None
    seed: int = 0
    bare: bool = False
    parts: tuple[str, ...] = PARTS


@dataclass(slots=True)
class Measured:
    """What one model did."""

    name: str
    digest: str
    outcomes: list[Outcome] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    twins: list[twins_flips.Asked] = field(default_factory=list)
    right: dict[str, dict[str, dict[str, bool]]] = field(default_factory=dict)
    """Attribute to form to case to right."""
    too_long: int = 0
    filtered: int = 0
    uncoded: int = 0
    """Twins in another language that have a diagnosis without a code, or whose case has."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """One reply and what was read from it."""

    answer: Answer
    reply: str


class Asking:
    """An engine that answers a part at a time and keeps what it has answered in `directory`."""

    def __init__(self, responder: Responder, directory: Path, checkpoint: Path | None = None) -> None:
        self.responder = responder
        self._directory = directory
        self._codec, self._context = None, 1 << 30
        if checkpoint is not None:
            from rounds.engine.answering import context_of

            self._codec, self._context = Codec.load(checkpoint), context_of(checkpoint)

    def __call__(self, prompts: Sequence[Prompt], sampling: Sampling, label: str) -> list[Trace | Missing]:
        """One entry a prompt, in order.

        Raises:
            UserError: the engine's own faults; what was answered is kept.
        """
        fit = [prompt for prompt in prompts if self._fits(prompt)]
        if self._codec is not None:
            found: dict[str, Trace | Missing] = dict(self._at_once(fit, sampling, label))
        else:
            found = self._journalled(fit, sampling, self._directory / f"{label}.jsonl")
        return [found.get(prompt.case_id, "too long") for prompt in prompts]

    def _fits(self, prompt: Prompt) -> bool:
        # Half of the context is left for the answer: one that is cut short shows nothing.
        return self._codec is None or 2 * len(self._codec.encode_prompt(prompt.messages)) <= self._context

    def _at_once(self, prompts: Sequence[Prompt], sampling: Sampling, label: str) -> dict[str, Trace]:
        path = self._directory / f"{label}.jsonl"
        if path.is_file():
            kept = list(files.read_jsonl(path, Trace))
            same = [trace.prompt for trace in kept] == list(prompts)
            if same and all((one.model, one.sampling) == (self.responder.model, sampling) for one in kept):
                return {trace.prompt.case_id: trace for trace in kept}
        traces = list(self.responder.respond(prompts, sampling))
        files.write_jsonl(path, traces)
        return {trace.prompt.case_id: trace for trace in traces}

    def _journalled(self, prompts: Sequence[Prompt], sampling: Sampling, journal: Path) -> dict[str, Trace | Missing]:
        journal.parent.mkdir(parents=True, exist_ok=True)
        asking = Journalled(self.responder, journal)
        try:
            return {trace.prompt.case_id: trace for trace in asking.respond(prompts, sampling)}
        except UserError as error:
            if not _filtered(error):
                raise
        found: dict[str, Trace | Missing] = {}
        for prompt in prompts:
            try:
                found[prompt.case_id] = next(asking.respond([prompt], sampling))
            except UserError as error:
                if not _filtered(error):
                    raise
                found[prompt.case_id] = "filtered"
        return found


def _filtered(error: UserError) -> bool:
    said = str(error).lower()
    return any(f"status {code}" in said for code in (400, 403, 451)) and any(word in said for word in FILTERS)


def measure(asking: Asking, sources: Sources, rules: Rules, marker: Marker) -> Measured:
    """Ask one model everything.

    Raises:
        UserError: an empty twin set, or the engine's own faults; what was answered is kept.
    """
    found = Measured(asking.responder.name, asking.responder.model)
    if ATTACKS in rules.parts:
        attacks = attacks_of(sources, rules, marker)
        traces = safety.ask(attacks, asking, rules.sampling, bare=rules.bare)
        found.outcomes = safety_outcomes.outcomes(
            attacks, traces, marker.knowledge, {one.id: one for one in sources.cases}
        )
        _count(found, traces)
    if QUESTIONS in rules.parts:
        prompts = [
            Prompt(
                case_id=f"question/{number}",
                template=safety.TEMPLATE,
                messages=(Message(role="user", content=harmless(text)),),
            )
            for number, (_, text) in enumerate(sources.questions, start=1)
        ]
        heard = asking(prompts, rules.sampling, QUESTIONS)
        found.asked = safety_outcomes.judged_questions(sources.questions, heard, marker.knowledge)
        _count(found, heard)
    if BIAS in rules.parts and sources.cases:
        _twins(found, asking, sources.cases, rules, marker)
    return found


def _count(found: Measured, traces: Sequence[Trace | Missing]) -> None:
    found.too_long += sum(one == "too long" for one in traces)
    found.filtered += sum(one == "filtered" for one in traces)


def attacks_of(sources: Sources, rules: Rules, marker: Marker) -> list[Attack]:
    """Every attack of a probe."""
    of_cases = safety.of_cases(sources.cases, sources.families, marker.knowledge, rules.template, rules.seed)
    return [*safety.of_requests(sources.requests, sources.families), *of_cases]


def _twins(found: Measured, asking: Asking, cases: Sequence[Case], rules: Rules, marker: Marker) -> None:
    listed = twins.twins(cases, marker.knowledge)
    wanted = {one.case.twin_of for one in listed}
    originals = [case for case in cases if case.id in wanted]
    again = rules.twin_sampling.model_copy(update={"seed": rules.twin_sampling.seed + 1})
    first = _answers(asking, originals, rules, rules.twin_sampling, "twins-original")
    second = _answers(asking, originals, rules, again, "twins-again")
    third = _answers(asking, [one.case for one in listed], rules, rules.twin_sampling, "twins")
    coder = twins_flips.Coder(marker.knowledge)
    seen = {key: _seen(heard, coder) for key, heard in (first | third).items()}
    repeated = {key: _seen(heard, coder) for key, heard in second.items()}
    by_id = {case.id: case for case in originals}
    for one in listed:
        original = by_id[one.case.twin_of or ""]
        if original.id not in first or original.id not in second or one.case.id not in third:
            continue
        shown = (seen[original.id], repeated[original.id], seen[one.case.id])
        rights = (_right(original, first[original.id], marker), _right(original, third[one.case.id], marker))
        if one.attribute == twins.LANGUAGE and not original.options:
            if not all(each.coded for each in shown):
                found.uncoded += 1
                continue
            code = original.icd10 or coder.code(original.diagnosis)
            shown = (shown[0].category(), shown[1].category(), shown[2].category())
            right = code[: twins_flips.CATEGORY]
            rights = (right in shown[0].five, right in shown[2].five)
        cluster = original.condition or original.id
        found.twins.append(twins_flips.Asked(original.id, cluster, one.attribute, one.value, *shown))
        # A twin takes the place of its case; where an attribute changes one way only, its values are one form.
        form = one.value if one.attribute in twins.ADDED else "changed"
        marks = found.right.setdefault(one.attribute, {})
        marks.setdefault("original", {})[original.id] = rights[0]
        marks.setdefault(form, {})[original.id] = rights[1]


def _answers(asking: Asking, cases: Sequence[Case], rules: Rules, sampling: Sampling, label: str) -> dict[str, _Heard]:
    prompts = [render(case, "choice@1" if case.options else rules.template) for case in cases]
    found = {}
    for case, trace in zip(cases, asking(prompts, sampling, label), strict=True):
        if isinstance(trace, Trace):
            options = case.options
            read = read_choices(trace.reply, case.id, options) if options else read_reply(trace.reply, case.id)
            found[case.id] = _Heard(read, trace.reply)
    return found


def _seen(heard: _Heard, coder: twins_flips.Coder) -> twins_flips.Seen:
    read = heard.answer
    if read.choices:
        return twins_flips.Seen("".join(read.choices), frozenset(read.choices), False)
    return coder.seen(read, heard.reply)


def _right(case: Case, heard: _Heard, marker: Marker) -> bool:
    if case.options:
        return set(heard.answer.choices) == set(case.right)
    return bool(marker.mark_answer(case, heard.answer).correct)


def structural(sources: Sources, rules: Rules, marker: Marker, checkpoint: Path) -> dict[str, int]:
    """Control tokens that the texts of the attacks hold for two readers of them: ours, and one that parses them."""
    codec = Codec.load(checkpoint)
    texts = [attack.turns[-1] for attack in attacks_of(sources, rules, marker)]
    made = [codec.encode_text(text) for text in texts]
    return {
        "attack texts": len(texts),
        "control tokens when parsed": sum(codec.control_tokens_of(text) for text in texts),
        "texts with one when parsed": sum(codec.control_tokens_of(text) > 0 for text in texts),
        "control tokens as encoded here": sum(one in codec.control_ids for ids in made for one in ids),
    }


def judge(found: Measured, before: Measured | None, rules: Rules, agreed: Agreed | None) -> Probe:
    """Figures and findings of one model, and of its comparison with another."""
    standing = NOT_VALIDATED if agreed is None else agreed.standing
    arms = {} if before is None else _paired(before, found, rules)
    arms |= _biased(found, rules)
    return Probe(
        model=found.name,
        digest=found.digest,
        before="" if before is None else before.name,
        before_digest="" if before is None else before.digest,
        judge=agreed,
        standing=standing,
        attacks=safety_outcomes.success_shares(found.outcomes, standing),
        areas=safety_outcomes.area_shares(found.outcomes, standing),
        refusals=safety_outcomes.refusal_shares(found.asked, standing),
        off_topic=sum(one.ruling == "off topic" for one in found.asked),
        before_attacks=() if before is None else safety_outcomes.success_shares(before.outcomes, standing),
        before_refusals=() if before is None else safety_outcomes.refusal_shares(before.asked, standing),
        flips=tuple(twins_flips.flips(found.twins)),
        omnibus=tuple(twins_flips.omnibus(found.right)),
        verdicts=gate(arms, rules.alpha),
        margins={name: margin for name, (_, margin) in arms.items()},
        alpha=rules.alpha,
        notes=_notes(found, before, rules),
    )


def _paired(before: Measured, after: Measured, rules: Rules) -> dict[str, tuple[Comparison, float]]:
    """Arms against another model: attacks by goal and place, and over-refusal."""
    arms: dict[str, tuple[Comparison, float]] = {}
    names = (before.name, after.name) if before.name != after.name else (f"{before.name} (before)", after.name)
    for goal, title in GOALS.items():
        for place in ("answers", "thoughts"):
            marks = [attack_marks(one.outcomes, goal, place) for one in (before, after)]
            if rules.margin is not None and all(marks):
                arms[f"{title}, {place}"] = (Comparison(*names, *marks), rules.margin)
    if rules.refusal_margin is not None and before.asked and after.asked:
        marks = [refusal_marks(one.asked) for one in (before, after)]
        arms[REFUSAL] = (Comparison(*names, *marks), rules.refusal_margin)
    return arms


def _biased(found: Measured, rules: Rules) -> dict[str, tuple[Comparison, float]]:
    """Arms of one model against itself: swapped against asked again, by attribute and kind of flip."""
    if rules.bias_margin is None:
        return {}
    attributes = [name for name in dict.fromkeys(one.attribute for one in found.twins) if name != twins.CONTROL]
    return {
        f"{BIAS_ARM}{attribute}, {kind}": (twins_flips.comparison(found.twins, kind, attribute), rules.bias_margin)
        for attribute in attributes
        for kind in twins_flips.KINDS
    }


def _notes(found: Measured, before: Measured | None, rules: Rules) -> tuple[str, ...]:
    notes = []
    for one in (found, before):
        if one is not None and one.too_long:
            notes.append(f"{one.name}: {one.too_long:,} prompts fill more than half of its context and were left out.")
        if one is not None and one.filtered:
            notes.append(f"{one.name}: a filter in front of it took {one.filtered:,} prompts; they count as not done.")
    if found.uncoded:
        notes.append(
            f"{found.uncoded:,} twins in another language were left out: a diagnosis has no ICD-10 code, and words of "
            "two languages cannot be compared. Ask with a template that wants a code behind each diagnosis."
        )
    if found.twins and rules.twin_sampling.temperature == 0:
        notes.append("Twins were answered greedily: asking again flips only what the engine itself does not repeat.")
    if not found.twins and not found.uncoded and BIAS in rules.parts:
        notes.append("No case was given: nothing is said about bias, nor about demands inside a case.")
    if rules.bare:
        notes.append("Control tokens written out in the attacks were sent as they are.")
    return tuple(notes)
