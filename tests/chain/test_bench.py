"""The real command at a tiny shape: engines in processes of their own, an endpoint, and everything that goes wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rounds.chain import bench as room
from rounds.chain.bench import Settings, bench
from rounds.chain.bench_model import PRESETS, config_of
from rounds.chain.bench_worker import Ask, told
from rounds.chain.shape import Shape
from rounds.records import Message, Prompt, Sampling, Trace, UserError


class Server(ThreadingHTTPServer):
    """Streams as many words as are asked for, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.asked: list[dict[str, Any]] = []
        self.models: list[str] = ["ward"]
        self.surplus, self.stall, self.usage = 0, 0.0, True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._begin()
        self.wfile.write(json.dumps({"data": [{"id": name} for name in self.server.models]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        time.sleep(self.server.stall)
        self._begin()
        number = body["max_tokens"]
        events: list[dict[str, Any]] = [{"choices": [{"delta": {"content": "word "}}]} for _ in range(number)]
        events.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
        if self.server.usage:
            usage = {"completion_tokens": number + self.server.surplus, "prompt_tokens": 45}
            events.append({"choices": [], "usage": usage})
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A config.json of a shape that is made at once."""
    file = tmp_path_factory.mktemp("shape") / "config.json"
    file.write_text(json.dumps(config_of(Shape("qwen2", 32, 1, 4, 2, 8, 64, 1200, context=128))), encoding="utf-8")
    return str(file)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.rates, "BLOCK", 2**20)


def settings(shape: str, **given: Any) -> Settings:
    told = {"prompts": (16,), "streams": (1, 2), "new_tokens": 6, "threads": 1}
    return Settings.model_validate({"shape": shape, **told, **given})


def test_an_engine_and_an_endpoint_in_turn(small: str, server: Server, tmp_path: Path) -> None:
    found = bench(settings(small, engines=("transformers-bf16",), endpoints={"peer": server.url}), tmp_path)
    assert list(found.engines) == ["transformers-bf16", "peer"]
    assert found.against == "transformers-bf16"
    assert len(found.rows) == 3 * 2 * 2
    assert {row.told.tokens for row in found.rows} == {6, 12}
    assert all(row.told.decode_tokens_s for row in found.rows)
    assert all((cell.limit_tokens_s is None) == (cell.engine == "peer") for cell in found.cells)
    assert [cell.prompt_tokens for cell in found.cells] == [16, 45] * 2
    assert len(found.bandwidth) == 3
    assert len({row.engine for row in found.rows[::2]}) > 1  # the one that begins changes
    prompts = [body["messages"][0]["content"] for body in server.asked]
    assert len(set(prompts)) == len(prompts)
    assert all(body["ignore_eos"] for body in server.asked)


@pytest.mark.slow
def test_every_engine_of_the_house(small: str, tmp_path: Path) -> None:
    found = bench(settings(small), tmp_path)
    assert list(found.engines) == [name for name, engine in room.ENGINES.items() if not engine.named]
    assert 0 < (found.making_anonymous_bytes or 0) <= (found.making_peak_bytes or 0)
    sizes = {name: engine.weights_bytes or 0 for name, engine in found.engines.items()}
    assert sizes["openvino-int4"] == sizes["openvino-int4-dynamic"] < 0.7 * sizes["openvino-bf16"]
    assert sizes["openvino-bf16"] == pytest.approx(sizes["transformers-bf16"], rel=0.05)
    assert not any(cell.short for cell in found.cells)
    # What is there is used again: a second run makes what is new to it alone.
    made = (tmp_path / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    again = bench(settings(small, engines=("openvino-int4-everything",), streams=(1,)), tmp_path)
    least = again.engines["openvino-int4-everything"].weights_bytes or 0
    assert 0 < least < sizes["openvino-int4"]
    assert again.making_peak_bytes is not None
    assert bench(settings(small, engines=("transformers-bf16",), streams=(1,)), tmp_path).making_peak_bytes is None
    assert (tmp_path / "checkpoint" / "model.safetensors").stat().st_mtime_ns == made


def test_an_endpoint_alone_needs_no_model(small: str, server: Server, tmp_path: Path) -> None:
    server.models = ["other", "peer"]
    alone = {"engines": ("none",), "endpoints": {"peer": server.url}}
    found = bench(settings(small, **alone, streams=(2,), ignore_eos=False), tmp_path)
    assert found.engines["peer"].model == "peer"
    assert not list(tmp_path.rglob("*.safetensors"))
    assert "ignore_eos" not in server.asked[0]
    assert found.cells[0].total_ratio.median == 1.0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"stall": 3.0}, r"engine 'peer': http://.*/v1: cannot be reached \(timed out\); start the server"),
        ({"surplus": 9}, "engine 'peer': an answer has 15 tokens where at most 6 were asked; the count lies"),
        ({"usage": False}, "engine 'peer': an answer came without a count of its tokens"),
        ({"models": []}, "endpoint peer: http://.*/v1 serves no model; load one there"),
    ],
)
def test_an_endpoint_that_stalls_or_lies_ends_the_run(
    small: str, server: Server, tmp_path: Path, fault: dict[str, Any], said: str
) -> None:
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(UserError, match=said):
        bench(settings(small, engines=("none",), endpoints={"peer": server.url}, timeout_s=0.5), tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engines": ("vllm",)}, "engine 'vllm' is not known; use one of openvino-int4, .*, or none"),
        ({"engines": ("openvino-int4", "openvino-int4")}, "an engine or endpoint is named twice"),
        ({"engines": ("none",)}, "no engine is installed and no endpoint given"),
        ({"against": "gone"}, "--against 'gone' is not measured here; use one of openvino-int4"),
        ({"endpoints": {"p": "http://127.0.0.1:9/v1"}}, "endpoint p: http://127.0.0.1:9/v1 lists no models"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_made(
    small: str, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        bench(settings(small, **given), tmp_path / "new")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_engine_that_is_not_installed_or_does_not_run_the_structure(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="engine 'openvino-bf16' needs openvino_genai, which is not installed"):
        bench(settings(small, engines=("openvino-bf16",)), tmp_path)
    with pytest.raises(UserError, match="no engine is installed and no endpoint given"):
        bench(settings(small), tmp_path)
    monkeypatch.undo()
    file = tmp_path / "config.json"
    shape = Shape("deepseek_v3", 32, 2, 4, 4, 8, 48, 1200, experts=4, experts_per_token=2, expert_width=24, shared=1)
    file.write_text(json.dumps(config_of(shape)), encoding="utf-8")
    with pytest.raises(UserError, match="engine 'openvino-bf16' does not run structure 'deepseek_v3'"):
        bench(settings(str(file), engines=("openvino-bf16",)), tmp_path / "new")


def test_too_little_memory_or_disk_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = settings("7b", engines=("transformers-bf16",), prompts=(2048,), streams=(16,))
    monkeypatch.setattr(room, "free_memory", lambda: 10**10)
    with pytest.raises(
        UserError,
        match=r"shape '7b' needs about 24.7 GB of memory for transformers-bf16 and 10.0 GB are free; name fewer",
    ):
        bench(big, tmp_path)
    monkeypatch.setattr(room, "free_memory", lambda: 10**12)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: type("", (), {"free": 10**9})())
    with pytest.raises(UserError, match=r"needs 15.2 GB and has 1.00 GB free; give another --out"):
        bench(big, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_memory_needed_grows_with_streams_and_falls_with_bits() -> None:
    one, many = (settings("7b", prompts=(2048,), streams=(n,)) for n in (1, 16))
    shape = PRESETS["7b"]
    assert room.needed(one, shape, "transformers-bf16") > 2 * shape.weights
    assert room.needed(one, shape, "openvino-int4") < room.needed(one, shape, "transformers-bf16")
    more = room.needed(many, shape, "openvino-int4") - room.needed(one, shape, "openvino-int4")
    assert more >= 15 * (2048 + 6) * 57_344


def test_a_process_that_dies_is_told_as_one(small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.sys, "executable", "/bin/false")
    with pytest.raises(UserError, match=r"engine 'the model' ended \(exit code 1\); if memory ran out"):
        bench(settings(small, engines=("transformers-bf16",)), tmp_path)


def trace(first: float, total: float, tokens: int) -> Trace:
    prompt = Prompt(case_id="c", template="bench", messages=(Message(role="user", content="x"),))
    return Trace(
        **{"prompt": prompt, "model": "m", "engine": "e", "sampling": Sampling(), "thinking": "", "reply": "x"},
        **{"finish": "length", "thinking_tokens": 0, "reply_tokens": tokens, "prompt_tokens": 16},
        **{"first_token_s": first, "total_s": total},
    )


def test_decoding_is_counted_from_the_first_token_of_all_to_the_last() -> None:
    ask = Ask(prompt_tokens=16, streams=2, new_tokens=11, seed="s")
    # A server with one slot: the second answer begins when the first has ended, and gains nothing by it.
    found = told([trace(1.0, 3.0, 11), trace(4.0, 6.0, 11)], ask, 6.5, here=False)
    assert found.decode_tokens_s == 20 / 5
    assert (found.first_token_s, found.tokens, found.peak_bytes) == (2.5, 22, None)
