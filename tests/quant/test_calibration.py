from collections import Counter

import pytest

from rounds.quant.calibration import choose
from rounds.records import Case, Message, Prompt, Sampling, Trace, UserError


def case(name: str, specialty: str = "surgery", incidence: str = "rare", split: str = "teach", text: str = "") -> Case:
    return Case.model_validate(
        {
            "id": name,
            "vignette": text or f"A patient called {name} has pain.",
            "diagnosis": "flu",
            "specialty": specialty,
            "incidence": incidence,
            "split": split,
        }
    )


def trace(of: Case, finish: str = "stop", shown: str = "") -> Trace:
    message = Message(role="user", content=shown or f"Read this.\n{of.vignette}\nAnswer.")
    return Trace.model_validate(
        {
            "prompt": Prompt(case_id=of.id, template="t@1", messages=(message,)),
            "model": "m",
            "engine": "e",
            "sampling": Sampling(),
            "thinking": "pain",
            "reply": "1. Flu",
            "finish": finish,
            "thinking_tokens": 1,
            "reply_tokens": 1,
        }
    )


COMMON = [case(f"s{i}") for i in range(30)]
SCARCE = [case(f"n{i}", "neurology", "frequent") for i in range(3)] + [case(f"p{i}", "paediatrics") for i in range(3)]
CASES = COMMON + SCARCE


def test_cells_are_served_in_turn() -> None:
    chosen = choose([trace(c) for c in CASES], CASES, 9, exam=[])
    assert Counter(t.prompt.case_id[0] for t in chosen) == {"s": 3, "n": 3, "p": 3}
    assert len(choose([trace(c) for c in CASES], CASES, 36, exam=[])) == 36


def test_the_seed_chooses() -> None:
    traces = [trace(c) for c in CASES]
    assert choose(traces, CASES, 9, exam=[], seed=1) == choose(traces, CASES, 9, exam=[], seed=1)
    assert choose(traces, CASES, 9, exam=[], seed=1) != choose(traces, CASES, 9, exam=[], seed=2)


def test_an_exam_case_is_refused_by_its_id() -> None:
    exam = case("x1", split="exam")
    with pytest.raises(UserError, match="trace of case 'x1' shows exam case 'x1'; use traces of teach or tune cases"):
        choose([trace(exam)], [exam], 1, exam=[])
    with pytest.raises(UserError, match="shows exam case 'x1'"):
        choose([trace(exam.model_copy(update={"split": "teach"}))], COMMON, 1, exam=[exam])


def test_an_exam_vignette_is_refused_under_another_name_and_layout() -> None:
    exam = case("x1", split="exam", text="A man of 54 has pain.")
    twin = case("s1", text="A  man of 54\nhas PAIN.")
    with pytest.raises(UserError, match="trace of case 's1' shows exam case 'x1'"):
        choose([trace(twin)], [twin], 1, exam=[exam])
    honest = case("s2")
    with pytest.raises(UserError, match="trace of case 's2' shows exam case 'x1'"):
        choose([trace(honest, shown="Hello. a man of 54 has pain. Why?")], [honest], 1, exam=[exam])


def test_too_few_unfinished_and_unknown_are_named() -> None:
    with pytest.raises(UserError, match="asks for 5 finished traces and 2 are there"):
        choose([trace(c) for c in COMMON[:2]] + [trace(c, finish="length") for c in COMMON[2:]], CASES, 5, exam=[])
    with pytest.raises(UserError, match="case 'n0': no such case; give its cases file"):
        choose([trace(SCARCE[0])], COMMON, 1, exam=[])
