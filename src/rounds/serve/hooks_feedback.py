"""What became of a card: accepted or overridden, as an EHR tells it (https://cds-hooks.hl7.org/2.0/#feedback).

An EHR may tell the same thing several times; it counts once by card and time. A comment a clinician typed is dropped
unread, as it may hold a patient's words. Left out on purpose: learning from it (what is told here is biased by who was
shown a card), and keeping it over a restart; the log has one line of each.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from rounds.serve.fhir_json import BadFhir, read_strict
from rounds.serve.fhir_words import dicts
from rounds.serve.hooks_cards import REASONS

K = TypeVar("K")
V = TypeVar("V")

log = logging.getLogger("rounds.serve")

MOST_AT_ONCE = 100
MOST_KEPT = 20_000
OUTCOMES = ("accepted", "overridden")
CODES = frozenset(code for code, _ in REASONS)


@dataclass(frozen=True, slots=True)
class Told:
    """One piece of feedback."""

    card: str
    """UUID."""
    at: datetime
    """UTC."""
    outcome: str
    """accepted or overridden."""
    reason: str
    """One of our codes, `other`, or ''."""


def read_feedback(body: bytes) -> list[Told]:
    """The feedback of one request.

    Raises:
        BadFhir: not what the specification asks for; nothing of it counts then.
    """
    asked = read_strict(body)
    listed = asked.get("feedback") if isinstance(asked, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_AT_ONCE:
        raise BadFhir(f"feedback is not a list of 1 to {MOST_AT_ONCE} objects.", "required")
    return [_one(item) for item in listed]


def _one(item: Any) -> Told:
    if not isinstance(item, dict):
        raise BadFhir("an item of feedback is not an object.")
    if item.get("outcome") not in OUTCOMES:
        raise BadFhir("outcome is not accepted or overridden.", "required")
    reason = ""
    for given in dicts(item.get("overrideReason"))[:1]:
        code = next((one.get("code") for one in dicts(given.get("reason"))), None)
        reason = code if isinstance(code, str) and code in CODES else "other"
    try:
        card = str(uuid.UUID(item.get("card")))
        at = datetime.fromisoformat(item["outcomeTimestamp"])
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
        raise BadFhir("card is not a UUID, or outcomeTimestamp not a time of ISO 8601.", "required") from None
    return Told(card, at, item["outcome"], reason)


@dataclass(slots=True)
class Ledger:
    """The cards one server gave away and what it was told of them; the oldest is forgotten first."""

    counts: Counter[str] = field(default_factory=Counter)
    """`accepted`, `overridden`, `overridden: wrong` …"""
    _given: dict[str, str] = field(default_factory=dict)
    """Card to the caller it was given to; outlives the card, as feedback may come late."""
    _seen: dict[tuple[str, datetime], None] = field(default_factory=dict)

    def give(self, card: str, caller: str) -> None:
        """Remember a card that goes out."""
        _bounded(self._given)[card] = caller

    def add(self, told: list[Told], caller: str) -> int:
        """How many were new and of a card this caller was given; of other cards nothing is kept."""
        new = 0
        for one in told:
            if self._given.get(one.card) != caller or (one.card, one.at) in self._seen:
                continue
            _bounded(self._seen)[one.card, one.at] = None
            new += 1
            word = f"{one.outcome}: {one.reason}" if one.reason else one.outcome
            self.counts[word] += 1
            log.info("card %s: %s", one.card, word)
        return new


def _bounded(kept: dict[K, V]) -> dict[K, V]:
    """The dict with room for one more."""
    if len(kept) >= MOST_KEPT:
        del kept[next(iter(kept))]
    return kept
