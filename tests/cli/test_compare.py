from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from rounds.cli import compare
from rounds.files import write_jsonl
from rounds.records import Answer, Grade, UserError

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
    ],
)
def test_faults(gained: tuple[Path, Path], options: list[str], message: str) -> None:
    with pytest.raises(UserError) as raised:
        compare.run(arguments(*gained, *options))
    assert str(raised.value).startswith(message)


def test_the_margin_has_no_default(gained: tuple[Path, Path]) -> None:
    with pytest.raises(SystemExit):
        arguments(*gained)


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
