"""Docs and code are one thing: every verb has help and a page with its options, and README's commands exist."""

from __future__ import annotations

import argparse
import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from rounds.cli.main import VERBS, UsageError, verb_parser

ROOT = Path(__file__).parent.parent


def options(parser: argparse.ArgumentParser) -> list[str]:
    """Every option a parser knows, long names, `--help` left out."""
    long = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    return [name for name in long if name != "--help"]


def commands(markdown: str) -> list[list[str]]:
    """Words of every `rounds …` and `make …` line of the code blocks of a page."""
    found = []
    inside = False
    for line in markdown.splitlines():
        if line.startswith("```"):
            inside = not inside
        text = line.strip().removeprefix("$ ")
        if (inside or line.startswith("    ")) and re.match(r"(rounds|make)\b", text):
            words = shlex.split(text, comments=True)
            found.append(list(takewhile(lambda word: word not in {"<", ">", "|", "&&", ";"}, words)))
    return found


def fault_of(words: list[str], targets: set[str]) -> str | None:
    """What is wrong with a command, or None."""
    if words[0] == "make":
        unknown = [word for word in words[1:] if "=" not in word and word not in targets]
        return f"make has no target {unknown[0]}" if unknown else None
    if len(words) < 2 or words[1] in ("--help", "--version", "VERB"):
        return None
    if words[1] not in VERBS:
        return f"{words[1]} is not a verb"
    try:
        verb_parser(words[1]).parse_args(words[2:])
    except UsageError as error:
        return str(error)
    return None


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    parser = verb_parser(verb)
    assert parser.description
    assert "\n" not in VERBS[verb]
    silent = [action.dest for action in parser._actions if not action.help]
    assert silent == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page_with_its_options(verb: str) -> None:
    page = (ROOT / "docs" / f"{verb}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# rounds {verb}\n")
    missing = [name for name in options(verb_parser(verb)) if f"`{name}" not in page]
    assert missing == []


@pytest.mark.parametrize("verb", VERBS)
def test_commands_of_the_page_exist(verb: str) -> None:
    page = (ROOT / "docs" / f"{verb}.md").read_text(encoding="utf-8")
    assert [fault for words in commands(page) if (fault := fault_of(words, make_targets()))] == []


def test_commands_of_readme_exist() -> None:
    found = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert ["make", "tiny"] in found
    assert ["make", "test"] in found
    assert [fault for words in found if (fault := fault_of(words, make_targets()))] == []


def test_the_check_sees_a_wrong_command() -> None:
    blocks = (
        '    rounds sevre runs/tiny\n```\nmake lemonade\nrounds serve x --prot 1\n$ rounds ask x "y z"  # fine\n```\n'
    )
    page = f"{blocks}rounds up, in a sentence\n"
    found = commands(page)
    assert found[-1] == ["rounds", "ask", "x", "y z"]
    assert [fault_of(words, {"tiny"}) for words in found] == [
        "sevre is not a verb",
        "make has no target lemonade",
        "rounds serve: unrecognized arguments: --prot 1; see rounds serve --help.",
        None,
    ]


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []
