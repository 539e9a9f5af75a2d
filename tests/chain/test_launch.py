"""The command for a recipe, a checkpoint and a file; and what the programs cannot do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.chain.launch import Choices, Launch, launch
from rounds.records import UserError

TEACHER = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


def flag(found: Launch, name: str) -> str | None:
    return found.command[found.command.index(name) + 1] if name in found.command else None


def given(**choices: Any) -> Choices:
    return Choices.model_validate(choices)


@pytest.fixture(scope="module")
def made(make_babbler: Callable[[Path, list[str], int, int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 with four heads and a chat template."""
    directory = make_babbler(tmp_path_factory.mktemp("served"), ["a man of 54 has chest pain"] * 5, 400, 256)
    (directory / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    return directory


def test_the_teacher_of_a_recipe_is_served_where_the_recipe_asks_for_it() -> None:
    found = launch("vllm", "one-gpu", given())
    assert found.command[:3] == ("vllm", "serve", TEACHER)
    assert found.endpoint == "http://127.0.0.1:8001/v1"
    assert flag(found, "--served-model-name") == found.name == TEACHER
    assert flag(found, "--port") == "8001"
    assert flag(found, "--host") == "127.0.0.1"
    assert flag(found, "--max-model-len") == str(400 + 2048)
    assert flag(found, "--attention-backend") == "FLASH_ATTN"
    assert flag(found, "--reasoning-parser") == "deepseek_r1"
    assert flag(found, "--quantization") is None
    assert found.environment == {"VLLM_NO_USAGE_STATS": "1"}
    assert found.line().startswith(f"VLLM_NO_USAGE_STATS=1 vllm serve {TEACHER} ")


def test_what_is_examined_answers_the_same_in_any_batch() -> None:
    student = launch(
        "vllm", "one-gpu", given(role="student", tensor_parallel=2, data_parallel=4, streams=32, port=9000)
    )
    assert student.command[2] == "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
    assert student.environment["VLLM_BATCH_INVARIANT"] == "1"
    assert flag(student, "--tensor-parallel-size") == "2"
    assert flag(student, "--data-parallel-size") == "4"
    assert flag(student, "--max-num-seqs") == "32"
    assert student.endpoint == "http://127.0.0.1:9000/v1"
    assert (
        "VLLM_BATCH_INVARIANT"
        not in launch("vllm", "one-gpu", given(role="student", batch_invariant=False)).environment
    )
    assert launch("vllm", "one-gpu", given(batch_invariant=True)).environment["VLLM_BATCH_INVARIANT"] == "1"


def test_a_checkpoint_tells_its_own_format(made: Path) -> None:
    found = launch("vllm", str(made), given())
    assert flag(found, "--served-model-name") == made.name
    assert flag(found, "--max-model-len") is None  # vLLM reads it from the checkpoint
    assert flag(found, "--reasoning-parser") == "deepseek_r1"
    assert found.environment["HF_HUB_OFFLINE"] == "1"
    config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    packed = config | {"quantization_config": {"quant_method": "compressed-tensors"}}
    try:
        (made / "config.json").write_text(json.dumps(packed), encoding="utf-8")
        assert flag(launch("vllm", str(made), given()), "--quantization") == "compressed-tensors"
    finally:
        (made / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_attention_over_a_latent_is_left_to_the_engine() -> None:
    assert flag(launch("vllm", "deepseek-ai/DeepSeek-R1", given()), "--attention-backend") is None
    assert flag(launch("vllm", TEACHER, given()), "--attention-backend") == "FLASH_ATTN"
    assert flag(launch("vllm", "Qwen/Qwen3-8B", given()), "--reasoning-parser") is None


def test_llama_server_shares_its_context_among_the_slots(tmp_path: Path) -> None:
    file = tmp_path / "ward model.gguf"
    file.write_bytes(b"GGUF")
    found = launch("llama", "one-gpu", given(gguf=str(file), streams=4))
    assert found.command[:3] == ("llama-server", "--model", str(file))
    assert flag(found, "--alias") == TEACHER
    assert flag(found, "--ctx-size") == str(4 * (400 + 2048))
    assert flag(found, "--parallel") == "4"
    assert found.endpoint == "http://127.0.0.1:8001/v1"
    assert f"'{file}'" in found.line()  # quoted for a shell
    alone = launch("llama", str(file), given())
    assert (flag(alone, "--alias"), flag(alone, "--port"), flag(alone, "--ctx-size")) == (file.name, "8080", "0")
    assert launch("llama", str(tmp_path), given()).command[2] == str(file)
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"holds 2 files in \.gguf; name one by --gguf"):
        launch("llama", str(tmp_path), given())


@pytest.mark.parametrize(
    ("program", "what", "choices", "said"),
    [
        ("vllm", "tiny", {}, "the student of recipe 'tiny' is made by the chain; run it, then give the directory"),
        ("vllm", "none", {}, "recipe 'none' is not shipped"),
        ("vllm", "gone.gguf", {}, "gone.gguf: does not exist; check the path"),
        (
            "vllm",
            TEACHER,
            {"gguf": "a.gguf"},
            "vLLM serves checkpoints in safetensors; for a .gguf file use rounds engine",
        ),
        ("vllm", TEACHER, {"role": "teacher"}, f"--role teacher is for a recipe, and '{TEACHER}' is a model"),
        (
            "llama",
            TEACHER,
            {},
            f"'{TEACHER}' holds no .gguf, which llama-server needs; make one with convert_hf_to_gguf",
        ),
        ("llama", TEACHER, {"gguf": "a.gguf"}, "a.gguf: does not exist; check the path of --gguf"),
        ("llama", "one-gpu", {"batch_invariant": True}, "llama-server has no batch-invariant mode"),
        ("llama", "one-gpu", {"tensor_parallel": 2}, "--tensor-parallel and --data-parallel are vLLM's"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(program: str, what: str, choices: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        launch(program, what, given(**choices))


def test_a_checkpoint_that_vllm_cannot_serve(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tensor-parallel 3 does not divide the 4 attention heads"):
        launch("vllm", str(made), given(tensor_parallel=3))
    template = made / "chat_template.jinja"
    text = template.read_text(encoding="utf-8")
    try:
        template.unlink()
        with pytest.raises(UserError, match="has no chat template, without which vLLM answers no chat"):
            launch("vllm", str(made), given())
    finally:
        template.write_text(text, encoding="utf-8")
    (tmp_path / "openvino_model.xml").write_text("<net/>", encoding="utf-8")
    with pytest.raises(UserError, match="is an OpenVINO model, which vLLM cannot read"):
        launch("vllm", str(tmp_path), given())
