"""The sentences of the pages: every key that is used is there, every key is used, and another language is a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rounds.records import UserError
from rounds.serve.wording import WEB, languages, preferred, wording

SERVE = WEB.parent
USED = re.compile(r"""say(?:_for\(request\))?\(\s*f?["']([a-z][a-z_-]*\.[a-z_-]*)["']\s*[,)]""")
BUILT = ("kind.", "band.", "stream.", "abstention.", "answer.check_", "answer.by_", "answer.not_in", "answer.denied_in",
         "answer.stated_in", "answer.for", "answer.against")  # fmt: skip
"""Keys that are put together: kinds, bands, doubts, what the script of the page is given."""


def sources() -> str:
    files = [*WEB.glob("*.html"), *WEB.glob("*.js"), *SERVE.glob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_every_key_used_is_there() -> None:
    there = wording().strings
    used = set(USED.findall(sources()))
    assert len(used) > 60
    assert sorted(key for key in used if key not in there and not key.endswith("_")) == []


def test_every_key_there_is_used() -> None:
    text = sources()
    unused = [key for key in wording().strings if f'"{key}"' not in text and f"'{key}'" not in text]
    assert [key for key in unused if not key.startswith(BUILT)] == []
    script = (WEB / "consult.js").read_text(encoding="utf-8")
    assert [key for key in wording().below("stream") if f"words.{key}" not in script] == []


def test_another_language_is_a_file(tmp_path: Path) -> None:
    english = (WEB / "strings.en.toml").read_text(encoding="utf-8")
    (tmp_path / "strings.en.toml").write_text(english, encoding="utf-8")
    (tmp_path / "strings.de.toml").write_text(english.replace('title = "Rounds"', 'title = "Visite"'), encoding="utf-8")
    assert languages(tmp_path) == ("en", "de")
    assert preferred("fr-FR, de-CH;q=0.8, en;q=0.5", tmp_path)("page.title") == "Visite"
    assert preferred("", tmp_path).language == "en"
    assert preferred("\x00;;,,q=", tmp_path).language == "en"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[page]\ntitle = "x"\n', "is missing or unknown; give it the keys of strings.en.toml"),
        ("[page\n", "is not valid TOML"),
    ],
)
def test_a_language_that_is_not_whole(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "strings.en.toml").write_text((WEB / "strings.en.toml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "strings.xx.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        wording("xx", tmp_path)


def test_filled_values_are_not_templates() -> None:
    assert wording()("foot.answered_in", seconds="{0.__class__}") == "Answered in {0.__class__} s"
