from pathlib import Path

import pytest

from rounds.engine.choose import engine_for, is_endpoint, open_named, open_responder
from rounds.engine.export import exported
from rounds.engine.openvino import OpenVINO, Settings
from rounds.engine.reference import Reference
from rounds.engine.remote import Remote
from rounds.recipe import Backbone, Model
from rounds.records import Prompt, Sampling, UserError


def test_the_rule(qwen: Path, llama: Path, deepseek: Path) -> None:
    assert [engine_for(path) for path in (qwen, llama, deepseek)] == ["openvino", "openvino", "transformers"]
    assert engine_for(exported(qwen)) == "openvino"


def test_each_source_opens(qwen: Path, deepseek: Path, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch) -> None:
    from rounds import files

    opened = open_responder(qwen, threads=1, at_once=3)
    assert isinstance(opened, OpenVINO)
    assert opened.settings == Settings(threads=1, batch=3)
    assert opened.model == files.digest(qwen)
    assert opened.name == "qwen2 on openvino"
    assert isinstance(open_responder(qwen, "transformers", threads=1), Reference)
    teacher = open_responder(Model(checkpoint=str(deepseek)), threads=1)
    assert isinstance(teacher, Reference)
    assert next(iter(teacher.respond(prompts[:1], Sampling(max_tokens=3)))).engine == "transformers"
    monkeypatch.setenv("SOME_KEY", "secret")
    remote = open_responder(Model(endpoint="http://127.0.0.1:9/v1", name="m", key_env="SOME_KEY"))
    assert isinstance(remote, Remote)
    assert remote._key == "secret"
    assert "secret" not in remote.name


def test_what_a_command_line_gives(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [is_endpoint(where) for where in ("https://host/v1", "http://host/v1", "runs/http")] == [True, True, False]
    assert isinstance(open_named(str(qwen), None, "K", option="--name"), OpenVINO)
    monkeypatch.setenv("SOME_KEY", "secret")
    remote = open_named("http://127.0.0.1:9/v1", "m", "SOME_KEY", option="--name")
    assert isinstance(remote, Remote)
    assert (remote.model, remote._key) == ("m", "secret")
    with pytest.raises(
        UserError, match=r"^http://h/v1: an endpoint needs the model's name there; give --judge-name\.$"
    ):
        open_named("http://h/v1", None, "K", option="--judge-name")
    with pytest.raises(UserError, match="engine 'remote' needs an endpoint"):
        open_named(str(qwen), None, "K", option="--name", engine="remote")


def test_the_recipes_format_counts_where_the_checkpoint_names_none(qwen: Path, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(qwen, tmp_path / "copy"))
    (copied / "chat.json").unlink()
    with pytest.raises(UserError, match=r"the vocabulary lacks '<\|im_start\|>' of chat format 'chatml'"):
        open_responder(Model(checkpoint=str(copied), chat="chatml"))
    assert open_responder(Model(checkpoint=str(qwen), chat="chatml"), threads=1).model


def test_what_cannot_run_is_named(qwen: Path) -> None:
    with pytest.raises(UserError, match="engine 'openvino' cannot run the endpoint"):
        open_responder(Model(endpoint="http://127.0.0.1:9/v1", name="m"), "openvino")
    with pytest.raises(UserError, match="engine 'remote' needs an endpoint"):
        open_responder(qwen, "remote")
    with pytest.raises(UserError, match="is a backbone yet to be made"):
        open_responder(Model(backbone=Backbone(structure="qwen2")))
    with pytest.raises(UserError, match="is an OpenVINO model; the transformers engine needs the checkpoint"):
        open_responder(exported(qwen), "transformers")
    with pytest.raises(UserError, match="does not exist"):
        open_responder(Path("/no/such/model"))
