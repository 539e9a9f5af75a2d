"""The reader takes lists as models write them, and nothing a model writes can make it fall over."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.prompts.reader import read_reply
from rounds.records import Answer

FIVE = ("acute appendicitis", "ovarian torsion", "renal colic", "Crohn disease", "ectopic pregnancy")


def read(text: str) -> Answer:
    return read_reply(text, "c1")


def listed(pattern: str) -> str:
    return "\n".join(pattern.format(n=n, d=d) for n, d in enumerate(FIVE, start=1))


@pytest.mark.parametrize(
    "pattern",
    [
        "{n}. {d}",
        "{n}.{d}",
        "{n}) {d}",
        "({n}) {d}",
        "（{n}）{d}",
        "[{n}] {d}",
        "{n}: {d}",
        "{n}、{d}",
        "{n}．{d}",
        "{n} - {d}",
        "{n} – {d}",
        "  {n}. {d}.",
        "> {n}. {d}",
        "**{n}. {d}**",
        "**{n}.** {d}",
        "**{n}** {d}",
        "{n}. **{d}**",
        "{n}. **{d}**: because of the pain",
        "{n}. {d} - fits well",
        "{n}. {d} – 40 %",
        "{n}. {d} (most likely)",
        "### {n}. {d}",
        "- {d}",
        "* {d}",
        "• {d}",
        "- **{d}**: fits",
        "{n}º {d}",
        "{n}.- {d}",
        "Diagnosis {n}: {d}",
        "Diagnosis #{n}: {d}",
        "診断{n}：{d}",
        "・ {d}",
        "● {d}",
        "– {d}",
    ],
)
def test_lists_of_several_marks(pattern: str) -> None:
    answer = read(f"Here is my list.\n\n{listed(pattern)}\n\nPlease consult a surgeon.")
    assert answer.diagnoses == FIVE
    assert not answer.unreadable


def test_circled_numbers() -> None:
    assert read("\n".join(f"{c} {d}" for c, d in zip("①②③④⑤", FIVE, strict=True))).diagnoses == FIVE


@pytest.mark.parametrize("marks", ["abcde", "ABCDE", ["i", "ii", "iii", "iv", "v"], ["I", "II", "III", "IV", "V"]])
def test_lettered_and_roman_lists(marks: list[str]) -> None:
    assert read("\n".join(f"{mark}) {d}" for mark, d in zip(marks, FIVE, strict=True))).diagnoses == FIVE


def test_lists_in_other_digits() -> None:
    assert read("\n".join(f"{mark}、{d}" for mark, d in zip("一二三四五", FIVE, strict=True))).diagnoses == FIVE
    assert read("\n".join(f"{mark}. {d}" for mark, d in zip("１２３４５", FIVE, strict=True))).diagnoses == FIVE
    assert read("\n".join(f"{mark}. {d}" for mark, d in zip("١٢٣٤٥", FIVE, strict=True))).diagnoses == FIVE


def test_a_lettered_remark_below_a_numbered_item_is_no_item() -> None:
    assert read("1. gout\na) because of the toe\nb) because of the wine\n2. flu").diagnoses == ("gout", "flu")


@pytest.mark.parametrize("pattern", ["{n}. {d}", "{n}) {d}", "({n}) {d}"])
def test_a_list_on_one_line(pattern: str) -> None:
    items = "  ".join(pattern.format(n=n, d=d) for n, d in enumerate(FIVE, start=1))
    assert read(items).diagnoses == FIVE
    assert read(f"My list: {items}").diagnoses == FIVE


def test_a_list_in_brackets() -> None:
    assert read(f"I have all I need.\n\nREADY: [{', '.join(FIVE)}]").diagnoses == FIVE
    assert read("READY: [gout (left, acute), flu]").diagnoses == ("gout", "flu")
    assert read("See references [1, 2].").diagnoses == ()


@pytest.mark.parametrize(
    "value",
    [
        list(FIVE),
        {"diagnoses": list(FIVE), "red_flags": []},
        {"case": 1, "differential_diagnosis": list(FIVE)},
        [{"diagnosis": d, "why": "pain"} for d in FIVE],
        {"diagnoses": [{"name": d} for d in FIVE]},
    ],
)
@pytest.mark.parametrize("wrap", ["{}", "```json\n{}\n```", "My answer: {}", "{} That is all."])
def test_json(value: object, wrap: str) -> None:
    assert read(wrap.replace("{}", json.dumps(value), 1)).diagnoses == FIVE


def test_final_diagnosis_heading() -> None:
    assert read("**Final Diagnosis:** acute appendicitis").diagnoses == ("acute appendicitis",)
    assert read("Reasons first.\n## Final diagnosis: gout\nMore words.").diagnoses == ("gout",)
    assert read("**Final Diagnosis:**\n\n**Gout**").diagnoses == ("Gout",)
    assert read("Diagnostic final : la goutte").diagnoses == ("la goutte",)
    assert read("Diagnóstico: gota").diagnoses == ("gota",)
    assert read("最終診断：痛風").diagnoses == ("痛風",)


@pytest.mark.parametrize("thinking", ["<think>\n1. gout\n2. sepsis\n</think>\n", "1. gout\n</think>\n\n", "</think>"])
def test_reasoning_with_and_without_its_opening_is_ignored(thinking: str) -> None:
    assert read(thinking + listed("{n}. {d}")).diagnoses == FIVE


def test_reasoning_that_never_ends_leaves_no_answer() -> None:
    answer = read("<think>\n1. gout\n2. sepsis\nstill thinking")
    assert answer.diagnoses == ()
    assert answer.unreadable


def test_duplicates_collapse_and_a_sixth_is_ignored() -> None:
    answer = read("1. gout\n2. Gout\n3. **GOUT**\n4. sepsis\n5. flu\n6. croup\n7. mumps\n8. malaria")
    assert answer.diagnoses == ("gout", "sepsis", "flu", "croup", "mumps")


def test_x_or_y_takes_two_places() -> None:
    answer = read("1. gout or septic arthritis\n2. flu\n3. croup\n4. mumps\n5. malaria")
    assert answer.diagnoses == ("gout", "septic arthritis", "flu", "croup", "mumps")
    assert read("1. torticollis\n2. orchitis").diagnoses == ("torticollis", "orchitis")


def test_fewer_than_five_is_read_as_it_is() -> None:
    answer = read("1. gout\n2. flu")
    assert answer.diagnoses == ("gout", "flu")
    assert not answer.unreadable


def test_hyphens_inside_a_name_stay() -> None:
    assert read("1. Guillain-Barré syndrome\n2. pre-eclampsia").diagnoses == (
        "Guillain-Barré syndrome",
        "pre-eclampsia",
    )


def test_numbers_in_prose_are_no_list() -> None:
    answer = read("38.5 degrees since Monday\n2 weeks of cough")
    assert answer.diagnoses == ()
    assert answer.unreadable


def test_red_flags() -> None:
    answer = read("1. gout\nRed flags: fainting; low blood pressure.")
    assert answer.red_flags == ("fainting", "low blood pressure")
    assert answer.diagnoses == ("gout",)
    assert read("1. gout\n**Red flags:** none").red_flags == ()
    assert read("1. gout\n- Red-flags: stiff neck").red_flags == ("stiff neck",)
    assert read("1. gout").red_flags == ()


@pytest.mark.parametrize(
    "text",
    [
        "I cannot place this case: it lies outside what I know. Please ask a colleague.",
        "I can’t place this case.",
        "1. I cannot place this case.",
        '["I am unable to place this case"]',
        "<think>fever</think>I cannot place this case.",
    ],
)
def test_abstaining(text: str) -> None:
    answer = read(text)
    assert answer.abstained
    assert not answer.unreadable
    assert answer.diagnoses == ()


def test_a_list_beside_a_doubt_is_a_list() -> None:
    answer = read("I cannot place this case with certainty.\n1. gout\n2. flu")
    assert answer.diagnoses == ("gout", "flu")
    assert not answer.abstained


@pytest.mark.parametrize(
    "text", ["I'm sorry, but I can't help with that.", "I am unable to assist.", "I can’t provide a diagnosis."]
)
def test_refusing(text: str) -> None:
    answer = read(text)
    assert answer.refused
    assert not answer.abstained
    assert not answer.unreadable


@pytest.mark.parametrize("text", ["", "   \n", "</think>", "The patient should rest.", "{", "[", "[1, 2]", "[" * 5000])
def test_what_holds_no_list_is_unreadable(text: str) -> None:
    assert read(text).unreadable


PIECES = '1. |2) |- |**|\n|</think>|<think>|[|]|{|}|"|Red flags:|Final diagnosis:| or |gout|：|①|\\ud800|["\\ud800"]|('
MARKS = st.sampled_from([*PIECES.split("|"), "9" * 5000])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text(st.characters()), st.lists(MARKS).map("".join)))
def test_nothing_makes_it_raise(text: str) -> None:
    answer = read(text)
    assert len(answer.diagnoses) <= 5
    assert len({d.casefold() for d in answer.diagnoses}) == len(answer.diagnoses)
    assert answer.unreadable is not bool(answer.diagnoses or answer.abstained or answer.refused)
    assert Answer.model_validate_json(answer.model_dump_json()) == answer


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([*FIVE, "gout", "flu"]), min_size=1, max_size=9))
def test_a_written_list_reads_back(names: list[str]) -> None:
    text = "\n".join(f"{n}. {name}" for n, name in enumerate(names, start=1))
    assert read(text).diagnoses == tuple(dict.fromkeys(names))[:5]
