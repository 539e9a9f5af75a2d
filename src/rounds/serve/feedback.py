"""A clinician's judgement of an answer: counted in the audit log, and with consent a case for a later exam.

Whoever judges has seen the answer, so judgements lean towards it (verification bias): each says so, is quarantined,
and becomes a case only when somebody has reviewed it. What is judged is what was answered: the answer travels with the
form, signed by this server, and is judged once. Without an encrypted store only the judgement is counted. Left out on
purpose: learning from it (`train` never sees it), and the review itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from pydantic import Field, ValidationError

from rounds.records import Case, Record, UserError
from rounds.serve.opinion import Opinion

Verdict = Literal["right", "wrong"]

MOST_JUDGED = 10_000
"""Requests remembered as judged."""
LONGEST_NAME = 200
SOURCE = "feedback on an answer that was seen; quarantined until reviewed"
BIAS = "the judge had seen the answer: biased by verification"


class Ticket(Record):
    """What a judgement is about."""

    request: str
    checkpoint: str
    template: str
    diagnoses: tuple[str, ...]
    abstained: bool


class Feedback(Record):
    """One judgement, as kept with consent."""

    request: str
    checkpoint: str
    template: str
    answered: tuple[str, ...]
    """The model's diagnoses, likeliest first."""
    abstained: bool
    verdict: Verdict
    case: Case
    """For a later exam, after review; its diagnosis is '' when none was named."""
    by: str
    """Name of the caller."""
    quarantined: bool = True
    """Nobody has reviewed it."""
    bias: str = BIAS


class Judgement(Record):
    """What came in with the form."""

    verdict: Verdict
    was: str = Field(default="", max_length=LONGEST_NAME)
    case: str = ""
    consent: bool = False


class Tickets:
    """Signs answers for judgement and takes each judgement once; lives as long as the server."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._judged: OrderedDict[str, None] = OrderedDict()

    def of(self, opinion: Opinion) -> str:
        """The ticket of an answer, for a hidden field; '' where there is nothing to judge."""
        if not opinion.diagnoses and opinion.abstention is None:
            return ""
        ticket = Ticket(
            request=opinion.request,
            checkpoint=opinion.standing.get("checkpoint", ""),
            template=opinion.template,
            diagnoses=tuple(one.name for one in opinion.diagnoses),
            abstained=opinion.abstention is not None,
        )
        # The digest of the case: what is kept is what was answered, not what somebody wrote into the form since.
        told = json.dumps([ticket.model_dump_json(), _digest(opinion.case)])
        body = base64.urlsafe_b64encode(told.encode()).decode()
        return f"{body}.{self._seal(body)}"

    def read(self, text: str, case: str | None) -> Ticket:
        """The answer a ticket stands for; `case` is the text to be kept with it, None when none is.

        Raises:
            UserError: it was not made by this server, or the case with it is another one.
        """
        body, _, seal = text.rpartition(".")
        if not body or not hmac.compare_digest(seal.encode(), self._seal(body).encode()):
            raise UserError("this answer can no longer be judged, as the server was started anew; ask again.")
        try:
            ticket, digest = json.loads(base64.urlsafe_b64decode(body))
            if case is not None and _digest(case) != digest:
                raise UserError("the case is not the one that was answered; ask again.")
            return Ticket.model_validate_json(ticket)
        except (ValueError, ValidationError) as error:
            raise UserError("this answer cannot be judged; ask again.") from error

    def take(self, ticket: Ticket) -> bool:
        """Whether this is the first judgement of an answer; from now on it is judged."""
        if ticket.request in self._judged:
            return False
        self._judged[ticket.request] = None
        if len(self._judged) > MOST_JUDGED:
            self._judged.popitem(last=False)
        return True

    def _seal(self, body: str) -> str:
        return hmac.new(self._secret, body.encode(), hashlib.sha256).hexdigest()


def feedback(ticket: Ticket, judgement: Judgement, by: str) -> Feedback:
    """The judgement as it is kept, with the case."""
    case = Case(
        id=f"feedback-{ticket.request}",
        vignette=judgement.case,
        diagnosis=judgement.was.strip(),
        split="exam",
        source=SOURCE,
    )
    return Feedback(
        request=ticket.request,
        checkpoint=ticket.checkpoint,
        template=ticket.template,
        answered=ticket.diagnoses,
        abstained=ticket.abstained,
        verdict=judgement.verdict,
        case=case,
        by=by,
    )


Keep = Callable[[Feedback], None]
"""Puts a judgement into the encrypted store; not for the event loop."""


def _digest(case: str) -> str:
    return hashlib.sha256(case.encode("utf-8", "surrogatepass")).hexdigest()
