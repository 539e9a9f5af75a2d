"""The comparison of the knowledge base with public sources: its word rule, and, where the data is, its figures."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rounds.knowledge.base import load

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def attested() -> ModuleType:
    spec = importlib.util.spec_from_file_location("attested", BENCHMARKS / "attested.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["attested"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_term_attests_when_it_holds_every_word(attested: ModuleType) -> None:
    assert attested.attests("Do you have swollen or painful lymph nodes?", ("swollen lymph node",))
    assert attested.attests("Severe diarrhea", ("diarrhoea",))
    assert not attested.attests("Pain", ("pain under the right ribs",))
    assert not attested.attests("Anything", ("of the",))


def test_every_mapped_word_belongs_to_the_knowledge_base(attested: ModuleType) -> None:
    knowledge = load()
    assert set(attested.MEANS) | set(attested.WIDER) <= set(knowledge.findings)
    mapped = {condition for names in attested.SAME_CONDITION.values() for condition in names.values()}
    assert mapped <= {*knowledge.conditions, *knowledge.outside}


@pytest.mark.shared
def test_shares_are_as_published(attested: ModuleType) -> None:
    absent = [file for file, _ in attested.SOURCES.values() if not (attested.DATA / file).is_file()]
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")
    result = attested.compare(load(), attested.DATA)
    assert len({condition for condition, _ in set().union(*result.sought.values())}) >= 60
    assert result.share("Orphanet") >= 0.55
    assert result.share() >= 0.42
    assert result.share_of_said() >= 0.55
