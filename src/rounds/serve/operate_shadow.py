# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""Shadow mode, the first thing after go-live: the model answers, nobody sees it, and it is held against the clinician.

A clinician writes the case and their own five diagnoses; the page says *recorded*, nothing else. What is kept is how
far the two lists agree, in figures: no case, no list. The audit log holds the digests of question and answer as it does
of every answer. No other door is open in shadow mode, so the answer has no way out. Agreement is not accuracy: where
the two differ, either may be right. Left out on purpose: showing anything of the answer, also afterwards.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rounds import files
from rounds.grade.names import Names, normalise
from rounds.knowledge.base import KnowledgeBase
from rounds.records import Answer, Interval, Record, UserError
from rounds.serve.audit import Unaudited
from rounds.serve.consult import LONGEST_CASE, prompt_for, read_trace
from rounds.serve.diagnose import Desk
from rounds.serve.faults import status_of
from rounds.serve.fhir_server import FhirServer
from rounds.serve.keys import Forbidden, need
from rounds.serve.oidc import Oidc
from rounds.serve.operate import OPERATION, now
from rounds.serve.patients import add_patients
from rounds.serve.shelf import add_shelf, add_static
from rounds.serve.signin import add_signin
from rounds.serve.typed import case_of, fields_of
from rounds.serve.views import Pages, say_for, told
from rounds.serve.ward import Asked, Ward, traces_of
from rounds.serve.worker import Busy

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger("rounds.serve")

LOG = Path(OPERATION) / "shadow.jsonl"
FIVE = 5
LONGEST_NAME = 200
FILES = {
    "style.css": "text/css; charset=utf-8",
    "shadow.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Opinion(Record):
    """Body of POST /v1/shadow: a case, and what the clinician thinks of it."""

    case: str = Field(min_length=1, max_length=LONGEST_CASE)
    diagnoses: tuple[str, ...] = Field(min_length=1, max_length=FIVE)
    """The clinician's own, likeliest first."""


class Agreement(Record):
    """How far one answer agreed with one clinician: figures, no words."""

    time: str
    request: str
    """Id of the rows in the audit log."""
    checkpoint: str
    passport: str
    answered: bool
    """False: the engine failed, or the server was stopped."""
    theirs: int = 0
    """Different diagnoses of the clinician."""
    ours: int = 0
    """Of the model."""
    shared: int = 0
    place: int | None = None
    """Of the clinician's first among the model's; None when it is missing."""
    same_first: bool = False
    abstained: bool = False
    unreadable: bool = False


class Summary(Record):
    """Shadow mode so far."""

    recorded: int
    answered: int
    same_first: int
    same_first_interval: Interval
    """95 %, Wilson; of answers."""
    first_among_five: int
    first_among_five_interval: Interval
    shared: float
    """Mean number of diagnoses in both lists."""
    abstained: int
    unreadable: int


def compare(theirs: Sequence[str], answer: Answer, names: Names) -> dict[str, Any]:
    """The figures of one pair of lists; two names agree when they mean one condition, or are one name."""
    mine = list(dict.fromkeys(_meaning(name, names) for name in theirs))
    model = [_meaning(name, names) for name in answer.diagnoses]
    place = model.index(mine[0]) + 1 if mine and mine[0] in model else None
    return {
        "answered": True,
        "theirs": len(mine),
        "ours": len(set(model)),
        "shared": len(set(mine) & set(model)),
        "place": place,
        "same_first": place == 1,
        "abstained": answer.abstained,
        "unreadable": answer.unreadable,
    }


def _meaning(name: str, names: Names) -> str:
    return names.meaning(name) or normalise(name)


def summary(home: Path) -> Summary:
    """Every comparison of a run together.

    Raises:
        UserError: there is none yet, or the log cannot be read.
    """
    if not (home / LOG).is_file():
        raise UserError(f"{home}: nothing was recorded in shadow yet; start one with rounds serve {home} --shadow.")
    return summed(files.read_jsonl(home / LOG, Agreement))


def summed(kept: Iterable[Agreement]) -> Summary:
    """Counts, shares and their intervals."""
    from rounds.stats.intervals import wilson

    every = list(kept)
    answered = [one for one in every if one.answered]
    same = sum(one.same_first for one in answered)
    among = sum(one.place is not None for one in answered)
    return Summary(
        recorded=len(every),
        answered=len(answered),
        same_first=same,
        same_first_interval=wilson(same, len(answered)),
        first_among_five=among,
        first_among_five_interval=wilson(among, len(answered)),
        shared=sum(one.shared for one in answered) / max(1, len(answered)),
        abstained=sum(one.abstained for one in answered),
        unreadable=sum(one.unreadable for one in answered),
    )


class Shadow:
    """Asks the model behind the clinician's back and keeps how far they agree."""

    def __init__(self, ward: Ward, home: Path, knowledge: KnowledgeBase) -> None:
        self.ward = ward
        self.path = home / LOG
        self.names = Names(knowledge)
        self._under_way: set[asyncio.Task[None]] = set()

    def record(self, asked: Asked, theirs: Sequence[str]) -> None:
        """Let the answer come while the clinician goes on."""
        task = asyncio.ensure_future(self._follow(asked, theirs))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _follow(self, asked: Asked, theirs: Sequence[str]) -> None:
        figures: dict[str, Any] = {"answered": False}
        try:
            async with self.ward.following(asked):
                traces = await traces_of(asked.job)
                await self.ward.conclude(asked, traces)
            figures = compare(theirs, read_trace(traces[0]), self.names)
        except Exception as error:  # the audit log tells what became of it; here it counts as not answered
            log.info("shadow: an answer was not compared (%s)", type(error).__name__)
        standing = self.ward.standing
        kept = Agreement(
            time=now(),
            request=asked.request_id,
            checkpoint=standing.checkpoint,
            passport=standing.passport,
            **figures,
        )
        await asyncio.to_thread(self._keep, kept)

    def _keep(self, kept: Agreement) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as out:
            out.write(kept.model_dump_json() + "\n")


def add_shadow(
    app: "FastAPI", shadow: Shadow, desk: Desk, oidc: Oidc | None = None, fhir: FhirServer | None = None
) -> None:
    """The doors of shadow mode: its page, POST /v1/shadow, and the pages that show no answer.

    Of `fhir` a record may be opened as the case; people may sign in at the issuer of `oidc`.
    """
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    ward = shadow.ward
    pages = Pages(
        ward=ward,
        kinds=(),
        examined=desk.examined,
        signs_in=ward.sessions is not None,
        keeps_cases=False,
        longest=LONGEST_CASE,
        finds_patients=fhir is not None,
    )
    add_shelf(app, desk, pages)
    add_signin(app, pages, ward.sessions, oidc)
    add_static(app, FILES)

    async def taken(request: Request, opinion: Opinion, door: str) -> str:
        caller = need(request, "diagnose")
        asked = await ward.begin(prompt_for(opinion.case, ward.template), ward.sampling, caller, door)
        shadow.record(asked, opinion.diagnoses)
        return asked.request_id

    def page(request: Request, status: int = 200, **shown: Any) -> Response:
        blank = {"case": "", "theirs": [""] * FIVE, "from_fhir": "", "fault": "", "recorded": ""}
        return pages.page("shadow.html", request, status, **blank | shown)

    if fhir is not None:
        add_patients(app, ward, pages, fhir, lambda request, case, note: page(request, case=case, from_fhir=note))

    @app.get("/")
    async def blank(request: Request) -> Response:
        need(request, "diagnose")
        return page(request)

    @app.post("/")
    async def typed(request: Request) -> Response:
        shown: dict[str, Any] = {}
        try:
            fields = fields_of(request.headers.get("content-type", ""), await request.body())
            shown = {"case": fields.get("case", ""), "theirs": [fields.get(f"d{n}", "") for n in range(1, FIVE + 1)]}
            typed = await asyncio.to_thread(case_of, fields, say_for(request))
            opinion = _opinion(typed.case, shown["theirs"])
            return page(request, recorded=await taken(request, opinion, "shadow page"))
        except (UserError, Busy, Unaudited, Forbidden) as error:
            return page(request, status_of(error), fault=told(request, error), **shown)

    @app.post("/v1/shadow")
    async def posted(opinion: Opinion, request: Request) -> Response:
        name = await taken(request, _opinion(opinion.case, opinion.diagnoses), "shadow")
        return JSONResponse({"recorded": name, "rounds": ward.label}, 202)


def _opinion(case: str, theirs: Sequence[str]) -> Opinion:
    """What a person wrote, checked.

    Raises:
        UserError: no case, no diagnosis, or one too long.
    """
    named = tuple(name.strip() for name in theirs if name.strip())
    if not case.strip():
        raise UserError("the case is empty; type what is known of the patient.")
    if len(case) > LONGEST_CASE:
        raise UserError(f"the case has {len(case)} characters; at most {LONGEST_CASE} can be read.")
    if not named:
        raise UserError("name at least one diagnosis of your own: it is what the model is compared with.")
    if any(len(name) > LONGEST_NAME for name in named):
        raise UserError(f"a diagnosis is longer than {LONGEST_NAME} characters; give its name alone.")
    return Opinion(case=case, diagnoses=named)
