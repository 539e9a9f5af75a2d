from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = [
    "A man of 54 with chest pain, troponin 1.25 ng/mL and ST elevation.",
    "Fever and neck stiffness: 1. Meningitis",
] * 9


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory, make_babbler: Callable[..., Path]) -> Path:
    """A tiny random Qwen2 whose next tokens depend on the text."""
    return make_babbler(tmp_path_factory.mktemp("qwen"), WORDS, 330, 256)
