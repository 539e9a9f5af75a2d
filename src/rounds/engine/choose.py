"""Which engine runs a model: one visible rule, read from the files.

An endpoint is asked over HTTP. A folder with an OpenVINO model runs on OpenVINO; a checkpoint of a structure that is
exported runs there too, through an export kept in a hidden folder beside it; every other runs on transformers, and so
does one with an adapter that is more than plain LoRA. Left out on purpose: starting servers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rounds import files
from rounds.model import checkpoint
from rounds.model.adapter import Adapter, read_adapters
from rounds.model.tokenizer import CHAT_FILE, Codec, read_object
from rounds.recipe import Model
from rounds.records import Delta, Prompt, Sampling, Streams, Trace, UserError

Engine = Literal["auto", "openvino", "transformers", "remote"]


def engine_for(directory: Path, adapters: Iterable[Adapter] = ()) -> Literal["openvino", "transformers"]:
    """The engine `auto` stands for."""
    from rounds.engine import export, openvino

    if not all(one.plain for one in adapters):
        return "transformers"
    if (directory / openvino.IR).is_file():
        return "openvino"
    structure = read_object(directory / "config.json").get("model_type")
    return "openvino" if structure in export.EXPORTED else "transformers"


def open_responder(
    model: Model | Path, engine: Engine = "auto", threads: int = 0, at_once: int = 0, *, read_once: bool = False
) -> Streams:
    """A responder for an endpoint, a checkpoint or an OpenVINO folder, with the settings of an exam.

    `threads` 0 lets the engine choose. `at_once`: most answers in flight, which bounds the KV cache of OpenVINO; 0 is
    the engine's own number. `read_once`: OpenVINO reads a prompt once for all its samples, which is no exam's setting.
    A checkpoint's chat.json decides its chat format, else the recipe's field.

    Raises:
        UserError: the engine cannot run the model, the model is faulty or missing, or it is yet to be made.
    """
    if isinstance(model, Model) and model.endpoint is not None:
        if engine not in ("auto", "remote"):
            raise UserError(f"engine '{engine}' cannot run the endpoint {model.endpoint}; use auto or remote.")
        from rounds.engine.remote import Remote

        return Remote(model.endpoint, model.name or "", key=os.environ.get(model.key_env, ""))
    if engine == "remote":
        raise UserError("engine 'remote' needs an endpoint; give one in the recipe, or use auto.")
    if isinstance(model, Path):
        return open_directory(checkpoint.resolve(str(model)), engine, threads, at_once=at_once, read_once=read_once)
    if model.checkpoint is None:
        raise UserError("this model is a backbone yet to be made; run the chain first, then give its directory.")
    directory = checkpoint.resolve(model.checkpoint)
    chat = None if (directory / CHAT_FILE).is_file() else model.chat
    return open_directory(directory, engine, threads, chat, at_once, read_once=read_once)


def is_endpoint(where: str) -> bool:
    """Whether a command line means a server and not a directory."""
    return where.startswith(("http://", "https://"))


def open_named(where: str, name: str | None, key_env: str, *, option: str, engine: Engine = "auto") -> Streams:
    """A responder for what a command line gives: an endpoint's URL with the model's name there, or a directory.

    option: how the name is given, for the sentence that asks for it.

    Raises:
        UserError: an endpoint without a name, or as `open_responder`.
    """
    if not is_endpoint(where):
        return open_responder(Path(where), engine)
    if not name:
        raise UserError(f"{where}: an endpoint needs the model's name there; give {option}.")
    return open_responder(Model(endpoint=where, name=name, key_env=key_env), engine)


def open_directory(
    directory: Path,
    engine: Engine,
    threads: int = 0,
    chat: str | None = None,
    at_once: int = 0,
    *,
    read_once: bool = False,
    adapters: Mapping[str, Path] | None = None,
    pipelines: int = 0,
    bare: bool = True,
) -> Streams:
    """As `open_responder`, for files on this machine; `pipelines` and `bare` as in `rounds.engine.openvino.Settings`.

    adapters: folders of LoRA adapters for it, by the names that requests have for them.

    Raises:
        UserError: the engine cannot run them, or they are faulty.
    """
    from rounds.engine import export, openvino

    read = read_adapters(adapters or {}, directory)
    chosen = engine_for(directory, read.values()) if engine == "auto" else engine
    codec = Codec.load(directory, chat)
    name = f"{directory.name} on {chosen}"
    digest = files.digest(directory)
    if chosen == "openvino":
        folder = directory if (directory / openvino.IR).is_file() else export.exported(directory)
        settings = openvino.Settings(threads=threads, prefix_caching=read_once, pipelines=pipelines, bare=bare)
        if at_once:
            settings = replace(settings, batch=at_once)
        return openvino.OpenVINO(folder, name=name, model=digest, codec=codec, settings=settings, adapters=read)
    if (directory / openvino.IR).is_file():
        raise UserError(
            f"{directory}: is an OpenVINO model; the transformers engine needs the checkpoint it came from."
        )
    from rounds.engine.reference import Reference

    return Reference(directory, name=name, model=digest, codec=codec, threads=threads, adapters=adapters)


class Named:
    """A Responder and Streams in which one adapter of another gives every answer."""

    def __init__(self, responder: Streams, adapter: str) -> None:
        """`responder` must have the adapter; asked for one it lacks, it says so."""
        self._responder, self._update = responder, {"adapter": adapter}
        self.name, self.model = f"{responder.name} with {adapter}", responder.model
        self.batch_invariant = responder.batch_invariant

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """As the other's. Raises as it does."""
        return self._responder.respond([prompt.model_copy(update=self._update) for prompt in prompts], sampling)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta | Trace]:
        """As the other's. Raises as it does."""
        return self._responder.stream(prompt.model_copy(update=self._update), sampling)
