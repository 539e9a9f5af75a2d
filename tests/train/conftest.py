"""Tiny random checkpoints at true structure, and a few lessons, for everything that trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.recipe import Backbone
from rounds.records import Lesson, Message, Prompt
from rounds.train.batches import Example
from rounds.train.lessons import examples

WORDS = [
    "A man of 54 with chest pain, troponin 1.25 ng/mL and ST elevation.",
    "Fever and neck stiffness fit meningitis. 1. Meningitis",
] * 9
ANSWERS = ("myocardial infarction", "meningitis", "pneumonia", "appendicitis")


def lesson(number: int) -> Lesson:
    answer = ANSWERS[number % len(ANSWERS)]
    said = Message(role="user", content=f"Case {number % 7}: chest pain.")
    prompt = Prompt(case_id=f"c{number}", template="t@1", messages=(said,))
    return Lesson(prompt=prompt, thinking=f"It fits {answer}.", reply=f"1. {answer}", teacher="oracle")


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer."""
    directory = tmp_path_factory.mktemp("words")
    train_tokenizer(WORDS, 330, directory, "deepseek-r1")
    return directory


@pytest.fixture(scope="session")
def codec(words: Path) -> Codec:
    return Codec.load(words)


@pytest.fixture(scope="session")
def lessons() -> list[Lesson]:
    return [lesson(number) for number in range(12)]


@pytest.fixture(scope="session")
def spelled(lessons: list[Lesson], codec: Codec) -> list[Example]:
    return examples(lessons, codec)


@pytest.fixture(scope="session")
def make_model(words: Path, codec: Codec) -> Callable[..., object]:
    """A random model: two layers, width 32, one dense and one of experts where the structure has them."""

    def make(structure: str, **sizes: int) -> object:
        given = {"width": 32, "layers": 2, "heads": 2, "feed_forward": 48, "expert_width": 16, "experts": 4}
        backbone = Backbone.model_validate(
            {"structure": structure, "kv_rank": 16, "q_rank": 16, "context": 256, **given, **sizes}
        )
        return build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)

    return make


@pytest.fixture(scope="session")
def checkpoints(make_model: Callable[..., object], words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint of each structure."""
    place = tmp_path_factory.mktemp("checkpoints")
    for structure in checkpoint.STRUCTURES:
        checkpoint.save(make_model(structure), words, place / structure)
    return place
