from pathlib import Path

import pytest

from rounds.engine.export import exported
from rounds.model import checkpoint
from rounds.quant.inventory import inventory, total
from rounds.quant.openvino import quantize
from rounds.recipe import Quantize


@pytest.fixture(scope="module")
def trained(qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As after training: norms are not 1 and biases not 0, which an export would leave out."""
    directory = tmp_path_factory.mktemp("trained")
    model = checkpoint.load(qwen)
    for weight in model.parameters():
        if weight.ndim == 1:
            weight.data += 0.1 + 0.01 * weight.data.new_tensor(range(len(weight)))
    checkpoint.save(model, qwen, directory)
    return directory


def test_a_checkpoint_and_its_export_hold_the_same(trained: Path) -> None:
    stored, there = inventory(trained), inventory(exported(trained))
    weights = sum(p.numel() for p in checkpoint.load(trained).parameters())
    assert total(stored).weights == weights
    for kind, held in stored.items():
        assert (there[kind].tensors, there[kind].weights, there[kind].bytes) == (held.tensors, held.weights, held.bytes)
        assert held.bits == 32
    assert stored["linears"].tensors == 14
    assert stored["embeddings"].weights == stored["head"].weights
    # The file keeps one copy of constants that are alike.
    assert 0.98 < (exported(trained) / "openvino_model.bin").stat().st_size / total(there).bytes <= 1


def test_bits_count_scales_and_zero_points(trained: Path, tmp_path: Path) -> None:
    quantize(trained, [], Quantize(group=32, gptq=False), tmp_path / "four")
    held = inventory(tmp_path / "four")
    assert held["linears"].types == {"i4": 14}
    assert held["linears"].bits == 4 + 16 / 32
    assert 8 < held["embeddings"].bits < 9
    assert total(held).weights - held["other"].weights == total(inventory(trained)).weights


def test_half_precision_is_read(trained: Path, tmp_path: Path) -> None:
    checkpoint.save(checkpoint.load(trained, "bfloat16"), trained, tmp_path)
    assert total(inventory(tmp_path)).bits == 16
    assert set(total(inventory(tmp_path)).types) == {"bf16"}
