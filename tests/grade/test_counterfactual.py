"""A red flag is cut out of the case cleanly, and the answer without it is held against the answer with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from rounds import recipe
from rounds.cases.generate import generate
from rounds.grade.counterfactual import counterfactuals, without
from rounds.grade.reading import facts_of_text
from rounds.knowledge.base import KnowledgeBase, load
from rounds.records import Answer, Case, Prompt, Sampling, Trace, UserError


@pytest.fixture(scope="module")
def knowledge() -> KnowledgeBase:
    return load()


def case(vignette: str, *flags: str, present: tuple[str, ...] = ()) -> Case:
    return Case(id="c", vignette=vignette, diagnosis="x", red_flags=flags, present=present)


@pytest.mark.parametrize(
    ("vignette", "flag", "left"),
    [
        ("She has cough, syncope and fever. Known: asthma.", "fainting", "She has cough and fever. Known: asthma."),
        ("She has cough, fever and syncope.", "fainting", "She has cough, fever."),
        ("She has cough and syncope.", "fainting", "She has cough."),
        ("Seen for cough and syncope in a nun.", "fainting", "Seen for cough in a nun."),
        ("Syncope and cough since May.", "fainting", "cough since May."),
        ("She coughs. On examination syncope. All else is well.", "fainting", "She coughs. All else is well."),
        ("She coughs. Tests: temperature 39.4 °C and a wheeze.", "fever", "She coughs. Tests: a wheeze."),
        ("He limps. His purple toe nails are new. He smokes.", "purple toe nails", "He limps. He smokes."),
    ],
)
def test_a_flag_is_cut_out_with_its_joining_word(vignette: str, flag: str, left: str, knowledge: KnowledgeBase) -> None:
    assert without(case(vignette, flag), flag, knowledge).vignette == left


def test_the_twin_knows_what_it_lacks(knowledge: KnowledgeBase) -> None:
    twin = without(case("She has cough and syncope.", "fainting", present=("cough", "fainting")), "fainting", knowledge)
    assert (twin.id, twin.twin_of, twin.red_flags, twin.present) == ("c-without-fainting", "c", (), ("cough",))


def test_every_flag_of_generated_cases_is_cut_out_and_nothing_else(knowledge: KnowledgeBase) -> None:
    settings = recipe.Cases(teach=80, exam_per_condition=1, tune_per_condition=1, outside=0)
    flags = 0
    for drawn in generate(knowledge, settings, 5)["teach"]:
        for flag in drawn.case.red_flags:
            twin = without(drawn.case, flag, knowledge)
            assert facts_of_text(twin.vignette, knowledge).present == set(twin.present), twin.vignette
            flags += 1
    assert flags > 20


@pytest.mark.parametrize(
    ("vignette", "flags", "flag", "sentence"),
    [
        ("She coughs.", ("fainting",), "fever", "has no red flag 'fever'; use one of fainting."),
        ("She coughs.", ("fainting",), "fainting", "'fainting' cannot be cut out of the vignette"),
        ("Syncope.", ("fainting",), "fainting", "'fainting' cannot be cut out of the vignette"),
    ],
)
def test_what_cannot_be_cut_out_is_said(
    vignette: str, flags: tuple[str, ...], flag: str, sentence: str, knowledge: KnowledgeBase
) -> None:
    with pytest.raises(UserError, match=sentence):
        without(case(vignette, *flags), flag, knowledge)


class Reader:
    """Lists epilepsy first when the text speaks of syncope, and otherwise gout."""

    name, model, batch_invariant = "reader", "ab" * 32, True

    def __init__(self, *, blind: bool) -> None:
        self.blind = blind
        self.asked: list[str] = []

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        for prompt in prompts:
            self.asked.append(prompt.messages[0].content)
            seen = self.blind or "syncope" in prompt.messages[0].content
            yield Trace(
                prompt=prompt, model=self.model, engine="test", sampling=sampling, thinking="",
                reply="1. sick headache\n2. asthma" if seen else "1. gout\n2. asthma", finish="stop",
                thinking_tokens=0, reply_tokens=1,
            )  # fmt: skip


@pytest.mark.parametrize("blind", [True, False])
def test_an_unchanged_list_never_used_the_flag(blind: bool, knowledge: KnowledgeBase) -> None:
    reader = Reader(blind=blind)
    cases = [
        case("She has cough and syncope.", "fainting", "purple toe nails"),
        Case(id="d", vignette="He limps.", diagnosis="x"),
    ]
    answers = [Answer(case_id="c", diagnoses=("migraine", "asthma")), Answer(case_id="d", diagnoses=("gout",))]
    (found,) = counterfactuals(
        cases, answers, reader, template="differential-brief@1", sampling=Sampling(samples=3), knowledge=knowledge
    )
    assert (found.case_id, found.flag, found.ignored) == ("c", "fainting", blind)
    assert len(reader.asked) == 1
    assert "syncope" not in reader.asked[0]
