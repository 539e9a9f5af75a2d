# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""A case in, a validated opinion out: POST /v1/diagnose, and the same way for the clinician's page.

Before the model is asked, the case is held against what the model was examined on; outside of it there is an
abstention with its reason and no guess. With `template: "auto"` the router reads which kind of question it is, and a
list of diagnoses is then asked for with the very template of the exam; with `model: "auto"` the specialist of the
specialty that the case reads as answers, in doubt the model itself. Left out on purpose: the page
(`rounds.serve.page`), and reading FHIR (`rounds.serve.fhir`).
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rounds.knowledge.base import load
from rounds.prompts import template as templates
from rounds.prompts.reader import MOST
from rounds.prompts.router import PLAIN, route
from rounds.records import Prompt, Record, Sampling, Trace, UserError
from rounds.serve.consult import LONGEST_CASE, prompt_for
from rounds.serve.examined import Examined, age_in, band_of, examined, limits
from rounds.serve.fhir_document import document_of
from rounds.serve.fhir_json import FHIR
from rounds.serve.keys import Caller, need
from rounds.serve.language import language_of, name_of
from rounds.serve.opinion import Abstention, Opinion, Reader
from rounds.serve.specialty import UNSURE, specialty_of
from rounds.serve.ward import Asked, Ward, traces_of, unless_gone
from rounds.serve.wording import Wording, wording

if TYPE_CHECKING:
    from fastapi import FastAPI

FIVE = "five"
"""Form of an answer that is a list of diagnoses."""


class DiagnoseRequest(Record):
    """Body of POST /v1/diagnose."""

    case: str = Field(min_length=1, max_length=LONGEST_CASE)
    """What is known of the patient, in words; no names."""
    template: str | None = Field(default=None, max_length=64, pattern=r"^(?:auto|[a-z][a-z-]*@[1-9][0-9]*)$")
    """`kind@version`, `auto` for the router's choice; left out, the template of the exam."""
    model: str | None = Field(default=None, max_length=256)
    """An id of /v1/models: the model itself, or one of its specialists; `auto` for the specialist of the specialty that
    the case reads as. Left out, the model itself."""
    max_tokens: int | None = Field(default=None, ge=1, le=131072)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)


@dataclass(frozen=True, slots=True)
class Chosen:
    """How one case is asked."""

    case: str
    prompt: Prompt
    template: str
    form: str
    """Of the answer: `five` is a list of diagnoses."""
    routed: str
    """Kind the router read, '' when it was not asked."""
    specialty: str = ""
    """Specialty the case reads as, `unsure` in doubt, '' when nobody asked."""

    @property
    def adapter(self) -> str:
        """Name of the adapter that is to answer, '' for the model itself."""
        return self.prompt.adapter


class Desk:
    """What answers cases: the ward, the knowledge base, and what the model was examined on."""

    def __init__(self, ward: Ward, home: Path | None = None) -> None:
        """`home` is the directory of the run, None for a bare checkpoint: then nothing is known of its exam."""
        self.ward = ward
        self.home = home
        self.knowledge = load()
        self.reader = Reader(self.knowledge)
        self.examined: Examined | None = examined(home, self.knowledge) if home is not None else None

    def choose(self, case: str, asked: str | None, model: str | None = None) -> Chosen:
        """The template and the model for one case. The router's list of diagnoses is asked for as it was examined.

        Raises:
            UserError: an empty or too long case, an unknown template, no such model.
        """
        own = self.ward.template
        routed = ""
        if asked == templates.AUTO:
            routed = route(case[:LONGEST_CASE]).kind
            newest = templates.newest(routed)
            lists = templates.load(newest).answer == templates.load(own).answer
            asked = own if routed == PLAIN or lists else newest
        chosen = templates.load(asked or own)
        prompt, adapter, specialty = prompt_for(case, chosen.name), "", ""
        if model == templates.AUTO:
            specialty = specialty_of(case, self.knowledge) or UNSURE
            adapter = next((name for name, one in self.ward.specialists.items() if one.specialty == specialty), "")
        elif model is not None:
            adapter = self.ward.adapter_of(model)
        prompt = prompt.model_copy(update={"adapter": adapter})
        return Chosen(case.strip(), prompt, chosen.name, chosen.answer, routed, specialty)

    def abstention(self, chosen: Chosen, say: Wording | None = None) -> Abstention | None:
        """Why this case is not put to the model, None when nothing speaks against it."""
        found = limits(chosen.case, self.examined, self.knowledge)
        if not found or self.examined is None:
            return None
        return Abstention(
            by="rule", kind=found[0], reason=reason(found[0], chosen.case, self.examined, say or wording())
        )

    def abstained(self, chosen: Chosen, why: Abstention, request: str, say: Wording) -> Opinion:
        """The opinion on a case that is not put to the model; red flags the case states are told all the same."""
        told = self.reader.seen(chosen.case)
        return Opinion(
            **self._head(chosen, request),
            abstention=why,
            findings=told,
            red_flags=tuple(self.reader.red_flags((), chosen.case, told, ())),
            red_flags_note=say("flags.not_asked"),
            notes=self._notes(chosen, say),
        )

    def opinion(self, chosen: Chosen, trace: Trace, request: str, say: Wording) -> Opinion:
        """What the model wrote, read; not for the event loop."""
        head = self._head(chosen, request) | {
            "reasoning": trace.thinking,
            "reply": trace.reply,
            "finish": trace.finish,
            "thinking_tokens": trace.thinking_tokens,
            "reply_tokens": trace.reply_tokens,
            "seconds": trace.total_s,
        }
        notes = self._notes(chosen, say)
        if trace.finish == "length":
            notes += (say("note.cut", tokens=trace.sampling.max_tokens),)
        if chosen.form != FIVE:
            return Opinion(**head, notes=notes)
        answer = self.reader.answer(trace)
        told = self.reader.seen(chosen.case)
        diagnoses = tuple(self.reader.diagnoses(answer, chosen.case, told, trace))
        listed = [one.condition for one in diagnoses if one.condition]
        outside = Abstention(by="model", kind="knowledge", reason=say("abstention.knowledge"))
        if 0 < len(diagnoses) < MOST:
            notes += (say("note.fewer", found=len(diagnoses)),)
        return Opinion(
            **head,
            red_flags=tuple(self.reader.red_flags(answer.red_flags, chosen.case, told, listed)),
            red_flags_note="" if answer.red_flags else say("flags.none"),
            diagnoses=diagnoses,
            not_to_miss=tuple(self.reader.not_to_miss(diagnoses)),
            findings=told,
            abstention=outside if answer.abstained else None,
            refused=answer.refused,
            unreadable=answer.unreadable,
            reasoning_check=self.reader.check(trace, answer, chosen.case),
            notes=notes,
        )

    def _head(self, chosen: Chosen, request: str) -> dict[str, Any]:
        return {
            "request": request,
            "case": chosen.case,
            "model": self.ward.model_id(chosen.adapter),
            "standing": self.ward.standing_of(chosen.adapter).label,
            "specialist": self.ward.specialists[chosen.adapter].specialty if chosen.adapter else "",
            "specialty": chosen.specialty,
            "template": chosen.template,
            "template_examined": chosen.template == self.ward.template if self.examined is not None else None,
            "answer_form": chosen.form,
            "routed": chosen.routed,
            "language": language_of(chosen.case),
        }

    def _notes(self, chosen: Chosen, say: Wording) -> tuple[str, ...]:
        own = self.ward.template
        unknown = (say("note.nothing_known"),) if self.examined is None else ()
        other = (say("note.other_template", template=chosen.template, own=own),) if chosen.template != own else ()
        return unknown + other


def reason(limit: str, case: str, known: Examined | None, say: Wording) -> str:
    """One sentence: why a case lies outside what was examined."""
    age = age_in(case)
    band = "" if age is None else say(f"band.{band_of(age)}")
    languages = sorted(known.languages) if known is not None else []
    return say(
        f"abstention.{limit}",
        language=name_of(language_of(case)),
        examined=", ".join(map(name_of, languages)),
        band=band,
        cases=known.cases if known is not None else 0,
        seen=known.ages.get(band_of(age), 0) if known is not None and age is not None else 0,
        pregnant=known.pregnant if known is not None else 0,
    )


def sampling_for(own: Sampling, asked: DiagnoseRequest) -> Sampling:
    """The sampling of the exam, `own`, with what a request may change.

    Raises:
        UserError: more tokens than are served.
    """
    if asked.max_tokens is not None and asked.max_tokens > own.max_tokens:
        raise UserError(f"max_tokens is {asked.max_tokens}; this server gives at most {own.max_tokens}.")
    changed = {"max_tokens": asked.max_tokens, "seed": asked.seed}
    return own.model_copy(update={key: value for key, value in changed.items() if value is not None})


async def decline(
    desk: Desk, chosen: Chosen, why: Abstention, caller: Caller, door: str, say: Wording | None = None
) -> Opinion:
    """An abstention by rule, written into the log before it is shown.

    Raises:
        Unaudited: it could not be, or the model was stopped by those responsible.
    """
    desk.ward.check()
    await desk.ward.audit.refused(caller.name, door, f"not asked: outside what was examined ({why.kind})")
    return await asyncio.to_thread(desk.abstained, chosen, why, uuid.uuid4().hex, say or wording())


async def finish(
    desk: Desk, chosen: Chosen, asked: Asked, traces: Sequence[Trace], say: Wording | None = None
) -> Opinion:
    """The opinion of a request, read first and shown only when its result row is committed.

    Raises:
        Unaudited: it could not be.
    """
    opinion = await asyncio.to_thread(desk.opinion, chosen, traces[0], asked.request_id, say or wording())
    await desk.ward.conclude(asked, traces)
    return opinion


def add_diagnose(app: "FastAPI", desk: Desk) -> None:
    """Add POST /v1/diagnose to an application."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    ward, say = desk.ward, wording()

    @app.post("/v1/diagnose")
    async def diagnose(asked: DiagnoseRequest, request: Request) -> Response:
        caller = need(request, "diagnose")
        chosen = await asyncio.to_thread(desk.choose, asked.case, asked.template, asked.model)
        sampling = sampling_for(ward.sampling_of(chosen.adapter), asked)
        why = await asyncio.to_thread(desk.abstention, chosen, say)
        if why is not None:
            return told(request, await decline(desk, chosen, why, caller, "diagnose", say))
        begun = await ward.begin(chosen.prompt, sampling, caller, "diagnose")
        async with ward.following(begun):
            traces = await unless_gone(request.receive, begun.job, traces_of(begun.job))
            return told(request, await finish(desk, chosen, begun, traces, say))

    def told(request: Request, opinion: Opinion) -> Response:
        if FHIR in request.headers.get("accept", ""):
            return JSONResponse(document_of(opinion), media_type=FHIR)
        return Response(opinion.model_dump_json(), media_type="application/json")


def kinds(own: str) -> list[str]:
    """The newest template of every kind but the served one's: what a caller may choose instead."""
    newest = {name.partition("@")[0]: name for name in templates.names()}
    return [name for kind, name in newest.items() if kind != own.partition("@")[0]]
