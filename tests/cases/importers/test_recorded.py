"""Answers of others keep their marks, are paired by id, and are counted where they are missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.cases.importers.recorded import ITEMS, RECORDED, gaps, recorded, recorded_traces
from rounds.records import Grade, UserError

Write = Callable[..., Path]
SHARED = Path(__file__).parents[4] / "shared" / "data"


def ddx(**change: Any) -> dict[str, Any]:
    return {"id": "v1", "system": "one", "run": 1, "ddx": ["Gout", "Flu"], "position": 2, **change}


def letter(name: str, model: str, pred: str, gold: str = "B") -> dict[str, Any]:
    return {"id": name, "model": model, "pred": pred, "gold": gold, "completion_tokens": 9, "seconds": 1.5}


CUT = ["Cancer (e.g.", "of bone)", "Gout", "gout", "A", "B", "C"]


def only(found: dict[str, list[Grade]]) -> Grade:
    ((grade,),) = found.values()
    return grade


@pytest.mark.parametrize(
    ("change", "diagnoses", "correct", "rank"),
    [
        ({}, ("Gout", "Flu"), True, 2),
        ({"position": -1}, ("Gout", "Flu"), False, None),
        ({"position": 6}, ("Gout", "Flu"), False, None),
        ({"ddx": CUT}, ("Cancer (e.g., of bone)", "Gout", "A", "B", "C"), True, 2),
        ({"ddx": None}, (), True, 2),
    ],
)
def test_lists_of_five(
    jsonl: Write, change: dict[str, Any], diagnoses: tuple[str, ...], correct: bool, rank: int | None
) -> None:
    grade = only(recorded("avey", jsonl(ddx(**change))))
    assert (grade.answer.diagnoses, grade.correct, grade.rank) == (diagnoses, correct, rank)
    assert grade.answer.unreadable is (not diagnoses)


def test_runs_are_samples(jsonl: Write) -> None:
    found = recorded("avey", jsonl(ddx(), ddx(run=2), ddx(system="two")))
    assert [(grade.case_id, grade.sample) for grade in found["one"]] == [("v1", 0), ("v1", 1)]
    assert gaps(found) == {"one": 0, "two": 1}


def test_headings_go_missing_marks_stay_missing_and_conversations_stand_apart(jsonl: Write) -> None:
    row = {
        "case_id": "c1",
        "category": "Skin",
        "model": "m",
        "trial": 0,
        "multiturn_frq": "**Final Diagnosis:** Gout",
        "mt_ok": 1,
    }
    found = recorded("craft-md", jsonl(row))
    assert list(found) == ["m", "m, conversation"]
    assert (found["m"][0].correct, found["m"][0].answer.unreadable) == (None, True)
    talked = found["m, conversation"][0]
    assert (talked.answer.diagnoses, talked.correct, talked.groups) == (("Gout",), True, {"specialty": "Skin"})


CHOICE = {
    "case_id": "c1",
    "case_vignette": "A man cannot sleep, sweats at night and hears voices. What is the diagnosis?",
    "choice_1": "Otitis externa",
    "choice_2": "Malignant otitis externa",
    "choice_3": "H. pylori infection",
    "choice_4": "Mumps",
    "answer": "Malignant otitis externa",
    "category": "Ears",
}


@pytest.mark.parametrize(
    ("words", "choices", "correct"),
    [
        ("Malignant otitis externa", "B", True),
        (" The most likely diagnosis is malignant otitis externa.", "B", True),
        ("Otitis externa. (Malignant otitis externa hurts more.)", "A", False),
        ("The diagnosis is H. pylori infection.", "C", False),
        ("Mumps or otitis externa.", "", False),
        ("Measles", "", False),
        ("", "", False),
        (None, "", False),
    ],
)
def test_options_recorded_in_words(jsonl: Write, words: str | None, choices: str, correct: bool) -> None:
    items = jsonl(CHOICE, name="items.jsonl")
    row = {"case_id": "c1", "category": "Ears", "model": "m", "trial": 2, "vignette_mcq": words}
    grade = only(recorded("craft-md-choice", jsonl(row), items))
    assert ("".join(grade.answer.choices), grade.correct, grade.sample) == (choices, correct, 2)
    assert (grade.answer.unreadable, grade.groups) == (not choices, {"specialty": "Ears"})


def test_options_stand_in_the_items(jsonl: Write) -> None:
    row = {"case_id": "c1", "category": "Ears", "model": "m", "trial": 0, "vignette_mcq": "Mumps"}
    with pytest.raises(UserError, match=r"item 'c1' has no options; give the cases \(--items FILE\)\.$"):
        recorded("craft-md-choice", jsonl(row))


def test_models_are_paired_by_id_whatever_their_order(jsonl: Write) -> None:
    rows = [letter("1", "a", "B"), letter("2", "a", "C", "C"), letter("2", "b", "C", "C"), letter("1", "b", "A")]
    found = recorded("medagents", jsonl(*rows))
    marks = {model: {grade.case_id: grade.correct for grade in grades} for model, grades in found.items()}
    assert marks == {"a": {"1": True, "2": True}, "b": {"2": True, "1": False}}
    assert (found["a"][0].answer.choices, found["a"][0].thinking_tokens, found["a"][0].total_s) == (("B",), 9, 1.5)


def test_free_text_and_letters_mixed(jsonl: Write) -> None:
    row = {"id": "1", "model": "m", "gold": "C", "pred": "", "raw_output": "C. Rest", "correct": True}
    sentence = {**row, "id": "2", "raw_output": "Nothing of the sort", "correct": False}
    first, second = recorded("afrimedqa", jsonl(row, sentence))["m"]
    assert (first.answer.choices, first.correct) == (("C",), True)
    assert (second.answer.unreadable, second.correct) == (True, False)


def test_rows_paired_wrongly_are_noticed_by_their_key(jsonl: Write) -> None:
    row = {"id": "1", "model": "m", "gold": "C", "pred": "C", "correct": True}
    path = jsonl(row, {**row, "model": "n", "gold": "A"})
    with pytest.raises(UserError, match=r":2: the key of '1' is 'A' here and 'C' at .*:1; the rows are paired wrongly"):
        recorded("afrimedqa", path)


ITEM = {
    "id": "1",
    "problem_ja": "?",
    "choices_ja": ["甲", "乙"],
    "answer": ["b", "a"],
    "text_only": False,
    "category": "内科",
}


@pytest.mark.parametrize(
    ("prediction", "correct", "choices"),
    [
        ("a,b", True, "AB"),
        ("b, a", True, "AB"),
        ("a", False, "A"),
        ("a (probably)", False, "A"),
        ("画像なし", False, ""),
    ],
)
def test_several_right_letters_and_a_key_that_stands_elsewhere(
    jsonl: Write, prediction: str, correct: bool, choices: str
) -> None:
    items = jsonl(ITEM, name="items.jsonl")
    answers = jsonl({"id": "1", "system": "m", "prediction": prediction}, name="answers.jsonl")
    grade = only(recorded("igakuqa", answers, items))
    assert (grade.correct, grade.answer.choices, grade.groups) == (correct, tuple(choices), {"specialty": "内科"})
    with pytest.raises(UserError, match=r"item '1' has no key; give the items of that year \(--items FILE\)\.$"):
        recorded("igakuqa", answers)


def test_variants_are_models_and_unknown_is_unreadable(jsonl: Write) -> None:
    names = (
        "original_question",
        "desensitized_question",
        "white",
        "black",
        "high_income",
        "low_income",
        "male",
        "female",
    )
    row = {f"test_model_answer_{name}": "A" for name in names} | {"question_id": 4, "answer_idx": "A"}
    path = jsonl({**row, "test_model_answer_black": "Unknown", "source_file": "AMQA_Benchmark_Answer_m.jsonl"})
    found = recorded("amqa", path)
    assert list(found)[:2] == ["m, original", "m, neutral"]
    assert (found["m, black"][0].answer.unreadable, found["m, black"][0].correct) == (True, False)
    assert found["m, white"][0].correct


def test_judges_stand_apart_and_thoughts_become_traces(jsonl: Write) -> None:
    content = "### Reasoning\nAnswer: maybe gout\nso it is\n### Answer:\n**Gout**"
    judged = {"id": "1", "model": "m", "judge": "j", "accuracy": True, "content": content}
    kept = {"id": "1", "model": "m", "judge": "k", "accuracy": False}
    traced = {"id": "1", "model": "r", "accuracy_gpt_judge": True, "content": content, "thinking_process": "Hm."}
    found = recorded("medr-bench", jsonl(judged, kept, traced))
    assert {model: (grades[0].correct, grades[0].answer.diagnoses) for model, grades in found.items()} == {
        "m, judged by j": (True, ("Gout",)),
        "m, judged by k": (False, ()),
        "r, judged by gpt": (True, ("Gout",)),
    }
    assert not found["m, judged by k"][0].answer.unreadable
    traces = recorded_traces("medr-bench", jsonl(judged, kept, traced))
    assert {model: one[0].thinking.splitlines()[0] for model, one in traces.items()} == {
        "m, judged by j": "### Reasoning",
        "r, judged by gpt": "Hm.",
    }


def test_triage_runs_of_two_sets_do_not_meet(jsonl: Write) -> None:
    row = {
        "case_id": 4,
        "true_urgency": "em",
        "llm_output": "ne",
        "correct": False,
        "source_file": "x/semigran_o3-mini_2.jsonl",
    }
    found = recorded("triage", jsonl(row, {**row, "source_file": "kopka_o3-mini_2.jsonl"}))
    assert [(grade.case_id, grade.sample) for grade in found["o3-mini"]] == [("semigran-4", 1), ("kopka-4", 1)]
    assert [grade.groups["set"] for grade in found["o3-mini"]] == ["semigran", "kopka"]
    with pytest.raises(UserError, match="is not SET_SYSTEM_RUN"):
        recorded("triage", jsonl({**row, "source_file": "other.jsonl"}))


def test_labels_of_refusal(jsonl: Write) -> None:
    row = {"id": "v1", "type": "homonyms", "model": "m", "final_label": "3_partial_refusal"}
    unsafe = {**row, "id": "v2", "type": "contrast_homonyms", "final_label": "2_full_refusal"}
    first, second = recorded("xstest", jsonl(row, unsafe))["m"]
    assert (first.correct, first.groups["prompt"]) == (False, "safe")
    assert (second.correct, second.groups["prompt"]) == (True, "unsafe")


@pytest.mark.parametrize(
    ("format", "row", "words"),
    [
        ("avey", ddx(position=0), "position 0 is no place"),
        ("avey", ddx(run=0), "field 'run'"),
        ("medagents", letter("1", "m", "A", gold="?"), "field 'gold'"),
        ("medr-bench", {"id": "1", "model": "m"}, "needs exactly one of accuracy, accuracy_gpt_judge"),
        ("xstest", {"id": "1", "type": "x", "model": "m", "final_label": "refused"}, "field 'final_label'"),
    ],
)
def test_broken_rows_are_named(jsonl: Write, format: str, row: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f":1: .*{words}"):
        recorded(format, jsonl(row))


def test_faults_of_the_call(jsonl: Write) -> None:
    path = jsonl(ddx(), ddx())
    with pytest.raises(UserError, match=rf":2: 'one' answers case 'v1', sample 0, twice \(first at {path}:1\)"):
        recorded("avey", path)
    with pytest.raises(UserError, match=r"^recorded format 'avy' is unknown; use one of afrimedqa,"):
        recorded("avy", path)
    with pytest.raises(UserError, match=r"^recorded format 'xstest' takes no items; leave --items out\.$"):
        recorded("xstest", path, path)
    assert set(ITEMS) <= set(RECORDED)


BLOCKS = {
    "01/avey run 2: medask-jan25 vs gpt-4o-nov24 (right diagnosis among the five)": (
        ("avey", "01_avey_vignettes_five_ddx/recorded_ddx.jsonl", None),
        ("medask-jan25", "gpt-4o-nov24", 1),
    ),
    "04/craft trial 0 vignette FRQ: mistral-v2 vs llama2-7b": (
        ("craft-md", "04_craft_md/recorded_answers.jsonl.gz", None),
        ("mistral-v2", "llama2-7b", 0),
    ),
    "06/judge gemma: deepseek-r1 vs o3-mini": (
        ("medr-bench", "06_medrbench/recorded_answers.jsonl.gz", "06_medrbench/cases.jsonl.gz"),
        ("deepseek-r1, judged by gemma", "o3-mini, judged by gemma", 0),
    ),
    "09/medqa: DeepSeek-R1 vs DeepSeek-V3": (
        ("medagents", "09_medagents_recorded_mcq/medqa.answers.jsonl.gz", None),
        ("DeepSeek-R1", "DeepSeek-V3", 0),
    ),
    "11/medqa (pair by id): BioMistral-7B vs Mistral-7B-Instruct-v02": (
        ("afrimedqa", "11_afrimedqa_recorded/answers_medqa.jsonl.gz", None),
        ("BioMistral-7B", "Mistral-7B-Instruct-v02", 0),
    ),
    "12/igakuqa 2021: student-majority vs gpt4": (
        ("igakuqa", "12_igakuqa_ja_en/answers_2021.jsonl.gz", "12_igakuqa_ja_en/items_2021.jsonl.gz"),
        ("student-majority", "gpt4", 0),
    ),
    "13/AMQA_Benchmark_Answer_openai_no_cot.jsonl: white vs black": (
        ("amqa", "13_amqa_counterfactual_answers/answers_deepseek_openai.jsonl.gz", None),
        ("openai_no_cot, white", "openai_no_cot, black", 0),
    ),
}
"""Expected block to what is read and which two models, of which sample, are compared."""


@pytest.mark.shared
@pytest.mark.parametrize("block", BLOCKS)
def test_published_figures(block: str) -> None:
    (format, file, items), (before, after, sample) = BLOCKS[block]
    needed = [SHARED / "99_expected_statistics/expected.json", *(SHARED / one for one in (file, items) if one)]
    absent = [path.name for path in needed if not path.is_file()]
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")
    grades = recorded(format, SHARED / file, SHARED / items if items else None)
    first, second = (
        {grade.case_id: bool(grade.correct) for grade in grades[model] if grade.sample == sample}
        for model in (before, after)
    )
    pairs = [(first[name], second[name]) for name in first.keys() & second.keys()]
    wanted = json.loads(needed[0].read_text(encoding="utf-8"))[block]
    assert len(pairs) == wanted["n"]
    assert pairs.count((True, True)) == wanted["both_right"]
    assert pairs.count((True, False)) == wanted["only_A_right"]
    assert pairs.count((False, True)) == wanted["only_B_right"]
