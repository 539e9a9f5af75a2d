import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rounds.engine.export import exported
from rounds.engine.openvino import OpenVINO, Settings
from rounds.records import Message, Prompt, Sampling, UserError


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no openvino_model\.xml; export or quantise"):
        OpenVINO(tmp_path)


def test_a_broken_model_is_named(qwen: Path, tmp_path: Path) -> None:
    for path in exported(qwen).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "openvino_model.xml").write_text("<net>")
    with pytest.raises(UserError, match="OpenVINO cannot load it"):
        OpenVINO(tmp_path)


def test_a_missing_library_is_named(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported(qwen)
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(UserError, match=r"OpenVINO GenAI is not installed; pip install 'rounds\[cpu\]'"):
        OpenVINO(folder)


def test_a_prompt_longer_than_the_context_is_named(qwen: Path) -> None:
    engine = OpenVINO(exported(qwen), settings=Settings(threads=1))
    long = Prompt(case_id="c1", template="t@1", messages=(Message(role="user", content="pain " * 400),))
    with pytest.raises(UserError, match="case 'c1': its prompt has"):
        list(engine.respond([long], Sampling()))
    assert not engine._pipes[""].has_non_finished_requests()


def test_more_prompts_than_the_batch_holds_keep_their_order(qwen: Path, prompts: list[Prompt]) -> None:
    few = OpenVINO(exported(qwen), settings=Settings(kv_cache="f32", threads=1, batch=3))
    many = OpenVINO(exported(qwen), settings=Settings(kv_cache="f32", threads=1))
    sampling = Sampling(temperature=1.0, max_tokens=15)
    assert [t.thinking for t in few.respond(prompts, sampling)] == [t.thinking for t in many.respond(prompts, sampling)]


def test_serving_settings_load_and_answer(qwen: Path, prompts: list[Prompt]) -> None:
    settings = Settings(threads=1, activations="bf16", kv_cache="u8", dynamic_quantization=True, prefix_caching=True)
    engine = OpenVINO(exported(qwen), settings=settings)
    first, again = (next(iter(engine.respond(prompts[:1], Sampling(temperature=0, max_tokens=9)))) for _ in range(2))
    assert first.thinking == again.thinking


LENGTHS = """
import ctypes, gc, sys
from pathlib import Path
from rounds.engine.openvino import OpenVINO, Settings
from rounds.records import Message, Prompt, Sampling

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ord sm hblks hblkhd usm fsm used free keep".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Heap
engine = OpenVINO(Path(sys.argv[1]), settings=Settings(threads=1))
sizes = []
for later in (False, True):
    for length in (length for length in range(120) if (length % 3 == 2) == later):
        prompt = Prompt(case_id="c", template="t@1", messages=(Message(role="user", content="pain " * length),))
        list(engine.respond([prompt], Sampling(max_tokens=1)))
    gc.collect()
    sizes.append(libc.mallinfo2().used)
print(sizes[1] - sizes[0])
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33 to count bytes")
def test_prompts_of_ever_new_lengths_do_not_fill_the_memory(qwen: Path) -> None:
    """In a process of its own, as the library reads how much it may keep once."""
    command = [sys.executable, "-c", LENGTHS, str(exported(qwen))]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.split()[-1])
    assert grown < 2_000_000


def test_samples_whose_prompt_is_read_once_say_the_same(qwen: Path, prompts: list[Prompt]) -> None:
    each = OpenVINO(exported(qwen), settings=Settings(kv_cache="f32", threads=1))
    once = OpenVINO(exported(qwen), settings=Settings(kv_cache="f32", threads=1, prefix_caching=True))
    sampling = Sampling(temperature=1.0, max_tokens=15, samples=4)
    told = [[(t.sample, t.thinking) for t in engine.respond(prompts[:3], sampling)] for engine in (each, once)]
    assert told[0] == told[1]
    assert [sample for sample, _ in told[0]] == [0, 1, 2, 3] * 3
    assert len({thinking for _, thinking in told[0]}) > 3


def test_no_report_leaves_and_no_consent_file_is_written(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rounds.engine import telemetry

    monkeypatch.setenv("HOME", str(tmp_path))
    telemetry.silence()
    from openvino_telemetry.main import Telemetry
    from openvino_telemetry.utils.sender import TelemetrySender

    sent: list[object] = []
    telling = Telemetry("rounds-test", "1", "UA-1", enable_opt_in_dialog=False)
    telling.backend.send = sent.append  # type: ignore[method-assign]
    telling.send_event("category", "action", "label", force_send=True)
    telling.start_session("category")
    telling.force_shutdown(0.1)
    assert TelemetrySender.send.__module__ == "rounds.engine.telemetry"
    assert sent == []
    assert list(tmp_path.rglob("*")) == []


def test_the_export_keeps_every_weight(qwen: Path) -> None:
    import numpy as np
    import openvino
    from safetensors.numpy import load_file

    model = openvino.Core().read_model(exported(qwen) / "openvino_model.xml")
    constants = [op.get_data() for op in model.get_ops() if op.get_type_name() == "Constant"]
    for name, weight in load_file(qwen / "model.safetensors").items():
        if weight.ndim == 2:
            assert any(np.array_equal(weight, held) for held in constants if held.shape == weight.shape), name


def test_the_export_is_made_once_and_again_when_the_weights_change(qwen: Path, tmp_path: Path) -> None:
    import shutil

    from rounds import files

    copied = Path(shutil.copytree(qwen, tmp_path / "copy", ignore=shutil.ignore_patterns(".openvino")))
    before = files.digest(copied)
    made = exported(copied) / "openvino_model.bin"
    stamp = made.stat().st_mtime_ns
    assert exported(copied) / "openvino_model.bin" == made
    assert made.stat().st_mtime_ns == stamp
    assert files.digest(copied) == before
    settings = json.loads((copied / "generation_config.json").read_text())
    (copied / "generation_config.json").write_text(json.dumps({**settings, "temperature": 0.5, "do_sample": True}))
    exported(copied)
    assert made.stat().st_mtime_ns != stamp


def test_half_precision_stays_half_precision(qwen: Path, tmp_path: Path, prompts: list[Prompt]) -> None:
    from rounds.engine.export import export_openvino
    from rounds.model import checkpoint

    checkpoint.save(checkpoint.load(qwen, "bfloat16"), qwen, tmp_path / "half")
    export_openvino(tmp_path / "half", tmp_path / "ir")
    ratio = checkpoint.bytes_of(tmp_path / "ir") / checkpoint.bytes_of(tmp_path / "half")
    assert 0.9 < ratio < 1.1
    assert len(list(OpenVINO(tmp_path / "ir").respond(prompts[:2], Sampling(max_tokens=5)))) == 2


def test_a_structure_without_export_is_named(deepseek: Path, tmp_path: Path) -> None:
    from rounds.engine.export import export_openvino

    with pytest.raises(UserError, match="structure 'deepseek_v3' has no OpenVINO export; use the transformers engine"):
        export_openvino(deepseek, tmp_path / "out")
    assert not (tmp_path / "out").exists()
