"""A passport is held to what lies on the disk: each kind of change is one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.chain.passport import renew, write_passport
from rounds.chain.passport_verify import home_of, unexpected, verify
from rounds.files import digest
from rounds.records import UserError
from rounds.serve.signing import make_key, sign

Make = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, make_run: Make) -> Path:
    return make_run(tmp_path / "mine")


def rewrite(run: Path, **stated: Any) -> None:
    told = json.loads((run / "passport.json").read_text(encoding="utf-8"))
    (run / "passport.json").write_text(json.dumps({**told, **stated}), encoding="utf-8")


def test_a_fresh_run_is_whole(run: Path) -> None:
    found = verify(run)
    assert found.whole
    assert found.faults == ()
    assert found.signature == "none"
    assert found.passport == digest(run / "passport.json")
    stages = {"cases/", "base/", "reasoned/", "packed/", "grades/packed/"}
    assert set(found.checked) == stages | {"recipe.toml", "report.json", "cases/exam.jsonl"}


@pytest.mark.parametrize("place", ["packed/config.json", "base/config.json", "recipe.toml", "report.json"])
def test_whatever_is_changed_is_named(run: Path, place: str) -> None:
    (run / place).write_text((run / place).read_text(encoding="utf-8") + " ", encoding="utf-8")
    named = f"{Path(place).parent}/" if "/" in place else place
    assert f"{named} was changed: its digest is not the one named." in verify(run).faults


def test_a_changed_checkpoint_is_a_fault_twice_named(run: Path) -> None:
    (run / "packed" / "more.bin").write_bytes(b"x")
    assert any("not the checkpoint this passport speaks for" in fault for fault in verify(run).faults)


def test_what_is_served_must_be_there_and_the_rest_may_be_gone(run: Path) -> None:
    for name in ("base", "reasoned", "grades"):
        shutil.rmtree(run / name)
    found = verify(run)
    assert found.whole
    assert set(found.absent) == {"base/", "reasoned/", "grades/packed/"}
    shutil.rmtree(run / "packed")
    assert verify(run).faults == ("packed/ is missing: it is the checkpoint this passport speaks for.",)


def test_the_checkpoint_itself_may_be_given_and_another_one_not(run: Path) -> None:
    assert verify(run / "packed").whole
    assert verify(run / "reasoned").faults[-1].startswith("reasoned is not the checkpoint this passport speaks for")


def test_claims_must_follow_from_the_verdicts(tmp_path: Path, make_run: Make) -> None:
    run = make_run(tmp_path / "lost", finding="lost")
    assert verify(run).whole
    rewrite(run, passed=True, proven=True)
    faults = verify(run).faults
    assert faults[0].startswith("it claims to have passed")
    assert faults[1].startswith("it claims to be proven")


def test_a_stage_made_from_something_else_breaks_the_chain(run: Path) -> None:
    told = json.loads((run / "passport.json").read_text(encoding="utf-8"))["lineage"]
    told["packed"]["inputs"]["reasoned"] = "0" * 64
    rewrite(run, lineage=told)
    assert "packed was made from another reasoned than the one named." in verify(run).faults


def test_the_signature_is_checked_against_a_given_key_alone(run: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    make_key(tmp_path / "other")
    assert verify(run, tmp_path / "key.pub").signature == "not valid"
    sign(run / "passport.json", tmp_path / "key")
    assert verify(run).signature == "not checked"
    assert verify(run, tmp_path / "key.pub").whole
    assert not verify(run, tmp_path / "other.pub").whole
    rewrite(run, exam_opened=1)
    assert not verify(run, tmp_path / "key.pub").whole


def test_later_measurements_are_taken_in_and_nothing_else_is(run: Path) -> None:
    (run / "probe.json").write_text('{"refused": {"thoughts": 3}}', encoding="utf-8")
    (run / "serving.toml").write_text("thinking_budget = 128\n", encoding="utf-8")
    found = verify(run)
    assert found.faults[0] == "probe.json was added after this passport was drawn: rounds passport renew takes it in."
    assert unexpected(found) == ()
    renewed = renew(run)
    write_passport(renewed, run / "passport.json")
    assert renewed.safety == {"refused": {"thoughts": 3}}
    assert renewed.serving == {"thinking_budget": 128}
    assert verify(run).whole
    (run / "report.json").write_text((run / "report.json").read_text() + " ")
    assert unexpected(verify(run)) != ()


def test_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no passport.json, nor has the directory above"):
        home_of(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"rounds": "1"}'])
def test_what_is_no_passport_is_a_sentence(run: Path, text: str) -> None:
    (run / "passport.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="is not a Passport"):
        verify(run)


@pytest.mark.parametrize(("name", "text"), [("probe.json", "["), ("probe.json", "[]"), ("serving.toml", "=")])
def test_a_later_file_that_cannot_be_read_is_a_sentence(run: Path, name: str, text: str) -> None:
    (run / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"{name}: is not (valid|a JSON)"):
        renew(run)
