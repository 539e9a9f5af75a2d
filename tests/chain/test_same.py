"""The same-answers check: real exports of a tiny model, planted destruction, and the rules it decides by."""

import json
import shutil
from pathlib import Path

import pytest

from rounds import files
from rounds.chain import same
from rounds.chain.same import Kept, Rules, check, judge, kept_back, names_of, read_told, run_of, spread
from rounds.engine.export import exported
from rounds.exam.examine import Examined
from rounds.grade.mark import Marker
from rounds.knowledge.base import load
from rounds.model import checkpoint
from rounds.quant.divergence import Divergence
from rounds.records import Answer, Case, Grade, Lesson, Sampling, Trace, UserError

RULES = Rules(0.02, 0.01, "differential-brief@1", Sampling(temperature=0, max_tokens=24))
NEAR = {"all": Divergence(0.001, 0.01, 999), "rest": Divergence(0.001, 0.01, 999)}


@pytest.fixture(scope="module")
def marker() -> Marker:
    return Marker(load())


def test_an_export_of_the_same_weights_is_close_and_nothing_is_lost(
    babbler: Path, tune: list[Case], told: list[Lesson], marker: Marker
) -> None:
    found = check(babbler, exported(babbler), Kept(tune, told), RULES, marker)
    assert found.engine == "openvino"
    assert found.same.close
    assert found.same.broken == ()
    assert found.same.divergence["all"].kl == pytest.approx(0, abs=1e-9)
    assert set(found.same.divergence) == {"all", "doses and units", "digits", "negations", "diagnosis names", "rest"}
    assert found.same.said[babbler.name] == found.same.said[".openvino"]
    assert found.same.verdicts[0].n == len(tune)
    assert (found.same.finding, found.same.code) == ("too few cases", 3)


def test_scrambled_embeddings_are_lost_by_the_class_that_broke(
    babbler: Path, told: list[Lesson], marker: Marker, tmp_path: Path
) -> None:
    import torch

    model = checkpoint.load(babbler)
    rows = model.get_input_embeddings().weight.data
    rows.copy_(rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))])
    checkpoint.save(model, babbler, tmp_path / "scrambled")
    found = check(babbler, tmp_path / "scrambled", Kept([], told), RULES, marker)
    assert (found.same.finding, found.same.code) == ("lost", 1)
    assert any(line.startswith("diagnosis names broke: KL ") for line in found.same.broken)
    assert any(line.startswith("all tokens broke: KL ") for line in found.same.broken)


def test_one_class_that_breaks_is_enough_and_a_few_tokens_are_not() -> None:
    digits = {**NEAR, "digits": Divergence(0.3, 0.1, 40)}
    found = judge(("a", "b"), digits, None, RULES)
    assert found.broken == (
        "digits broke: KL 0.3 nats a token (at most 0.2), 10.0 % of likeliest tokens changed (at most 25 %).",
    )
    assert (found.finding, found.close) == ("lost", False)
    few = judge(("a", "b"), {**NEAR, "digits": Divergence(0.3, 0.1, same.FEWEST - 1)}, None, RULES)
    assert (few.finding, few.close) == ("too few cases", True)
    far = judge(("a", "b"), {**NEAR, "rest": Divergence(0.06, 0.1, 40)}, None, RULES)
    assert (far.finding, far.close) == ("too few cases", False)


def answered(
    right: int, n: int, *, flags: int = 1, readable: int | None = None, thought: int | None = None
) -> Examined:
    """`right` of `n` answers right, the first `readable` readable, the first `thought` with reasoning."""
    prompt = Lesson.model_validate_json(
        '{"prompt":{"case_id":"c","template":"t@1","messages":[{"role":"user","content":"x"}]},'
        '"thinking":"","reply":"","teacher":"t"}'
    ).prompt
    traces, grades = [], []
    for i in range(n):
        asked = prompt.model_copy(update={"case_id": f"c{i}"})
        traces.append(
            Trace(
                prompt=asked, model="m", engine="e", sampling=RULES.sampling, reply="1. Flu", finish="stop",
                thinking="so" if thought is None or i < thought else "", thinking_tokens=1, reply_tokens=4,
            )
        )  # fmt: skip
        answer = Answer(case_id=f"c{i}", unreadable=readable is not None and i >= readable)
        grades.append(
            Grade(case_id=f"c{i}", answer=answer, correct=i < right, red_flags_named=flags, red_flags_total=1)
        )
    return Examined(traces, grades)


def test_kept_lost_and_gained_are_those_of_compare() -> None:
    def found(before: Examined, after: Examined) -> same.Sameness:
        return judge(("a", "b"), NEAR, (before, after), RULES)

    assert found(answered(300, 600), answered(301, 600)).finding == "kept"
    assert found(answered(300, 600), answered(330, 600)).finding == "gained"
    lost = found(answered(300, 600), answered(280, 600))
    assert lost.finding == "lost"
    assert lost.broken[0].startswith("accuracy fell by 3.3 points on 600 cases, p ")
    flags = found(answered(300, 600), answered(300, 600, flags=0))
    assert (flags.red_flags_lost, flags.red_flags_gained, flags.finding) == (600, 0, "lost")
    form = found(answered(300, 600), answered(300, 600, readable=580))
    assert form.broken[0].startswith("readable answers fell from 600 to 580 of 600, p ")
    silent = found(answered(300, 600), answered(300, 600, thought=590))
    assert silent.broken[0].startswith("answers with closed reasoning fell from 600 to 590 of 600, p 0.002")
    assert found(answered(300, 600), answered(300, 600, thought=597)).finding == "kept"


def test_what_cannot_be_judged_is_one_sentence(
    babbler: Path, tune: list[Case], told: list[Lesson], marker: Marker, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="have nothing to be judged by; give --cases or --traces"):
        check(babbler, exported(babbler), Kept([], []), RULES, marker)
    with pytest.raises(UserError, match="--margin is missing and has no default"):
        judge(("a", "b"), NEAR, (answered(1, 2), answered(1, 2)), Rules(None, 0.01, "t", RULES.sampling))
    other = Path(shutil.copytree(babbler, tmp_path / "other"))
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    (other / "tokenizer.json").write_text(text.replace("<｜▁pad▁｜>", "<｜▁fill▁｜>"), encoding="utf-8")
    with pytest.raises(UserError, match="different vocabularies, so their tokens cannot be set side by side"):
        check(babbler, other, Kept([], told), RULES, marker)
    strange = Path(shutil.copytree(babbler, tmp_path / "strange"))
    config = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(json.dumps({**config, "model_type": "deepseek_v3"}))
    with pytest.raises(UserError, match="two engines differ by themselves; export both, or choose one with --engine"):
        check(babbler, strange, Kept([], told), RULES, marker)


def test_exam_cases_are_refused(tune: list[Case], told: list[Lesson], tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    exam = tune[3].model_copy(update={"split": "exam", "id": "exam-1"})
    files.write_jsonl(tmp_path / "cases" / "exam.jsonl", [exam])
    files.write_jsonl(tmp_path / "cases" / "tune.jsonl", tune[:3])
    files.write_jsonl(tmp_path / "own.jsonl", [exam])
    files.write_jsonl(tmp_path / "told.jsonl", told)
    assert kept_back(tmp_path, None, None, RULES.template).cases == tune[:3]
    with pytest.raises(UserError, match="case 'exam-1' is of the exam split, which opens once a candidate"):
        kept_back(None, tmp_path / "own.jsonl", None, RULES.template)
    with pytest.raises(UserError, match="trace of case 'tune-3' shows exam case 'exam-1'"):
        kept_back(tmp_path, None, tmp_path / "told.jsonl", RULES.template)
    files.write_jsonl(tmp_path / "twin.jsonl", tune[3:4])
    with pytest.raises(UserError, match="trace of case 'tune-3' shows exam case 'exam-1'"):
        kept_back(tmp_path, tmp_path / "twin.jsonl", None, RULES.template)
    assert len(kept_back(None, None, tmp_path / "told.jsonl", RULES.template).told) == len(told)


def test_traces_and_lessons_are_both_read(told: list[Lesson], tmp_path: Path) -> None:
    files.write_jsonl(tmp_path / "lessons.jsonl", told)
    files.write_jsonl(tmp_path / "traces.jsonl", answered(1, 2).traces)
    assert read_told(tmp_path / "lessons.jsonl") == told
    assert read_told(tmp_path / "traces.jsonl") == answered(1, 2).traces
    (tmp_path / "bad.jsonl").write_text("[]\n")
    with pytest.raises(UserError, match=r"bad\.jsonl:1: is not a Trace"):
        read_told(tmp_path / "bad.jsonl")


def test_cases_are_taken_at_even_distances() -> None:
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread(range(2), 5) == [0, 1]
    assert spread([], 5) == []


def test_names_and_the_run_come_from_the_paths(tmp_path: Path) -> None:
    assert names_of(tmp_path / "a", tmp_path / "b") == ("a", "b")
    assert names_of(tmp_path / "x" / "a", tmp_path / "y" / "a") == (str(tmp_path / "x/a"), str(tmp_path / "y/a"))
    assert run_of(tmp_path / "packed") is None
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "tune.jsonl").touch()
    assert run_of(tmp_path / "packed") == run_of(tmp_path / "teacher" / "reasoned") == tmp_path.resolve()
