from pathlib import Path

import pytest

from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.recipe import Backbone

WORDS = [
    "A man of 54 with chest pain, troponin 1.25 ng/mL and ST elevation.",
    "Fever and neck stiffness: 1. Meningitis",
] * 9


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2 whose next tokens depend on the text: weights wider than at the start of training."""
    directory = tmp_path_factory.mktemp("qwen")
    train_tokenizer(WORDS, 330, directory / "words", "deepseek-r1")
    codec = Codec.load(directory / "words")
    backbone = Backbone(structure="qwen2", width=64, layers=2, feed_forward=96, context=256)
    model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            weight.data *= 5.0 if "embed" not in name else 20.0
    checkpoint.save(model, directory / "words", directory / "made")
    return directory / "made"
