from pathlib import Path

import numpy as np
import pytest

from rounds.engine.export import export_openvino, exported
from rounds.model import checkpoint
from rounds.quant.classes import CLASSES, WEIGHTS, Text
from rounds.quant.divergence import Divergence, divergence, in_openvino, in_transformers, weighted
from rounds.quant.openvino import quantize
from rounds.recipe import Quantize

TEXTS = [Text([5 + (7 * i + j) % 250 for j in range(40)], 10, tuple((j % 7) % 5 for j in range(30))) for i in range(4)]


def test_a_model_is_no_distance_from_itself(qwen: Path) -> None:
    found = divergence(in_openvino(qwen), in_openvino(qwen), TEXTS)
    assert list(found) == ["all", *CLASSES]
    assert all(one.kl == pytest.approx(0, abs=1e-12) and one.flips == 0 for one in found.values())
    assert found["all"].tokens == sum(len(text.classes) for text in TEXTS)


def test_the_engine_agrees_with_transformers(qwen: Path) -> None:
    for text in TEXTS:
        np.testing.assert_allclose(in_openvino(qwen)(text), in_transformers(qwen)(text), atol=2e-3, rtol=1e-3)
    assert divergence(in_transformers(qwen), in_openvino(qwen), TEXTS)["all"].kl < 1e-6


def test_classes_are_counted_apart(qwen: Path) -> None:
    def known(text: Text) -> np.ndarray:
        return np.log(np.tile([0.5, 0.25, 0.25], (len(text.classes), 1)))

    def worse_on_names(text: Text) -> np.ndarray:
        rows = known(text)
        rows[np.array(text.classes) == 3] = np.log([0.25, 0.5, 0.25])
        return rows + 5  # logits, not probabilities

    found = divergence(known, worse_on_names, TEXTS)
    expected = 0.5 * np.log(0.5 / 0.25) + 0.25 * np.log(0.25 / 0.5)
    assert found[CLASSES[3]] == pytest.approx(Divergence(expected, 1.0, 4 * 4))
    assert found[CLASSES[0]] == pytest.approx(Divergence(0, 0, 4 * 9))
    assert found["all"].kl == pytest.approx(expected * 16 / 120)
    assert weighted(found) == pytest.approx(expected * WEIGHTS[CLASSES[3]] / sum(WEIGHTS.values()))


def test_a_class_that_does_not_occur_has_no_figure(qwen: Path) -> None:
    rest = [Text(text.ids, text.start, (4,) * len(text.classes)) for text in TEXTS]
    assert list(divergence(in_openvino(qwen), in_openvino(qwen), rest)) == ["all", "rest"]


def test_a_destroyed_model_is_far_off(qwen: Path, tmp_path: Path) -> None:
    model = checkpoint.load(qwen)
    model.get_input_embeddings().weight.data.zero_()
    checkpoint.save(model, qwen, tmp_path / "broken")
    export_openvino(tmp_path / "broken", tmp_path / "ir")
    broken = divergence(in_openvino(exported(qwen)), in_openvino(tmp_path / "ir"), TEXTS)["all"]
    assert broken.kl > 0.2
    assert broken.flips > 0.9


def test_eight_bit_keys_and_values_are_read_back(qwen: Path, tmp_path: Path) -> None:
    whole = Quantize(bits=8)
    quantize(qwen, [], whole, tmp_path / "f16")
    quantize(qwen, [], whole.model_copy(update={"kv_cache": "u8"}), tmp_path / "u8")
    found = divergence(in_openvino(tmp_path / "f16"), in_openvino(tmp_path / "u8"), TEXTS)["all"]
    assert 1e-7 < found.kl < 0.05
