from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from rounds import files, recipe
from rounds.cases import asides, oracle, vignette
from rounds.chain import run as chain
from rounds.chain.run import stages
from rounds.chain.stage import fresh, make
from rounds.records import UserError

ENDPOINT = {"endpoint": "http://127.0.0.1:9/v1", "name": "teacher"}


def chosen(**sections: Any) -> recipe.Recipe:
    given = {
        "name": "here",
        "student": {"checkpoint": "org/name"},
        "teacher": ENDPOINT,
        "compare": {"margin": 0.05, "why_margin": "one case in twenty, seen again"},
    }
    return recipe.parse(given | sections, "test")


SENTENCES = ("3", "146e85e97b1dd1dd")
"""Code of the stage `cases`, and the digest of the sentences it writes with."""


def test_other_sentences_are_another_code() -> None:
    frames = {split: asdict(one) for split, one in vignette.FRAMES.items()}
    said = [oracle.FITS, oracle.AGAINST, oracle.LEADING, oracle.UNPLACED, oracle.ABSTENTION, oracle.SUPPORT]
    remarks = [asides.ANYONE, asides.ADULTS]
    written = files.digest_of([frames, remarks, vignette.NOTHING_SAID, vignette.SPOKEN, said])[:16]
    code = stages(recipe.read("tiny"))["cases"].code
    assert (code, written) == SENTENCES, (
        "the sentences of cases or lessons changed: raise NEW_LESSONS in chain/run.py, or runs made before keep theirs "
        "as fresh; then write the new pair into SENTENCES"
    )


def test_stages_come_after_what_they_need() -> None:
    for name in ("tiny", "r1-qwen-7b", "one-gpu", "cpu-1.5b"):
        seen: set[str] = set()
        for stage in stages(recipe.read(name)).values():
            assert set(stage.needs) <= seen, stage.name
            seen.add(stage.name)


def test_a_checkpoint_and_an_endpoint_need_neither_tokenizer_nor_lessons() -> None:
    names = set(stages(chosen(distil={"controls": False})))
    assert names == {
        "cases",
        "base",
        "traces",
        "distilled",
        "reasoned",
        "packed",
        "baselines",
        *(f"grades/{name}" for name in ("base", "distilled", "reasoned", "packed")),
    }


def test_cases_of_ones_own_are_an_input_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    row = '{{"id": "{0}", "vignette": "{1}", "diagnosis": "gout", "split": "{0}"}}\n'
    told = {"teach": "a red toe", "tune": "a sore throat", "exam": "a stiff neck for two days"}
    path.write_text("".join(row.format(*one) for one in told.items()), encoding="utf-8")
    stage = stages(chosen(cases={"file": str(path)}))["cases"]
    run = tmp_path / "run"
    make(run, stage)
    assert fresh(run, stage) is not None
    with path.open("a", encoding="utf-8") as out:
        out.write(row.format("teach", "a swollen knee").replace('"id": "teach"', '"id": "more"'))
    assert fresh(run, stage) is None


def test_a_local_checkpoint_is_an_input_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    base = stages(chosen(student={"checkpoint": str(tmp_path / "model")}))["base"]
    assert dict(base.more) == {"checkpoint": tmp_path / "model"}
    assert dict(stages(chosen())["base"].more) == {}


def test_large_models_are_worked_on_one_at_a_time() -> None:
    assert chain._side_by_side(chosen()) == 1
    assert chain._side_by_side(recipe.read("tiny")) == min(2, chain.cores())


def test_what_a_stage_complains_of_is_told_however_much_it_says(tmp_path: Path) -> None:
    def spoken(code: str) -> UserError:
        with chain._said(tmp_path, "grades/base").open("wb") as said:
            process = subprocess.Popen([sys.executable, "-c", code], stderr=said)
        process.wait(30)
        with pytest.raises(UserError) as caught:
            chain._finished(tmp_path, {"grades/base": process})
        assert list(tmp_path.iterdir()) == []
        return caught.value

    loud = "import sys; sys.stderr.write('x' * 300000 + '\\nrounds: the disk is full.\\n'); sys.exit({})"
    assert str(spoken(loud.format(2))) == "stage grades/base: the disk is full."
    assert str(spoken(loud.format(70))).startswith("stage grades/base failed (rounds: the disk is full.); run it alone")
    killed = spoken("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert str(killed) == "stage grades/base was ended by SIGKILL; run the same command again to resume."


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process of its parent's end")
def test_a_stage_ends_with_the_run_that_was_killed(tmp_path: Path) -> None:
    stage = (
        "import time\nfrom pathlib import Path\nfrom rounds.chain import run\nrun._end_with_parent()\n"
        f"Path({str(tmp_path / 'up')!r}).write_text('')\n"
        f"time.sleep(2)\nPath({str(tmp_path / 'orphan')!r}).write_text('')\n"
    )
    parent = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {stage!r}], env=os.environ | {{'ROUNDS_RUN': str(os.getpid())}})\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    while not (tmp_path / "up").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(2.5)
    assert not (tmp_path / "orphan").exists()


def test_a_stage_whose_input_is_not_made_is_refused(tmp_path: Path) -> None:
    source = recipe.find("tiny")
    with pytest.raises(UserError, match=r"stage 'base' needs .*cases, which is not made yet; run that stage first"):
        chain.run_one(recipe.read("tiny"), source, tmp_path, "base")
    with pytest.raises(UserError, match="stage 'bse' is not part of recipe 'tiny'; use one of cases, tokenizer"):
        chain.run_one(recipe.read("tiny"), source, tmp_path, "bse")


def test_the_exam_is_counted_once_per_candidate(tmp_path: Path) -> None:
    assert chain._openings(tmp_path, ["grades/packed"]) == 1
    assert chain._openings(tmp_path, []) == 1
    assert chain._openings(tmp_path, ["grades/packed"]) == 2
