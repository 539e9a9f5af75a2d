"""The specification's own examples of calls, prefetch and feedback, against our services. Nobody here wrote them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rounds.serve.fhir import read_chart
from rounds.serve.fhir_json import BadFhir
from rounds.serve.hooks_call import SERVICES, read_call
from rounds.serve.hooks_feedback import read_feedback

SHARED = Path(__file__).parents[3] / "shared" / "data" / "29_cds_hooks_examples" / "examples.jsonl"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_file(), reason="no ../shared/data/29_cds_hooks_examples"),
]


def examples(kind: str) -> list[dict[str, Any]]:
    lines = SHARED.read_text(encoding="utf-8").splitlines()
    return [one["json"] for one in map(json.loads, lines) if one["kind"] == kind]


@pytest.mark.anyio
async def test_example_requests_are_answered_or_refused_in_words(make_app: Any, scripted: Any, client_of: Any) -> None:
    """Every request of the specification against every service of ours: 200, or a sentence and never a failure.

    Completed with null for the prefetch it lacks, one of our hooks is answered with cards or none."""
    seen = set()
    async with client_of(make_app(scripted)) as client:
        for request in examples("request"):
            for service in SERVICES.values():
                answer = await client.post(f"/cds-services/{service.id}", json=request)
                seen.add(answer.status_code)
                assert answer.status_code in (200, 400, 412)
                if answer.status_code != 200:
                    assert answer.json()["resourceType"] == "OperationOutcome"
                if request["hook"] == service.hook and "patientId" in request["context"]:
                    assert answer.status_code == 412
                    whole = {**request, "prefetch": {**dict.fromkeys(service.prefetch), **request.get("prefetch", {})}}
                    assert (await client.post(f"/cds-services/{service.id}", json=whole)).status_code == 200
    assert seen == {400, 412}


def test_example_prefetch_and_contexts_are_read_or_refused() -> None:
    today = date(2026, 11, 21)
    answered = 0
    for kind in ("context", "prefetch", "request"):
        for example in examples(kind):
            context = example.get("context", {})
            drafts = [value for value in context.values() if isinstance(value, dict)]
            data = example.get("prefetch", {})
            resources = [value for value in data.values() if isinstance(value, dict)]
            for one in [*drafts, *resources]:
                try:
                    answered += read_chart(one, today).patient is not None
                except BadFhir as fault:
                    assert fault.status == 400, fault  # noqa: PT017
    assert answered >= 20


def test_example_feedback_is_read() -> None:
    for example in examples("feedback"):
        cards = [one.card for one in read_feedback(json.dumps(example).encode())]
        assert cards == [item["card"] for item in example["feedback"]]


def test_an_example_order_becomes_a_line_of_the_case() -> None:
    service = SERVICES["rounds-order-select"]
    (request,) = [one for one in examples("request") if one["hook"] == "order-select"]
    request["prefetch"] = dict.fromkeys(service.prefetch)
    chart = read_call(json.dumps(request).encode(), service, date(2026, 11, 21)).chart
    order = request["context"]["draftOrders"]["entry"][0]["resource"]
    assert chart.lines[-1].text.startswith(f"Orders being written: {order['code']['text']} for ")
