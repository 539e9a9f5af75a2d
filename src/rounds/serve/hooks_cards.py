"""Cards of CDS Hooks 2.0 (https://cds-hooks.hl7.org/2.0/#card-attributes) made of an opinion.

A card says first what may be claimed of the model, names at most what fits below 140 characters, and leads to the page.
What a model or a record wrote is text: it is bent to one line and cannot become Markdown. Never a suggestion, never a
system action. Left out on purpose: smart launches, and a `critical` card, which no model here has earned.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

from rounds.serve.fhir import Chart
from rounds.serve.fhir_words import Day, plain
from rounds.serve.hooks_tray import Ticket
from rounds.serve.opinion import Opinion
from rounds.serve.standing import Standing

LONGEST_SUMMARY = 139
"""Characters: the specification says under 140."""
LONGEST_NAME = 80
NO_ALL_CLEAR = "The model named no red flag; this is not an all-clear."

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&!@]|:(?=\S)|\.(?=\w))")
"""What could begin emphasis, a link, an address that becomes one, HTML or a table."""

REASONS = (
    ("considered", "Already considered"),
    ("not-relevant", "Not relevant to this encounter"),
    ("outdated", "The record behind it is out of date"),
    ("wrong", "I judge the suggestion to be wrong"),
)
OVERRIDES = [{"code": code, "system": "urn:rounds:override-reasons", "display": text} for code, text in REASONS]


def card_of(ticket: Ticket[Opinion], standing: Standing, name: str, base: str, expires: datetime) -> dict[str, Any]:
    """The card of a case as it stands now: an answer, a reason for having none, or the place where it will be.

    base: URL by which the caller reaches this server. expires: when the link ends, UTC.
    """
    opinion = ticket.asking.answer
    link = {"label": "Open in Rounds", "url": f"{base}/cards/{ticket.token}", "type": "absolute"}
    warned = "" if standing.word == "proven" else _warning(standing)
    said, indicator = _said(opinion, ticket)
    card = {
        "uuid": ticket.card,
        "summary": _summary(warned, said),
        "detail": _detail(ticket, standing, expires),
        "indicator": indicator,
        "source": {"label": plain(f"Rounds: {name}", LONGEST_NAME), "url": f"{base}/"},
        "overrideReasons": OVERRIDES if opinion is not None and opinion.diagnoses else None,
        "links": [link],
        "extension": {"rounds": _claims(opinion, standing)},
    }
    without: dict[str, Any] = without_empty(card)
    return without


def without_empty(value: Any) -> Any:
    """The value without members that are null, empty or only hold such: the specification allows none."""
    if isinstance(value, dict):
        kept = {key: without_empty(one) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one not in (None, "", [], {})}
    if isinstance(value, list):
        return [one for one in map(without_empty, value) if one not in (None, "", [], {})]
    return value


def _said(opinion: Opinion | None, ticket: Ticket[Opinion]) -> tuple[list[str], str]:
    """Pieces of the summary, and the indicator."""
    if opinion is None:
        failed = ticket.asking.state == "failed"
        return ["no answer was found; the page says why" if failed else "diagnoses are being worked out"], "info"
    if opinion.abstention is not None:
        return ["the model does not answer for this patient; the page says why"], "info"
    if not opinion.diagnoses:
        return ["the answer could not be read as diagnoses; see the page"], "info"
    flagged = any(flag.in_case for flag in opinion.red_flags)
    names = [one.name for one in opinion.diagnoses]
    return [
        "red flags in the record; " * flagged + "consider " + names[0],
        *names[1:],
    ], "warning" if flagged else "info"


def _warning(standing: Standing) -> str:
    return "Demonstration, not for patients" if standing.word == "demonstration" else "Unproven, not for patients"


def _summary(warned: str, pieces: list[str]) -> str:
    """The pieces with commas, as many as fit; a piece is left out whole and counted."""
    clean = [_angles(plain(piece, LONGEST_NAME)) for piece in pieces]
    begin = f"{warned}: " if warned else ""
    for kept in range(len(clean), 0, -1):
        more = f" and {len(clean) - kept} more" if kept < len(clean) else ""
        text = f"{begin}{', '.join(clean[:kept])}{more}"
        if len(text) <= LONGEST_SUMMARY:
            break
    else:
        text = plain(text, LONGEST_SUMMARY)
    return text if warned else text[:1].upper() + text[1:]


def _angles(text: str) -> str:
    """A summary is plain text by the specification; a client that shows it as HTML gets no tags all the same."""
    return text.replace("<", "‹").replace(">", "›")


def markdown(text: str, longest: int = LONGEST_NAME) -> str:
    """Words of a model or a record inside GitHub-flavoured Markdown: shown as they are."""
    return MARKDOWN.sub(r"\\\1", plain(text, longest))


def _detail(ticket: Ticket[Opinion], standing: Standing, expires: datetime) -> str:
    opinion = ticket.asking.answer
    parts = [f"**{markdown(standing.banner, 300)}**"]
    if opinion is None:
        parts.append(
            f"No answer: {markdown(ticket.asking.fault, 300)}"
            if ticket.asking.state == "failed"
            else "The model is at work; the page shows the answer when it is there, and a later card names it."
        )
    elif opinion.abstention is not None:
        parts.append(f"No diagnoses: {markdown(opinion.abstention.reason, 300)}")
    elif not opinion.diagnoses:
        parts.append("No list of diagnoses could be read in the model's answer.")
    else:
        parts.append("\n".join(_listed(opinion)))
        parts.append(_flags(opinion))
    parts.append(_fresh(ticket.asking.chart, ticket.asking.asked_at, expires))
    return "\n\n".join(parts)


def _listed(opinion: Opinion) -> list[str]:
    return [
        f"{one.rank}. {markdown(one.name)}" + (f" (ICD-10 {one.icd10})" if one.icd10 else "")
        for one in opinion.diagnoses
    ]


def _flags(opinion: Opinion) -> str:
    told = [one for one in opinion.red_flags if one.in_case]
    named = "Red flags in the record: " + "; ".join(markdown(one.text) for one in told) + "." if told else ""
    silent = not any("model" in one.named_by for one in opinion.red_flags)
    return " ".join(part for part in (named, NO_ALL_CLEAR if silent else "") if part)


def _fresh(chart: Chart, asked_at: datetime, expires: datetime) -> str:
    read = f"Read from the record at {asked_at:%H:%M} UTC"
    newest = f", its newest entry of {_ago(chart.newest, asked_at.date())}" if chart.newest else ""
    older = sum(chart.left_out.values())
    left = f" {older} resources of the call are not part of the case." if older else ""
    return f"{read}{newest}; good until {expires:%H:%M} UTC.{left} A suggestion to a clinician, who decides."


def _ago(day: date, today: date) -> str:
    return Day(day, True).ago(today) or "an unknown day"


def _claims(opinion: Opinion | None, standing: Standing) -> dict[str, str]:
    """What any reply here carries, for a machine."""
    return {**standing.label, "request": opinion.request if opinion else ""}


def utc_in(seconds: float) -> datetime:
    """The time so many seconds from now."""
    return datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds, UTC)
