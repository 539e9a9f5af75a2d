"""Releases are kept whole, and the way back is one rename."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rounds.chain.passport_verify import verify
from rounds.records import UserError
from rounds.serve.operate_release import in_service, point, release, releases, rollback
from rounds.serve.signing import make_key, sign
from rounds.serve.standing import find

Make = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, make_run: Make) -> Path:
    return make_run(tmp_path / "mine")


def made_anew(run: Path, make_run: Make, tmp_path: Path, **given: str) -> None:
    """The run is made again with other weights, as `rounds run` does: whole directories take the old ones' place."""
    other = make_run(tmp_path / f"again {len(list(tmp_path.iterdir()))}", **given)
    for name in ("packed", "passport.json", "report.json", "cases", "grades", "base", "reasoned"):
        (run / name).rename(other / f"old {name.replace('/', '-')}")
        (other / name).rename(run / name)


def test_a_release_is_served_and_outlives_the_run(run: Path, tmp_path: Path, make_run: Make) -> None:
    first = release(run)
    assert in_service(run) == first.name == first.passport[:16]
    served = find(run, unproven=False)
    assert served.standing.word == first.standing == "demonstration"
    assert served.home == run
    assert os.stat(served.checkpoint / "config.json").st_nlink == 2  # no second copy of the weights
    made_anew(run, make_run, tmp_path, weights="heavier")
    assert find(run, unproven=False).standing.passport == first.passport
    assert verify(run / "served").whole
    second = release(run)
    assert second.name != first.name
    assert [one.name for one in releases(run)] == [first.name, second.name]
    assert find(run, unproven=False).standing.checkpoint == second.checkpoint
    assert rollback(run).name == first.name
    assert find(run, unproven=False).standing.checkpoint == first.checkpoint
    with pytest.raises(UserError, match="no earlier release"):
        rollback(run)
    assert rollback(run, second.name[:6]).name == second.name


def test_what_was_not_passed_is_not_released(tmp_path: Path, make_run: Make) -> None:
    run = make_run(tmp_path / "lost", finding="lost")
    with pytest.raises(UserError, match=f"{run}: passport.json holds a verdict that is lost; --unproven"):
        release(run)
    assert in_service(run) == ""
    assert releases(run) == []
    assert not list((run / "operation").rglob("packed"))
    assert release(run, unproven=True).standing == "unproven"
    with pytest.raises(UserError, match="holds a verdict that is lost"):
        rollback(run, in_service(run))


def test_a_signature_may_be_demanded_and_given_later(run: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    with pytest.raises(UserError, match="nobody has signed"):
        release(run, public_key=tmp_path / "key.pub")
    made = release(run)
    sign(run / "passport.json", tmp_path / "key")
    assert release(run, public_key=tmp_path / "key.pub").name == made.name
    assert [one.name for one in releases(run)] == [made.name]


def test_a_release_that_was_changed_is_not_gone_back_to(run: Path, tmp_path: Path, make_run: Make) -> None:
    first = release(run)
    made_anew(run, make_run, tmp_path, weights="heavier")
    second = release(run)
    kept = run / "operation" / "releases" / first.name / "packed" / "config.json"
    kept.unlink()
    kept.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="its digest differs"):
        rollback(run)
    assert in_service(run) == second.name


def test_nothing_to_release_or_name(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="finish the run first"):
        release(tmp_path)
    with pytest.raises(UserError, match=r"release 'x' names 0 releases; give one of: none yet"):
        rollback(run, "x")
    (run / "served").mkdir()
    with pytest.raises(UserError, match="is no link"):
        point(run, "a")


def test_the_list_is_one_line_a_release(run: Path) -> None:
    made = release(run)
    (line,) = (run / "operation" / "releases.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == made.model_dump()
