from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.exam import logs
from rounds.exam.marks import Mark, read_marks, read_table
from rounds.records import UserError


def a_line(number: int, *, named: Sequence[str] = ("acc",), **more: Any) -> dict[str, Any]:
    """One line of samples_*.jsonl as lm-evaluation-harness writes it: a question of two options."""
    return {
        "doc_id": number,
        "doc": {"question": f"Which is likelier? {'x' * 300}", "answer": 1, "subject": "anatomy", "hard": True},
        "target": "1",
        "arguments": {
            "gen_args_0": {"arg_0": "Question: which is likelier?\nAnswer:", "arg_1": " gout"},
            "gen_args_1": {"arg_0": "Question: which is likelier?\nAnswer:", "arg_1": " sprain"},
        },
        "resps": [[["-4.25", "False"]], [["-1.5", "True"]]],
        "filtered_resps": [["-4.25", "False"], ["-1.5", "True"]],
        "filter": "none",
        "metrics": list(named),
        "doc_hash": f"{number:064x}",
        "prompt_hash": "b" * 64,
        "target_hash": "c" * 64,
    } | more


def jsonl(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def document(path: Path, samples: object, **more: Any) -> Path:
    """A .json log as Inspect writes it."""
    log = {
        "version": 2,
        "status": "success",
        "eval": {"task": "diagnosis", "model": "local/model", "dataset": {"name": "diagnosis", "samples": 2}},
        "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}], "config": {}},
        "results": {"total_samples": 2, "completed_samples": 2, "scores": []},
        "stats": {"started_at": "2026-01-01T00:00:00+00:00", "completed_at": "2026-01-01T00:00:01+00:00"},
        "samples": samples,
    }
    path.write_text(json.dumps(log | more, indent=2), encoding="utf-8")
    return path


def a_sample(name: str | int, value: object, epoch: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "epoch": epoch,
        "input": "A man of 60 with sudden chest pain.",
        "target": "aortic dissection",
        "messages": [{"role": "user", "content": "A man of 60."}],
        "output": {"model": "local/model", "choices": [{"message": {"role": "assistant", "content": "Aortic."}}]},
        "scores": {"match": {"value": value, "answer": "aortic dissection", "explanation": "Aortic."}},
        "metadata": {"specialty": "surgery", "age": 60, "notes": ["a"]},
        "events": [{"event": "sample_init"}],
    } | more


def corrects(path: Path, **options: Any) -> list[bool | None]:
    return [mark.correct for mark in read_marks(path, **options)]


def fault(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        read_table(path, **options)
    return str(raised.value).replace(str(path), "log")


# lm-evaluation-harness ---------------------------------------------------------------------------------------------


def test_harness_lines_become_marks(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "samples_task_2026.jsonl", [a_line(0, acc=1.0), a_line(7, acc=0.0)])
    found = read_marks(path)
    groups = {"answer": "1", "subject": "anatomy", "hard": "true"}
    assert found == [
        Mark("0:0000000000000000", True, 1.0, groups=groups),
        Mark("7:0000000000000000", False, 0.0, groups=groups),
    ]
    table = read_table(path, columns=["subject"])
    assert (table.source, table.metric) == ("lm-evaluation-harness", "acc")
    assert list(table.columns) == ["subject"]
    assert "hard" in table.known


def test_the_hash_of_the_document_belongs_to_the_id(tmp_path: Path) -> None:
    rows = [a_line(1, acc=1.0, doc_hash="a" * 64), a_line(1, acc=0.0, doc_hash="b" * 64)]
    assert [mark.case_id for mark in read_marks(jsonl(tmp_path / "x", rows))] == ["1:" + "a" * 16, "1:" + "b" * 16]


def test_older_lines_without_metrics_filter_and_hash(tmp_path: Path) -> None:
    row = {"doc_id": 3, "doc": {}, "target": "x", "arguments": [], "resps": [], "filtered_resps": [], "acc": True}
    (mark,) = read_marks(jsonl(tmp_path / "x", [row]))
    assert (mark.case_id, mark.correct) == ("3", True)


def test_one_of_several_metrics_has_to_be_chosen(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x", [a_line(k, named=["acc", "acc_norm"], acc=1.0, acc_norm=0.0) for k in range(3)])
    assert fault(path) == "log:1: holds several metrics (acc, acc_norm); choose one with --metric acc."
    assert corrects(path, metric="acc_norm") == [False] * 3
    assert fault(path, metric="f1") == "log:1: has no metric 'f1'; use one of acc, acc_norm."
    assert fault(path, metric="doc_id") == "log:1: has no metric 'doc_id'; use one of acc, acc_norm."


def test_one_of_several_filters_has_to_be_chosen(tmp_path: Path) -> None:
    rows = [
        a_line(k, named=["exact_match"], filter=name, exact_match=value)
        for name, value in (("strict-match", 0.0), ("flexible-extract", 1.0))
        for k in range(2)
    ]
    path = jsonl(tmp_path / "x", rows)
    assert fault(path) == (
        "log:3: is filtered by 'flexible-extract' and earlier lines by 'strict-match'; "
        "choose one with --metric exact_match,flexible-extract."
    )
    assert corrects(path, metric="exact_match,flexible-extract") == [True, True]
    assert read_table(path, metric="exact_match,strict-match").metric == "exact_match,strict-match"
    assert fault(path, metric="exact_match,none") == (
        "log: has no line filtered by 'none'; use one of flexible-extract, strict-match."
    )


def test_nothing_is_dichotomised_in_silence(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x", [a_line(0, named=["f1"], f1=1.0), a_line(1, named=["f1"], f1=0.37)])
    assert fault(path) == (
        "log:2: f1 is 0.37, neither 0 nor 1; say from which value on a case counts as right, as in --right-from 0.5."
    )
    assert corrects(path, right_from=0.3) == [True, True]
    assert corrects(path, right_from=0.5) == [True, False]


def test_nan_cannot_be_graded(tmp_path: Path) -> None:
    assert corrects(jsonl(tmp_path / "x", [a_line(0, acc=float("nan")), a_line(1, acc=1)])) == [None, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc": float("inf")}, "log:2: acc is Infinity, not a number or true or false; choose another --metric."),
        ({"acc": "yes"}, 'log:2: acc is "yes", not a number or true or false; choose another --metric.'),
        ({"acc": [1, 0]}, "log:2: acc is [1, 0], not a number"),
        ({"doc_id": None}, "log:2: doc_id null is not an id; write the log anew."),
        ({"doc_id": True}, "log:2: doc_id true is not an id;"),
        ({"doc_hash": 5}, "log:2: doc_hash 5 is not a text; write the log anew."),
        ({"filter": 5}, "log:2: filter is 5, not a text; write the log anew."),
        ({"doc_id": 0, "doc_hash": f"{0:064x}"}, "log:2: case_id '0:0000000000000000' was already on line 1; keep one"),
    ],
)
def test_bad_harness_lines_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = jsonl(tmp_path / "x", [a_line(0, acc=1.0), a_line(1, acc=1.0) | change])
    assert fault(path).startswith(message)


def test_a_line_without_the_metric_and_a_line_cut_short(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x", [a_line(0, acc=1.0), a_line(1, named=["f1"], f1=1.0)])
    assert fault(path) == "log:2: has no metric 'acc'; use one of f1."
    path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    assert fault(path).startswith("log:2: is not JSON (")
    assert fault(jsonl(path, [a_line(0, named=["pair"], pair=[0, 1])])) == (
        "log:1: has no metric that is a number or true or false; choose one with --metric."
    )


def test_aggregated_results_are_not_single_cases(tmp_path: Path) -> None:
    path = tmp_path / "results_2026.json"
    path.write_text(json.dumps({"results": {"task": {"acc,none": 0.5}}}, indent=2), encoding="utf-8")
    assert fault(path).startswith("log: holds the results of lm-evaluation-harness without single cases; run it with")


# Inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_letters_words_and_numbers(tmp_path: Path) -> None:
    values: list[object] = ["C", "I", "P", "N", 1, 0, 1.0, True, False, "yes", "No", "1.0", float("nan"), None]
    path = document(tmp_path / "log.json", [a_sample(k, value) for k, value in enumerate(values)])
    right = [True, False, False, False, True, False, True, True, False, True, False, True, None, None]
    assert corrects(path) == right
    assert corrects(path, right_from=0.5)[2] is True
    table = read_table(path)
    assert (table.source, table.metric) == ("Inspect", "match")
    assert table.marks()[0].groups == {"specialty": "surgery", "age": "60"}


def test_epochs_are_samples_of_one_case(tmp_path: Path) -> None:
    rows = [
        a_sample(name, value, epoch)
        for epoch, pair in enumerate(("CI", "CC", "IC"), 1)
        for name, value in zip("ab", pair, strict=True)
    ]
    marks = read_marks(document(tmp_path / "log.json", rows))
    assert [(m.case_id, m.correct, m.samples) for m in marks] == [("a", True, 3), ("b", True, 3)]
    assert marks[0].share == pytest.approx(2 / 3)


def test_the_same_log_as_archive_and_document(tmp_path: Path) -> None:
    rows = [a_sample(k, "CI"[k % 2]) for k in range(10)]
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as log:
        log.writestr("summaries.json", json.dumps(rows))
    assert read_marks(path) == read_marks(document(tmp_path / "log.json", rows))


def test_version_1_had_one_score_without_a_name(tmp_path: Path) -> None:
    row = a_sample("a", "C")
    del row["scores"]
    path = document(tmp_path / "log.json", [row | {"score": {"value": "C"}}], version=1)
    assert corrects(path) == [True]
    assert read_table(path).metric == "score"


def test_errors_and_invalid_samples_cannot_be_graded(tmp_path: Path) -> None:
    rows = [
        a_sample("a", "C", error={"message": "out of memory"}, scores=None),
        a_sample("b", "C", invalidation={"author": "x"}),
        a_sample("c", "C"),
    ]
    assert corrects(document(tmp_path / "log.json", rows)) == [None, None, True]


def test_a_log_that_was_never_scored_is_refused(tmp_path: Path) -> None:
    path = document(tmp_path / "log.json", [a_sample("a", "C", scores=None), a_sample("b", "C", scores={})])
    assert fault(path) == "log: no sample has a score; score the log with inspect score first."


def test_one_of_several_scores_has_to_be_chosen(tmp_path: Path) -> None:
    scores = {"match": {"value": "C"}, "judge": {"value": {"right": 1, "kind": 0}}}
    path = document(tmp_path / "log.json", [a_sample("a", "C", scores=scores)])
    assert fault(path) == (
        "log: sample a, epoch 1: the log holds several scores (match, judge); choose one with --metric match."
    )
    assert fault(path, metric="f1") == "log: sample a, epoch 1: has no score 'f1'; use one of match, judge."
    assert fault(path, metric="judge") == (
        "log: sample a, epoch 1: score 'judge' has several values (right, kind); choose one with --metric judge,right."
    )
    assert fault(path, metric="judge,rihgt").endswith("score 'judge' has no value 'rihgt'; use one of right, kind.")
    assert corrects(path, metric="judge,kind") == [False]
    assert read_table(path, metric="judge,right").metric == "judge,right"


def test_a_second_scorer_later_in_the_log_is_seen(tmp_path: Path) -> None:
    rows = [a_sample("a", "C"), a_sample("b", "C", scores={"judge": {"value": "C"}})]
    path = document(tmp_path / "log.json", rows)
    assert fault(path).endswith(
        "sample b, epoch 1: the log holds several scores (match, judge); choose one with --metric match."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "log: sample id null is not an id; write the log anew."),
        ({"epoch": 0}, "log: sample b, epoch 0: that is not an epoch, which counts from 1; write the log anew."),
        ({"epoch": "x"}, 'log: sample b, epoch "x": that is not an epoch'),
        ({"id": 4}, "log: sample 4, epoch 1: the log mixes ids of text and of numbers; write every id as text."),
        ({"id": "a"}, "log: sample a, epoch 1 comes twice; write the log anew."),
        ({"scores": [1]}, "log: sample b, epoch 1: scores are [1], not an object; write the log anew."),
        ({"scores": {"match": 1}}, "log: sample b, epoch 1: score 'match' has no value; write the log anew."),
        ({"scores": {"match": {"value": "maybe"}}}, "log: sample b, epoch 1: score 'match' is \"maybe\", not a number"),
        ({"scores": {"match": {"value": [1, 0]}}}, "log: sample b, epoch 1: score 'match' is [1, 0], not a number"),
        ({"scores": {"match": {"value": "inf"}}}, "log: sample b, epoch 1: score 'match' is"),
        ({"scores": {"match": {"value": 0.5}}}, "log: sample b, epoch 1: score 'match' is 0.5, neither 0 nor 1; say"),
    ],
)
def test_bad_samples_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = document(tmp_path / "log.json", [a_sample("a", "C"), a_sample("b", "C") | change])
    assert fault(path).startswith(message)


def test_bad_documents_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = document(tmp_path / "log.json", [5])
    assert fault(path) == "log: holds 5 in place of a sample; write the log anew."
    for samples in ([], None, {"a": 1}):
        assert fault(document(path, samples)) == (
            "log: is an Inspect log without samples; run the evaluation with samples logged."
        )
    whole = document(path, [a_sample("a", "C")]).read_text(encoding="utf-8")
    path.write_text(whole[:-30], encoding="utf-8")
    assert fault(path).startswith("log:")
    assert "is not JSON (" in fault(path)
    path.write_text(whole, encoding="utf-8")
    monkeypatch.setattr(logs, "LONGEST_DOCUMENT", 100)
    assert fault(path).endswith("turn it into an .eval log with inspect log convert.")


# Kinds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08", "log: is compressed; unpack it first."),
        (b"\x28\xb5\x2f\xfd", "log: is compressed; unpack it first."),
        (
            '{"case_id": "a"}'.encode("utf-16"),
            "log: is not UTF-8 but UTF-16 or no text at all; save the file as UTF-8.",
        ),
        ('{"case_id": "a"}'.encode("utf-16-le"), "log: is not UTF-8 but UTF-16 or no text at all"),
        (b"PK\x03\x04" + b"\0" * 40, "log: is damaged or no zip that can be read ("),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert fault(path).startswith(message)


def said(path: Path) -> str:
    """What the reader says against a file, '' when it reads it."""
    try:
        read_marks(path)
    except UserError as error:
        return str(error)
    return ""


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    ["doc_id", "doc", "resps", "filter", "metrics", "doc_hash", "acc", "f1", "case_id", "correct", "answer"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(names, values), min_size=1, max_size=4))
def test_any_lines_are_read_or_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = jsonl(tmp_path_factory.getbasetemp() / "any.jsonl", rows)
    assert "\n" not in said(path)


fields = st.sampled_from(["id", "epoch", "scores", "score", "metadata", "invalidation"])


@settings(max_examples=150, deadline=None)
@given(
    values
    | st.lists(
        st.dictionaries(fields, values | st.fixed_dictionaries({"m": st.fixed_dictionaries({"value": values})})),
        max_size=3,
    )
)
def test_any_samples_are_read_or_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, samples: Any) -> None:
    path = document(tmp_path_factory.getbasetemp() / "any.json", samples)
    assert "\n" not in said(path)
