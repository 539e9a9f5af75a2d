from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rounds.cli import compare
from rounds.cli.main import main
from rounds.files import write_jsonl
from rounds.records import Answer, Grade, Prompt, Sampling, Trace, UserError

KEYS = [
    "n",
    "both",
    "only_before",
    "only_after",
    "neither",
    "unpaired_before",
    "unpaired_after",
    "ungradable",
    "difference",
    "tango",
    "newcombe",
    "p_exact",
    "p_midp",
    "p_noninferior",
    "finding",
    "cases_needed",
    "minimum_detectable",
]


def arguments(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    compare.configure(parser)
    return parser.parse_args([str(word) for word in words])


def write_marks(path: Path, text: str) -> Path:
    right: dict[str, bool | None] = {"r": True, "w": False, "?": None}
    rows: list[dict[str, Any]] = [
        {"case_id": f"c{k}", "correct": right[letter], "specialty": ("surgery", "neurology")[k % 2]}
        for k, letter in enumerate(text)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def gained(tmp_path: Path) -> tuple[Path, Path]:
    before = write_marks(tmp_path / "base.jsonl", "r" * 97 + "w" * 8 + "w" * 5)
    return before, write_marks(tmp_path / "distilled.jsonl", "r" * 97 + "r" * 8 + "w" * 5)


def test_json_has_the_shape_of_the_gate(gained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.run(arguments(*gained, "--margin", 0.05, "--by", "specialty", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["overall", "groups", "holm", "alpha", "margin"]
    assert list(found["overall"]) == KEYS
    assert list(found["groups"]) == ["specialty"]
    assert list(found["groups"]["specialty"]) == ["neurology", "surgery"]
    assert list(found["groups"]["specialty"]["surgery"]) == KEYS
    assert found["groups"]["specialty"]["surgery"]["finding"] is None
    assert (found["alpha"], found["margin"]) == (0.01, 0.05)
    assert found["holm"] == {"accuracy": pytest.approx(0.0078125)}
    overall = found["overall"]
    assert (overall["n"], overall["both"], overall["only_before"], overall["only_after"]) == (110, 97, 0, 8)
    assert overall["difference"] == pytest.approx(8 / 110)
    assert overall["tango"] == pytest.approx([0.0365, 0.1370], abs=5e-5)
    assert overall["newcombe"] == pytest.approx([0.0215, 0.1365], abs=5.1e-5)
    assert overall["finding"] == "gained"


def test_text(gained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.run(arguments(*gained, "--margin", 0.05, "--by", "specialty")) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "accuracy: gained"
    assert "distilled was right on more cases than base" in out
    assert "difference +7.3 points, 95 % interval +3.7 to +13.7 (Tango), 110 cases" in out
    assert "exact p = .0078, mid-p = .0039" in out
    assert "specialty=surgery" in out
    assert out.isascii()


@pytest.mark.parametrize(
    ("before", "after", "margin", "code", "finding"),
    [
        ("r" * 100, "r" * 88 + "w" * 12, 0.5, 1, "lost"),
        ("r" * 300, "r" * 300, 0.02, 0, "kept"),
        ("r" * 30, "r" * 30, 0.02, 3, "too few cases"),
        ("r", "w", 0.02, 3, "too few cases"),
        ("?", "r", 0.02, 3, "too few cases"),
        ("r" * 30, "r" * 30, 0.2, 0, "kept"),  # one class only, all concordant, enough for a wide margin
        ("w" * 30, "w" * 30, 0.02, 3, "too few cases"),
        ("rw" * 15, "rw" * 15, 0.02, 3, "too few cases"),
        ("w" * 30, "r" * 30, 0.02, 0, "gained"),
    ],
)
def test_exit_codes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: str,
    after: str,
    margin: float,
    code: int,
    finding: str,
) -> None:
    files = write_marks(tmp_path / "before.jsonl", before), write_marks(tmp_path / "after.jsonl", after)
    assert compare.run(arguments(*files, "--margin", margin)) == code
    text = capsys.readouterr().out
    assert text.startswith(f"accuracy: {finding}\n")
    if finding == "too few cases" and before != "?":
        assert "This does not say that the two are equal." in text


def test_what_is_left_out_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_marks(tmp_path / "before.jsonl", "rr?rr"), write_marks(tmp_path / "after.jsonl", "rrr")
    compare.run(arguments(*files, "--margin", 0.05))
    assert "left out: 2 only before, 0 only after, 1 not gradable" in capsys.readouterr().out


def test_page(gained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "out" / "look.html"
    why = "one miss in fifty is what a second reader would catch"
    words = arguments(*gained, "--margin", 0.02, "--why-margin", why, "--by", "specialty", "--html", page)
    assert compare.run(words) == 0
    text = page.read_text(encoding="utf-8")
    assert why in text
    assert "distilled against base" in text
    assert "Demonstration, not for patients" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--margin", "2"], "margin 2.0 is not a share between 0 and 1; write 0.02 for two points of a hundred."),
        (
            ["--margin", "0.02", "--alpha", "0.9"],
            "alpha 0.9 is not between 0 and 0.5; write 0.01 for one in a hundred.",
        ),
        (["--margin", "0.02", "--by", "ward"], "no case has the column 'ward'; use one of specialty."),
        (["--margin", "0.02", "--html", "x.html"], "--html needs --why-margin: a page with a margin must say why;"),
        (["--margin", "nan"], "margin nan is not a share between 0 and 1;"),
        (["--margin", "0.02", "--alpha", "nan"], "alpha nan is not between 0 and 0.5;"),
        (["--margin", "0.02", "--cluster", "ward"], "no case has the column 'ward'; use one of specialty."),
        (["--margin", "0.02", "--seed", "-1"], "--seed -1 is below 0; give a whole number from 0 on."),
        (["--margin", "0.02", "--metric", "acc"], "--metric and --right-from are for logs of other programs; both"),
        (["--margin", "0.02", "--right-from", "1"], "--metric and --right-from are for logs of other programs; both"),
        (["--margin", "0.02", "--family", "a:b"], "--family belongs to --write-plan; a comparison takes its family"),
        (["--margin", "0.02", "--write-plan", "p.json"], "--write-plan needs --margin and --why-margin; a plan states"),
        (["--write-plan", "p.json"], "--write-plan needs --margin and --why-margin; a plan states the margin"),
    ],
)
def test_faults(gained: tuple[Path, Path], options: list[str], message: str) -> None:
    with pytest.raises(UserError) as raised:
        compare.run(arguments(*gained, *options))
    assert str(raised.value).startswith(message)


def test_the_margin_has_no_default(gained: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="--margin is missing and has no default; state the largest loss you would"):
        compare.run(arguments(*gained))


def test_both_files_are_needed(gained: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="two files of marks are needed; write rounds compare BEFORE AFTER"):
        compare.run(arguments(gained[0], "--margin", 0.02))


def test_one_file_twice_is_refused(gained: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="is given twice"):
        compare.run(arguments(gained[0], gained[0], "--margin", 0.02))


def write_grades(path: Path, right: int) -> Path:
    path.parent.mkdir(parents=True)
    answer = Answer(case_id="c", diagnoses=("pulmonary embolism",))
    write_jsonl(
        path,
        [
            Grade(case_id=f"c{k}", answer=answer, correct=k < right, red_flags_named=int(k < right), red_flags_total=1)
            for k in range(20)
        ],
    )
    return path


def test_grades_are_compared_under_the_names_of_their_directories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        write_grades(tmp_path / model / "grades.jsonl", right) for model, right in (("base", 8), ("distilled", 19))
    ]
    assert compare.run(arguments(*files, "--margin", 0.02, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["overall", "red_flags", "groups", "holm", "alpha", "margin"]
    assert set(found["holm"]) == {"accuracy", "red flags"}
    compare.run(arguments(*files, "--margin", 0.02))
    assert "distilled was right on more cases than base" in capsys.readouterr().out


def test_bootstrap_and_clusters_are_added_when_asked_for(
    gained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*gained, "--margin", 0.05, "--by", "specialty", "--seed", 7, "--cluster", "specialty")
    compare.run(arguments(*words, "--json"))
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["overall", "groups", "holm", "alpha", "margin", "clustered", "seed"]
    assert found["seed"] == 7
    assert list(found["clustered"]) == [
        "column",
        "clusters",
        "difference",
        "interval",
        "bootstrap",
        "p",
        "p_noninferior",
        "seed",
    ]
    assert (found["clustered"]["column"], found["clustered"]["clusters"]) == ("specialty", 2)
    cell = found["groups"]["specialty"]["surgery"]
    assert cell["bootstrap"][0] <= cell["difference"] <= cell["bootstrap"][1]
    assert (cell["finding"], cell["p_noninferior"]) == (None, None)
    compare.run(arguments(*words))
    out = capsys.readouterr().out
    assert "2 clusters (values of specialty): +7.3 points" in out
    assert "(BCa, 10,000 resamples, seed 7)" in out
    assert out.isascii()


def test_cells_have_neither_finding_nor_star(gained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    compare.run(arguments(*gained, "--margin", 0.05, "--by", "specialty"))
    cells = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  specialty=")]
    assert len(cells) == 2
    assert not any(word in line for line in cells for word in ("gained", "kept", "lost", "few", "*", "p =", "p <"))


def write_samples(path: Path, right: dict[str, list[bool]]) -> Path:
    answer = Answer(case_id="c", diagnoses=("pulmonary embolism",))
    marks = [(name, k, mark) for name, every in right.items() for k, mark in enumerate(every)]
    write_jsonl(path, [Grade(case_id=name, sample=k, answer=answer, correct=mark) for name, k, mark in marks])
    return path


def test_samples_are_clustered_by_their_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = write_samples(tmp_path / "a.jsonl", {f"c{k}": [k < 10, k < 12, False] for k in range(20)})
    after = write_samples(tmp_path / "b.jsonl", {f"c{k}": [k < 10, k < 15, True] for k in range(20)})
    compare.run(arguments(before, after, "--margin", 0.05, "--json"))
    found = json.loads(capsys.readouterr().out)
    assert (found["overall"]["n"], found["overall"]["only_after"]) == (20, 5)
    assert (found["clustered"]["column"], found["clustered"]["clusters"]) == ("case", 20)
    assert found["clustered"]["difference"] == pytest.approx(23 / 60)
    compare.run(arguments(before, after, "--margin", 0.05))
    assert "20 clusters (cases, their samples together): +38.3 points" in capsys.readouterr().out


def write_harness(path: Path, rows: list[dict[str, Any]]) -> Path:
    fixed = {"doc": {"subject": "anatomy"}, "target": "1", "arguments": {}, "resps": [], "filtered_resps": []}
    lines = [
        fixed
        | {"doc_id": k, "filter": "none", "metrics": list(row), "doc_hash": f"{k:064x}", "prompt_hash": "b" * 64}
        | {"target_hash": "c" * 64}
        | row
        for k, row in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def write_inspect(path: Path, values: str) -> Path:
    samples = [{"id": k, "epoch": 1, "scores": {"match": {"value": value}}} for k, value in enumerate(values)]
    log = {"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "samples": samples}
    path.write_text(json.dumps(log, indent=1), encoding="utf-8")
    return path


def test_logs_of_other_programs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = write_harness(tmp_path / "samples_a.jsonl", [{"acc": 0.0, "f1": 0.2}] * 12)
    after = write_harness(tmp_path / "samples_b.jsonl", [{"acc": 1.0, "f1": 0.4}] * 12)
    assert compare.run(arguments(before, after, "--margin", 0.05, "--metric", "acc", "--by", "subject")) == 0
    out = capsys.readouterr().out
    assert "samples_a: log of lm-evaluation-harness, counted by acc" in out
    assert "subject=anatomy" in out
    words = (before, after, "--margin", 0.05, "--metric", "f1", "--right-from", 0.3, "--json")
    assert compare.run(arguments(*words)) == 0
    assert json.loads(capsys.readouterr().out)["overall"]["only_after"] == 12
    logs = write_inspect(tmp_path / "a.json", "I" * 12), write_inspect(tmp_path / "b.json", "C" * 12)
    assert compare.run(arguments(*logs, "--margin", 0.05)) == 0
    assert "a: log of Inspect, counted by match" in capsys.readouterr().out


def test_two_different_figures_are_not_compared(tmp_path: Path) -> None:
    files = [write_harness(tmp_path / f"{name}.jsonl", [{name: 1.0}] * 3) for name in ("acc", "exact_match")]
    with pytest.raises(UserError) as raised:
        compare.run(arguments(*files, "--margin", 0.05))
    assert str(raised.value) == "acc counts 'acc' and exact_match 'exact_match'; choose one figure with --metric."


WHY = "one miss in fifty is what a second reader would catch"


def test_a_plan_is_written_before_the_answers_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.json"
    before, after = tmp_path / "base.jsonl", tmp_path / "distilled.jsonl"
    words = ("--margin", 0.05, "--why-margin", WHY, "--by", "specialty", "--write-plan", plan)
    assert compare.run(arguments(before, after, *words)) == 0
    digest = hashlib.sha256(plan.read_bytes()).hexdigest()
    out = capsys.readouterr().out
    assert f"SHA-256 {digest}" in out
    assert "planned: distilled against base" in out
    write_marks(before, "r" * 97 + "w" * 8 + "w" * 5)
    write_marks(after, "r" * 97 + "r" * 8 + "w" * 5)
    assert compare.run(arguments(before, after, "--plan", plan, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["plan"], found["margin"], found["alpha"]) == (digest, 0.05, 0.01)
    assert list(found["groups"]) == ["specialty"]
    assert compare.run(arguments(before, after, "--plan", plan)) == 0
    assert f"plan SHA-256 {digest}, 1 in the family" in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert compare.run(arguments(before, after, "--plan", plan, "--html", page)) == 0
    assert WHY in page.read_text(encoding="utf-8")
    assert digest in page.read_text(encoding="utf-8")


def test_the_family_of_a_plan_counts(
    gained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    words = ("--margin", 0.05, "--why-margin", WHY, "--family", "base:distilled,distilled:packed", "--json")
    assert compare.run(arguments("--write-plan", plan, *words)) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"plan", "digest"}
    compare.run(arguments(*gained, "--plan", plan, "--json"))
    found = json.loads(capsys.readouterr().out)
    assert found["holm"]["accuracy"] == pytest.approx(2 * 0.0078125)
    assert found["overall"]["finding"] == "kept"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--margin", "0.05"], "--margin 0.05 departs from the plan, which says 0.02; leave the option out, or"),
        (["--alpha", "0.05"], "--alpha 0.05 departs from the plan, which says 0.01;"),
        (["--by", "specialty"], "--by specialty departs from the plan, which splits by none."),
        (["--cluster", "specialty"], "--cluster specialty departs from the plan, which says none;"),
        (["--metric", "acc"], "--metric acc departs from the plan, which says none;"),
        (["--plan", "none.json"], "none.json: cannot be read"),
        (["--write-plan", "x.json", "--margin", "0.1", "--why-margin", "w"], "--write-plan only writes a plan; leave"),
    ],
)
def test_departures_from_the_plan_are_refused(
    gained: tuple[Path, Path], tmp_path: Path, options: list[str], message: str
) -> None:
    plan = tmp_path / "plan.json"
    compare.run(arguments(*gained, "--margin", 0.02, "--why-margin", WHY, "--write-plan", plan))
    with pytest.raises(UserError) as raised:
        compare.run(arguments(*gained, "--plan", plan, *options))
    assert str(raised.value).startswith(message)


def test_a_comparison_outside_the_plan_is_refused(gained: tuple[Path, Path], tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    compare.run(arguments(*gained, "--margin", 0.02, "--why-margin", WHY, "--write-plan", plan))
    with pytest.raises(UserError, match="base against distilled is not in the plan"):
        compare.run(arguments(*reversed(gained), "--plan", plan))


def test_a_plan_needs_names(tmp_path: Path) -> None:
    words = ("--write-plan", tmp_path / "plan.json", "--margin", 0.02, "--why-margin", WHY)
    with pytest.raises(UserError, match="--write-plan needs BEFORE and AFTER, or --family base:distilled; name what"):
        compare.run(arguments(*words))


def test_a_page_of_many_cases_has_no_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "GRID", 20)
    page = tmp_path / "page.html"
    for count, grid in ((20, True), (21, False)):
        files = write_marks(tmp_path / "a.jsonl", "r" * count), write_marks(tmp_path / "b.jsonl", "r" * count)
        compare.run(arguments(*files, "--margin", 0.02, "--why-margin", WHY, "--html", page))
        assert ("The grid of cases is left out above 20 cases." in page.read_text(encoding="utf-8")) is not grid


def test_a_page_of_our_own_grades_says_how_each_model_sat_the_exam(tmp_path: Path) -> None:
    prompt = Prompt(case_id="c1", template="differential@1", messages=())
    for name, thoughts in (("base", 0), ("distilled", 37)):
        trace = Trace(
            prompt=prompt,
            model=name,
            engine="a certain engine",
            sampling=Sampling(temperature=0),
            thinking="",
            reply="",
            finish="length",
            thinking_tokens=thoughts,
            reply_tokens=5,
        )
        grade = Grade(case_id="c1", answer=Answer(case_id="c1", unreadable=True), correct=False)
        write_jsonl(tmp_path / name / "grades.jsonl", [grade])
        if thoughts:
            write_jsonl(tmp_path / name / "traces.jsonl", [trace])
    files = [tmp_path / name / "grades.jsonl" for name in ("base", "distilled")]
    page = tmp_path / "page.html"
    compare.run(arguments(*files, "--margin", 0.02, "--why-margin", WHY, "--html", page))
    text = page.read_text(encoding="utf-8")
    assert "unreadable" in text
    assert "a certain engine" in text  # of the one whose traces are there


def faulty(name: str, content: bytes, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.jsonl: holds no marks; expected one JSON object a line."),
        (b"\n \n", "bad.jsonl: holds no marks;"),
        (b'{"case_id": "c0", "correct": NaN}', "bad.jsonl:1: is not JSON (NaN is not a JSON value);"),
        (b'{"case_id": "c\xe9", "correct": true}', "bad.jsonl:1: is not UTF-8; save the file as UTF-8."),
        (b'{"case_id": "c0", "correct": true}\n{"case_id": 1, "correct": true}', "bad.jsonl:2: case_id 1 mixes text"),
        (b'{"case_id": "c0", "correct": true}\n{"case_id": "c0", "correct": true}', "bad.jsonl:2: case_id 'c0' was"),
        (b'{"case_id": "zzz", "correct": true}', "base and bad have no case_id in common; compare marks of the same"),
        (b"case_id,correct\nc0,1\n", "bad.jsonl:1: is not JSON (Expecting value); the line may be cut short"),
        (b'[{"case_id": "c0", "correct": true}]', "bad.jsonl:1: is not a JSON object; expected"),
        (b"PK\x03\x04", "bad.jsonl: is damaged or no zip that can be read"),
    ],
)
def test_bad_files_end_with_one_sentence_and_2(
    gained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = faulty("bad.jsonl", content, tmp_path)
    assert main(["compare", str(gained[0]), str(path), "--margin", "0.02"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.removeprefix("rounds: ").replace(f"{tmp_path}/", "").startswith(message)


def test_a_page_shows_kinds_of_question_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / name / "grades.jsonl" for name in ("before", "after")]
    for path, right in zip(paths, ((0, 1, 2, 3), (1, 2, 3)), strict=True):
        write_jsonl(
            path,
            [
                Grade(
                    case_id=str(n),
                    answer=Answer(case_id=str(n)),
                    correct=n in right,
                    groups={"kind": ("choice", "evidence")[n % 2]},
                )
                for n in range(6)
            ],
        )
    page = tmp_path / "page.html"
    given = arguments(*paths, "--margin", 0.02, "--why-margin", WHY)
    assert compare.run(given) == 3
    assert "kind=" not in capsys.readouterr().out
    given.html = page
    assert compare.run(given) == 3
    assert "kind=choice     -33.3" in capsys.readouterr().out
    assert "evidence" in page.read_text(encoding="utf-8")
