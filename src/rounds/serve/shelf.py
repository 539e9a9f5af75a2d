# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""What lies on the shelf beside the model: the report, the passport as a page, and the audit log for who may see it.

The report is our own file and has no script; it is served under a policy that allows its one style sheet by hash. Left
out on purpose: changing anything.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from rounds.records import Floor, Record, Step, Verdict
from rounds.serve.audit import Unaudited
from rounds.serve.diagnose import Desk
from rounds.serve.examined import BANDS, LEAST
from rounds.serve.keys import Forbidden, need
from rounds.serve.signin import turned_away
from rounds.serve.standing import PASSPORT, SERVED
from rounds.serve.views import Pages, say_for
from rounds.serve.wording import WEB

if TYPE_CHECKING:
    from fastapi import FastAPI

R = TypeVar("R", bound=Record)

REPORT = "report.html"
STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
MOST_ROWS = 200
"""Rows of the audit log on one page."""


def add_static(app: "FastAPI", files: Mapping[str, str]) -> None:
    """Add the files that pages load; `files` are names and types, and no other is given out."""
    from fastapi import Response

    content = {name: (WEB / name).read_bytes() for name in files}

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in content:
            return Response(status_code=404)
        return Response(content[name], media_type=files[name], headers={"cache-control": "no-cache"})


def add_shelf(app: "FastAPI", desk: Desk, pages: Pages) -> None:
    """Add the pages of report, passport and audit log to an application."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    ward = desk.ward

    @app.get("/report")
    async def report(request: Request) -> Response:
        try:
            need(request, "diagnose")
        except Forbidden as error:
            return turned_away(pages, request, error)
        text = await asyncio.to_thread(_file, desk.home, REPORT)
        if text is None:
            return pages.page("said.html", request, 404, said=say_for(request)("report.missing"), alarming=False)
        headers = {"content-security-policy": report_policy(text)}
        return Response(text, media_type="text/html; charset=utf-8", headers=headers)

    @app.get("/passport")
    async def passport(request: Request) -> Response:
        try:
            need(request, "diagnose")
        except Forbidden as error:
            return turned_away(pages, request, error)
        text = await asyncio.to_thread(_file, desk.home, PASSPORT)
        stated = passport_of(text)
        status = 200 if stated else 404
        return pages.page(
            "passport.html",
            request,
            status,
            stated=stated,
            verdicts=entries(stated.get("verdicts"), Verdict),
            floors=entries(stated.get("floors"), Floor),
            lineage=_steps(stated.get("lineage")),
            rest=rest_of(stated),
            bands=[name for name, _ in BANDS],
            least=LEAST,
        )

    @app.get("/passport.json")
    async def passport_file(request: Request) -> Response:
        need(request, "diagnose")
        text = await asyncio.to_thread(_file, desk.home, PASSPORT)
        return Response(text, media_type="application/json") if text is not None else JSONResponse({}, 404)

    @app.get("/audit")
    async def audit(request: Request) -> Response:
        try:
            need(request, "audit")
            rows = await asyncio.to_thread(ward.audit.rows, MOST_ROWS)
            check = await asyncio.to_thread(ward.audit.verify)
        except Forbidden as error:
            return turned_away(pages, request, error)
        except Unaudited:
            return pages.page("said.html", request, 503, said=say_for(request)("audit.unreadable"), alarming=True)
        return pages.page("audit.html", request, rows=rows, check=check)


def report_policy(page: str) -> str:
    """The content security policy of a page that carries its styles: each style sheet by its hash, no script at all."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
        for style in STYLE.findall(page)
    ]
    styles = " ".join(hashes) or "'none'"
    return f"default-src 'none'; style-src {styles}; img-src data:; base-uri 'none'; frame-ancestors 'none'"


def passport_of(text: str | None) -> dict[str, Any]:
    """A passport's fields; empty when there is none that can be read."""
    try:
        stated = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return stated if isinstance(stated, dict) else {}


def entries(value: Any, kind: type[R]) -> list[R]:
    """The records of a list; empty when one of them is none, and then the list is shown with all the rest."""
    try:
        return [kind.model_validate(one) for one in value] if isinstance(value, list) else []
    except ValidationError:
        return []


def _steps(value: Any) -> dict[str, Step]:
    steps = entries(list(value.values()), Step) if isinstance(value, dict) else []
    return dict(zip(value, steps, strict=True)) if steps else {}


def rest_of(stated: dict[str, Any]) -> list[tuple[str, str]]:
    """(field, value) of what the page does not show by itself, values that are more than a word as JSON."""
    shown = {"banner", "proven", "passed"}
    shown |= {name for name, kind in (("verdicts", Verdict), ("floors", Floor)) if entries(stated.get(name), kind)}
    shown |= {"lineage"} if _steps(stated.get("lineage")) else set()
    return [
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1))
        for key, value in stated.items()
        if key not in shown and value not in ("", [], {}, None)
    ]


def _file(home: Path | None, name: str) -> str | None:
    """A paper of the run, of its release where one is served; None where there is none."""
    for place in (home / SERVED, home) if home is not None else ():
        with suppress(OSError, UnicodeDecodeError):
            return (place / name).read_text(encoding="utf-8")
    return None
