import json
from pathlib import Path

import pytest

from rounds.engine.openvino import OpenVINO, Settings
from rounds.model import checkpoint
from rounds.model.tokenizer import Codec
from rounds.quant.classes import Text
from rounds.quant.divergence import divergence, in_openvino
from rounds.quant.openvino import group_for, quantize
from rounds.recipe import Quantize
from rounds.records import Message, Prompt, Sampling, UserError


@pytest.fixture(scope="module")
def texts(qwen: Path) -> list[list[int]]:
    codec = Codec.load(qwen)
    return [codec.encode_text(f"A man of {n} with chest pain, troponin 1.{n} ng/mL and fever. " * 3) for n in range(16)]


@pytest.fixture(scope="module")
def packed(qwen: Path, texts: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("packed") / "gptq"
    return out, quantize(qwen, texts, Quantize(group=64), out)


def test_four_bits_run_in_the_engine(packed: tuple[Path, dict]) -> None:
    engine = OpenVINO(packed[0], settings=Settings(threads=1))
    prompt = Prompt(case_id="c", template="t@1", messages=(Message(role="user", content="Chest pain."),))
    trace = next(iter(engine.respond([prompt], Sampling(temperature=0, max_tokens=12))))
    assert trace.thinking_tokens + trace.reply_tokens > 5
    assert engine.codec.chat == "deepseek-r1"


def test_figures_say_what_was_saved(qwen: Path, packed: tuple[Path, dict]) -> None:
    out, figures = packed
    assert figures["group"] == 32  # 64 does not divide the feed-forward width of 96
    assert figures["tensors_4_bit"] == 14
    assert figures["tensors_8_bit"] == 2
    assert figures["bytes_before"] == (qwen / "model.safetensors").stat().st_size
    assert figures["bytes_after"] == (out / "openvino_model.bin").stat().st_size
    assert 4.5 < figures["bits_per_weight"] < 7
    assert figures["weights"] == sum(p.numel() for p in checkpoint.load(qwen).parameters())
    assert figures["calibration_sequences"] == 16


def test_compensated_rounding_is_nearer_than_plain_and_eight_bits_nearer_still(
    qwen: Path, packed: tuple[Path, dict], texts: list[list[int]], tmp_path: Path
) -> None:
    made = {"gptq": packed}
    for name, settings in (
        ("plain", Quantize(gptq=False)),
        ("eight", Quantize(bits=8)),
        ("everything", Quantize(gptq=False, everything=True)),
    ):
        made[name] = (tmp_path / name, quantize(qwen, texts, settings, tmp_path / name))
    before, read = in_openvino(qwen), [Text(ids, 1, (0,) * (len(ids) - 1)) for ids in texts]
    kl = {name: divergence(before, in_openvino(out), read)["all"].kl for name, (out, _) in made.items()}
    assert 0 < kl["eight"] < kl["gptq"] < kl["plain"] < kl["everything"]
    eight, everything = made["eight"][1], made["everything"][1]
    assert everything["bytes_after"] < packed[1]["bytes_after"] < eight["bytes_after"]
    assert everything["tensors_8_bit"] == 0
    assert eight["tensors_4_bit"] == 0


def test_the_group_divides_every_width() -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4}
    assert group_for(sizes, 128) == 128
    assert group_for({**sizes, "intermediate_size": 352}, 128) == 32
    assert group_for(sizes, -1) == -1
    with pytest.raises(UserError, match="no group of 8 to 64 weights divides the widths 100, 128; set group = -1"):
        group_for({**sizes, "intermediate_size": 100}, 64)


def test_what_cannot_be_quantised_is_named(qwen: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(UserError, match="GPTQ needs calibration traces and has none"):
        quantize(qwen, [], Quantize(), tmp_path / "out")
    copied = Path(shutil.copytree(qwen, tmp_path / "copy"))
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "model_type": "deepseek_v3"}))
    with pytest.raises(UserError, match="structure 'deepseek_v3' has no OpenVINO export"):
        quantize(copied, [[1, 2]], Quantize(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_precision_of_the_cache_goes_with_the_export(qwen: Path, tmp_path: Path) -> None:
    quantize(qwen, [], Quantize(gptq=False, kv_cache="u8"), tmp_path / "u8")
    assert json.loads((tmp_path / "u8" / "engine.json").read_text()) == {"kv_cache": "u8"}
    quantize(qwen, [], Quantize(gptq=False), tmp_path / "f16")
    assert not (tmp_path / "f16" / "engine.json").exists()


def test_nothing_is_written_to_stdout(
    qwen: Path, texts: list[list[int]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    quantize(qwen, texts[:2], Quantize(), tmp_path / "out")
    heard = capfd.readouterr()
    assert (heard.out, heard.err) == ("", "")
