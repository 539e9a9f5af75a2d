# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""The page: a case is typed, five diagnoses come back, the reasoning folded behind a click. Works without JavaScript.

What the model writes is text to the template engine and stays text (autoescape); style and icon are own files, so that
the strict content security policy holds. Nothing typed is kept. Left out on purpose: accounts, history, and charts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from rounds.records import Answer, Prompt, Trace, UserError
from rounds.serve.consult import LONGEST_CASE, prompt_for, read_trace
from rounds.serve.ward import ClientGone, Ward, traces_of, unless_gone
from rounds.serve.worker import Busy, EngineFailed

if TYPE_CHECKING:
    from fastapi import FastAPI

WEB = Path(__file__).parent / "web"
FILES = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
"""Every file the page loads, with its type."""

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Shown:
    """What one visit shows."""

    case: str = ""
    fault: str = ""
    answer: Answer | None = None
    trace: Trace | None = None


def add_page(app: "FastAPI", ward: Ward) -> None:
    """Add the page and its files to an application."""
    from fastapi import Request
    from fastapi.responses import HTMLResponse, Response
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(WEB), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = pages.get_template("page.html")
    files = {name: (WEB / name).read_bytes() for name in FILES}

    def page(shown: Shown, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
        text = template.render(ward=ward, shown=shown, longest=LONGEST_CASE)
        return HTMLResponse(text, status, headers=headers)

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in files:
            return Response(status_code=404)
        return Response(files[name], media_type=FILES[name], headers={"cache-control": "no-cache"})

    @app.get("/")
    async def blank() -> HTMLResponse:
        return page(Shown())

    @app.post("/")
    async def consult(request: Request) -> Response:
        case = ""
        try:
            case = _case_of(request.headers.get("content-type", ""), await request.body())
            trace = await _trace(request, prompt_for(case, ward.template))
        except UserError as error:
            return page(Shown(case, fault=_sentence(error)), 400)
        except Busy as busy:
            return page(Shown(case, fault=_sentence(busy)), 429, {"retry-after": str(busy.retry_after)})
        except EngineFailed as error:
            return page(Shown(case, fault=_sentence(error)), 500)
        except ClientGone:
            return Response(status_code=499)
        return page(Shown(case, answer=read_trace(trace), trace=trace))

    async def _trace(request: Request, prompt: Prompt) -> Trace:
        job = ward.worker.submit(prompt, ward.sampling)
        return (await unless_gone(request.receive, job, traces_of(job)))[0]


def _case_of(content_type: str, body: bytes) -> str:
    """The field `case` of a form.

    Raises:
        UserError: not such a form.
    """
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise UserError(f"this page takes a form of type {FORM}; use the page itself, or the API.")
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=4, errors="strict", strict_parsing=bool(body))
    except ValueError:
        raise UserError("the form cannot be read; use the page itself, or the API.") from None
    # Browsers send line ends as CR LF; models have learnt LF.
    return fields.get("case", [""])[0].replace("\r\n", "\n")


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
