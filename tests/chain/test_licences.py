"""Licences are taken from where they are stated, and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds import recipe
from rounds.chain.licences import (
    KNOWN,
    LLAMA,
    LLAMA_3,
    NOT_STATED,
    OWN,
    QWEN,
    QWEN_RESEARCH,
    TONGYI,
    front_matter,
    licences,
)
from rounds.files import write_jsonl
from rounds.records import Case, UserError

COMPARE = {"margin": 0.02, "why_margin": "two cases in a hundred"}


def chosen(student: dict[str, object], teacher: dict[str, object], **more: object) -> recipe.Recipe:
    table = {"name": "mine", "student": student, "teacher": teacher, "compare": COMPARE, **more}
    return recipe.Recipe.model_validate(table)


def test_models_from_nothing_are_the_projects_own(tmp_path: Path) -> None:
    found = licences(tmp_path, recipe.read("tiny"))
    assert [one.part for one in found] == ["student", "teacher", "cases", "knowledge base"]
    assert {one.licence for one in found} == {OWN}


@pytest.mark.parametrize(
    ("name", "licence", "duty"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "MIT, and Llama 3.3 Community License of its base", LLAMA),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "MIT, and Apache-2.0 of its base", ""),
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1 Community License", LLAMA),
        ("meta-llama/Meta-Llama-3-8B", "Llama 3 Community License", LLAMA_3),
        ("Qwen/Qwen2.5-7B-Instruct", "Apache-2.0", ""),
        ("Qwen/Qwen2.5-Coder-1.5B", "Apache-2.0", ""),
        ("Qwen/Qwen2.5-72B", "Qwen License Agreement", QWEN),
        ("Qwen/Qwen2-72B-Instruct", "Tongyi Qianwen License Agreement", TONGYI),
        ("Qwen/Qwen2.5-3B", "Qwen Research License", QWEN_RESEARCH),
        ("Qwen/Qwen2.5-Coder-3B-Instruct", "Qwen Research License", QWEN_RESEARCH),
        ("Qwen/Qwen2.5-32B", "Apache-2.0", ""),
        ("Qwen/Qwen3-30B-A3B", "Apache-2.0", ""),
        ("someone/else", NOT_STATED, ""),
    ],
)
def test_a_teacher_brings_its_licence(tmp_path: Path, name: str, licence: str, duty: str) -> None:
    teacher = licences(tmp_path, chosen({"checkpoint": "x/y"}, {"endpoint": "http://h/v1", "name": name}))[1]
    assert teacher.part == "teacher"
    assert teacher.licence == licence
    assert teacher.duty == duty
    assert teacher.stated.startswith("nothing" if licence == NOT_STATED else "known by its name")


def test_every_licence_has_the_address_of_its_text() -> None:
    assert all(row[3].startswith("https://") for row in KNOWN)


def test_a_model_card_says_more_than_a_name(tmp_path: Path) -> None:
    card = tmp_path / "llama-3.1-mine"
    card.mkdir()
    (card / "README.md").write_text("---\nbase_model: x\nlicense: cc-by-nc-4.0\n---\n# text\n", encoding="utf-8")
    student = licences(tmp_path, chosen({"checkpoint": str(card)}, {"checkpoint": "x/y"}))[0]
    assert (student.what, student.licence, student.stated) == ("llama-3.1-mine", "cc-by-nc-4.0", "its README.md")
    assert student.duty == LLAMA


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ('---\nlicense: "mit"\n---\n', "mit"),
        ("---\r\nlicense: other\r\nlicense_name: llama3.3\r\n---\r\n", "llama3.3"),
        ("license: mit\n", ""),
        ("---\nlicence: mit\n---\n", ""),
        ("", ""),
    ],
)
def test_front_matter(tmp_path: Path, text: str, licence: str) -> None:
    (tmp_path / "README.md").write_bytes(text.encode())
    assert front_matter(tmp_path / "README.md") == licence


def test_own_cases_tell_theirs_or_the_hospital_does(tmp_path: Path) -> None:
    own = chosen({"checkpoint": "x/y"}, {"checkpoint": "x/z"}, cases={"file": "mine.jsonl"})
    for split, licence in (("teach", "MIT"), ("tune", "MIT"), ("exam", "")):
        cases = [Case(id=f"{split}{n}", vignette="v", diagnosis="d", licence=licence, source="clinic") for n in "ab"]
        write_jsonl(tmp_path / "cases" / f"{split}.jsonl", cases)
    found = licences(tmp_path, own)
    assert [(one.licence, one.what) for one in found[2:]] == [
        ("MIT", "4 cases of clinic"),
        (NOT_STATED, "2 cases of clinic"),
    ]
    (tmp_path / "licences.toml").write_text('[cases]\nlicence = "own"\n[teacher]\nlicence = "bought"\n')
    found = licences(tmp_path, own)
    assert [(one.part, one.licence, one.stated) for one in found[1:]] == [
        ("teacher", "bought", "licences.toml"),
        ("cases", "own", "licences.toml"),
    ]


@pytest.mark.parametrize("text", ["=", "[nurse]\nlicence = 'x'\n", "[teacher]\nlicence = ''\n"])
def test_a_faulty_file_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "licences.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"licences.toml: cannot be used"):
        licences(tmp_path, recipe.read("tiny"))
