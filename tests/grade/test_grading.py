"""A whole file of answers: every kind of case, every count, judge and people, like marks for like answers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from rounds.grade.cascade import Cascade, Ruling
from rounds.grade.given import Given
from rounds.grade.grading import Graded, discordant_pairs, figures, grade
from rounds.knowledge.base import load
from rounds.records import Case, Prompt, UserError

Hire = Callable[[Callable[[Prompt], str]], Any]


@pytest.fixture
def cascade() -> Cascade:
    return Cascade(load())


def case(name: str, diagnosis: str, **fields: object) -> Case:
    return Case.model_validate({"id": name, "vignette": "v", "diagnosis": diagnosis, **fields})


CASES = (
    case("a", "gout", condition="gout", specialty="internal medicine"),
    case("b", "bacterial meningitis", must_not_miss=("brain abscess",)),
    case("c", "", options=("x1", "y2"), right=("B",), never=("A",)),
    case("d", "27", kind="number", limits=(26, 28)),
    case("e", "unheard-of disease", outside=True),
)
ANSWERS = (
    Given("a", 0, ("flu", "Acute gout"), ""),
    Given("a", 1, None, "1. flu\n2. croup"),
    Given("b", 0, ("meningitis",), ""),
    Given("c", 0, None, "Answer: A"),
    Given("d", 0, None, "about 27"),
    Given("e", 0, None, "I cannot place this case."),
    Given("zz", 0, ("gout",), ""),
)


def by_case(graded: Graded) -> dict[tuple[str, int], object]:
    return {(one.case_id, one.sample): one.correct for one in graded.grades}


def test_every_kind_in_one_pass(cascade: Cascade) -> None:
    graded = grade(CASES, ANSWERS, cascade)
    assert by_case(graded) == {
        ("a", 0): True, ("a", 1): False, ("b", 0): False, ("c", 0): False, ("d", 0): True, ("e", 0): True,
    }  # fmt: skip
    first = graded.grades[0]
    assert (first.rank, first.level, first.groups["specialty"]) == (2, "synonym", "internal medicine")
    assert graded.grades[2].near_rank == 1
    assert graded.grades[3].error_modes == ("never event",)


def test_figures_count_everything_and_drop_nothing(cascade: Cascade) -> None:
    told = figures(grade(CASES, ANSWERS, cascade))
    assert (told["answers"], told["right"], told["near"]) == (6, 3, 1)
    assert told["strict"] == pytest.approx(3 / 6)
    assert told["lenient"] == pytest.approx(4 / 6)
    assert (told["by_exact"], told["by_synonym"], told["abstained"], told["never_events"]) == (0, 1, 1, 1)
    assert (told["without_case"], told["without_answer"]) == (1, 0)
    nothing = figures(grade(CASES, (), cascade))
    assert (nothing["strict"], nothing["lenient"], nothing["without_answer"]) == (None, None, 5)


def test_an_unreadable_reply_is_a_miss_and_counted(cascade: Cascade) -> None:
    graded = grade(CASES, [Given("a", 0, None, "Take care."), Given("b", 0, (), "")], cascade)
    assert [one.correct for one in graded.grades] == [False, False]
    assert figures(graded)["unreadable"] == 2


def people_said(pairs: int) -> list[Ruling]:
    """Verdicts of people, every second of them right; `says` is a judge that agrees with all."""
    no = Ruling(key="k", right="scurvy", answer="n", said="n no", state="wrong", level="human", why="AB")
    yes = no.model_copy(update={"said": "n yes", "state": "right"})
    return [(no, yes)[n % 2].model_copy(update={"answer": f"n{n}"}) for n in range(pairs)]


def says(otherwise: str) -> Callable[[Prompt], str]:
    def rule(prompt: Prompt) -> str:
        found = re.search(r"\bn (yes|no)\b", prompt.messages[0].content)
        return f"Answer: {found[1] if found else otherwise}"

    return rule


def test_open_pairs_are_worth_asking_only_where_nothing_is_right(cascade: Cascade, hire: Hire) -> None:
    answers = [Given("a", 0, ("gout", "king's evil humour"), ""), Given("b", 0, ("king's evil humour",), "")]
    clerk = hire(says("no"))
    graded = grade(CASES, answers, cascade, settled=people_said(400), responder=clerk)
    assert len(clerk.asked) == 4 * (400 + 1)
    assert [(r.right, r.level) for r in graded.rulings if r.level == "judge"] == [("bacterial meningitis", "judge")]
    assert [r.right for r in graded.rulings if r.state == "open"] == ["gout"]
    assert (graded.queue, graded.waiting) == ([], 0)


def test_the_queue_holds_what_could_make_an_answer_right(cascade: Cascade) -> None:
    graded = grade(CASES, [Given("b", n, ("odd fever",), "") for n in range(2)], cascade)
    assert [ruling.answer for ruling in graded.queue] == ["odd fever"]
    assert graded.waiting == 2


TOES = [Given("a", 0, ("wine drinker's toe",), ""), Given("a", 1, ("Wine drinkers toe",), "")]


def test_an_admitted_judge_makes_an_answer_right_and_is_kept_by_batch(cascade: Cascade, hire: Hire) -> None:
    kept: list[int] = []
    graded = grade(
        CASES,
        TOES,
        cascade,
        settled=people_said(400),
        responder=hire(says("yes")),
        keep=lambda rulings: kept.append(len(rulings)),
    )
    assert [(one.correct, one.level) for one in graded.grades] == [(True, "judge")] * 2
    assert kept == [*range(32, 401, 32), 400 + len({r.answer for r in graded.rulings})]
    told = figures(graded)
    assert (told["judge"], told["judge_admitted"], told["judge_pairs"], told["judge_kappa"]) == (
        "clerk",
        True,
        400,
        1.0,
    )
    assert told["strict"] == told["strict_with_judge"] == 1.0


def test_a_judge_that_nobody_was_held_against_is_a_reported_extra(cascade: Cascade, hire: Hire) -> None:
    graded = grade(CASES, TOES, cascade, responder=hire(says("yes")))
    assert [(one.correct, one.level) for one in graded.grades] == [(False, None)] * 2
    assert len(graded.queue) == len(graded.judged) > 0
    told = figures(graded)
    assert (told["judge_admitted"], told["judge_pairs"], told["judge_kappa"]) == (False, 0, None)
    assert (told["strict"], told["strict_with_judge"]) == (0.0, 1.0)


def test_a_judge_is_not_asked_twice_and_not_mixed_with_another(cascade: Cascade, hire: Hire) -> None:
    people = people_said(3)
    first = grade(CASES, TOES, cascade, settled=people, responder=hire(lambda prompt: "Perhaps."))
    assert figures(first)["judge_abstained"] == len(first.judged) == 3 + len(first.rulings)
    again = hire(says("yes"))
    second = grade(CASES, TOES, Cascade(load()), settled=people, judged=first.judged, responder=again)
    assert (again.asked, second.judged) == ([], first.judged)
    again.name = "other"
    with pytest.raises(UserError, match=r"these answers were judged by clerk; give other an --out of its own\."):
        grade(CASES, TOES, Cascade(load()), judged=first.judged, responder=again)


def test_what_people_said_stands_before_judge_and_rules(cascade: Cascade, hire: Hire) -> None:
    first = grade(CASES, [Given("a", 0, ("wine drinker's toe", "gout"), "")], cascade)
    said = {r.answer: r for r in first.rulings}
    people = [
        said["wine drinker toe"].model_copy(update={"state": "right", "level": "human"}),
        said["gout"].model_copy(update={"state": "wrong", "level": "human"}),
        *people_said(400),
    ]
    clerk = hire(says("no"))
    again = grade(
        CASES, [Given("a", 0, ("gout", "Wine drinker's TOE"), "")], Cascade(load()), settled=people, responder=clerk
    )
    assert figures(again)["judge_admitted"] is True
    assert (again.grades[0].rank, again.grades[0].level) == (2, "human")


def test_models_that_answer_alike_are_marked_alike(cascade: Cascade) -> None:
    answers = [Given("a", n, (text,), "") for n, text in enumerate(["Wine toe", "wine toe.", "WINE  TOE"])]
    graded = grade(CASES, answers, cascade)
    assert len(graded.rulings) == 1
    assert graded.times == {(graded.rulings[0].key, "wine toe"): 3}


def test_discordant_pairs_of_two_models(cascade: Cascade) -> None:
    one = grade(CASES, [Given("a", 0, ("gout",), ""), Given("b", 0, ("flu",), "")], cascade)
    other = grade(CASES, [Given("a", 0, ("odd toe",), ""), Given("b", 0, ("croup",), "")], cascade)
    assert {ruling.said for ruling in discordant_pairs(one, other)} == {"gout", "odd toe"}


@pytest.mark.parametrize(
    ("cases", "sentence"),
    [
        ((), "there are 0 cases to grade; check the file of cases."),
        ((CASES[0], CASES[0]), "case id 'a' occurs twice; give every case its own id."),
        ((case("a", " . "),), "case 'a': its diagnosis is empty, so no answer could be right; name it."),
        ((case("a", "x", options=("p", "q")),), "case 'a': right is empty; give letters A to B."),
    ],
)
def test_faults_are_one_sentence(cascade: Cascade, cases: tuple[Case, ...], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        grade(cases, (), cascade)
    assert str(caught.value) == sentence


def test_the_right_diagnosis_itself_is_always_right(cascade: Cascade) -> None:
    knowledge = load()
    cases = [case(c.id, c.name, condition=c.id) for c in knowledge.conditions.values()]
    answers = [Given(one.id, 0, (one.diagnosis,), "") for one in cases]
    assert all(one.correct for one in grade(cases, answers, cascade).grades)


def test_no_condition_of_the_knowledge_base_is_taken_for_another_of_its_neighbours(cascade: Cascade) -> None:
    """Must-not-miss neighbours stand beside the right diagnosis on many lists, so a mix-up there would cost most."""
    knowledge = load()
    for condition in knowledge.conditions.values():
        for neighbour in condition.must_not_miss:
            other = knowledge.conditions[neighbour.condition]
            ruling: Ruling = cascade.rule(case("x", condition.name, condition=condition.id), other.name)
            assert ruling.state != "right", (condition.name, other.name)


def test_marking_is_quick(cascade: Cascade) -> None:
    names = [name for c in load().conditions.values() for name in c.names]
    answers = [Given("a", n, tuple(names[n % 97 : n % 97 + 5]), "") for n in range(3000)]
    start = time.perf_counter()
    grade(CASES, answers, cascade)
    assert time.perf_counter() - start < 30
