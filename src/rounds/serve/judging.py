# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""POST /feedback: a clinician's judgement is counted in the audit log, and with consent kept with its case.

Left out on purpose: what a judgement is worth and what becomes of it (`rounds.serve.feedback`).
"""

import asyncio
from typing import TYPE_CHECKING

from pydantic import ValidationError

from rounds.records import UserError
from rounds.serve.audit import Entry, Unaudited
from rounds.serve.diagnose import Desk
from rounds.serve.feedback import Judgement, Keep, Tickets, feedback
from rounds.serve.keys import Caller, Forbidden, need
from rounds.serve.typed import fields_of
from rounds.serve.views import Pages, say_for, sentence, status_of
from rounds.serve.wording import Wording

if TYPE_CHECKING:
    from fastapi import FastAPI


def add_judging(app: "FastAPI", desk: Desk, pages: Pages, tickets: Tickets, keep: Keep | None) -> None:
    """Add the route that takes judgements; `keep` puts those with a case into the encrypted store, where there is."""
    from fastapi import Request
    from fastapi.responses import Response

    @app.post("/feedback")
    async def judge(request: Request) -> Response:
        say = say_for(request)
        try:
            caller = need(request, "diagnose")
            fields = fields_of(request.headers.get("content-type", ""), await request.body())
            said = await _judged(desk, tickets, fields, caller, keep, say)
        except (UserError, Unaudited, Forbidden) as error:
            status, headers = status_of(error)
            return pages.page("said.html", request, status, headers, said=sentence(error), alarming=True)
        return pages.page("said.html", request, said=said, alarming=False)


async def _judged(
    desk: Desk, tickets: Tickets, fields: dict[str, str], caller: Caller, keep: Keep | None, say: Wording
) -> str:
    """Take one judgement; gives the sentence for who sent it.

    Raises:
        UserError: no verdict, not our ticket, too long.
        Unaudited: it could not be counted.
    """
    judgement = judgement_of(fields, say)
    keeps = keep is not None and judgement.consent
    ticket = tickets.read(fields.get("ticket", ""), judgement.case if keeps else None)
    if not tickets.take(ticket):
        return say("feedback.twice")
    entry = Entry(
        kind="incident",
        request=ticket.request,
        caller=caller.name,
        door="feedback",
        model=ticket.checkpoint,
        passport=desk.ward.standing.passport,
        note=f"feedback: {judgement.verdict}",
    )
    await desk.ward.audit.result(entry)
    if keep is None or not keeps:
        return say("feedback.thanks")
    await asyncio.to_thread(keep, feedback(ticket, judgement, caller.name))
    return say("feedback.thanks_kept")


def judgement_of(fields: dict[str, str], say: Wording) -> Judgement:
    """The judgement a form holds.

    Raises:
        UserError: no verdict, or a diagnosis that is too long.
    """
    verdict = fields.get("verdict")
    if verdict not in ("right", "wrong"):
        raise UserError(say("feedback.neither"))
    try:
        return Judgement(
            verdict="right" if verdict == "right" else "wrong",
            was=fields.get("was", ""),
            case=fields.get("case", ""),
            consent=fields.get("consent") == "yes",
        )
    except ValidationError as error:
        raise UserError("the diagnosis is too long; name it in a few words.") from error
