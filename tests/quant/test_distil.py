from pathlib import Path

import pytest

from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.quant.classes import CLASSES, Text
from rounds.quant.distil import distil
from rounds.quant.divergence import divergence, in_transformers
from rounds.quant.openvino import quantize
from rounds.quant.sensitivity import rounded
from rounds.recipe import Quantize


@pytest.fixture(scope="module")
def own(qwen: Path) -> list[Text]:
    """Answers of a model that has learnt none: any text will do to be the parent again."""
    codec = Codec.load(qwen)
    found = []
    for name in ("fever", "neck stiffness", "chest pain", "troponin 1.25 ng/mL", "ST elevation"):
        ids = codec.encode_text(f"A man of 54 with {name}.")
        answer = codec.encode_completion(f"{name} suggests Meningitis", "1. Meningitis")
        found.append(Text(ids + answer, len(ids), tuple(place % len(CLASSES) for place in range(len(answer)))))
    return found


def test_weights_end_on_the_grid_nearer_to_their_parent(qwen: Path, own: list[Text], tmp_path: Path) -> None:
    import torch

    figures = distil(qwen, own, 16, tmp_path / "out", 25)
    parent, student = checkpoint.load(qwen), checkpoint.load(tmp_path / "out")
    held = dict(student.named_parameters())
    for name, weight in parent.named_parameters():
        if "proj.weight" in name:
            assert torch.equal(rounded(held[name].data, 16), held[name].data), name
            assert not torch.equal(rounded(weight.data, 16), held[name].data), name
        else:
            assert torch.equal(weight.data, held[name].data), name
    plain = checkpoint.load(qwen)
    for module in plain.modules():
        if isinstance(module, torch.nn.Linear) and module is not plain.get_output_embeddings():
            module.weight.data = rounded(module.weight.data, 16)
    checkpoint.save(plain, qwen, tmp_path / "plain")
    parents = in_transformers(qwen)
    before, after = (divergence(parents, in_transformers(tmp_path / name), own)["all"] for name in ("plain", "out"))
    assert after.kl < 0.7 * before.kl
    assert figures["distil_kl_last"] < figures["distil_kl_first"]
    assert figures["distil_steps"] == 25


def test_plain_rounding_exports_the_trained_grid_as_it_is(qwen: Path, own: list[Text], tmp_path: Path) -> None:
    import numpy as np
    import openvino

    distil(qwen, own, 16, tmp_path / "out", 2)
    quantize(tmp_path / "out", [], Quantize(group=16, gptq=False), tmp_path / "packed")
    model = openvino.Core().read_model(tmp_path / "packed" / "openvino_model.xml")
    weights = dict(checkpoint.load(tmp_path / "out").named_parameters())
    held = {op.get_friendly_name(): op for op in model.get_ops()}
    linears = [name for name in weights if "proj.weight" in name]
    assert len(linears) == 14
    nodes = [held[f"self.{name}/fq_weights_1"] for name in linears]
    found = openvino.Core().compile_model(openvino.Model([node.output(0) for node in nodes], []), "CPU")({})
    for name, values in zip(linears, found.values(), strict=True):
        expected = weights[name].detach().numpy()
        # Scales are stored in 16 bits.
        assert np.allclose(np.asarray(values, np.float32).reshape(expected.shape), expected, rtol=1e-3, atol=1e-6), name
