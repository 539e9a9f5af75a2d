from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from rounds.exam.agreed import Plan, check_departure, family_of, read_plan, write_plan
from rounds.records import UserError

WHY = "a second reader would catch one miss in fifty"
FAMILY = (("base", "distilled"), ("distilled", "packed"))


def a_plan(**changes: Any) -> Plan:
    return Plan(**({"margin": 0.02, "why": WHY, "family": FAMILY, "splits": ("specialty",)} | changes))


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    digest = write_plan(a_plan(metric="acc", right_from=0.5), path)
    assert read_plan(path) == (a_plan(metric="acc", right_from=0.5), digest)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert a_plan().others() == 1


def test_a_plan_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(a_plan(), path)
    with pytest.raises(UserError, match="exists already; a plan is written once: choose another name"):
        write_plan(a_plan(margin=0.05), path)
    assert read_plan(path)[0].margin == 0.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": 2.0}, "margin 2.0 is not a share between 0 and 1"),
        ({"alpha": 0.9}, "alpha 0.9 is not between 0 and 0.5"),
        ({"why": "  "}, "the plan has no reason for its margin; give the clinical reason with --why-margin."),
        ({"family": (("a", "a"),)}, "the family compares a with itself; name two models."),
        ({"family": (("a", "b"), ("a", "b"))}, "the family names a comparison twice;"),
    ],
)
def test_a_poor_plan_is_neither_written_nor_read(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(UserError) as raised:
        write_plan(a_plan(**changes), path)
    assert str(raised.value).startswith(message)
    assert not path.exists()
    path.write_text(a_plan(**changes).model_dump_json(), encoding="utf-8")
    with pytest.raises(UserError) as raised:
        read_plan(path)
    assert str(raised.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("text", ["", "{", '{"margin": 0.02}', '{"margin": NaN}', '{"margin": 0.02, "wyh": "x"}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"plan\.json: is not a Plan \(.*\); make it anew\."):
        read_plan(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_plan(tmp_path / "none.json")


def fault(names: tuple[str, str] = FAMILY[0], by: tuple[str, ...] = (), **given: object) -> str:
    with pytest.raises(UserError) as raised:
        check_departure(a_plan(), names, given, by)
    return str(raised.value)


def test_departures_are_refused_in_one_sentence() -> None:
    check_departure(a_plan(), FAMILY[1], {"margin": 0.02, "alpha": 0.01}, ["specialty"])
    assert fault(("base", "packed")) == (
        "packed against base is not in the plan (distilled against base; packed against distilled); "
        "compare what was agreed."
    )
    assert fault(("distilled", "base")).startswith("base against distilled is not in the plan")
    assert fault(margin=0.05) == (
        "--margin 0.05 departs from the plan, which says 0.02; leave the option out, or agree on another plan before "
        "the answers exist."
    )
    assert fault(right_from=0.5).startswith("--right-from 0.5 departs from the plan, which says none;")
    assert fault(by=("ward",)) == "--by ward departs from the plan, which splits by specialty."


def test_families_are_read() -> None:
    assert family_of("base:distilled, distilled:packed") == FAMILY
    for text in ("base", "base:", ":packed", "a:b:c", "a:b,"):
        with pytest.raises(UserError, match=r"is not BEFORE:AFTER; write base:distilled,distilled:packed"):
            family_of(text)
