"""Which lessons an adapter learns, and that it is kept beside the merged weights and gives their logits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rounds import recipe
from rounds.model import checkpoint
from rounds.model.adapter import laid_on
from rounds.records import Lesson, UserError
from rounds.train.specialise import mixed, specialise, thinned

AREAS = {f"c{n}": ("surgery", "neurology", "paediatrics")[n % 3] for n in range(12)} | {"c11": ""}


def areas(lessons: list[Lesson]) -> Counter[str]:
    return Counter(AREAS[lesson.prompt.case_id] for lesson in lessons)


@pytest.mark.parametrize(("replay", "others"), [(0.0, 0), (0.5, 2), (1.0, 4), (9.0, 8)])
def test_replay_is_counted_by_the_lessons_of_the_specialty(lessons: list[Lesson], replay: float, others: int) -> None:
    found = areas(mixed(lessons, AREAS, "surgery", replay, 1))
    assert found["surgery"] == 4
    assert found.total() - 4 == others


def test_replay_is_drawn_evenly_and_by_the_seed(lessons: list[Lesson]) -> None:
    found = mixed(lessons, AREAS, "surgery", 1.5, 1)
    assert areas(found)["neurology"] == 3
    assert found == mixed(lessons, AREAS, "surgery", 1.5, 1)
    assert found != mixed(lessons, AREAS, "surgery", 1.5, 2)


def test_a_specialty_without_lessons_is_named(lessons: list[Lesson]) -> None:
    with pytest.raises(UserError, match="specialty 'cardiology'; use one of neurology, paediatrics, surgery"):
        mixed(lessons, AREAS, "cardiology", 1.0, 1)


def test_thinning_leaves_the_others_alone(lessons: list[Lesson]) -> None:
    none = thinned(lessons, AREAS, "surgery", 0.0, 1)
    assert [one for one in lessons if AREAS[one.prompt.case_id] != "surgery"] == none
    assert thinned(lessons, AREAS, "surgery", 1.0, 1) == lessons


@pytest.mark.parametrize("kind", [{}, {"dora": True}, {"rslora": True}])
def test_adapter_and_merged_model_agree(
    checkpoints: Path, lessons: list[Lesson], tmp_path: Path, kind: dict[str, bool]
) -> None:
    import torch

    settings = recipe.Specialise(
        rate=0.02, batch=4, steps=3, lora=recipe.Lora.model_validate({"rank": 4, "embeddings": False, **kind})
    )
    start = checkpoints / "qwen2"
    model, trained = specialise(start, lessons, settings, seed=1, scratch=tmp_path / "s", keep=tmp_path / "adapter")
    beside = laid_on(checkpoint.load(start), tmp_path / "adapter")
    ids = torch.tensor([[1, 5, 9, 20, 31]])
    with torch.no_grad():
        one, two, before = (m(input_ids=ids).logits for m in (model, beside, checkpoint.load(start)))
    assert trained.steps == 3
    assert torch.allclose(one, two, atol=1e-4)
    assert not torch.allclose(one, before, atol=1e-3)
