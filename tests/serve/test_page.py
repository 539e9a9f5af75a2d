"""The consult page without a browser: what it shows for each kind of answer, and that hostile text stays text."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rounds.serve.page import FILES
from rounds.serve.standing import Standing
from rounds.serve.views import CONTENT_SECURITY

pytestmark = pytest.mark.anyio

ATTACKS = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=1">',
    "'><svg/onload=alert(1)>",
    "</textarea><script>document.title='owned'</script>",
    "</mark></p><iframe src=javascript:alert(1)>",
    "{{ 1234 * 5678 }}{% raw %}",
    "{0.__class__}{say}",
    "javascript:alert(1)",
    "<style>*{display:none}</style>",
    "<!--",
    "&lt;script&gt;&#x3C;img onerror=1&#x3E;",
    "\u202e<b onmouseover=1>",
)
FIVE = ("pneumonia", "pulmonary embolism", "heart failure", "pleurisy", "lung abscess")
VOID = {"meta", "link", "br", "img", "input", "path", "rect"}


class Tags(HTMLParser):
    """Start tags of a page with their attributes; `open` is empty when every element was closed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    return parser.seen


async def consult(client: Any, case: str, **more: str) -> Any:
    return await client.post("/", data={"case": case, **more})


async def test_blank_page(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await client.get("/")
        for name, kind in FILES.items():
            file = await client.get(f"/static/{name}")
            assert (file.status_code, file.headers["content-type"]) == (200, kind)
        missing = await client.get("/static/consult.html")
    assert response.status_code == 200
    assert response.headers["content-security-policy"] == CONTENT_SECURITY
    assert "unsafe" not in CONTENT_SECURITY
    assert "Demonstration, not for patients" in response.text
    for tag, attributes in tags(response.text):
        assert tag != "style"
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("src") or "/").startswith("/")  # nothing is loaded from elsewhere
        assert (attributes.get("href") or "/")[0] in "/#"
    assert missing.status_code == 404


async def test_red_flags_come_first_then_five(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await consult(client, "fever\r\nand cough")
    assert response.status_code == 200
    assert scripted.prompts[0].messages[0].content == "fever\nand cough\nFive diagnoses?"
    text = response.text
    places = [text.index(f">{name} <") for name in FIVE]
    assert places == sorted(places)
    assert text.index("low oxygen <small>named by the model") < places[0]
    assert "Demonstration, not for patients" in text
    assert "Fever fits pneumonia." in text
    # The reasoning, the reply and the form lie folded.
    assert [attributes.get("open") for tag, attributes in tags(text) if tag == "details"] == [None] * 3
    assert "fever\nand cough</textarea>" in text
    assert '<mark class="for">fever&nbsp;<small>for 1</small></mark>' in text


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ("I cannot place this case.", "lies outside what it knows"),
        ("I&#39;m sorry", "No list of diagnoses could be read"),
        ("I'm sorry, I cannot help with that.", "The model declined to answer."),
        ("Well. Hard to say.", "No list of diagnoses could be read"),
        ("1. gout\n2. septic arthritis", "Only 2 of five diagnoses could be read"),
        ("1. gout\nRed flags: none", "The model named none; this is not an all-clear."),
    ],
)
async def test_other_answers(make_app: Any, client_of: Any, make_scripted: Any, reply: str, shown: str) -> None:
    async with client_of(make_app(make_scripted(thinking="", reply=reply))) as client:
        response = await consult(client, "CUT a case")
    assert shown in response.text
    assert "cut off at the limit of 500 tokens" in response.text
    assert "Reasoning (" not in response.text
    tags(response.text)


async def test_another_kind_of_question(make_app: Any, client_of: Any, make_scripted: Any) -> None:
    async with client_of(make_app(make_scripted(thinking="", reply="**42** <b>mg</b>"))) as client:
        response = await consult(client, "How many mg are that?", template="calculation@1")
        wrong = await consult(client, "my case", template="nonsense@9")
    assert "**42** &lt;b&gt;mg&lt;/b&gt;" in response.text
    assert "the model was examined with differential-brief@1 only" in response.text
    assert "Red flags" not in response.text
    assert wrong.status_code == 400
    assert "my case</textarea>" in wrong.text


@pytest.mark.parametrize("attack", ATTACKS)
async def test_hostile_text_stays_text(make_app: Any, client_of: Any, make_scripted: Any, attack: str) -> None:
    line = f"{attack} - for: {attack}; against: fever"
    reply = "\n".join([*(f"{place}. {place}{line}" for place in range(1, 6)), f"Red flags: {attack}; fever"])
    standing = Standing(
        word="unproven", banner=f"Unproven {attack}", evidence=attack, checkpoint=attack, passport=attack
    )
    thinking = f"Fever suggests {attack}. {attack}"
    app = make_app(make_scripted(thinking=thinking, reply=reply), standing=standing, name=attack)
    async with client_of(app) as client:
        plain = await client.post("/", data={"case": f"{attack} fever {attack}", "template": attack[:40]})
        response = await consult(client, f"{attack} fever {attack}")
        stream = await client.post("/stream", data={"case": f"{attack} fever {attack}"})
    assert plain.status_code == 400
    assert response.status_code == 200
    streamed = next(
        json.loads(line.removeprefix("data: "))["html"] for line in stream.text.splitlines() if '{"html"' in line
    )
    calm = tags_of_calm_answer()
    for text in (plain.text, response.text, streamed):
        for tag, attributes in tags(text):
            assert tag in calm, tag
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            assert "javascript:" not in (attributes.get("href") or "")
            assert not (tag == "script" and attributes.get("src") != "/static/consult.js")
        assert text.count("</textarea>") == 1
        assert str(1234 * 5678) not in text
        assert "<class" not in text


def tags_of_calm_answer() -> set[str]:
    """Every element our own templates hold."""
    parser = Tags()
    for path in (Path(__file__).parents[2] / "src" / "rounds" / "serve" / "web").glob("*.html"):
        for piece in path.read_text(encoding="utf-8").split("<")[1:]:
            parser.seen.append((piece.split(">")[0].split()[0].strip("/!"), {}))
    return {tag for tag, _ in parser.seen}


@pytest.mark.parametrize(
    ("case", "status", "sentence"),
    [
        ("", 400, "The case is empty"),
        ("  \n ", 400, "The case is empty"),
        ("x" * 20_001, 400, "The case has 20001 characters; at most 20000 can be read."),
        ("TOOLONG", 400, "The prompt has 900 tokens"),
        ("EARLYBREAK", 500, "The engine failed on this request"),
        ("HALF", 500, "The engine gave no whole answer"),
        ('{"resourceType": "Bundle"', 400, "The record cannot be read: the body is not valid JSON."),
    ],
)
async def test_faults_keep_what_was_typed(
    make_app: Any, client_of: Any, scripted: Any, case: str, status: int, sentence: str
) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await consult(client, case)
        streamed = await client.post("/stream", data={"case": case})
    assert response.status_code == status
    assert sentence in response.text
    assert f"{case}</textarea>".replace('"', "&#34;") in response.text
    assert "Demonstration, not for patients" in response.text
    assert sentence in streamed.text  # as the body of a fault, or as an event of a stream that had begun
    assert "<!doctype" not in streamed.text


async def test_busy(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted, most_waiting=0, at_once=0)) as client:
        for path in ("/", "/stream"):
            response = await client.post(path, data={"case": "my long case"})
            assert response.status_code == 429
            assert int(response.headers["retry-after"]) >= 1
            assert "Too many requests are waiting" in response.text


@pytest.mark.parametrize("path", ["/", "/stream", "/feedback"])
@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b'{"case": "x"}'),
        ("application/x-www-form-urlencoded", b"case=%ff%fe"),
        ("application/x-www-form-urlencoded", b"case=\xff"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(9))),
        ("application/x-www-form-urlencoded", b"nonsense"),
        ("multipart/form-data", b"x"),
    ],
)
async def test_bad_forms(
    make_app: Any, client_of: Any, scripted: Any, path: str, content_type: str, content: bytes
) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await client.post(path, content=content, headers={"content-type": content_type})
    assert response.status_code == 400
    assert "use the page itself, or the API" in response.text
    assert scripted.prompts == []


async def test_a_record_is_read_into_words(make_app: Any, client_of: Any, scripted: Any) -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"resource": {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1960-01-01",
                          "name": [{"family": "<b>Secretname</b>"}]}},
            {"resource": {"resourceType": "Condition", "subject": {"reference": "Patient/p"},
                          "code": {"text": "<script>alert(1)</script> fever"}}},
        ],
    }  # fmt: skip
    async with client_of(make_app(scripted)) as client:
        response = await consult(client, json.dumps(bundle))
    assert response.status_code == 200
    asked = scripted.prompts[0].messages[0].content
    assert "-year-old woman" in asked
    assert "Secretname" not in response.text + asked
    assert "Read from FHIR: " in response.text
    assert ("script", {}) not in tags(response.text)
    assert "&lt;script&gt;alert(1)" in response.text
