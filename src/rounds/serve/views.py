"""What the pages show: the case cut into marked pieces, and the templates with their sentences.

Text of a case, a model or a record is only ever text to the templates (autoescape), and a mark says in words what its
colour says. Left out on purpose: routes (`rounds.serve.page`, `rounds.serve.shelf`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from rounds.serve import faults
from rounds.serve.examined import BANDS, Examined
from rounds.serve.findings import Argument, Mark
from rounds.serve.keys import Forbidden, caller_of
from rounds.serve.language import name_of
from rounds.serve.opinion import Diagnosis, Opinion, RedFlag
from rounds.serve.wording import WEB, Wording, preferred

if TYPE_CHECKING:
    from fastapi.responses import HTMLResponse
    from jinja2 import Environment
    from starlette.requests import Request

CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Of our own pages: one script, one style sheet, nothing inline, nothing from elsewhere."""


@dataclass(slots=True)
class Piece:
    """A stretch of the case; marked when it has labels."""

    text: str
    labels: tuple[str, ...] = ()
    """What the mark means, in words."""
    look: str = ""
    """`flag`, `for`, `against`, `both` or `plain`."""


@dataclass(slots=True)
class _Span:
    start: int
    end: int
    flag: bool = False
    denied: bool = False
    speaks_for: set[int] = field(default_factory=set)
    against: set[int] = field(default_factory=set)

    def join(self, other: _Span) -> None:
        """Take an overlapping span in."""
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        self.flag, self.denied = self.flag or other.flag, self.denied or other.denied
        self.speaks_for |= other.speaks_for
        self.against |= other.against


def pieces(opinion: Opinion, say: Wording) -> list[Piece]:
    """The case in order, whole: joined, the texts of the pieces are the case."""
    found: list[Piece] = []
    place = 0
    for span in _joined(sorted(_spans(opinion), key=lambda span: (span.start, span.end))):
        if span.start > place:
            found.append(Piece(opinion.case[place : span.start]))
        found.append(_piece(opinion.case[span.start : span.end], span, say))
        place = span.end
    return [*found, Piece(opinion.case[place:])] if place < len(opinion.case) else found


def _spans(opinion: Opinion) -> Iterator[_Span]:
    for one in opinion.findings:
        yield from (_Span(mark.start, mark.end, denied=one.denied) for mark in one.marks)
    for flag in opinion.red_flags:
        yield from (_Span(mark.start, mark.end, flag=True) for mark in flag.marks)
    for diagnosis in opinion.diagnoses:
        for argument in diagnosis.speaks_for:
            yield from (_Span(mark.start, mark.end, speaks_for={diagnosis.rank}) for mark in _sound(argument))
        for argument in diagnosis.speaks_against:
            yield from (_Span(mark.start, mark.end, against={diagnosis.rank}) for mark in _sound(argument))


def _sound(argument: Argument) -> tuple[Mark, ...]:
    """A claim that does not hold marks nothing."""
    return () if argument.doubt else argument.marks


def _joined(spans: list[_Span]) -> list[_Span]:
    found: list[_Span] = []
    for span in spans:
        if span.end <= span.start:
            continue
        if found and span.start < found[-1].end:
            found[-1].join(span)
        else:
            found.append(span)
    return found


def _piece(text: str, span: _Span, say: Wording) -> Piece:
    labels = [say("case.flag")] if span.flag else []
    if span.speaks_for:
        labels.append(say("case.for", places=", ".join(map(str, sorted(span.speaks_for)))))
    if span.against:
        labels.append(say("case.against", places=", ".join(map(str, sorted(span.against)))))
    if span.denied and not labels:
        labels.append(say("case.denied"))
    sides = "both" if span.speaks_for and span.against else "for" if span.speaks_for else "against"
    look = "flag" if span.flag else sides if span.speaks_for or span.against else "plain"
    return Piece(text, tuple(labels), look)


def flag_words(flag: RedFlag, say: Wording) -> str:
    """Who named a red flag."""
    if len(flag.named_by) > 1:
        return say("flags.by_both")
    return say("flags.by_model" if "model" in flag.named_by else "flags.by_knowledge")


def argument_words(argument: Argument, say: Wording) -> str:
    """Who says so, and what is wrong with it."""
    both = len(argument.voices) > 1
    voice = say("answer.by_both" if both else f"answer.by_{'model' if 'model' in argument.voices else 'knowledge'}")
    return f"{voice}, {say('answer.' + argument.doubt.replace(' ', '_'))}" if argument.doubt else voice


def code_words(diagnosis: Diagnosis, say: Wording) -> str:
    """The code of a diagnosis and where it is from."""
    if not diagnosis.icd10:
        return say("answer.no_code")
    title = f" ({say('answer.code_of_title')})" if diagnosis.icd10_source == "WHO title" else ""
    return f"{say('answer.code')} {diagnosis.icd10}{title}"


def points(difference: float) -> str:
    """A difference of shares in percentage points with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def share(rate: float) -> str:
    """A share in per cent."""
    return f"{100 * rate:.1f} %"


def status_of(error: Exception) -> tuple[int, dict[str, str]]:
    """HTTP status and headers of a fault that a person is told in a sentence."""
    return faults.status_of(error), faults.wait_of(error)


def sentence(error: Exception) -> str:
    """What a person is told of it."""
    text = str(error)
    return text[:1].upper() + text[1:]


def told(request: Request, error: Exception) -> str:
    """The same for somebody who may have been signed out meanwhile."""
    expired = isinstance(error, Forbidden) and error.status == 401
    return say_for(request)("stream.expired") if expired else sentence(error)


def say_for(request: Request) -> Wording:
    """The sentences in the language the browser asks for."""
    return preferred(request.headers.get("accept-language", ""))


@cache
def _templates() -> Environment:
    """Read once a process: to compile them takes a while."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(WEB), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals.update(
        pieces=pieces,
        flag_words=flag_words,
        argument_words=argument_words,
        code_words=code_words,
        points=points,
        share=share,
    )
    return made


class Pages:
    """The templates; one for an application."""

    def __init__(self, examined: Examined | None = None, **always: Any) -> None:
        """`examined` is what the model was examined on, None where that is not known; `always` is given to every
        template."""
        self._examined = examined
        self._always = always | {
            "examined": examined,
            "examined_languages": [name_of(code) for code in examined.languages] if examined else [],
        }
        self._templates = _templates()
        for name in self._templates.list_templates(extensions=["html"]):
            self._templates.get_template(name)  # a fault in one is found when the server starts

    def text(self, name: str, request: Request, **values: Any) -> str:
        """A template filled in, in the language the browser asks for."""
        say = say_for(request)
        caller = caller_of(request)
        here = {"say": say, "caller": caller, "here": request.url.path, "finds_patients": False}
        return self._templates.get_template(name).render(**here | self._bands(say) | self._always, **values)

    def _bands(self, say: Wording) -> dict[str, list[str]]:
        """Which ages were examined and which were not, in words; both empty where too few cases tell one."""
        known = self._examined
        if known is None or not known.tells_ages:
            return {"examined_bands": [], "other_bands": []}
        words = {name: say(f"band.{name}") for name, _ in BANDS}
        return {
            "examined_bands": [text for name, text in words.items() if known.has_age(name)],
            "other_bands": [text for name, text in words.items() if not known.has_age(name)],
        }

    def page(
        self, name: str, request: Request, status: int = 200, headers: dict[str, str] | None = None, **values: Any
    ) -> HTMLResponse:
        """The same as an answer, under the policy of our pages."""
        from fastapi.responses import HTMLResponse

        sent = {"content-security-policy": CONTENT_SECURITY, **(headers or {})}
        return HTMLResponse(self.text(name, request, **values), status, headers=sent)
