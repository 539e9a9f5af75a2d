"""`rounds same` from the command line; what it finds is tested in tests/chain/test_same.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rounds import files
from rounds.cli.main import main
from rounds.engine.export import exported
from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.prompts.template import render
from rounds.recipe import Backbone
from rounds.records import Case, Lesson

CASE = Case(id="t1", vignette="A man of 54 has chest pain.", diagnosis="flu", split="tune")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint `a`, the same with its embeddings upside down `b`, tune cases and lessons."""
    directory = tmp_path_factory.mktemp("same")
    train_tokenizer([CASE.vignette] * 9, 320, directory / "words", "deepseek-r1")
    codec = Codec.load(directory / "words")
    backbone = Backbone(structure="qwen2", width=32, layers=1, feed_forward=64, context=256)
    model = build(backbone, codec.size, 1, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    weight = model.get_input_embeddings().weight.data
    weight *= 50
    model.lm_head.weight.data *= 50
    checkpoint.save(model, directory / "words", directory / "a")
    weight.copy_(weight.flip(0))
    checkpoint.save(model, directory / "words", directory / "b")
    exported(directory / "a")
    files.write_jsonl(directory / "tune.jsonl", [CASE])
    lesson = Lesson(
        prompt=render(CASE, "differential-brief@1"), thinking="no fever", reply="1. Flu\n2. Cold", teacher="t"
    )
    files.write_jsonl(directory / "told.jsonl", [lesson] * 4)
    return directory


def test_a_destroyed_model_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["same", str(made / "a"), str(made / "b"), "--traces", str(made / "told.jsonl")])
    said = capsys.readouterr().out
    assert code == 1
    assert "all tokens broke: KL " in said
    assert said.splitlines()[-1] == "b against a: lost, not close in every class of token"


def test_the_same_weights_leave_too_few_cases(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["same", str(made / "a"), str(made / "a" / ".openvino"), "--cases", str(made / "tune.jsonl"), "--json"]
    assert main([*words, "--margin", "0.02", "--texts", "1"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["same"]["close"] is True
    assert found["same"]["verdicts"][0]["n"] == 1
    assert found["inventory"]["a"]["linears"]["types"] == {"f32": 7}
    assert main(words) == 2
    assert "--margin is missing and has no default" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["./a", "./a"], "is given twice; compare it with the checkpoint it came from"),
        (["./a", "./b"], "have nothing to be judged by; give --cases or --traces"),
        (["./a", "./nowhere"], "does not exist"),
        (["./a", "./b", "--texts", "0"], "--texts 0 is below 1"),
        (["./a", "./b", "--margin", "2"], "margin 2.0 is not a share"),
    ],
)
def test_faults_are_one_sentence(
    made: Path, words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    assert main(["same", *words]) == 2
    heard = capsys.readouterr().err
    assert sentence in heard
    assert heard.count("\n") == 1
