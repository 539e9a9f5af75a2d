"""Templates read, render into the user turn alone, and every fault in one is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.prompts.template import PLACEHOLDER, TEMPLATES, load, render
from rounds.records import Case, UserError

SHIPPED = sorted(path.stem for path in TEMPLATES.glob("*.md"))

GOOD = """---
kind: toy
purpose: to be tested
languages: [en, pt]
answer: five
source: here
changelog: first version
---
Case:
{vignette}

What is it?
"""


def case(vignette: str) -> Case:
    return Case(id="c1", vignette=vignette, diagnosis="gout")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_template_reads(name: str) -> None:
    template = load(name)
    assert template.name == name
    assert template.kind == name.partition("@")[0]
    assert template.text.count(PLACEHOLDER) == 1
    assert template.languages == ("en",)


def test_the_recipe_default_is_shipped() -> None:
    assert {"differential@1", "differential-brief@1"} <= set(SHIPPED)


def test_render_puts_everything_into_one_user_turn() -> None:
    prompt = render(case("A man with a red toe."), "differential@1")
    assert (prompt.case_id, prompt.template) == ("c1", "differential@1")
    (message,) = prompt.messages
    assert message.role == "user"
    assert "\nA man with a red toe.\n" in message.content
    assert PLACEHOLDER not in message.content


@pytest.mark.parametrize("vignette", ["{vignette}", "{0} {vignette} %s \\1", "50 % of {who}", "---\nkind: evil\n---"])
def test_a_vignette_is_inserted_as_it_is(vignette: str) -> None:
    text = load("differential-brief@1").text
    expected = text.replace(PLACEHOLDER, vignette)
    assert render(case(vignette), "differential-brief@1").messages[0].content == expected


def test_a_template_of_ones_own_reads(tmp_path: Path) -> None:
    (tmp_path / "toy@2.md").write_text(GOOD, encoding="utf-8")
    template = load("toy@2", tmp_path)
    assert template.languages == ("en", "pt")
    assert template.text == "Case:\n{vignette}\n\nWhat is it?"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Case:\n{vignette}", "has no front matter; begin the file with a block between two --- lines."),
        ("Hello\n" + GOOD, "has no front matter"),
        (GOOD.replace("{vignette}", "the case"), "lacks the placeholder {vignette}; say where the case goes."),
        (GOOD.replace("source: here\n", ""), "front matter field 'source' is unknown or missing"),
        (GOOD.replace("source:", "colour: red\nsource:"), "front matter field 'colour' is unknown or missing"),
        (GOOD.replace("source: here", "source here"), "front matter line 'source here' is not 'field: value'"),
    ],
)
def test_a_faulty_template_is_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "toy@1.md").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load("toy@1", tmp_path)
    assert fault in str(caught.value)
    assert str(caught.value).startswith("toy@1.md: ")


@pytest.mark.parametrize("name", ["differential@9", "../differential@1", "nothing", ""])
def test_an_unknown_template_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UserError, match=r"does not exist; use one of differential-brief@1, differential@1\.$"):
        load(name)
