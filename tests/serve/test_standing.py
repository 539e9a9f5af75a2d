"""What a passport lets be claimed, and which checkpoints stay shut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rounds.files import digest
from rounds.recipe import Examine
from rounds.records import UserError
from rounds.serve.signing import make_key, sign
from rounds.serve.standing import find

RECIPE = """
name = "mine"
student = { checkpoint = "a" }
teacher = { checkpoint = "b" }
[examine]
template = "differential@1"
temperature = 0.6
max_tokens = 123
[compare]
margin = 0.02
why_margin = "two in a hundred, agreed with the clinic"
"""


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    run = tmp_path / "mine"
    for name in ("packed", "distilled"):
        (run / name).mkdir(parents=True)
        (run / name / "config.json").write_text(f'{{"name": "{name}"}}', encoding="utf-8")
    (run / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return run


def write_passport(run: Path, **stated: Any) -> None:
    good = {"evidence": "synthetic", "proven": False, "banner": "", "checkpoint": digest(run / "packed")}
    text = json.dumps({**good, "verdicts": [{"finding": "gained"}, {"finding": "kept"}], "more": 1, **stated})
    (run / "passport.json").write_text(text, encoding="utf-8")


def test_a_run_is_served_as_it_was_examined(run_directory: Path) -> None:
    write_passport(run_directory)
    served = find(run_directory, unproven=False)
    assert served.name == "mine"
    assert served.checkpoint == run_directory / "packed"
    assert served.examine.template == "differential@1"
    assert (served.examine.temperature, served.examine.max_tokens) == (0.6, 123)
    assert served.standing.word == "demonstration"
    assert served.standing.banner == "Demonstration, not for patients"
    assert served.standing.checkpoint == digest(run_directory / "packed")


def test_the_packed_directory_itself(run_directory: Path) -> None:
    write_passport(run_directory)
    served = find(run_directory / "packed", unproven=False)
    assert served.standing.word == "demonstration"
    assert served.examine.max_tokens == 123


@pytest.mark.parametrize(
    ("stated", "word", "banner"),
    [
        ({"proven": True}, "demonstration", "Demonstration, not for patients"),
        ({"evidence": "public", "proven": True}, "unproven", "Unproven, not for patients"),
        ({"evidence": "public", "banner": "Unproven: not for patients"}, "unproven", "Unproven: not for patients"),
        ({"banner": "Toy. NOT FOR PATIENTS"}, "demonstration", "Toy. NOT FOR PATIENTS"),
        ({"banner": "Proven!"}, "demonstration", "Demonstration, not for patients. Proven!"),
        ({"evidence": "local-reviewed", "proven": True}, "proven", "For research, not a medical device"),
        (
            {"evidence": "local-reviewed", "proven": True, "banner": "Proven on 803 cases"},
            "proven",
            "Proven on 803 cases",
        ),
        ({"evidence": "local-reviewed", "proven": False}, "unproven", "Unproven, not for patients"),
        ({"evidence": "local-reviewed", "proven": 1}, "unproven", "Unproven, not for patients"),
        ({"evidence": None}, "unproven", "Unproven, not for patients"),
        ({"evidence": ["synthetic"]}, "unproven", "Unproven, not for patients"),
        ({"checkpoint": None}, "unproven", "Unproven, not for patients"),
        ({"proven": None}, "unproven", "Unproven, not for patients"),
        ({"banner": 7, "verdicts": 7}, "demonstration", "Demonstration, not for patients"),
        ({"floors": [{"met": True}], "passed": True}, "demonstration", "Demonstration, not for patients"),
        ({"floors": [{"met": False}], "passed": False}, "demonstration", "Demonstration, not for patients"),
        ({"verdicts": [{"finding": "too few cases"}]}, "demonstration", "Demonstration, not for patients"),
    ],
)
def test_no_more_is_claimed_than_the_evidence_shows(
    run_directory: Path, stated: dict[str, Any], word: str, banner: str
) -> None:
    write_passport(run_directory, **stated)
    standing = find(run_directory, unproven=False).standing
    assert (standing.word, standing.banner) == (word, banner)


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"checkpoint": "0" * 64}, "passport.json is that of another checkpoint"),
        ({"checkpoint": 5}, "passport.json is that of another checkpoint"),
        ({"verdicts": [{"finding": "kept"}, {"finding": "lost"}], "proven": True}, "holds a verdict that is lost"),
        ({"verdicts": [{"finding": "too few cases"}], "evidence": "public"}, "holds a verdict that is too few cases"),
        ({"floors": [{"met": True}, {"met": False}], "evidence": "public"}, "holds an absolute floor that is not met"),
        ({"floors": [{}], "evidence": "public"}, "holds an absolute floor that is not met"),
        ({"passed": False, "evidence": "public"}, "tells of an exam that was not passed"),
        (None, "no passport.json stands beside this checkpoint"),
    ],
)
def test_what_stays_shut_and_opens_unproven(run_directory: Path, stated: dict[str, Any] | None, why: str) -> None:
    if stated is not None:
        write_passport(run_directory, **stated)
    with pytest.raises(UserError, match=f"{why}.*; --unproven opens it under a banner that says so."):
        find(run_directory, unproven=False)
    standing = find(run_directory, unproven=True).standing
    assert standing.word == "unproven"
    assert standing.banner.startswith(f"Unproven, not for patients: {standing.why}")


def test_another_checkpoint_of_the_run_is_not_the_one_of_the_passport(run_directory: Path) -> None:
    write_passport(run_directory)
    with pytest.raises(UserError, match="another checkpoint"):
        find(run_directory / "distilled", unproven=False)


def test_a_changed_checkpoint_is_noticed(run_directory: Path) -> None:
    write_passport(run_directory)
    (run_directory / "packed" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="its digest differs"):
        find(run_directory, unproven=False)


def test_a_lone_checkpoint_takes_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / "openvino_model.xml").write_text("<net/>", encoding="utf-8")
    served = find(tmp_path / "lone", unproven=True)
    assert served.examine == Examine()
    assert served.standing.word == "unproven"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda place: None, "is not a directory; give a run"),
        (lambda place: place.mkdir(), "holds no checkpoint"),
        (lambda place: (place / "packed").mkdir(parents=True), "holds no checkpoint"),
        (lambda place: (place.mkdir(), (place / "recipe.toml").write_text(RECIPE)), "has no packed/ yet"),
    ],
)
def test_nothing_to_serve(tmp_path: Path, make: Any, sentence: str) -> None:
    make(tmp_path / "place")
    with pytest.raises(UserError, match=sentence):
        find(tmp_path / "place", unproven=True)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, ""])
def test_a_broken_passport_is_a_sentence(run_directory: Path, text: str) -> None:
    (run_directory / "passport.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"passport.json: is not (valid JSON|a JSON object); make it anew"):
        find(run_directory, unproven=True)


def test_the_passport_is_named_by_its_digest(run_directory: Path) -> None:
    assert find(run_directory, unproven=True).standing.passport == ""
    write_passport(run_directory)
    standing = find(run_directory, unproven=False).standing
    assert standing.passport == digest(run_directory / "passport.json")
    assert not standing.signed


def test_a_signature_can_be_demanded(run_directory: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    public = tmp_path / "key.pub"
    with pytest.raises(UserError, match=r"there is no passport.json to check"):
        find(run_directory, True, public)
    write_passport(run_directory, files={"recipe.toml": digest(run_directory / "recipe.toml")})
    with pytest.raises(UserError, match="nobody has signed"):
        find(run_directory, True, public)
    sign(run_directory / "passport.json", tmp_path / "key")
    assert find(run_directory, False, public).standing.signed
    for name in ("serving.toml", "recipe.toml"):
        (run_directory / name).write_text(RECIPE.replace("0.6", "0.7"), encoding="utf-8")
        with pytest.raises(UserError, match=f"{name} is not the one that the signed passport.json names"):
            find(run_directory, True, public)
        (run_directory / "serving.toml").unlink(missing_ok=True)
    write_passport(run_directory, proven=True)
    with pytest.raises(UserError, match=r"is not the signature of this passport.json"):
        find(run_directory, True, public)


def test_a_pointer_says_what_is_served(run_directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "release"
    (other / "packed").mkdir(parents=True)
    (other / "packed" / "config.json").write_text("{}", encoding="utf-8")
    write_passport(other, evidence="public")
    (run_directory / "served").symlink_to(other)
    served = find(run_directory, unproven=False)
    assert served.checkpoint == other.resolve() / "packed"
    assert served.standing.evidence == "public"
    assert (served.name, served.home, served.papers) == ("mine", run_directory, other.resolve())
    (run_directory / "served").unlink()
    (run_directory / "served").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="leads nowhere"):
        find(run_directory, unproven=True)
