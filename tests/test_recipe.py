"""A recipe is refused by the name of what is wrong with it, and read with its defaults otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds import recipe
from rounds.records import UserError

GOOD: dict[str, Any] = {
    "name": "toy",
    "student": {"backbone": {"structure": "qwen2"}},
    "teacher": {"endpoint": "http://127.0.0.1:8000/v1", "name": "r1"},
    "compare": {"margin": 0.02, "why_margin": "one case in fifty is the most the ward accepts"},
}

WRITTEN = """
name = "toy"
[student.backbone]
structure = "qwen2"
[teacher]
checkpoint = "models/teacher"
[compare]
margin = 0.05
why_margin = "one case in twenty is the most the ward accepts"
"""


def changed(**sections: object) -> dict[str, Any]:
    return {**GOOD, **sections}


def test_a_small_recipe_reads_with_its_defaults() -> None:
    read = recipe.parse(GOOD, "toy.toml")
    assert read.seed == 1
    assert read.cases == recipe.Cases()
    assert read.compare.alpha == 0.01
    assert read.student.backbone is not None
    assert read.student.chat == "deepseek-r1"


def test_a_file_reads(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(WRITTEN, encoding="utf-8")
    read = recipe.read(str(path))
    assert read.teacher.checkpoint == "models/teacher"
    assert read.compare.margin == 0.05


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (changed(distil={"rnak": 8}), "distil.rnak: Extra inputs are not permitted"),
        (changed(distil={"lora": {"rnak": 8}}), "distil.lora.rnak: Extra inputs are not permitted"),
        (changed(destil={}), "destil: Extra inputs are not permitted"),
        ({k: v for k, v in GOOD.items() if k != "compare"}, "compare: Field required"),
        (changed(compare={"why_margin": "because it is so"}), "compare.margin: Field required"),
        (changed(compare={"margin": 0.02}), "compare.why_margin: Field required"),
        (
            changed(compare={"margin": 0.02, "why_margin": "why not"}),
            "compare.why_margin: String should have at least 10",
        ),
        (changed(compare={"margin": 0, "why_margin": "because it is so"}), "compare.margin: Input should be greater"),
        (changed(student={}), "student: needs exactly one of backbone, checkpoint, endpoint; has none"),
        (
            changed(student={"checkpoint": "x", "endpoint": "y", "name": "z"}),
            "student: needs exactly one of backbone, checkpoint, endpoint; has checkpoint, endpoint",
        ),
        (changed(student={"endpoint": "http://x/v1"}), "student: an endpoint needs the model's name"),
        (changed(student={"backbone": {"structure": "gpt5"}}), "student.backbone.structure: Input should be 'qwen2'"),
        (changed(cases={"prior": "random"}), "cases.prior: Input should be 'even' or 'incidence'"),
        (changed(cases={"volunteer": 1.5}), "cases.volunteer: Input should be less than or equal to 1"),
        (changed(cases={"conditions": 2}), "cases.conditions: Input should be greater than or equal to 5"),
        (changed(quantize={"bits": 3}), "quantize.bits: Input should be 4 or 8"),
        (changed(name="Toy Recipe"), "name: String should match pattern"),
        (changed(seed="often"), "seed: Input should be a valid integer"),
        (changed(distil={"token_level": 0.5}), "recipe: distil.token_level needs a teacher whose weights are here"),
    ],
)
def test_a_fault_is_named_by_its_place(table: dict[str, object], fault: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe.parse(table, "toy.toml")
    assert str(caught.value).startswith(f"toy.toml: {fault}")
    assert str(caught.value).endswith("; see docs/run.md for the fields.")
    assert "\n" not in str(caught.value)


def test_broken_toml_and_wrong_encoding_are_named(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(UserError, match=r"toy\.toml: is not valid TOML .*; mend that line\.$"):
        recipe.read(str(path))
    path.write_bytes(b'name = "gr\xf6sser"')
    with pytest.raises(UserError, match=r"toy\.toml: is not valid TOML"):
        recipe.read(str(path))


def test_an_unknown_recipe_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(WRITTEN.replace("toy", "tiny"), encoding="utf-8")
    monkeypatch.setattr(recipe, "SHIPPED", tmp_path)
    assert recipe.read("tiny").name == "tiny"
    with pytest.raises(
        UserError, match=r"recipe 'tinny' is not shipped; use one of tiny, or a path ending in \.toml\.$"
    ):
        recipe.read("tinny")
    with pytest.raises(
        UserError, match=r"recipe 'here/tiny\.toml' does not exist; check the path or use one of tiny\.$"
    ):
        recipe.read("here/tiny.toml")


def test_a_recipe_cannot_be_changed_after_reading() -> None:
    read = recipe.parse(GOOD, "toy.toml")
    with pytest.raises(ValueError, match="frozen"):
        read.seed = 2


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.one_of(st.integers(), st.text(max_size=5), st.dictionaries(st.text(max_size=4), st.integers())),
    )
)
def test_any_odd_table_is_refused_and_nothing_else_is_raised(table: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^toy\.toml: "):  # none of them has a student, a teacher and a margin
        recipe.parse(table, "toy.toml")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GiB", 24 * 2**30),
        ("24 gib", 24 * 2**30),
        ("80GB", 80 * 10**9),
        ("80G", 80 * 10**9),
        ("1.5TiB", 3 * 2**39),
        ("512MiB", 2**29),
        ("1000", 1000),
        ("1000B", 1000),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert recipe.bytes_of(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "much", "24 XB", "-3GB", "iB", "12iB", "0GB", "1,5GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"--memory '{text}' is not a size; give one such as 24GiB or 80GB"):
        recipe.bytes_of(text, "--memory")
