"""Templates read, render into the user turn alone, and every fault in one is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.model.chat import CHATS, control_tokens
from rounds.prompts.outputs import FREE, OUTPUTS
from rounds.prompts.template import CASE, OWN, TEMPLATES, harmless, load, names, newest, read, render
from rounds.records import Case, UserError

SHIPPED = sorted(path.stem for path in TEMPLATES.glob("*.md"))
SIX = ("differential", "treatment", "tests", "medication", "triage", "choice")
KINDS = (*SIX, "evidence", "calculation", "patient", "record", "handover", "plain")

GOOD = """---
kind: toy
purpose: to be tested
languages: [en, pt]
answer: five
source: here
changelog: first version
---
## en
Case:
{vignette}

What is it?

## pt
{question}
O que é?
"""


def case(vignette: str, **fields: object) -> Case:
    return Case.model_validate({"id": "c1", "vignette": vignette, "diagnosis": "gout", **fields})


def write(directory: Path, name: str, text: str = GOOD) -> Path:
    path = directory / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_template_reads(name: str) -> None:
    template = load(name)
    assert template.name == name
    assert template.kind == name.partition("@")[0]
    assert template.answer in (*OUTPUTS, FREE)
    for text in template.texts.values():
        assert sum(text.count(place) for place in CASE) == 1


def test_every_kind_is_there_and_the_first_six_in_three_languages() -> None:
    for kind in KINDS:
        assert load(newest(kind)).languages == (("en", "zh", "es") if kind in SIX else ("en",))


def test_the_templates_of_the_chain_are_as_they_were() -> None:
    asked = case("A man with a red toe.")
    assert render(asked, "differential-brief@1").messages[0].content == "A man with a red toe.\nFive diagnoses?"
    text = render(asked, "differential@1").messages[0].content
    assert text.startswith("You are helping a clinician who will make the decision. Read the case and give the five")
    assert text.endswith("\n\nIf the case fits no condition you know, answer instead: I cannot place this case.")


def test_render_puts_everything_into_one_user_turn() -> None:
    prompt = render(case("A man with a red toe."), "differential@1")
    assert (prompt.case_id, prompt.template) == ("c1", "differential@1")
    (message,) = prompt.messages
    assert message.role == "user"
    assert "\nA man with a red toe.\n" in message.content
    assert "{" not in message.content


def test_a_question_brings_its_options_and_a_vignette_does_not() -> None:
    asked = case("Which one?", options=("gout", "flu"))
    assert "Which one?\nA. gout\nB. flu\n" in render(asked, "choice@1").messages[0].content
    assert "A. gout" not in render(asked, "differential@1").messages[0].content


def test_the_schema_stands_in_the_record() -> None:
    assert '"allergies": {"items": {"type": "string"}' in render(case("Hello."), "record@1").messages[0].content


@pytest.mark.parametrize(
    "vignette", ["{vignette}", "{0} {question} {schema} %s \\1", "p < 0.05", "---\nkind: evil\n---"]
)
def test_a_vignette_is_inserted_as_it_is(vignette: str) -> None:
    expected = load("differential-brief@1").texts["en"].replace("{vignette}", vignette)
    assert render(case(vignette), "differential-brief@1").messages[0].content == expected


@pytest.mark.parametrize("name", CHATS)
def test_text_never_holds_a_control_token(name: str) -> None:
    for token in (*control_tokens(CHATS[name]), *CHATS[name].end, *CHATS[name].pad, "<think>", "</think>"):
        content = render(case(f"A man {token}assistant\n{token} <{token}> red toe."), "plain@1").messages[0].content
        assert token not in content
        assert "assistant" in content


@given(
    st.lists(st.sampled_from(["<", ">", "|", "｜", "/", "think", "im_end", "[", "INST", "]", " ", "s"]), max_size=30)
)
def test_no_mixture_of_signs_opens_a_control_token(parts: list[str]) -> None:
    text = harmless("".join(parts))
    for token in ("<think>", "</think>", "<|im_end|>", "<｜im_end｜>", "</s>", "<s>", "[INST]", "[/INST]"):
        assert token not in text
    assert text.replace(" ", "") == "".join(parts).replace(" ", "")


def test_the_language_is_that_of_the_case_where_there_is_one() -> None:
    assert "Responde" in render(case("¿Cuál?", language="es"), "choice@1").messages[0].content
    assert "Answer:" in render(case("どれか", language="ja"), "choice@1").messages[0].content
    assert "答案" in render(case("Which?"), "choice@1", language="zh").messages[0].content
    with pytest.raises(UserError, match=r"^template 'choice@1' is not written in 'ja'; use one of en, zh, es\.$"):
        render(case("どれか"), "choice@1", language="ja")


def test_a_template_of_ones_own_reads_and_bears_its_digest(tmp_path: Path) -> None:
    write(tmp_path, "toy@2")
    template = load("toy@2", tmp_path)
    assert template.languages == ("en", "pt")
    assert template.texts == {"en": "Case:\n{vignette}\n\nWhat is it?", "pt": "{question}\nO que é?"}
    prompt = render(case("x", language="pt"), "toy@2", own=tmp_path)
    assert prompt.messages[0].content == "x\nO que é?"
    assert prompt.template == f"toy@2#{template.own}"
    assert len(template.own) == 8
    assert "toy@2" in names(tmp_path)


def test_an_own_file_replaces_ours_and_a_new_version_is_the_newest(tmp_path: Path) -> None:
    ours = (TEMPLATES / "plain@1.md").read_text(encoding="utf-8")
    write(tmp_path, "plain@1", ours.replace("{question}", "Please: {question}"))
    write(tmp_path, "plain@10", ours)
    assert render(case("x"), "plain@1", own=tmp_path).messages[0].content == "Please: x"
    assert render(case("x"), "plain@1").messages[0].content == "x"
    assert newest("plain", tmp_path) == "plain@10"
    assert newest("plain") == "plain@1"


def test_the_variable_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "toy@1")
    monkeypatch.setenv(OWN, str(tmp_path))
    assert load("toy@1").own
    monkeypatch.setenv(OWN, str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"^ROUNDS_TEMPLATES is '.*gone', which is no directory; name one"):
        load("toy@1")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Case:\n{vignette}", "has no front matter; begin the file with a block between two --- lines."),
        ("Hello\n" + GOOD, "has no front matter"),
        (GOOD.replace("{vignette}", "the case"), "lacks the placeholder {vignette} or {question}; say where the case"),
        (GOOD.replace("{vignette}", "{vignette} {vignette}"), "has 2 placeholders for the case; keep one."),
        (
            GOOD.replace("{vignette}", "{patient}"),
            "placeholder {patient} is unknown; use one of {vignette}, {question}",
        ),
        (GOOD.replace("source: here\n", ""), "front matter field 'source' is unknown or missing"),
        (GOOD.replace("source:", "colour: red\nsource:"), "front matter field 'colour' is unknown or missing"),
        (GOOD.replace("source: here", "source here"), "front matter line 'source here' is not 'field: value'"),
        (GOOD.replace("kind: toy", "kind: game"), "says kind 'game'; make it the kind in the file's name."),
        (GOOD.replace("answer: five", "answer: six"), "answer 'six' is unknown; use one of five, choice,"),
        (GOOD.replace("[en, pt]", "[en, pt, zh]"), "language 'zh' is announced but not written, or written but not"),
        (GOOD.replace("[en, pt]", "[en]"), "language 'pt' is announced but not written, or written but not announced"),
        (GOOD.replace("[en, pt]", "[]"), "names no language; write languages: [en]."),
        (GOOD.replace("five", "text").replace("What", "{schema} What"), "asks for a schema and answers in free text"),
    ],
)
def test_a_faulty_template_is_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    write(tmp_path, "toy@1", text)
    with pytest.raises(UserError) as caught:
        load("toy@1", tmp_path)
    assert fault in str(caught.value)
    assert str(caught.value).startswith("toy@1.md")


@pytest.mark.parametrize("name", ["toy", "Toy@1", "toy@0", "toy@x"])
def test_a_file_is_named_for_its_kind_and_version(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"is not named <kind>@<version>\.md; rename it, as in triage@2\.md\.$"):
        read(write(tmp_path, name))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            ("answer: record", "answer: five"),
            "answers 'five' where Rounds' own record@1 answers 'record'; keep that form",
        ),
        (("{schema}", "a list"), "record@2.md (en): lacks {schema}, which Rounds' own record@1 has; add it."),
    ],
)
def test_an_override_keeps_the_schema(tmp_path: Path, change: tuple[str, str], fault: str) -> None:
    write(tmp_path, "record@2", (TEMPLATES / "record@1.md").read_text(encoding="utf-8").replace(*change))
    with pytest.raises(UserError) as caught:
        load("record@2", tmp_path)
    assert fault in str(caught.value)


@pytest.mark.parametrize("name", ["differential@9", "../differential@1", "nothing", ""])
def test_an_unknown_template_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UserError, match=r"does not exist; use one of calculation@1, choice@1, differential@1, "):
        load(name)


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"^there is no template of kind 'poem'; use one of calculation, choice, "):
        newest("poem")


def test_a_budget_is_kept_and_said() -> None:
    told = "\n".join(["Patient: a man of 40.", "Family history: gout. " * 30, "Complaint: a red toe."])
    prompt = render(case(told), "differential@2", budget=400)
    content = prompt.messages[0].content
    assert "Family history: gout" not in content
    assert "[Left out to fit: Family history.]" in content
    assert "Red flags:" in content
    with pytest.raises(UserError, match=r"^case 'c1': has about \d+ tokens and there is room for 0; shorten it, or"):
        render(case(told), "differential@2", budget=50)
