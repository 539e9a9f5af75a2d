"""serving.toml goes round, belongs to one checkpoint, and is refused when it is not what it should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.records import UserError
from rounds.serve.chosen import SERVING, Serving, budget_of, read_serving, write_serving


@settings(max_examples=15)
@given(
    budget=st.none() | st.integers(0, 131072),
    why=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60),
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, budget: int | None, why: str) -> None:
    home = tmp_path_factory.mktemp("home")
    serving = Serving(checkpoint="ab12", thinking_budget=budget, why=why)
    write_serving(home, serving)
    assert read_serving(home, "ab12") == serving
    assert budget_of(home, "ab12") == budget


def test_a_choice_for_another_checkpoint_is_not_carried_over(tmp_path: Path) -> None:
    write_serving(tmp_path, Serving(checkpoint="ab12", thinking_budget=64))
    assert read_serving(tmp_path, "cd34") is None
    assert budget_of(tmp_path, "cd34") is None
    assert budget_of(tmp_path / "nowhere", "ab12") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("checkpoint = ", "is not valid TOML"),
        ('checkpoint = "a"\nthinking_budget = -1', "thinking_budget: Input should be greater than or equal to 0"),
        ('checkpoint = "a"\nrouter = true', "router: Extra inputs are not permitted"),
        ("thinking_budget = 4", "checkpoint: Field required"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / SERVING).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence) as fault:
        read_serving(tmp_path, "a")
    assert str(fault.value).endswith("make it anew with rounds budget.")
