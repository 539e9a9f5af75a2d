"""A reply of bare names is read, and no sentence is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rounds.grade.bare import PROSE, bare_names
from rounds.grade.cascade import Cascade, answer_key
from rounds.grade.given import Given
from rounds.grade.grading import grade
from rounds.grade.reading import AFTER, BEFORE, OPPOSING, fold
from rounds.knowledge.base import load
from rounds.prompts.reader import read_reply
from rounds.records import Answer, Case

CASCADE = Cascade(load())
EVERY = sorted({name for one in load().conditions.values() for name in one.names})
NAMES = [name for name in EVERY if PROSE.isdisjoint(fold(name).split())]
GOUT = Case(id="c", vignette="A swollen toe.", diagnosis="gout")
LISTS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique_by=answer_key)


def answered(reply: str, case: Case = GOUT) -> Answer:
    return grade([case], [Given(case.id, 0, None, reply)], CASCADE).grades[0].answer


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ("Gout", ("Gout",)),
        ("Acute appendicitis.", ("Acute appendicitis",)),
        ("gout, pseudogout, septic arthritis", ("gout", "pseudogout", "septic arthritis")),
        ("**Gout**\n\nPseudogout\nSeptic arthritis\n", ("Gout", "Pseudogout", "Septic arthritis")),
        ("<think>It is not gout, is it?</think>\nGout or pseudogout", ("Gout", "pseudogout")),
        ("Diagnosis: probable gout", ("probable gout",)),
        ("My differential diagnosis: gout; flu", ("gout", "flu")),
        ("diabetes mellitus (type 2)", ("diabetes mellitus (type 2)",)),
        ("E. coli infection", ("E. coli infection",)),
        ("gout\nGOUT\nflu", ("gout", "flu")),
        (
            "acute otitis media, acute suppurative otitis media",
            ("acute otitis media", "acute suppurative otitis media"),
        ),
        ("otitis media, acute", ("otitis media, acute",)),
        ("gout, Ekbom-Bloch-Quast, flu", ("gout", "Ekbom-Bloch-Quast", "flu")),
        ("gout\nRed flags: fever", ("gout",)),
    ],
)
def test_bare_names_are_read(reply: str, names: tuple[str, ...]) -> None:
    answer = answered(reply)
    assert answer.diagnoses == names
    assert not answer.unreadable


@pytest.mark.parametrize(
    "reply",
    [
        "none",
        "multiple",
        "Unknown",
        "Normal",
        "Rest and fluids",
        "Emergency surgery",
        "Drink water",
        "Gout?",
        "gout, ibuprofen",
        "gout, rest the foot, drink water, ibuprofen",
        "Not gout",
        "No gout",
        "Rule out gout",
        "Gout excluded",
        "Gout is unlikely",
        "gout, because the toe is red",
        "Gout fits.",
        "Gout. Rest the foot.",
        "Gout - a red toe",
        "The gout",
        "I don't know",
        "We cannot exclude gout",
        "gout\nPlease see a doctor",
        "Debe descansar",
        "gota",
        "痛風",
        "flu " * 5000,
        "gout, " * 5000,
        "\n".join(["gout"] * 11),
    ],
)
def test_what_may_be_anything_else_stays_unreadable(reply: str) -> None:
    answer = answered(reply)
    assert answer.unreadable
    assert answer.diagnoses == ()


@pytest.mark.parametrize("name", ["痛風", "gota tofácea", "Ekbom-Bloch-Quast"])
def test_the_very_name_of_the_case_is_read_in_any_language(name: str) -> None:
    made = grade([GOUT.model_copy(update={"diagnosis": name})], [Given("c", 0, None, f"**{name}**")], CASCADE)
    assert made.grades[0].correct is True


@pytest.mark.parametrize("reply", ["I'm sorry, but I can't help with that.", "I cannot place this case."])
def test_refusals_and_abstentions_stay_what_they_are(reply: str) -> None:
    answer = answered(reply)
    assert answer.refused or answer.abstained
    assert answer == read_reply(reply, "c")


@settings(max_examples=60, deadline=None)
@given(
    LISTS, st.sampled_from([", ", "; ", "\n", ",  ", ".\n"]), st.sampled_from(["", "Final diagnosis: ", "Answer:\n"])
)
def test_names_of_the_knowledge_base_read_as_they_do_in_a_list(names: list[str], between: str, before: str) -> None:
    reply = before + between.join(names)
    assume(read_reply(reply, "c").unreadable)
    assert answered(reply).diagnoses == answered("\n".join(f"{n}. {name}" for n, name in enumerate(names, 1))).diagnoses


@settings(max_examples=60, deadline=None)
@given(LISTS, st.sampled_from(sorted((BEFORE | AFTER | OPPOSING) - {"without"})), st.data())
def test_a_word_that_denies_makes_it_a_sentence(names: list[str], word: str, data: st.DataObject) -> None:
    found = ", ".join(names).split()
    found.insert(data.draw(st.integers(0, len(found))), word)
    assert bare_names(" ".join(found), GOUT, CASCADE) == ()


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from([*NAMES[:40], ",", "\n", "1. ", ". ", "<think>", "(", "or"])).map(" ".join)
    )
)
def test_what_was_readable_reads_as_before_and_nothing_raises(reply: str) -> None:
    plain, answer = read_reply(reply, "c"), answered(reply)
    if not plain.unreadable:
        assert answer == plain.model_copy(update={"diagnoses": CASCADE.places(GOUT, plain.diagnoses)})
    assert len(answer.diagnoses) <= 5
