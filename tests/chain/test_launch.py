"""The command for a recipe, a checkpoint and a file; and what the programs cannot do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rounds import files
from rounds.chain.launch import Choices, Launch, launch
from rounds.exam.specialties import Matrix, Row
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.records import UserError

TEACHER = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


def flag(found: Launch, name: str) -> str | None:
    return found.command[found.command.index(name) + 1] if name in found.command else None


def given(**choices: Any) -> Choices:
    return Choices.model_validate(choices)


@pytest.fixture(scope="module")
def made(make_babbler: Callable[[Path, list[str], int, int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 with four heads, in float32."""
    return make_babbler(tmp_path_factory.mktemp("served"), ["a man of 54 has chest pain"] * 5, 400, 256)


@pytest.fixture(scope="module")
def adapted(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters first/ and second/ (rank-stabilised, of another rank) for it, and dora/."""
    from peft import LoraConfig, get_peft_model

    place = tmp_path_factory.mktemp("adapters")
    for name, rank in (("first", 4), ("second", 12), ("dora", 2)):
        config = LoraConfig(
            r=rank, target_modules=["q_proj", "down_proj"], use_rslora=name == "second", use_dora=name == "dora",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        get_peft_model(checkpoint.load(made), config).save_pretrained(place / name)
    return place


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
    assert json.loads(str(flag(found, "--structured-outputs-config")))["disable_any_whitespace"] is True
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


def changed(directory: Path, **fields: Any) -> Any:
    """A copy of the configuration with other fields, until it is put back."""
    path = directory / "config.json"
    kept = path.read_text(encoding="utf-8")

    @contextmanager
    def inside() -> Iterator[None]:
        try:
            path.write_text(json.dumps(json.loads(kept) | fields), encoding="utf-8")
            yield
        finally:
            path.write_text(kept, encoding="utf-8")

    return inside()


def test_float32_is_not_rounded_to_16_bits(made: Path) -> None:
    """vLLM's `auto` does; its Flash Attention knows 16 bits alone."""
    found = launch("vllm", str(made), given())
    assert flag(found, "--dtype") == "float32"
    assert flag(found, "--attention-backend") is None
    with changed(made, dtype="bfloat16"):
        half = launch("vllm", str(made), given())
    assert flag(half, "--dtype") is None
    assert flag(half, "--attention-backend") == "FLASH_ATTN"


def test_a_checkpoint_is_asked_in_the_format_it_was_taught(made: Path) -> None:
    template = Codec.load(made).template()
    assert flag(launch("vllm", str(made), given()), "--chat-template") == template
    own = made / "chat_template.jinja"
    own.write_text("{{ messages[0].content }}", encoding="utf-8")
    try:
        assert flag(launch("vllm", str(made), given()), "--chat-template") == template  # never a program of its own
    finally:
        own.unlink()
    assert flag(launch("vllm", TEACHER, given()), "--chat-template") is None


def test_the_tokenizer_is_read_as_it_is_written(made: Path) -> None:
    """Beside a config.json another is built from its vocabulary: see rounds.chain.launch."""
    before = files.digest(made)
    (made / "tokenizer_config.json").replace(made / "kept.json")
    own = json.loads((made / "kept.json").read_text(encoding="utf-8")) | {"chat_template": "{{ 1 }}"}
    try:
        (made / "tokenizer_config.json").write_text(json.dumps(own | {"tokenizer_class": "LlamaTokenizerFast"}))
        place = Path(str(flag(launch("vllm", str(made), given()), "--tokenizer")))
        assert sorted(path.name for path in place.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
        assert (place / "tokenizer.json").read_bytes() == (made / "tokenizer.json").read_bytes()
        told = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))
        assert told["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert "chat_template" not in told
        assert told["eos_token"] == own["eos_token"]
        (place / "tokenizer.json").write_text("{}", encoding="utf-8")
        launch("vllm", str(made), given())
        assert (place / "tokenizer.json").read_bytes() == (made / "tokenizer.json").read_bytes()
    finally:
        (made / "kept.json").replace(made / "tokenizer_config.json")
    assert files.digest(made) == before  # it is hidden, and no part of the checkpoint


def test_a_processor_is_given_the_cache_of_its_streams_and_every_core(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = launch("vllm", str(made), given(cpu=True, streams=3, context=200))
    config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    token = 2 * 2 * config["num_key_value_heads"] * 64 // 4 * 4  # keys and values of two layers, four bytes a number
    assert flag(found, "--kv-cache-memory-bytes") == str((3 * 2 + 1) * 128 * token)
    assert found.environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] == "0"
    assert "VLLM_BATCH_INVARIANT" not in found.environment
    with changed(made, dtype="bfloat16"):
        half = launch("vllm", str(made), given(cpu=True, streams=3))
    assert flag(half, "--kv-cache-memory-bytes") == str((3 * 2 + 1) * 128 * token // 2)  # its context is 256
    assert flag(half, "--attention-backend") is None
    assert flag(launch("vllm", str(made), given()), "--kv-cache-memory-bytes") is None
    monkeypatch.setattr("rounds.chain.launch.free_memory", lambda: 10**6)
    with pytest.raises(UserError, match=r"8 answers of 256 tokens need \d\.\d+ MB of KV cache and 1\.00 MB are free"):
        launch("vllm", str(made), given(cpu=True))


def test_adapters_are_models_of_their_own(made: Path, adapted: Path) -> None:
    found = launch("vllm", str(made), given(adapters={"surgery": adapted / "first", "b=c": adapted / "second"}))
    place = found.command.index("--lora-modules")
    offered = [json.loads(text) for text in found.command[place + 1 :]]
    assert offered == [
        {"name": name, "path": str(adapted / folder), "base_model_name": made.name}
        for name, folder in (("surgery", "first"), ("b=c", "second"))
    ]
    assert "--enable-lora" in found.command
    assert (flag(found, "--max-loras"), flag(found, "--max-lora-rank")) == ("2", "16")
    spare = launch("vllm", str(made), given(adapters={"surgery": adapted / "first"}, cpu=True))
    assert flag(spare, "--max-loras") == "2"  # the last stays empty: it is laid on whoever names none
    assert "--enable-lora" not in launch("vllm", str(made), given()).command
    for adapters, said in (
        ({"a": adapted / "dora"}, "is more than plain LoRA of rank 512, which vLLM does not serve; serve the merged"),
        ({made.name: adapted / "first"}, f"adapter '{made.name}' is called as the model itself"),
        ({"a": adapted}, "holds no adapter"),
    ):
        with pytest.raises(UserError, match=said):
            launch("vllm", str(made), given(adapters=adapters))
    with pytest.raises(UserError, match=f"'{TEACHER}' is not on this disk, and adapters are held against it"):
        launch("vllm", "one-gpu", given(adapters={"a": adapted / "first"}))


def test_a_run_with_specialists_is_served_with_all_of_them(made: Path, adapted: Path, tmp_path: Path) -> None:
    run = tmp_path / "ward"
    shutil.copytree(made, run / "start")
    for name, folder in (("surgery", "first"), ("internal-medicine", "second")):
        shutil.copytree(adapted / folder, run / "specialise" / "on" / name / "adapter")
    rows = tuple(
        Row(
            trained_on=name, cells={}, over_all=(), adapter=files.digest(run / "specialise" / "on" / folder / "adapter")
        )
        for name, folder in (("surgery", "surgery"), ("internal medicine", "internal-medicine"))
    )
    matrix = Matrix(
        start="start", start_digest=files.digest(run / "start"), margin=0.1, alpha=0.01, evidence="synthetic",
        cases={}, rows=rows,
    )  # fmt: skip
    (run / "specialise.json").write_text(matrix.model_dump_json(), encoding="utf-8")
    found = launch("vllm", str(run), given(adapters={"other": adapted / "first"}))
    assert found.command[2] == str(run / "start")
    assert found.name == "start"
    offered = [json.loads(text) for text in found.command[found.command.index("--lora-modules") + 1 :]]
    assert [one["name"] for one in offered] == ["surgery", "internal-medicine", "other"]
    (run / "specialise" / "on" / "surgery" / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"surgery/adapter: is not what .*specialise\.json tells of"):
        launch("vllm", str(run), given())


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
        ("llama", "one-gpu", {"cpu": True}, "--cpu is vLLM's; llama-server takes what there is"),
        ("llama", "one-gpu", {"adapters": {"a": "b"}}, "adapters are offered through vLLM alone"),
        ("vllm", "one-gpu", {"cpu": True}, f"'{TEACHER}' is not on this disk, so its KV cache is not known"),
        ("vllm", "one-gpu", {"cpu": True, "batch_invariant": True}, "a batch-invariant mode on GPUs alone"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(program: str, what: str, choices: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        launch(program, what, given(**choices))


def test_a_checkpoint_that_vllm_cannot_serve(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tensor-parallel 3 does not divide the 4 attention heads"):
        launch("vllm", str(made), given(tensor_parallel=3))
    (tmp_path / "openvino_model.xml").write_text("<net/>", encoding="utf-8")
    with pytest.raises(UserError, match="is an OpenVINO model, which vLLM cannot read"):
        launch("vllm", str(tmp_path), given())
