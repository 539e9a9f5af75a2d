"""Ways of asking around one model: each wraps a Responder, is one, and counts what it costs.

Self-consistency (arXiv 2203.11171), the vote over shuffled options and the nearest solved cases with self-made
reasoning of Medprompt (arXiv 2311.16452), and JSON under the engine's grammar. Left out on purpose: repair of replies,
and any choice between strategies (`rounds compare` pairs their grades).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from random import Random

import numpy as np
from numpy.typing import NDArray

from rounds.prompts.choices import read_choices, read_number
from rounds.prompts.outputs import FREE, schema_of
from rounds.prompts.reader import read_reply
from rounds.prompts.router import vector
from rounds.prompts.template import harmless, load, render
from rounds.records import LETTERS, Case, Prompt, Responder, Sampling, Trace, UserError

LONGEST_REASONING = 1500
"""Characters of an example's reasoning; the rest is cut off."""
ABSTAINS = "I cannot place this case."

Same = Callable[[str], str]
"""Two names with the same value are one diagnosis."""


@dataclass(slots=True)
class Cost:
    """What was asked of the model, over all cases so far."""

    cases: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    """0 where the engine does not tell."""
    tokens: int = 0
    """Thinking and replies."""
    seconds: float = 0.0
    """Sum over the calls; calls side by side count each."""

    def add(self, traces: Sequence[Trace]) -> None:
        """Count the calls that gave these answers."""
        self.calls += len(traces)
        self.prompt_tokens += sum(trace.prompt_tokens for trace in traces)
        self.tokens += sum(trace.thinking_tokens + trace.reply_tokens for trace in traces)
        self.seconds += sum(trace.total_s or 0.0 for trace in traces)

    def told(self) -> str:
        """One line for a terminal."""
        each = max(1, self.cases)
        return (
            f"cost: {self.calls} calls, {self.calls / each:.1f} a case; {self.prompt_tokens / each:.0f} prompt and "
            f"{self.tokens / each:.0f} answer tokens a case; {self.seconds / each:.2f} s of answering a case"
        )


class Vote:
    """Self-consistency: `count` answers a case at the sampling's temperature, and what most of them say."""

    def __init__(self, inner: Responder, cases: Sequence[Case], count: int = 5, same: Same = str.casefold) -> None:
        self.name, self.model, self.batch_invariant = f"vote of {count}: {inner.name}", inner.model, False
        self.cost = Cost()
        self._inner, self._cases, self._count, self._same = inner, _by_id(cases), count, same

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """One trace a prompt; its tokens and seconds are those of all answers.

        Raises:
            UserError: greedy sampling, several samples, or the model's own faults.
        """
        _one_sample(sampling)
        if sampling.temperature == 0:
            raise UserError("a vote of greedy answers is one answer many times; give a temperature such as 0.6.")
        asked = sampling.model_copy(update={"samples": self._count})
        answers = self._inner.respond(prompts, asked)
        for prompt in prompts:
            given = list(islice(answers, self._count))
            yield _voted(self._cases[prompt.case_id], prompt, given, sampling, self.cost, self._same)


class Shuffle:
    """The vote over shuffled options: each case asked `count` times, its options in another order each time.

    A letter preferred for its place loses its votes. Cases without options are asked once.
    """

    def __init__(self, inner: Responder, cases: Sequence[Case], count: int = 5) -> None:
        self.name, self.model = f"shuffle of {count}: {inner.name}", inner.model
        self.batch_invariant = inner.batch_invariant
        self.cost = Cost()
        self._inner, self._cases, self._count = inner, _by_id(cases), count

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """One trace a prompt; the letters of its reply are those of the case as it was given.

        Raises:
            UserError: several samples, or the model's own faults.
        """
        _one_sample(sampling)
        orders = {prompt.case_id: self._orders(self._cases[prompt.case_id]) for prompt in prompts}
        asked = [self._shuffled(prompt, order) for prompt in prompts for order in orders[prompt.case_id]]
        answers = self._inner.respond(asked, sampling)
        for prompt in prompts:
            case = self._cases[prompt.case_id]
            back = [_unshuffled(case, trace, order) for order, trace in zip(orders[case.id], answers, strict=False)]
            yield _voted(case, prompt, back, sampling, self.cost, str.casefold)

    def _orders(self, case: Case) -> list[list[int]]:
        """Places of the options in each asking; the first is the order given."""
        random, places = Random(case.id), list(range(len(case.options)))
        return [places, *(random.sample(places, len(places)) for _ in range(self._count - 1))] if places else [[]]

    def _shuffled(self, prompt: Prompt, order: Sequence[int]) -> Prompt:
        case = self._cases[prompt.case_id]
        if order == sorted(order):
            return prompt
        turned = case.model_copy(update={"options": tuple(case.options[place] for place in order)})
        return render(turned, prompt.template.partition("#")[0])


class FewShot:
    """The `count` nearest solved cases before each case, with the model's own reasoning about them (Medprompt).

    A case is an example only when the model itself answered it right; what it reasoned then is shown. Nearness is the
    cosine of hashed words.
    """

    def __init__(
        self,
        inner: Responder,
        teach: Sequence[Case],
        template: str,
        right: Callable[[Case, Trace], bool],
        count: int = 5,
    ) -> None:
        """`teach` must hold no case that will be asked.

        Raises:
            UserError: no cases to teach with.
        """
        if not teach:
            raise UserError("there are 0 cases to take examples from; give the teach split.")
        self.name, self.model = f"few-shot of {count}: {inner.name}", inner.model
        self.batch_invariant = inner.batch_invariant
        self.cost = Cost()
        self._inner, self._teach, self._template, self._right, self._count = inner, list(teach), template, right, count
        self._places: NDArray[np.float32] = np.stack([vector(case.vignette) for case in teach])
        self._solved: dict[str, Trace | None] = {}
        """Teach case to its right answer, None where the model was wrong."""

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """`sampling.samples` traces a prompt; each bears the prompt as it was asked, examples included.

        Raises:
            UserError: a case is among its own examples, or the model's own faults.
        """
        near = [self._nearest(prompt) for prompt in prompts]
        self._solve(sorted({place for places in near for place in places}), sampling)
        asked = [self._with_examples(prompt, places) for prompt, places in zip(prompts, near, strict=True)]
        self.cost.cases += len(prompts)
        for trace in self._inner.respond(asked, sampling):
            self.cost.add([trace])
            yield trace

    def _nearest(self, prompt: Prompt) -> list[int]:
        """Places of the nearest teach cases, the nearest first; twice as many as are shown, as some go unsolved."""
        if any(case.id == prompt.case_id for case in self._teach):
            raise UserError(f"case '{prompt.case_id}' is among the cases to take examples from; give another split.")
        scores = self._places @ vector(prompt.messages[-1].content)
        return [int(place) for place in np.argsort(-scores, kind="stable")[: 2 * self._count]]

    def _solve(self, places: Sequence[int], sampling: Sampling) -> None:
        cases = [self._teach[place] for place in places if self._teach[place].id not in self._solved]
        prompts = [render(case, self._template) for case in cases]
        once = sampling.model_copy(update={"samples": 1})
        for case, trace in zip(cases, self._inner.respond(prompts, once), strict=True):
            self.cost.add([trace])
            self._solved[case.id] = trace if self._right(case, trace) else None

    def _with_examples(self, prompt: Prompt, places: Sequence[int]) -> Prompt:
        solved = [(self._teach[p], trace) for p in places if (trace := self._solved[self._teach[p].id]) is not None]
        shown = "\n\n".join(_example(case, trace) for case, trace in reversed(solved[: self._count]))
        last = prompt.messages[-1]
        content = f"Cases solved before, for comparison:\n\n{shown}\n\nNow the case to solve.\n\n{last.content}"
        turn = last.model_copy(update={"content": content if shown else last.content})
        return prompt.model_copy(update={"messages": (*prompt.messages[:-1], turn)})


class Structured:
    """Every reply one JSON object under the schema of its template's answer, enforced by the engine's grammar."""

    def __init__(self, inner: Responder) -> None:
        self.name, self.model, self.batch_invariant = f"structured: {inner.name}", inner.model, inner.batch_invariant
        self.cost = Cost()
        self._inner = inner

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """As the model's own; a template that answers in free text is asked as it is.

        Raises:
            UserError: the engine has no grammar, or the model's own faults.
        """
        self.cost.cases += len(prompts)
        for schema, group in groupby(prompts, _schema):
            asked = [_asking(prompt, schema) for prompt in group]
            ruled = sampling.model_copy(update={"json_schema": schema})
            for trace in self._inner.respond(asked, ruled):
                self.cost.add([trace])
                yield trace


Strategy = Vote | Shuffle | FewShot | Structured


def _schema(prompt: Prompt) -> str:
    answer = load(prompt.template.partition("#")[0]).answer
    return "" if answer == FREE else schema_of(answer)


def _asking(prompt: Prompt, schema: str) -> Prompt:
    last = prompt.messages[-1]
    if not schema or schema in last.content:
        return prompt
    asks = "Whatever form was asked for above, answer with one JSON object that fits this schema, and nothing else:"
    turn = last.model_copy(update={"content": f"{last.content}\n\n{asks}\n{schema}"})
    return prompt.model_copy(update={"messages": (*prompt.messages[:-1], turn)})


def _example(case: Case, trace: Trace) -> str:
    reasoning = trace.thinking.strip()
    if len(reasoning) > LONGEST_REASONING:
        reasoning = f"{reasoning[:LONGEST_REASONING]} […]"
    return harmless(f"Case:\n{case.question}\nReasoning:\n{reasoning}\nAnswer:\n{trace.reply.strip()}")


def _by_id(cases: Sequence[Case]) -> Mapping[str, Case]:
    return {case.id: case for case in cases}


def _one_sample(sampling: Sampling) -> None:
    if sampling.samples != 1:
        raise UserError(f"a vote gives one answer a case, not {sampling.samples}; leave --samples at 1.")


def _unshuffled(case: Case, trace: Trace, order: Sequence[int]) -> Trace:
    """The trace with its letters turned back into those of the case as given."""
    if not order:
        return trace
    turned = [case.options[place] for place in order]
    read = read_choices(trace.reply, case.id, turned)
    letters = sorted(LETTERS[order[LETTERS.index(letter)]] for letter in read.choices)
    return trace.model_copy(update={"reply": f"Answer: {', '.join(letters)}"}) if letters else trace


def _voted(case: Case, prompt: Prompt, given: Sequence[Trace], sampling: Sampling, cost: Cost, same: Same) -> Trace:
    """One trace with what most answers say: thinking of the first that says it, tokens and seconds of all.

    Where no answer can be read it is the first answer, unreadable as it is.
    """
    cost.cases += 1
    cost.add(given)
    said = [_short(case, trace.reply) for trace in given]
    winner = _most(said)
    if case.options or _counts(case):
        reply = f"Answer: {winner}" if winner else given[0].reply
    else:
        reply = _ranked([trace.reply for trace in given], case.id, same) or given[0].reply
    return given[said.index(winner) if winner else 0].model_copy(
        update={
            "prompt": prompt,
            "sampling": sampling,
            "sample": 0,
            "reply": reply,
            "thinking_tokens": sum(trace.thinking_tokens for trace in given),
            "reply_tokens": sum(trace.reply_tokens for trace in given),
            "prompt_tokens": sum(trace.prompt_tokens for trace in given),
            "total_s": sum(trace.total_s or 0.0 for trace in given),
        }
    )


def _counts(case: Case) -> bool:
    return case.limits is not None or case.kind == "number"


def _short(case: Case, reply: str) -> str:
    """What a reply answers, alike for like answers; '' when it cannot be read."""
    if case.options:
        return ", ".join(read_choices(reply, case.id, case.options).choices)
    if _counts(case):
        number = read_number(reply)
        return "" if number is None else f"{number:g}"
    found = read_reply(reply, case.id).diagnoses
    return found[0].casefold() if found else ""


def _most(said: Sequence[str]) -> str:
    """The most frequent text that is not empty, the first of those that tie; '' for none."""
    counted = Counter(text for text in said if text)
    return counted.most_common(1)[0][0] if counted else ""


def _ranked(replies: Sequence[str], case_id: str, same: Same) -> str:
    """Five diagnoses by the sum of their reciprocal places, the red flags most answers name; '' for no list at all."""
    answers = [read_reply(reply, case_id) for reply in replies]
    if 2 * sum(answer.abstained for answer in answers) > len(answers):
        return ABSTAINS
    scores: dict[str, float] = {}
    names: dict[str, str] = {}
    for answer in answers:
        for place, name in enumerate(answer.diagnoses, start=1):
            names.setdefault(same(name), name)
            scores[same(name)] = scores.get(same(name), 0.0) + 1 / place
    flags = Counter(flag.casefold() for answer in answers for flag in set(answer.red_flags))
    named = [flag for flag, times in flags.items() if 2 * times > len(answers)]
    best = sorted(scores, key=lambda key: -scores[key])[:5]
    listed = [f"{place}. {names[key]}" for place, key in enumerate(best, start=1)]
    return "\n".join([*listed, f"Red flags: {'; '.join(named) or 'none'}"]) if listed else ""
