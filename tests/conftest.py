"""What every test may count on."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A suite started in the background of a shell inherits "ignore" for Ctrl-C, and with it every command under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is timed: cores may be shared.
settings.register_profile("rounds", deadline=None)
settings.load_profile("rounds")


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Makes a finished run by hand: true files and digests, no model in it. Its exam was passed, unless told else."""

    def make(run: Path, *, finding: str = "kept", evidence: str = "synthetic", weights: str = "packed") -> Path:
        from rounds import files, recipe
        from rounds.chain.passport import passport, write_passport
        from rounds.records import Case, Report, Share, Sitting, Step, Verdict

        run.mkdir(parents=True)
        (run / "recipe.toml").write_text(files.read_text(recipe.find("tiny")), encoding="utf-8")
        cases = [Case(id=f"c{n}", vignette=f"A patient of {n} years with fever.", diagnosis="flu") for n in range(40)]
        steps: dict[str, Step] = {}
        made: dict[str, tuple[str, ...]] = {"cases": (), "base": ("cases",), "reasoned": ("base",)}
        made |= {"packed": ("cases", "reasoned"), "grades/packed": ("cases", "packed")}
        for name, needs in made.items():
            place = run / name
            place.mkdir(parents=True)
            if name == "cases":
                files.write_jsonl(place / "exam.jsonl", cases)
            else:
                (place / "config.json").write_text(f'{{"name": "{weights if name == "packed" else name}"}}')
            given = {need: steps[need].output for need in needs}
            figures = {"engine": "openvino", "batch_invariant": False} if name.startswith("grades") else {}
            step = Step(verb=name, recipe="r", inputs=given, output=files.digest(place), figures=figures)
            steps[name] = step
            files.write_text(place / files.LINEAGE, step.model_dump_json())
        counts = {"n": 100, "both": 90, "only_before": 2, "only_after": 3, "neither": 5, "minimum_detectable": 0.05}
        span = {"low": -0.01, "high": 0.02}
        told = {"before": "base", "after": "packed", "difference": 0.01, "tango": span, "newcombe": span}
        verdict = Verdict.model_validate({**told, **counts, "finding": finding, "p_exact": 1.0, "p_midp": 1.0})
        drift = Share(
            name="reasoning drift", events=4, chances=40, clusters=9, low=0.02, high=0.2, standing="kappa 0.9"
        )
        sat = Sitting(answers=40, asked={"engine": "openvino"}, outcomes={"exact": 40}, reasoning=(drift,))
        report = Report.model_validate(
            {
                **{"title": "t", "alpha": 0.01, "margin": 0.02, "why_margin": "two in a hundred", "evidence": evidence},
                **{"verdicts": (verdict,), "sittings": {"packed": sat}, "machine": {"python": "3.11"}},
                "digests": {name: step.output for name, step in steps.items()},
            }
        )
        files.write_text(run / "report.json", report.model_dump_json(indent=1))
        drawn = passport(report, [verdict], steps, recipe.read(str(run / "recipe.toml")), run)
        write_passport(drawn, run / "passport.json")
        return run

    return make


@pytest.fixture(scope="session")
def make_babbler() -> Callable[[Path, list[str], int, int], Path]:
    """Makes a tiny random Qwen2 whose next tokens depend on the text: weights wider than at the start of training."""

    def made(directory: Path, texts: list[str], vocabulary: int, context: int) -> Path:
        from rounds.model import checkpoint
        from rounds.model.backbone import build
        from rounds.model.tokenizer import Codec, train_tokenizer
        from rounds.recipe import Backbone

        train_tokenizer(texts, vocabulary, directory / "words", "deepseek-r1")
        codec = Codec.load(directory / "words")
        backbone = Backbone(structure="qwen2", width=64, layers=2, feed_forward=96, context=context)
        model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                weight.data *= 5.0 if "embed" not in name else 20.0
        checkpoint.save(model, directory / "words", directory / "babbler")
        return directory / "babbler"

    return made


class Chat(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint with answers of its own; remembers what it was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, says: Callable[[dict[str, Any]], str | dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), Completions)
        self.says = says
        """Body of a request to the text of the reply, or to the whole response."""
        self.asked: list[dict[str, Any]] = []
        """Bodies of the requests, `key` with the Authorization header among them."""
        self.pause = 0.0
        """Seconds before each answer."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.running = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.running.start()

    def handle_error(self, *_: object) -> None:
        """A client that was killed is part of the tests."""


class Completions(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Chat

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({**body, "key": self.headers.get("Authorization")})
        time.sleep(self.server.pause)
        said = self.server.says(body)
        if isinstance(said, str):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
            said = {"choices": [choice], "usage": {"completion_tokens": 10}}
        data = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


STAND_IN = """
import sys, types
import rounds.engine
choose = types.ModuleType("rounds.engine.choose")
choose.open_responder = lambda model, engine, threads=0, at_once=0: Answers()
rounds.engine.choose = sys.modules["rounds.engine.choose"] = choose
from rounds.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def stand_in() -> Callable[[str], list[str]]:
    """The command line of `rounds` in a process where every model is the class `Answers` of a source text."""

    def command(answers: str) -> list[str]:
        return [sys.executable, "-c", answers + STAND_IN]

    return command


@pytest.fixture
def serve_chat() -> Iterator[Callable[[Callable[[dict[str, Any]], str | dict[str, Any]]], Chat]]:
    """Starts endpoints that answer as they are told; they stop after the test."""
    started: list[Chat] = []

    def start(says: Callable[[dict[str, Any]], str | dict[str, Any]]) -> Chat:
        started.append(Chat(says))
        return started[-1]

    yield start
    for one in started:
        one.shutdown()
        one.running.join(10)
        one.server_close()


@pytest.fixture(scope="session")
def certificate() -> Callable[[Path], tuple[Path, Path]]:
    """Makes a certificate in a directory."""

    def make(where: Path) -> tuple[Path, Path]:
        """A self-signed certificate for 127.0.0.1 and its key."""
        from datetime import UTC, datetime, timedelta
        from ipaddress import ip_address

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ward")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        (where / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
        (where / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return where / "cert.pem", where / "key.pem"

    return make
