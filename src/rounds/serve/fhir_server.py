"""One FHIR R4 server, configured by an officer, from which a clinician picks a patient (https://hl7.org/fhir/R4/http.html).

Only that origin is ever asked (`rounds.serve.outgoing`): of addresses in what it sends only the `next` link of a search
on the same origin is followed. Everything is bounded in bytes, pages, entries, depth and time, and read off the event
loop. No fault repeats a word of what was sent. What is looked for goes in the body of a POST, so that no name stands in
an address. Left out on purpose: writing, SMART launches, XML, and fetching a token (a cron job and a file do that where
it can be seen).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rounds.records import UserError
from rounds.serve.fhir import LOGICAL_ID, Chart, read_chart
from rounds.serve.fhir_json import FHIR, LIMITS, BadFhir, read_strict
from rounds.serve.fhir_words import dicts, plain
from rounds.serve.hooks_call import RECORD
from rounds.serve.outgoing import Outgoing, OutgoingFault, Reply, secret_in

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("rounds.serve")

SEARCH_SECONDS = 10.0
RECORD_SECONDS = 20.0
"""Of all requests for one patient together."""
MOST_FOUND = 20
"""Patients shown of one search."""
MOST_PAGES = 10
"""Of one search; more is too much."""
LONGEST_SEARCH = 100
"""Characters."""
LONGEST_TOKEN = 8192
JSON_TYPES = (FHIR, "application/json")

SEARCHSET = replace(LIMITS, bundles=1)
"""A page of a search is a Bundle of resources; a Bundle inside it is refused."""


@dataclass(frozen=True, slots=True)
class Found:
    """A patient as a clinician tells one from another."""

    id: str
    """Logical id on the FHIR server."""
    name: str
    born: str
    """As the record writes it; '' where it does not."""
    sex: str
    numbers: tuple[str, ...]
    """Identifiers of the hospital."""


@dataclass(frozen=True, slots=True)
class Matches:
    """What a search found."""

    patients: tuple[Found, ...]
    more: bool
    """There are others; the search is to be narrowed."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One patient's record, read."""

    patient: Found
    chart: Chart
    cut: bool
    """The record holds older observations, prescriptions or reports than were asked for."""


class FhirServer:
    """Asks one FHIR server."""

    def __init__(self, base: str, token: Path | None = None) -> None:
        """`base` is the URL under which Patient lies; `token` a file with a bearer token, read anew for each request.

        Raises:
            UserError: not such a URL, http beyond this machine, or no usable token.
        """
        self._way = Outgoing("the FHIR server", base, "--fhir")
        self._token = token
        self._headers()

    async def search(self, text: str) -> Matches:
        """Patients by name, or by identifier where the text has a digit; `system|value` is an identifier too.

        Raises:
            UserError: nothing to look for, or too long.
            OutgoingFault: it gave no answer that can be read.
        """
        wanted = " ".join(text.split())
        if not wanted or len(wanted) > LONGEST_SEARCH:
            raise UserError(f"give a name or an identifier of 1 to {LONGEST_SEARCH} characters.")
        number = any(sign.isdigit() for sign in wanted)
        form = {"identifier" if number else "name": _escaped(wanted, bars=not number), "_count": str(MOST_FOUND)}
        async with self._way.asking(SEARCH_SECONDS) as client:
            url = self._way.at("Patient/_search")
            bundle = _bundle(await self._fetch(client, url, form))
            more = self._next(bundle, url) is not None
        entries = [one.get("resource") for one in dicts(bundle.get("entry"))]
        found = [made for one in entries if (made := _found(one)) is not None]
        return Matches(tuple(found[:MOST_FOUND]), more or len(found) > MOST_FOUND)

    async def open(self, patient: str) -> Opened:
        """The record of one patient: what a CDS Hooks call would bring (`rounds.serve.hooks_call.RECORD`).

        Raises:
            UserError: not the id of a patient.
            OutgoingFault: it gave no answer that can be read, or another patient's.
        """
        if not LOGICAL_ID.fullmatch(patient) or not patient.strip("."):
            raise UserError("this is not the id of a patient; look for the patient again.")
        cut = False
        async with self._way.asking(RECORD_SECONDS) as client:
            pages: list[Any] = []
            for template in RECORD.values():
                url = self._way.at(template.replace("{{context.patientId}}", patient))
                if "?" not in template:
                    pages.append(await self._fetch(client, url))
                    continue
                # Newest first, and no more than asked for; what comes in no order is read to its end.
                most = 1 if "_sort=-" in template else MOST_PAGES
                read, whole = await self._pages(client, url, most)
                if not whole and most > 1:
                    raise OutgoingFault(
                        f"the record has more than {MOST_PAGES} pages of one kind; that is too much to read."
                    )
                cut = cut or not whole
                pages += read
        who = _found(pages[0])
        if who is None or who.id != patient:
            raise OutgoingFault("the FHIR server sent another patient than the one asked for; nothing was read.")
        try:
            chart = await asyncio.to_thread(read_chart, pages, datetime.now(UTC).date(), SEARCHSET)
        except BadFhir as error:
            raise OutgoingFault(f"the record cannot be read: {error}") from error
        return Opened(who, chart, cut)

    def _headers(self) -> dict[str, str]:
        """Raises:
        UserError: the token cannot be used.
        """
        headers = {"accept": FHIR}
        if self._token is None:
            return headers
        token = secret_in(self._token, "bearer token", _is_bearer)
        return headers | {"authorization": f"Bearer {token}"}

    async def _pages(self, client: httpx.AsyncClient, url: httpx.URL, most: int) -> tuple[list[Any], bool]:
        """The pages of a search in their order, at most so many, and whether they are all."""
        read: list[Any] = []
        place: httpx.URL | None = url
        while place is not None and len(read) < most:
            bundle = _bundle(await self._fetch(client, place))
            read.append(bundle)
            place = self._next(bundle, place)
        return read, place is None

    def _next(self, bundle: dict[str, Any], place: httpx.URL) -> httpx.URL | None:
        for link in dicts(bundle.get("link")):
            if link.get("relation") == "next" and isinstance(link.get("url"), str):
                found = place.join(link["url"])
                if not self._way.owns(found):
                    raise OutgoingFault("the FHIR server's next page lies at another address, which is not asked.")
                return found
        return None

    async def _fetch(self, client: httpx.AsyncClient, url: httpx.URL, form: dict[str, str] | None = None) -> Any:
        """The JSON at one address of the configured origin."""
        try:
            headers = await asyncio.to_thread(self._headers)
        except UserError:  # its sentence is for who runs the server: it names a file
            log.exception("the token of --fhir-token cannot be used")
            raise OutgoingFault(
                "the token for the FHIR server cannot be used; ask those who run this server."
            ) from None
        reply = await self._way.fetch(client, url, headers, LIMITS.bytes, form)
        _check(reply)
        try:
            return await asyncio.to_thread(read_strict, reply.body)
        except BadFhir as error:
            raise OutgoingFault(f"the FHIR server's answer cannot be read: {error}") from error


def _check(reply: Reply) -> None:
    """Raises:
    OutgoingFault: not an answer in FHIR's JSON.
    """
    status = reply.status
    if status in (401, 403):
        raise OutgoingFault(f"the FHIR server does not let this server in ({status}); its token has to be renewed.")
    if status in (404, 410):
        raise OutgoingFault(f"the FHIR server does not have this ({status}); look for the patient again.")
    if status != 200:
        raise OutgoingFault(f"the FHIR server answered with status {status}; try again later.")
    if reply.kind not in JSON_TYPES or reply.packed:
        raise OutgoingFault("the FHIR server sent something else than plain FHIR as JSON; check the address of --fhir.")


def _bundle(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("resourceType") != "Bundle":
        raise OutgoingFault(
            "the FHIR server answered a search with something else than a Bundle; check the address of --fhir."
        )
    return value


def _is_bearer(text: str) -> bool:
    return len(text) <= LONGEST_TOKEN and text.isascii() and text.isprintable() and " " not in text


def _found(resource: Any) -> Found | None:
    """A Patient in the words of a list; None for anything else."""
    if not isinstance(resource, dict) or resource.get("resourceType") != "Patient":
        return None
    logical = resource.get("id")
    if not isinstance(logical, str) or not LOGICAL_ID.fullmatch(logical):
        return None
    names = dicts(resource.get("name"))
    names.sort(key=lambda name: name.get("use") not in ("official", "usual"))
    sex = resource.get("gender")
    numbers = (plain(one.get("value"), 40) for one in dicts(resource.get("identifier")))
    return Found(
        id=logical,
        name=next((text for name in names if (text := _name(name))), ""),
        born=plain(resource.get("birthDate"), 10),
        sex=sex if sex in ("female", "male", "other") else "",
        numbers=tuple(number for number in numbers if number)[:3],
    )


def _name(name: dict[str, Any]) -> str:
    given = name.get("given")
    parts = [*(given if isinstance(given, list) else []), name.get("family")]
    return plain(name.get("text"), 80) or " ".join(text for part in parts if (text := plain(part, 80)))


def _escaped(text: str, bars: bool) -> str:
    """For a search parameter (https://hl7.org/fhir/R4/search.html#escaping); an identifier's bar keeps its meaning."""
    for sign in ("\\", ",", "$", *("|" if bars else "")):
        text = text.replace(sign, f"\\{sign}")
    return text
