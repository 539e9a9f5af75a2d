"""How a server program is started for a recipe or a checkpoint: the exact command, every flag from what is known here.

vLLM (https://docs.vllm.ai, flags as of 0.32) on GPUs, llama-server
(https://github.com/ggml-org/llama.cpp/tree/master/tools/server) on GPUs or processors. Both are programs of their own,
in environments of their own, and are asked through `rounds.engine.remote`. Left out on purpose: installing them,
several machines, and listening anywhere but on 127.0.0.1.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from rounds import files, recipe
from rounds.chain import specialise
from rounds.chain.plan import PROMPT, gigabytes
from rounds.chain.separate import ADAPTER
from rounds.chain.shape import of_config
from rounds.chain.stage import cores
from rounds.engine.cache import free_memory
from rounds.engine.openvino import IR
from rounds.exam.later import SPECIALISE
from rounds.exam.specialties import Matrix
from rounds.model import checkpoint
from rounds.model.adapter import read_adapters
from rounds.model.tokenizer import FILES, Codec, read_object
from rounds.records import Record, UserError

PROGRAMS = {"vllm": "vllm", "llama": "llama-server"}
"""Executable by the word on the command line."""
INSTALL = {
    "vllm": "install it in an environment of its own (pip install vllm; its pins clash with those of Rounds)",
    "llama": "build it from https://github.com/ggml-org/llama.cpp (cmake --build, target llama-server)",
}
PORTS = {"vllm": 8000, "llama": 8080}
BLOCK = 128
"""Tokens that vLLM's KV cache is dealt out by on a processor."""
WORDS = ".tokenizer"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM makes room for; one between is put into the next."""


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
    """None: for a model that is examined, not for a teacher, nor without a GPU."""
    cpu: bool = False
    """vLLM on processors."""
    adapters: dict[str, Path] = Field(default_factory=dict)
    """Folders of LoRA adapters by the names they are asked for by."""


class _Served(NamedTuple):
    """What is to be served."""

    model: str
    """Directory, file or Hugging Face id."""
    name: str
    port: int | None
    context: int
    examined: bool
    adapters: Mapping[str, Path]


def launch(program: str, what: str, given: Choices) -> Launch:
    """The command that serves `what`: a recipe, a checkpoint's directory, a Hugging Face id, or a .gguf file; or the
    directory of a run that `rounds specialise` went over: the checkpoint it began with, and its adapters.

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
        start, specialists = _specialists(path) if (path / SPECIALISE).is_file() else (path, {})
        name = start.resolve().name if path.exists() else what
        model = str(start) if path.exists() else what
        return _Served(model, name, None, given.context, True, {**specialists, **given.adapters})
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
    return _Served(model, source.name or Path(model).name, port, context, role == "student", given.adapters)


def _specialists(run: Path) -> tuple[Path, dict[str, Path]]:
    """The checkpoint that a run's specialists began with, and the adapter of each by its specialty.

    Raises:
        UserError: specialise.json is faulty, or a directory is not the one that was examined.
    """
    found = files.read_json(run / SPECIALISE, Matrix)
    adapters = {specialise.slug(row.trained_on): row.adapter for row in found.rows}
    places = {name: run / specialise.ROOM / "on" / name / ADAPTER for name in adapters}
    start = run / found.start
    examined = {start: found.start_digest, **{place: adapters[name] for name, place in places.items()}}
    for place, digest in examined.items():
        if not place.is_dir() or files.digest(place) != digest:
            raise UserError(
                f"{place}: is not what {run / SPECIALISE} tells of (its digest differs); run rounds specialise again."
            )
    return start, places


def _vllm(served: _Served, given: Choices, port: int) -> tuple[dict[str, str], list[str]]:
    if given.gguf or served.model.endswith(".gguf"):
        raise UserError("vLLM serves checkpoints in safetensors; for a .gguf file use rounds engine llama.")
    if given.cpu and given.batch_invariant:
        raise UserError("vLLM has a batch-invariant mode on GPUs alone; leave --batch-invariant out, or --cpu.")
    directory, config = Path(served.model), {}
    if directory.is_dir():
        if (directory / IR).is_file():
            raise UserError(f"{directory}: is an OpenVINO model, which vLLM cannot read; give its checkpoint.")
        config = checkpoint.check(directory)
    heads = config.get("num_attention_heads")
    if isinstance(heads, int) and heads % given.tensor_parallel:
        raise UserError(
            f"--tensor-parallel {given.tensor_parallel} does not divide the {heads} attention heads; use a divisor."
        )
    environment = {"VLLM_NO_USAGE_STATS": "1"}  # it reports its use unless told not to
    if directory.is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    if given.cpu:
        environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"  # else one core only listens
    wanted = served.examined and not given.cpu
    if wanted if given.batch_invariant is None else given.batch_invariant:
        environment["VLLM_BATCH_INVARIANT"] = "1"
    command = ["vllm", "serve", served.model, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--served-model-name", served.name]
    command += ["--tensor-parallel-size", str(given.tensor_parallel)]
    command += ["--data-parallel-size", str(given.data_parallel), "--max-num-seqs", str(given.streams)]
    if served.context:
        command += ["--max-model-len", str(served.context)]
    if quantised := config.get("quantization_config", {}).get("quant_method"):
        command += ["--quantization", str(quantised)]
    if exact := "float32" in (config.get("dtype"), config.get("torch_dtype")):
        command += ["--dtype", "float32"]  # "auto" rounds these to 16 bits
    if given.cpu:
        command += ["--kv-cache-memory-bytes", str(_cache(served, given, config, 4 if exact else 2))]
    elif not exact and not _latent(served.model, config):
        command += ["--attention-backend", "FLASH_ATTN"]
    # A checkpoint's generation_config.json would add penalties and top-k that no request asks for.
    command += ["--generation-config", "vllm"]
    # As the grammar of the house: else a model may write blanks between two members until its answer is cut off.
    command += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    if _reasons(served.model, directory):
        command += ["--reasoning-parser", "deepseek_r1"]
    if directory.is_dir():
        # Those of the house, for the very tokens its own engines read; a template in a checkpoint is a program.
        command += ["--tokenizer", str(_words(directory)), "--chat-template", Codec.load(directory).template()]
    return environment, command + _lora(served, given.cpu)


def _words(directory: Path) -> Path:
    """A hidden folder beside the weights with the tokenizer alone, to be read as it is written.

    Beside a config.json, transformers 5.19 (vLLM 0.32) builds the tokenizer of the structure's first owner out of the
    vocabulary, whatever tokenizer.json says: another one wherever a checkpoint has its own.

    Raises:
        UserError: a faulty tokenizer_config.json, or the folder cannot be written.
    """
    out = directory / WORDS
    told = read_object(directory / FILES[1]) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    text = json.dumps({name: value for name, value in told.items() if name != "chat_template"}, ensure_ascii=False)
    made = [out / name for name in FILES[:2]]
    same = all(file.is_file() for file in made) and files.digest(made[0]) == files.digest(directory / FILES[0])
    if not same or files.read_text(made[1]) != text:
        with files.making(out) as partial:
            shutil.copyfile(directory / FILES[0], partial / FILES[0])
            files.write_text(partial / FILES[1], text)
    return out


def _lora(served: _Served, cpu: bool) -> list[str]:
    """Flags that offer each adapter as a model of its own.

    On a processor vLLM 0.32 lays the last slot's adapter on requests that name none, where they share a batch with one
    that does (https://github.com/vllm-project/vllm/pull/48421): a slot more than there are adapters stays empty.

    Raises:
        UserError: an adapter does not fit, or is one that vLLM has no kernels for.
    """
    if not served.adapters:
        return []
    if not Path(served.model).is_dir():
        raise UserError(f"'{served.model}' is not on this disk, and adapters are held against it; give its directory.")
    found = read_adapters(served.adapters, Path(served.model))
    modules = []
    for name, one in found.items():
        if not one.plain or one.rank > RANKS[-1]:
            raise UserError(
                f"{one.path}: is more than plain LoRA of rank {RANKS[-1]}, which vLLM does not serve; serve the merged "
                "model beside it."
            )
        if name == served.name:
            raise UserError(f"adapter '{name}' is called as the model itself; give it another name.")
        modules.append(json.dumps({"name": name, "path": str(one.path), "base_model_name": served.name}))
    rank = min(size for size in RANKS if size >= max(one.rank for one in found.values()))
    room = ["--max-loras", str(len(found) + cpu), "--max-lora-rank", str(rank)]
    return ["--enable-lora", *room, "--lora-modules", *modules]


def _cache(served: _Served, given: Choices, config: dict[str, Any], width: int) -> int:
    """Bytes of KV cache that all answers together need; left to itself vLLM takes 92 % of a machine's memory.

    Raises:
        UserError: the checkpoint is not here to tell, or that much is not free.
    """
    if not config:
        raise UserError(
            f"'{served.model}' is not on this disk, so its KV cache is not known; with --cpu give a directory."
        )
    context = served.context or int(config.get("max_position_embeddings") or 0)
    blocks = given.streams * -(-context // BLOCK) + 1  # one is kept empty
    needed = blocks * BLOCK * of_config(config, Path(served.model)).kv_values * width
    if needed > (free := free_memory()):
        raise UserError(
            f"{given.streams} answers of {context} tokens need {gigabytes(needed)} of KV cache and {gigabytes(free)} "
            "are free; give a smaller --context or fewer --streams."
        )
    return needed


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
    if given.cpu:
        raise UserError("--cpu is vLLM's; llama-server takes what there is, leave it out.")
    if given.tensor_parallel > 1 or given.data_parallel > 1:
        raise UserError(
            "--tensor-parallel and --data-parallel are vLLM's; llama-server spreads over its devices itself."
        )
    if served.adapters:
        raise UserError(
            "adapters are offered through vLLM alone; llama-server wants each as .gguf and applies it to every request."
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
