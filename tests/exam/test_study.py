"""STUDY.toml: every fault is one sentence with its place, and the shipped studies read."""

from __future__ import annotations

import copy
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rounds.exam.study import SHIPPED, Study, addressed, check_address, read_study
from rounds.records import UserError

ROOT = Path(__file__).parents[2]
RULES = 'title = "T"\nmargin = 0.05\nwhy_margin = "one in twenty cases"\n'
TWO = (
    '[[model]]\nname = "a"\nmarks = { path = "a.jsonl" }\n[[model]]\nname = "b"\nmarks = { path = "b.jsonl" }\n'
    '[[pair]]\nbefore = "a"\nafter = "b"\n'
)
ASKED = '[cases]\nfile = "c.jsonl"\n' + TWO.replace('marks = { path = "b.jsonl" }', 'endpoint_env = "B_URL"')


def read(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    return read_study(str(path))[0]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_studies_read_and_open_with_their_command(path: Path) -> None:
    study, base, text = read_study(path.stem)
    assert text.splitlines()[0].startswith(f"# rounds study {path.stem} --data ")
    assert base == Path()
    assert f"| `{path.stem}` |" in (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    assert study.plan().family == tuple((pair.before, pair.after) for pair in study.pair)


def test_the_papers_five_pairs_are_shipped() -> None:
    study, _, _ = read_study("deepseek-r1-distilled")
    assert [(pair.before, pair.after) for pair in study.pair] == [
        ("Llama-3.1-8B", "R1-Distill-8B"),
        ("Qwen2.5-14B", "R1-Distill-14B"),
        ("Qwen2.5-32B", "R1-Distill-32B"),
        ("Llama-3.3-70B", "R1-Distill-70B"),
        ("V3", "R1-671B"),
    ]
    assert (study.alpha, study.template) == (0.01, "differential@1")
    assert "specialty*incidence" in study.by
    variables = [model.endpoint_env for model in study.model]
    assert len(set(variables)) == 10
    named = addressed(study, [], {str(name): "http://127.0.0.1:8000/v1" for name in variables})
    assert {model.endpoint for model in named.model} == {"http://127.0.0.1:8000/v1"}


def test_the_example_of_the_page_reads(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    text = page.partition("<!-- study -->\n```\n")[2].partition("```\n<!-- /study -->")[0]
    study = read(tmp_path, text)
    assert [model.name for model in study.model] == ["Llama 8B", "R1 8B"]
    # Every field of the file stands on the page.
    written = set(re.findall(r"`(\w+)", page))
    for name in [*Study.model_fields, *Study.model_fields["floors"].annotation.model_fields]:  # type: ignore[union-attr]
        assert name in written or f"[{name}]" in page or f"[[{name}]]" in page, name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RULES + TWO + "[", r"is not valid TOML \("),
        (TWO, r"title: Field required; see docs/study\.md for the fields\.$"),
        (RULES.replace("margin = 0.05\n", "") + TWO, r"margin: Field required; see"),
        (RULES + "magrin = 1\n" + TWO, r"magrin: Extra inputs are not permitted; see"),
        (RULES.replace("one in twenty cases", "so") + TWO, r"why_margin: String should have at least 10 characters"),
        (RULES + TWO.replace('"b"\nmarks', '"a"\nmarks'), r"study: two models are called 'a'; give each its own name"),
        (
            RULES + TWO.replace('after = "b"', 'after = "c"'),
            r"study: a pair names 'c', which is no model here; use one",
        ),
        (RULES + TWO.replace('after = "b"', 'after = "a"'), r"study: a pair compares 'a' with itself; name two models"),
        (RULES + TWO + '[[pair]]\nbefore = "a"\nafter = "b"\n', r"the pair 'a' and 'b' stands there twice; keep one"),
        (RULES + ASKED.partition("\n[[")[2].join(("[[", "")), r"'b' is to be asked, and there is no \[cases\]; say"),
        (RULES + "sampling = { thinking_budget = 9 }\n" + ASKED, r"thinking_budget cannot be asked of an endpoint"),
        (
            RULES + TWO.replace("marks = { path", "checkpoint = 'x'\nmarks = { path", 1),
            r"'a' needs exactly one of .* 2",
        ),
        (RULES + ASKED.replace('"B_URL"', '"sk-1234"'), r"model\.1\.endpoint_env: String should match pattern"),
        (RULES + TWO + 'key_env = "sk-secret"\n', r"pair\.0\.key_env: Extra inputs are not permitted"),
        (RULES + ASKED.replace('file = "c.jsonl"', 'format = "avey"'), r"cases: needs either file, or format and path"),
        (
            RULES + ASKED.replace('endpoint_env = "B_URL"', 'endpoint = "localhost:8000"'),
            r"model\.1: endpoint 'localhost:8000' is not a URL; give one such as http://127\.0\.0\.1:8000/v1; see",
        ),
        (
            RULES + ASKED.replace('endpoint_env = "B_URL"', 'endpoint = "http://me:secret@host/v1"'),
            r"model\.1: an endpoint holds a name, password or query; put the key into a variable named by key_env; see",
        ),
    ],
)
def test_faults_of_the_file(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as found:
        read(tmp_path, text)
    assert "secret" not in str(found.value)
    assert "\n" not in str(found.value)


def test_a_study_that_is_not_there() -> None:
    with pytest.raises(
        UserError, match=r"^study 'nothing' does not exist; use one of deepseek-r1-distilled, medagents"
    ):
        read_study("nothing")
    with pytest.raises(UserError, match=r"^study 'no/study\.toml' does not exist; use one of"):
        read_study("no/study.toml")


def test_addresses(tmp_path: Path) -> None:
    study = read(tmp_path, RULES + ASKED)
    assert addressed(study, ["http://one:1/v1"], {}).model[1].endpoint == "http://one:1/v1"
    both = addressed(study, ["b=http://two:2/v1", "http://one:1/v1"], {"B_URL": "http://three:3/v1"})
    assert both.model[1].endpoint == "http://two:2/v1"
    assert addressed(study, [], {"B_URL": "http://three:3/v1"}).model[1].endpoint == "http://three:3/v1"
    assert both.model[0] == study.model[0]
    with pytest.raises(
        UserError, match=r"--endpoint c=http://x/v1: 'c' is no model behind an endpoint; use one of b\.$"
    ):
        addressed(study, ["c=http://x/v1"], {})
    with pytest.raises(UserError, match="model 'b': endpoint 'nowhere' is not a URL; give one such as"):
        addressed(study, ["b=nowhere"], {})
    with pytest.raises(
        UserError, match="model 'b' has no address; give --endpoint \"b=URL\", or set the variable B_URL"
    ):
        addressed(study, [], {})
    with pytest.raises(UserError, match="use none: every model here is marked already or a checkpoint"):
        addressed(read(tmp_path, RULES + TWO), ["a=http://x/v1"], {})


@given(st.text(max_size=60))
def test_no_text_is_an_address_but_that_of_a_server(text: str) -> None:
    with suppress(ValueError):
        check_address(text)
        assert text.strip().casefold().startswith(("http:", "https:"))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda s: st.lists(s, max_size=2)
)


@given(field=st.sampled_from(sorted(Study.model_fields)), value=values)
def test_any_value_reads_or_is_refused(field: str, value: Any) -> None:
    table = copy.deepcopy(tomllib.loads(RULES + TWO))
    table[field] = value
    with suppress(ValidationError):
        study = Study.model_validate(table)
        assert Study.model_validate(study.model_dump()) == study
