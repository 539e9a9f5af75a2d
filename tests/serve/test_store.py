"""The encrypted store: unreadable without its key, gone after its days."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rounds.records import UserError
from rounds.serve.store import Store

WORDS = "a 67-year-old with fever, Zebediah"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept", tmp_path / "store.key", days=30)


def test_entries_come_back_with_the_key_alone(store: Store, tmp_path: Path) -> None:
    store.put("feedback", WORDS)
    store.put("feedback", "ä")
    assert sorted(text for _, text in store.entries()) == sorted([WORDS, "ä"])
    again = Store(tmp_path / "kept", tmp_path / "store.key", days=30)
    assert len(list(again.entries())) == 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"Zebediah" not in path.read_bytes()
    other = Store(tmp_path / "kept", tmp_path / "other.key", days=30)
    with pytest.raises(UserError, match="was sealed with another key, or changed"):
        list(other.entries())
    sealed = next((tmp_path / "kept").glob("*.sealed"))
    sealed.write_bytes(sealed.read_bytes()[:-4] + b"AAAA")
    with pytest.raises(UserError, match="was sealed with another key, or changed"):
        list(store.entries())


def test_what_is_too_old_goes(store: Store, tmp_path: Path) -> None:
    store.put("feedback", WORDS)
    today = datetime.now(UTC).date()
    fresh = next((tmp_path / "kept").glob("*.sealed"))
    for days, name in ((29, "b"), (31, "c"), (400, "d")):
        aged = fresh.with_name(f"{(today - timedelta(days=days)).isoformat()}-feedback-{name}.sealed")
        aged.write_bytes(fresh.read_bytes())
    assert Store(tmp_path / "kept", tmp_path / "store.key", days=30)
    assert len(list(store.entries())) == 2


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="entries are to be kept 0 days; give 1 to 3650"):
        Store(tmp_path / "a", tmp_path / "key", days=0)
    (tmp_path / "bad").write_text("no key", encoding="utf-8")
    os.chmod(tmp_path / "bad", 0o600)
    with pytest.raises(UserError, match="is not a key of a store"):
        Store(tmp_path / "a", tmp_path / "bad", days=1)
    os.chmod(tmp_path / "bad", 0o644)
    with pytest.raises(UserError, match="may be read by others than its owner"):
        Store(tmp_path / "a", tmp_path / "bad", days=1)
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path / "bad" / "below", tmp_path / "key", days=1)
