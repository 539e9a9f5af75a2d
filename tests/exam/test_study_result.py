"""Cochran's Q over what all models share, floors, clusters, and all pairs without findings."""

from __future__ import annotations

import pytest

from rounds.exam.marks import Mark
from rounds.exam.study import Study
from rounds.exam.study_answers import Sat
from rounds.exam.study_page import omnibus_sentences, render
from rounds.exam.study_result import Result, judge, omnibus
from rounds.records import Answer, Case, Grade

PAIRS = [{"before": "a", "after": "b"}]


def a_study(**change: object) -> Study:
    models = [{"name": name, "marks": {"path": f"{name}.jsonl"}} for name in "abc"]
    rules = {"title": "T", "margin": 0.05, "why_margin": "one case in twenty", "pair": PAIRS, "model": models}
    return Study.model_validate({**rules, **change})


def marks(text: str, samples: int = 1) -> list[Mark]:
    """One mark a letter: 1 right, 0 wrong, ? not gradable, - absent."""
    told = {"1": True, "0": False, "?": None}
    return [
        Mark(str(i), told[c], None if told[c] is None else float(told[c] is True), samples, None, {"ward": "ab"[i % 2]})
        for i, c in enumerate(text)
        if c != "-"
    ]


def judged(study: Study, *texts: str, samples: int = 1) -> Result:
    found = {name: Sat(marks(text, samples)) for name, text in zip("abc", texts, strict=True)}
    return judge(study, found, (), machine={}, digests={})


def test_cochran_of_a_known_table() -> None:
    # Column sums 9, 5 and 4 of twelve cases: Q = 5.5556, p = .062177 (statsmodels and pingouin agree).
    rows = ["111", "111", "000", "100", "100", "100", "100", "100", "010", "001", "110", "101"]
    found = omnibus({name: marks("".join(column)) for name, column in zip("abc", zip(*rows, strict=True), strict=True)})
    assert (found.models, found.degrees, found.cases, found.left_out) == (3, 2, 12, 0)
    assert found.q == pytest.approx(50 / 9)
    assert found.p == pytest.approx(0.062177, abs=5e-7)


def test_only_cases_that_all_were_graded_on_count() -> None:
    found = omnibus({"a": marks("11?0-"), "b": marks("1110-"), "c": marks("10111")})
    assert (found.cases, found.left_out) == (3, 2)
    apart = omnibus({"a": marks("1---"), "b": marks("-1--"), "c": marks("--1-")})
    assert (apart.cases, apart.left_out, apart.q, apart.p) == (0, 3, 0.0, 1.0)
    assert omnibus_sentences(apart, 0.01)[1] == "No case was graded for every model, so nothing was shown."


@pytest.mark.parametrize("texts", [("1", "0", "1"), ("11111", "11111", "11111"), ("00000", "00000", "00000")])
def test_tiny_and_concordant_sets(texts: tuple[str, str, str]) -> None:
    found = judged(a_study(all_pairs=True), *texts)
    assert found.report.verdicts[0].finding == "too few cases"
    assert [verdict.p_holm for verdict in found.all_pairs] == [1.0, 1.0, 1.0]
    sentence = omnibus_sentences(found.omnibus, 0.01)[1]
    assert sentence == "No difference among the models was shown. This does not say that they are equal."


def test_holm_is_over_named_pairs_for_gains_and_over_all_pairs_both_ways() -> None:
    old, new = "0" * 12 + "1" * 40, "1" * 52
    found = judged(a_study(all_pairs=True), old, new, old)
    (named,) = found.report.verdicts
    assert named.p_holm == named.p_exact == pytest.approx(2 * 0.5**12)
    ab, ac, bc = found.all_pairs
    assert (ab.before, ab.after, bc.difference) == ("a", "b", pytest.approx(-12 / 52))
    # Two of three are apart: three times the least, then at least as much for the second.
    assert [ab.p_holm, bc.p_holm, ac.p_holm] == pytest.approx([3 * ab.p_exact, 3 * ab.p_exact, 1.0])
    assert {verdict.finding for verdict in found.all_pairs} == {None}


def test_samples_and_clusters_are_told_and_floors_of_nothing_are_not() -> None:
    text = "10110111010111"
    assert judged(a_study(), text, text, text).report.notes == ()
    assert "14 cases with their samples as clusters" in judged(a_study(), text, text, text, samples=3).report.notes[0]
    found = judged(a_study(cluster="ward", floors={"right": 0.5}), text, text, text).report
    assert "with 2 values of ward as clusters" in found.notes[0]
    ((floor),) = found.floors
    assert (floor.model, floor.hits, floor.n, floor.met) == ("b", 10, 14, False)


def test_figures_of_answers_stand_beside_those_of_marks() -> None:
    grades = [
        Grade(case_id="1", answer=Answer(case_id="1"), correct=True, rank=1, thinking_tokens=8, total_s=2.0),
        Grade(case_id="2", answer=Answer(case_id="2", unreadable=True), correct=False, total_s=4.0),
        Grade(case_id="9", answer=Answer(case_id="9"), correct=True),
    ]
    whole = [Mark("1", True, 1.0), Mark("2", False, 0.0)]
    outside = Case(id="9", vignette="x", diagnosis="", outside=True)
    found = {"a": Sat(whole, grades), "b": Sat(whole, grades), "c": Sat(whole)}
    report = judge(a_study(floors={"abstention": 0.1}), found, [outside], machine={}, digests={}).report
    row = report.models["a"]
    assert (row["cases"], row["right"], row["top1"], row["unreadable"]) == (2, 0.5, 0.5, 1)
    assert (row["thinking_tokens"], row["seconds"]) == (4.0, 3.0)
    assert "top1" not in report.models["c"]
    assert [(floor.name, floor.hits, floor.n) for floor in report.floors] == [("abstention outside", 1, 1)]


def test_the_page_is_one_static_file_and_escapes_every_name() -> None:
    import base64
    import hashlib
    import re

    old, new = "0" * 12 + "1" * 40, "1" * 52
    study = a_study(title="<script>alert(1)</script>", by=["ward"], all_pairs=True, floors={"right": 0.9})
    page = render(judged(study, old, new, old), "cases.html")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    style = page.partition("<style>")[2].partition("</style>")[0]
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{allowed}'" in page
    assert re.findall(r"(?:src|href)=\"(?!#)([^\"]*)\"", page) == ["cases.html"]
    assert "http" not in page.replace("http-equiv", "")
    # Q stands before any pair, and every pair and group is there.
    assert page.index("Cochran") < page.index("The named pairs") < page.index("By ward") < page.index("to explore")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_kinds_of_question_that_were_routed_are_shown_apart() -> None:
    models = [{"name": name, "endpoint": "http://127.0.0.1:9/v1"} for name in "abc"]
    kinds = ("choice", "evidence")
    cases = [Case(id=str(i), vignette="v", diagnosis="d", kind=kinds[i % 2]) for i in range(4)]
    sat = {name: Sat([Mark(str(i), i != 1, float(i != 1), 1, None, {"kind": kinds[i % 2]}) for i in range(4)])
           for name in "abc"}  # fmt: skip

    def groups(**change: object) -> list[str]:
        found = judge(
            a_study(model=models, cases={"file": "cases.jsonl"}, **change), sat, cases, machine={}, digests={}
        )
        return [cell.group for cell in found.report.cells]

    assert groups(template="auto") == ["kind=choice", "kind=evidence"] == groups(template="auto", by=("kind",))
    assert groups() == []
