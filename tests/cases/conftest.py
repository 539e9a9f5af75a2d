"""One generated set of cases for the whole room: the exam of the default recipe and a small teach split."""

from __future__ import annotations

import pytest

from rounds import recipe
from rounds.cases.generate import Drawn, generate, world_for
from rounds.cases.world import World
from rounds.knowledge.base import KnowledgeBase, load
from rounds.records import Split

SETTINGS = recipe.Cases(teach=1200)


@pytest.fixture(scope="session")
def knowledge() -> KnowledgeBase:
    return load()


@pytest.fixture(scope="session")
def world(knowledge: KnowledgeBase) -> World:
    return world_for(knowledge, SETTINGS)


@pytest.fixture(scope="session")
def drawn(knowledge: KnowledgeBase) -> dict[Split, list[Drawn]]:
    return generate(knowledge, SETTINGS, seed=1)
