import json
from pathlib import Path

import pytest

from rounds.engine import cache
from rounds.engine.export import exported
from rounds.engine.openvino import OpenVINO, Settings, kv_cache_of
from rounds.model import checkpoint
from rounds.records import Prompt, Sampling, UserError

SEVEN_BILLION = {
    "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584, "num_hidden_layers": 28
}  # fmt: skip


@pytest.fixture
def shape(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(SEVEN_BILLION))
    return tmp_path


def test_a_token_of_seven_billion_costs_what_the_papers_say(shape: Path) -> None:
    assert cache.bytes_a_token(shape, "f16") == 57_344
    assert cache.bytes_a_token(shape, "f32") == 114_688
    assert cache.bytes_a_token(shape, "u8") == 57_344 / 2 + 28 * 4 * (128 / 32 + 1) * 8


def test_memory_or_the_requests_bound_the_pool(shape: Path) -> None:
    assert cache.blocks(shape, "f16", 2, 64, None) == cache.FEWEST  # four blocks are all that could be filled
    assert cache.blocks(shape, "f16", 8, 1000, 100) == 8 * 32
    assert cache.blocks(shape, "f16", 256, 4096, 1) == 2**30 // (32 * 57_344)
    assert cache.blocks(shape, "f16", 256, 4096, 0.001) == cache.FEWEST


def test_half_of_what_is_free_beside_the_weights(shape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "free_memory", lambda: 24 * 2**30)
    bare = cache.blocks(shape, "f16", 256, 32768, None)
    assert bare == 12 * 2**30 // (32 * 57_344)
    with (shape / "openvino_model.bin").open("wb") as weights:
        weights.truncate(4 * 2**30)  # a file of holes
    assert cache.blocks(shape, "f16", 256, 32768, None) == 8 * 2**30 // (32 * 57_344)


def test_free_memory_is_the_kernels_word_and_the_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(cache, "GROUP", tmp_path)
    assert cache.free_memory() > 2**20  # neither file: half of what is built in
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:  500 kB\n")
    assert cache.free_memory() == 500 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert cache.free_memory() == 500 * 1024
    for name, text in (("max", "400000"), ("current", "300000"), ("stat", "anon 1\ninactive_file 50000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert cache.free_memory() == 150_000


def test_a_small_pool_answers_alike_and_takes_turns(qwen: Path, prompts: list[Prompt]) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=40, seed=4)
    told, sizes = [], []
    for gigabytes in (None, 0.0):
        engine = OpenVINO(exported(qwen), settings=Settings(kv_cache="f32", threads=1, cache_gb=gigabytes))
        told.append([(t.thinking, t.reply) for t in engine.respond(prompts, sampling)])
        sizes.append(engine._pipes[""].get_metrics().kv_cache_size_in_bytes)
    assert told[0] == told[1]
    assert sizes[1] == cache.FEWEST * cache.BLOCK * cache.bytes_a_token(qwen, "f32")
    assert sizes[0] == 256 * 256 * cache.bytes_a_token(qwen, "f32")  # as many as may be in flight, whole contexts


def test_a_request_larger_than_the_pool_is_one_sentence(
    qwen: Path, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "FEWEST", 1)
    engine = OpenVINO(exported(qwen), settings=Settings(threads=1, cache_gb=0.0))
    with pytest.raises(UserError, match=r"ran out of KV cache; ask for fewer tokens or give it more memory"):
        list(engine.respond(prompts[3:4], Sampling(max_tokens=40)))


def test_an_export_says_how_its_cache_is_held(qwen: Path, tmp_path: Path, prompts: list[Prompt]) -> None:
    assert kv_cache_of(tmp_path) == "f16"
    for path in exported(qwen).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    checkpoint.copy_tokenizer(qwen, tmp_path)
    (tmp_path / "engine.json").write_text('{"kv_cache": "u8"}')
    sizes = []
    for kind in (None, "u8", "f16"):
        engine = OpenVINO(tmp_path, settings=Settings(threads=1, kv_cache=kind))
        list(engine.respond(prompts[:1], Sampling(max_tokens=2)))
        sizes.append(engine._pipes[""].get_metrics().kv_cache_size_in_bytes)
    rows = 256 * 256
    assert sizes == [rows * cache.bytes_a_token(qwen, kind) for kind in ("u8", "u8", "f16")]
    (tmp_path / "engine.json").write_text('{"kv_cache": "u2"}')
    with pytest.raises(UserError, match=r"engine\.json: kv_cache 'u2' is none of f32, f16, u8"):
        OpenVINO(tmp_path)
