from pathlib import Path

import pytest

from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.recipe import Backbone
from rounds.records import Message, Prompt

WORDS = [
    "A man of 54 with chest pain, troponin 1.25 ng/mL and ST elevation.",
    "Fever and neck stiffness: 1. Meningitis",
] * 9


def make(directory: Path, structure: str) -> Path:
    """A tiny random checkpoint at true structure."""
    train_tokenizer(WORDS, 330, directory / "words", "deepseek-r1")
    codec = Codec.load(directory / "words")
    backbone = Backbone(structure=structure, width=64, layers=2, feed_forward=96, expert_width=32, context=256)
    model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    checkpoint.save(model, directory / "words", directory / structure)
    return directory / structure


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("qwen"), "qwen2")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="session")
def deepseek(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("deepseek"), "deepseek_v3")


@pytest.fixture(scope="session")
def adapted(qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters first/ and second/ for the Qwen checkpoint, and merged-first/, merged-second/ with each folded in."""
    import torch
    from peft import LoraConfig, get_peft_model

    place = tmp_path_factory.mktemp("adapted")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False,
            use_rslora=bool(seed), task_type="CAUSAL_LM",
        )  # fmt: skip
        model = get_peft_model(checkpoint.load(qwen), config)
        model.save_pretrained(place / name)
        checkpoint.save(model.merge_and_unload(), qwen, place / f"merged-{name}")
    return place


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    """Twelve prompts of different lengths."""
    return [
        Prompt(
            case_id=f"c{i}",
            template="t@1",
            messages=(Message(role="user", content=f"Case {i}: chest pain." * (1 + i % 4)),),
        )
        for i in range(12)
    ]
