"""How a server program is started for a recipe or a checkpoint: the exact command, every flag from what is known here.

vLLM (https://docs.vllm.ai, flags as of 0.32) on GPUs, llama-server
(https://github.com/ggml-org/llama.cpp/tree/master/tools/server) on GPUs or processors. Both are programs of their own,
in environments of their own, and are asked through `rounds.engine.remote`. Left out on purpose: installing them,
several machines, and listening anywhere but on 127.0.0.1.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from rounds import recipe
from rounds.chain.plan import PROMPT
from rounds.chain.stage import cores
from rounds.engine.openvino import IR
from rounds.model import checkpoint
from rounds.model.tokenizer import FILES, read_object
from rounds.records import Record, UserError

PROGRAMS = {"vllm": "vllm", "llama": "llama-server"}
"""Executable by the word on the command line."""
INSTALL = {
    "vllm": "install it in an environment of its own (pip install vllm; its pins clash with those of Rounds)",
    "llama": "build it from https://github.com/ggml-org/llama.cpp (cmake --build, target llama-server)",
}
PORTS = {"vllm": 8000, "llama": 8080}


class Launch(Record):
    """A program with its arguments and what is put into its environment."""

    environment: dict[str, str]
    command: tuple[str, ...]
    endpoint: str
    """Where it will answer."""
    name: str
    """What the model is called there."""

    def line(self) -> str:
        """For a shell."""
        before = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*before, shlex.join(self.command)])


class Choices(Record):
    """What the command line decides."""

    role: str = ""
    """teacher or student of a recipe; empty is the one at an endpoint, else the student."""
    gguf: str = ""
    """File that llama-server loads."""
    port: int = Field(default=0, ge=0, le=65535)
    """0 is the endpoint's of the recipe, else the program's own."""
    streams: int = Field(default=8, ge=1)
    context: int = Field(default=0, ge=0)
    """Tokens of prompt and answer; 0 is what the recipe asks for, or the model's own."""
    tensor_parallel: int = Field(default=1, ge=1)
    data_parallel: int = Field(default=1, ge=1)
    batch_invariant: bool | None = None
    """None: for a model that is examined, not for a teacher."""


class _Served(NamedTuple):
    """What is to be served."""

    model: str
    """Directory, file or Hugging Face id."""
    name: str
    port: int | None
    context: int
    examined: bool


def launch(program: str, what: str, given: Choices) -> Launch:
    """The command that serves `what`: a recipe, a checkpoint's directory, a Hugging Face id, or a .gguf file.

    Raises:
        UserError: no such thing, a format the program does not read, or a choice it does not have.
    """
    served = _served(what, given)
    port = given.port or served.port or PORTS[program]
    made = _vllm if program == "vllm" else _llama
    environment, command = made(served, given, port)
    return Launch(
        environment=environment,
        command=tuple(command),
        endpoint=f"http://127.0.0.1:{port}/v1",
        name=served.name,
    )


def _served(what: str, given: Choices) -> _Served:
    path = Path(what).expanduser()
    if path.is_dir() or path.suffix == ".gguf" or (what.count("/") == 1 and path.suffix != ".toml"):
        if given.role:
            raise UserError(f"--role {given.role} is for a recipe, and '{what}' is a model; leave it out.")
        if path.suffix == ".gguf" and not path.is_file():
            raise UserError(f"{path}: does not exist; check the path.")
        name = path.resolve().name if path.exists() else what
        return _Served(str(path) if path.exists() else what, name, None, given.context, examined=True)
    chosen = recipe.read(what)
    role = given.role or ("teacher" if chosen.teacher.endpoint else "student")
    source = chosen.teacher if role == "teacher" else chosen.student
    if source.backbone is not None:
        raise UserError(
            f"the {role} of recipe '{chosen.name}' is made by the chain; run it, then give the directory of the stage."
        )
    model = source.checkpoint or source.name or ""
    longest = chosen.trace.max_tokens if role == "teacher" else chosen.examine.max_tokens
    port = urlsplit(source.endpoint).port if source.endpoint else None
    context = given.context or PROMPT + longest
    return _Served(model, source.name or Path(model).name, port, context, examined=role == "student")


def _vllm(served: _Served, given: Choices, port: int) -> tuple[dict[str, str], list[str]]:
    if given.gguf or served.model.endswith(".gguf"):
        raise UserError("vLLM serves checkpoints in safetensors; for a .gguf file use rounds engine llama.")
    directory, config = Path(served.model), {}
    if directory.is_dir():
        if (directory / IR).is_file():
            raise UserError(f"{directory}: is an OpenVINO model, which vLLM cannot read; give its checkpoint.")
        config = checkpoint.check(directory)
        told = "chat_template" in read_object(directory / "tokenizer_config.json")
        if not told and not (directory / "chat_template.jinja").is_file():
            raise UserError(
                f"{directory}: has no chat template, without which vLLM answers no chat; add chat_template.jinja, or "
                "serve it by rounds serve."
            )
    heads = config.get("num_attention_heads")
    if isinstance(heads, int) and heads % given.tensor_parallel:
        raise UserError(
            f"--tensor-parallel {given.tensor_parallel} does not divide the {heads} attention heads; use a divisor."
        )
    environment = {"VLLM_NO_USAGE_STATS": "1"}  # it reports its use unless told not to
    if directory.is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    if served.examined if given.batch_invariant is None else given.batch_invariant:
        environment["VLLM_BATCH_INVARIANT"] = "1"
    command = ["vllm", "serve", served.model, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--served-model-name", served.name]
    command += ["--tensor-parallel-size", str(given.tensor_parallel)]
    command += ["--data-parallel-size", str(given.data_parallel), "--max-num-seqs", str(given.streams)]
    if served.context:
        command += ["--max-model-len", str(served.context)]
    if quantised := config.get("quantization_config", {}).get("quant_method"):
        command += ["--quantization", str(quantised)]
    if not _latent(served.model, config):
        command += ["--attention-backend", "FLASH_ATTN"]
    # A checkpoint's generation_config.json would add penalties and top-k that no request asks for.
    command += ["--generation-config", "vllm"]
    if _reasons(served.model, directory):
        command += ["--reasoning-parser", "deepseek_r1"]
    return environment, command


def _latent(model: str, config: dict[str, object]) -> bool:
    """Whether attention is over a latent (MLA), which has kernels of its own: vLLM then chooses."""
    name = model.rsplit("/", 1)[-1].lower()
    full_size = name.startswith(("deepseek-r1", "deepseek-v3")) and "distill" not in name
    return config.get("model_type") == "deepseek_v3" or (not config and full_size)


def _reasons(model: str, directory: Path) -> bool:
    """Whether answers open with reasoning in DeepSeek-R1's format."""
    if (directory / FILES[0]).is_file():
        return checkpoint.chat_of(directory) == "deepseek-r1"
    return "deepseek-r1" in model.lower()


def _llama(served: _Served, given: Choices, port: int) -> tuple[dict[str, str], list[str]]:
    if given.batch_invariant:
        raise UserError(
            "llama-server has no batch-invariant mode; leave --batch-invariant out, or use rounds engine vllm."
        )
    if given.tensor_parallel > 1 or given.data_parallel > 1:
        raise UserError(
            "--tensor-parallel and --data-parallel are vLLM's; llama-server spreads over its devices itself."
        )
    file = _gguf(served.model, given.gguf)
    command = ["llama-server", "--model", str(file), "--alias", served.name]
    command += ["--host", "127.0.0.1", "--port", str(port), "--offline", "--no-ui"]
    command += ["--parallel", str(given.streams)]
    # The slots share the context it is given.
    command += ["--ctx-size", str(given.streams * served.context)]
    command += ["--threads", str(cores()), "--flash-attn", "auto", "--reasoning-format", "auto"]
    return {}, command


def _gguf(model: str, given: str) -> Path:
    """The file to load: the one named, the model itself, or the only one in its folder."""
    path = Path(given or model).expanduser()
    found = sorted(path.glob("*.gguf")) if path.is_dir() else [path] if path.suffix == ".gguf" else []
    if not found:
        raise UserError(
            f"'{path}' holds no .gguf, which llama-server needs; make one with convert_hf_to_gguf.py of llama.cpp "
            "and give it by --gguf."
        )
    if len(found) > 1:
        raise UserError(f"{path}: holds {len(found)} files in .gguf; name one by --gguf.")
    if not found[0].is_file():
        raise UserError(f"{found[0]}: does not exist; check the path of --gguf.")
    return found[0]
