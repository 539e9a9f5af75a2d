from __future__ import annotations

import json
from pathlib import Path

import pytest

from rounds import files, recipe
from rounds.chain.prepare import improve, link_checkpoint
from rounds.chain.stage import Work
from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.records import UserError


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("student")
    train_tokenizer(["fever and cough"] * 9, 330, place / "words", "chatml")
    codec = Codec.load(place / "words")
    backbone = recipe.Backbone(structure="qwen2", width=32, layers=1, heads=2, feed_forward=48, context=128)
    model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    checkpoint.save(model, place / "words", place / "model")
    return place / "model"


def test_a_checkpoint_is_linked_after_its_checks(student: Path, tmp_path: Path) -> None:
    work = Work(tmp_path, tmp_path / "base", {})
    work.out.mkdir()
    figures = link_checkpoint(work, recipe.Model(checkpoint=str(student), chat="chatml"))
    assert figures == {"bytes": checkpoint.bytes_of(student)}
    assert (work.out / "model.safetensors").is_symlink()
    assert files.digest(work.out) == files.digest(student)


def test_a_checkpoint_without_a_chat_format_gets_the_recipes(student: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in student.iterdir():
        if path.name != "chat.json":
            (bare / path.name).write_bytes(path.read_bytes())
    work = Work(tmp_path, tmp_path / "base", {})
    work.out.mkdir()
    link_checkpoint(work, recipe.Model(checkpoint=str(bare), chat="chatml"))
    assert json.loads((work.out / "chat.json").read_text(encoding="utf-8")) == {"chat": "chatml"}
    assert not (bare / "chat.json").exists()


def test_a_pickled_checkpoint_is_refused(student: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in student.iterdir():
        (bad / path.name).write_bytes(path.read_bytes())
    (bad / "pytorch_model.bin").write_bytes(b"x")
    work = Work(tmp_path, tmp_path / "base", {})
    with pytest.raises(UserError, match="pickled weights"):
        link_checkpoint(work, recipe.Model(checkpoint=str(bad)))


def test_no_steps_of_grpo_link_to_what_there_is(student: Path, tmp_path: Path) -> None:
    (tmp_path / "distilled").mkdir()
    for path in student.iterdir():
        (tmp_path / "distilled" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "distilled" / files.LINEAGE).write_text("{}")
    with files.making(tmp_path / "teacher" / "reasoned") as out:
        settings = recipe.Grpo(steps=0)
        found = improve(Work(tmp_path, out, {}), recipe.read("tiny"), tmp_path / "distilled", settings)
    assert found == {"steps": 0}
    made = tmp_path / "teacher" / "reasoned"
    assert files.digest(made) == files.digest(tmp_path / "distilled")
    assert not (made / files.LINEAGE).exists()
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    tmp_path.rename(moved)  # a run may be moved as a whole
    assert checkpoint.load(moved / "teacher" / "reasoned").config.model_type == "qwen2"
    moved.rename(tmp_path)
