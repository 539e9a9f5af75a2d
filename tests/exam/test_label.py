"""A sheet is blinded and in every rater's own order; labels survive, and agreement is what it says it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds import files
from rounds.exam.label import (
    DENIED,
    INVENTED,
    ITEMS,
    KEY,
    QUESTIONS,
    Item,
    Label,
    Secret,
    agreement,
    checked,
    make,
    read,
)
from rounds.grade.mark import Marker
from rounds.grade.modes import DRIFT
from rounds.knowledge.base import load
from rounds.records import Case, Prompt, Sampling, Trace, UserError

CASES = [
    Case(
        id=f"c{n}",
        vignette=f"Patient {n} has joint pain.",
        diagnosis="gout",
        condition="gout",
        present=("joint_pain",),
        must_not_miss=("septic arthritis",),
    )
    for n in range(20)
]


def answer(case: Case, model: str, *, wrong: bool = False, slip: str = "") -> Trace:
    return Trace(
        prompt=Prompt(case_id=case.id, template="differential@1", messages=()),
        model=model,
        engine="secret-engine",
        sampling=Sampling(),
        thinking=f"Joint pain fits gout. {slip}Most likely: gout.",
        reply="1. asthma\n2. gonorrhoea" if wrong else "1. gout\n2. asthma",
        finish="stop",
        thinking_tokens=1,
        reply_tokens=1,
    )


@pytest.fixture(scope="module")
def marker() -> Marker:
    return Marker(load())


@pytest.fixture
def traces() -> list[Trace]:
    return [
        answer(case, "secret-model", wrong=n < 8, slip="There is fever. " * (n % 2)) for n, case in enumerate(CASES)
    ]


def test_a_sheet_hides_the_model_and_what_rules_found(tmp_path: Path, traces: list[Trace], marker: Marker) -> None:
    sheet = make(tmp_path / "sheet", CASES, traces, marker, count=None, seed=1)
    seen = (tmp_path / "sheet" / ITEMS).read_text(encoding="utf-8")
    assert "secret" not in seen
    assert "c1" not in seen
    assert not [label for label in QUESTIONS if label in seen]
    kept = list(files.read_jsonl(tmp_path / "sheet" / KEY, Secret))
    assert {secret.model for secret in kept} == {"secret-model"}
    assert len(sheet.items) == len(kept) == 20
    for item, secret in zip(sheet.items, kept, strict=True):
        assert item.vignette == f"Patient {secret.case_id[1:]} has joint pain."
        assert (INVENTED in secret.found) == ("fever" in item.thinking)
        assert (DRIFT in secret.found) == ("asthma" in item.reply.splitlines()[0])
    assert [secret.case_id for secret in kept] != [case.id for case in CASES]
    assert read(tmp_path / "sheet") == sheet


def test_the_same_seed_draws_the_same(tmp_path: Path, traces: list[Trace], marker: Marker) -> None:
    one, two, other = (
        make(tmp_path / name, CASES, traces, marker, count=8, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.items == two.items != other.items


@pytest.mark.parametrize(("count", "wrong"), [(8, 6), (4, 3), (12, 8), (20, 8), (99, 8), (1, 1)])
def test_three_in_four_are_wrong_while_there_are_some(
    count: int, wrong: int, tmp_path: Path, traces: list[Trace], marker: Marker
) -> None:
    sheet = make(tmp_path / "sheet", CASES, traces, marker, count=count, seed=3)
    assert len(sheet.items) == min(count, 20)
    assert sum(item.reply.startswith("1. asthma") for item in sheet.items) == wrong


def test_every_rater_has_an_order_of_their_own(tmp_path: Path, traces: list[Trace], marker: Marker) -> None:
    sheet = make(tmp_path / "sheet", CASES, traces, marker, count=None, seed=1)
    assert sheet.order("anna") == sheet.order("anna") != sheet.order("ben")
    assert sorted(item.id for item in sheet.order("ben")) == [item.id for item in sheet.items]


def test_labels_are_kept_replaced_and_read_anew(tmp_path: Path, traces: list[Trace], marker: Marker) -> None:
    sheet = make(tmp_path / "sheet", CASES, traces, marker, count=None, seed=1)
    first, second = (item.id for item in sheet.items[:2])
    sheet.save("anna", Label(item=first, marks=(DRIFT,)))
    sheet.save("anna", Label(item=second, marks=(), cannot_tell=True))
    sheet.save("anna", Label(item=first, marks=()))
    assert sheet.labels("anna") == {
        first: Label(item=first, marks=()),
        second: Label(item=second, marks=(), cannot_tell=True),
    }
    assert sheet.labels("ben") == {}
    assert sheet.raters() == ["anna"]
    assert not list((tmp_path / "sheet").glob(".*"))


def test_agreement_of_raters_and_of_rules(tmp_path: Path, traces: list[Trace], marker: Marker) -> None:
    sheet = make(tmp_path / "sheet", CASES, traces, marker, count=None, seed=1)
    assert agreement(sheet) == []
    truth = {item.id: ((INVENTED,) if "fever" in item.thinking else ()) for item in sheet.items}
    for item in sheet.items:
        sheet.save("anna", Label(item=item.id, marks=truth[item.id]))
    (alone,) = [row for row in agreement(sheet) if row.label == INVENTED]
    assert (alone.first, alone.second, alone.n, alone.kappa.value) == ("anna", "rules", 20, 1.0)
    slips = [item.id for item in sheet.items if truth[item.id]][:3]
    unsure = next(item.id for item in sheet.items if not truth[item.id])
    for name, marks in truth.items():
        sheet.save("ben", Label(item=name, marks=() if name in slips else marks, cannot_tell=name == unsure))
    rows = {(row.first, row.second): row for row in agreement(sheet) if row.label == INVENTED}
    assert set(rows) == {("anna", "ben"), ("all raters", "rules")}
    both = rows["anna", "ben"]
    assert both.n == 19
    assert both.kappa.value is not None
    assert 0 < both.kappa.value < 1
    assert both.kappa.interval.low < both.kappa.value
    assert both.positive[0] > both.positive[1]
    # The rules are held against what both say alike, and there they are right.
    agreed = rows["all raters", "rules"]
    assert agreed.n == 16
    assert agreed.kappa.value == 1.0
    never = [row for row in agreement(sheet) if row.label == DENIED and row.first == "anna"]
    assert [row.kappa.value for row in never] == [None]
    assert [row.pabak.value for row in never] == [1.0]


@pytest.mark.parametrize("name", ["", "Anna", "a b", "../a", "a" * 33, "-a", "ä", "a\n"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="must be 1 to 32 small letters, digits or hyphens"):
        checked(name)


def test_faults_are_one_sentence(tmp_path: Path, traces: list[Trace], marker: Marker) -> None:
    with pytest.raises(UserError, match="holds no sheet; make one with --cases and --answers"):
        read(tmp_path)
    with pytest.raises(UserError, match="exists already; go on with it by leaving out"):
        make(tmp_path, CASES, traces, marker, count=None, seed=0)
    with pytest.raises(UserError, match="0 answers to label"):
        make(tmp_path / "a", CASES, [], marker, count=None, seed=0)
    with pytest.raises(UserError, match="answer to case 'c19': no such case"):
        make(tmp_path / "a", CASES[:19], traces, marker, count=None, seed=0)
    assert not (tmp_path / "a").exists()
    (tmp_path / ITEMS).write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="has 0 items"):
        read(tmp_path)
    (tmp_path / ITEMS).write_text("{}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"items\.jsonl:1: is not a Item"):
        read(tmp_path)


def test_an_item_shows_what_a_rater_needs(tmp_path: Path, traces: list[Trace], marker: Marker) -> None:
    sheet = make(tmp_path / "sheet", CASES, traces[:1], marker, count=None, seed=1)
    assert sheet.items == (
        Item(
            id="item-0001",
            vignette="Patient 0 has joint pain.",
            diagnosis="gout",
            red_flags=(),
            must_not_miss=("septic arthritis",),
            thinking=traces[0].thinking,
            reply=traces[0].reply,
        ),
    )
