"""Strategies on a model that answers by rule: what they ask, what they make of it, and what it cost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence

import pytest

from rounds.prompts.reader import read_reply
from rounds.prompts.strategies import FewShot, Shuffle, Structured, Vote
from rounds.prompts.template import render
from rounds.records import Case, Prompt, Sampling, Trace, UserError

WARM = Sampling(temperature=0.6, max_tokens=50)
Rule = Callable[[Prompt, int], str]


class ByRule:
    """A Responder whose replies are a function of the prompt and the number of the sample."""

    name, model, batch_invariant = "by rule", "rule", True

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.asked: list[Prompt] = []
        self.samplings: list[Sampling] = []

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        self.samplings.append(sampling)
        for prompt in prompts:
            self.asked.append(prompt)
            for sample in range(sampling.samples):
                yield Trace(
                    prompt=prompt,
                    model="rule",
                    engine="rule",
                    sampling=sampling,
                    sample=sample,
                    thinking=f"thought {sample}",
                    reply=self.rule(prompt, sample),
                    finish="stop",
                    thinking_tokens=2,
                    reply_tokens=3,
                    prompt_tokens=10,
                    total_s=0.5,
                )


CHOICE = Case(id="q", vignette="Which fruit?", diagnosis="pear", options=("apple", "pear", "plum"), right=("B",))
LIST = Case(id="d", vignette="A red toe.", diagnosis="gout")


def says(*replies: str) -> Rule:
    return lambda prompt, sample: replies[sample]


def text(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def test_a_vote_takes_what_most_answers_say_and_counts_its_cost() -> None:
    model = ByRule(says("Answer: C", "I say B.", "Answer: B", "no idea", "Answer: B"))
    vote = Vote(model, [CHOICE])
    prompt = render(CHOICE, "choice@1")
    (trace,) = vote.respond([prompt], WARM)
    assert (trace.reply, trace.thinking, trace.sample) == ("Answer: B", "thought 2", 0)
    assert (trace.prompt, trace.sampling) == (prompt, WARM)
    assert (trace.thinking_tokens, trace.reply_tokens, trace.total_s) == (10, 15, 2.5)
    assert (vote.cost.cases, vote.cost.calls, vote.cost.tokens, vote.cost.prompt_tokens) == (1, 5, 25, 50)
    assert vote.cost.told() == (
        "cost: 5 calls, 5.0 a case; 50 prompt and 25 answer tokens a case; 2.50 s of answering a case"
    )


def test_a_vote_ranks_diagnoses_by_reciprocal_places() -> None:
    replies = (
        "1. flu\n2. gout\nRed flags: fever",
        "1. gouty arthritis\n2. flu\nRed flags: fever",
        "1. gout\n2. sepsis",
    )
    same = {"gouty arthritis": "gout"}
    (trace,) = Vote(ByRule(says(*replies)), [LIST], 3, lambda name: same.get(name, name)).respond(
        [render(LIST, "differential@1")], WARM
    )
    answer = read_reply(trace.reply, "d")
    assert answer.diagnoses == ("gout", "flu", "sepsis")
    assert answer.red_flags == ("fever",)


def test_a_vote_abstains_when_most_do_and_stays_unreadable_when_all_are() -> None:
    aside = "I cannot place this case."
    (trace,) = Vote(ByRule(says(aside, "1. gout", aside)), [LIST], 3).respond([render(LIST, "plain@1")], WARM)
    assert read_reply(trace.reply, "d").abstained
    (trace,) = Vote(ByRule(says("hm", "ah", "oh")), [CHOICE], 3).respond([render(CHOICE, "plain@1")], WARM)
    assert trace.reply == "hm"


def test_a_vote_over_numbers() -> None:
    case = Case(id="n", vignette="How many?", diagnosis="3", kind="number")
    (trace,) = Vote(ByRule(says("Answer: 3", "Answer: 4 mg", "3.0")), [case], 3).respond(
        [render(case, "plain@1")], WARM
    )
    assert trace.reply == "Answer: 3"


def test_a_vote_refuses_greedy_answers_and_several_samples() -> None:
    vote = Vote(ByRule(says("A")), [CHOICE])
    with pytest.raises(UserError, match=r"^a vote of greedy answers is one answer many times; give a temperature such"):
        list(vote.respond([], Sampling(temperature=0)))
    with pytest.raises(UserError, match=r"^a vote gives one answer a case, not 2; leave --samples at 1\.$"):
        list(vote.respond([], Sampling(samples=2)))


def test_shuffling_turns_letters_back() -> None:
    def finds_pear(prompt: Prompt, sample: int) -> str:
        match = re.search(r"^([A-C])\. pear$", text(prompt), re.MULTILINE)
        assert match
        return f"Answer: {match[1]}"

    model = ByRule(finds_pear)
    shuffle = Shuffle(model, [CHOICE], 6)
    (trace,) = shuffle.respond([render(CHOICE, "choice@1")], WARM)
    assert trace.reply == "Answer: B"
    assert len({text(prompt) for prompt in model.asked}) > 1
    assert shuffle.cost.calls == 6


def test_a_letter_preferred_for_its_place_loses_its_votes() -> None:
    model = ByRule(lambda prompt, sample: "Answer: A")
    (trace,) = Shuffle(model, [CHOICE], 30).respond([render(CHOICE, "choice@1")], WARM)
    first = [re.search(r"^A\. (\w+)$", text(prompt), re.MULTILINE) for prompt in model.asked]
    assert {match[1] for match in first if match} == {"apple", "pear", "plum"}
    assert trace.reply in ("Answer: A", "Answer: B", "Answer: C")


def test_a_case_without_options_is_asked_once() -> None:
    shuffle = Shuffle(ByRule(says("1. gout")), [LIST])
    (trace,) = shuffle.respond([render(LIST, "differential@1")], WARM)
    assert (trace.reply, shuffle.cost.calls) == ("1. gout\nRed flags: none", 1)


def teach() -> list[Case]:
    toes = [Case(id=f"t{n}", vignette=f"A red and swollen toe, case {n}.", diagnosis="gout") for n in range(4)]
    return [*toes, Case(id="x", vignette="Cough and fever in winter.", diagnosis="flu")]


def test_few_shot_shows_the_nearest_cases_the_model_solved_itself() -> None:
    model = ByRule(lambda prompt, sample: "1. flu" if prompt.case_id in ("t0", "d") else "1. gout</think>")
    strategy = FewShot(model, teach(), "differential-brief@1", lambda case, trace: case.diagnosis in trace.reply, 2)
    asked = LIST.model_copy(update={"vignette": "A red and swollen toe in a man."})
    (trace,) = strategy.respond([render(asked, "differential-brief@1")], WARM)
    shown = text(trace.prompt)
    assert shown.count("Reasoning:\nthought 0\nAnswer:\n1. gout< /think>") == 2
    assert "case 0" not in shown
    assert "Cough" not in shown
    assert shown.endswith("Now the case to solve.\n\nA red and swollen toe in a man.\nFive diagnoses?")
    assert strategy.cost.cases == 1
    assert strategy.cost.calls == len(model.asked) == 5


def test_few_shot_without_a_solved_case_asks_plainly() -> None:
    strategy = FewShot(ByRule(lambda p, s: "1. flu"), teach()[:4], "plain@1", lambda case, trace: False, 2)
    prompt = render(LIST, "plain@1")
    (trace,) = strategy.respond([prompt], WARM)
    assert trace.prompt == prompt


def test_few_shot_refuses_no_cases_and_the_case_itself() -> None:
    with pytest.raises(UserError, match=r"^there are 0 cases to take examples from; give the teach split\.$"):
        FewShot(ByRule(says("x")), [], "plain@1", lambda case, trace: True)
    strategy = FewShot(ByRule(says("x")), [LIST], "plain@1", lambda case, trace: True)
    with pytest.raises(UserError, match=r"^case 'd' is among the cases to take examples from; give another split\.$"):
        list(strategy.respond([render(LIST, "plain@1")], WARM))


def test_structured_asks_for_the_schema_of_the_template() -> None:
    model = ByRule(lambda prompt, sample: '{"why": "x", "answer": ["B"]}')
    prompts = [render(CHOICE, "choice@1"), render(LIST, "plain@1"), render(LIST, "record@1")]
    traces = list(Structured(model).respond(prompts, WARM))
    assert [trace.prompt.case_id for trace in traces] == ["q", "d", "d"]
    schemas = [sampling.json_schema for sampling in model.samplings]
    assert list(json.loads(schemas[0])["properties"]) == ["why", "answer"]
    assert schemas[1] == ""
    assert text(model.asked[0]).endswith(schemas[0])
    assert model.asked[1] == prompts[1]
    assert model.asked[2] == prompts[2], "the template shows its schema already"
