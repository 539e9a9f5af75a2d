"""The page: what it shows for each kind of answer, that hostile text stays text, and how it looks in a browser."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rounds.serve.standing import Standing

pytestmark = pytest.mark.anyio

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ATTACKS = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=1">',
    "</textarea><script>document.title='owned'</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<style>*{display:none}</style>",
)


class Tags(HTMLParser):
    """Start tags of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.seen


async def consult(client: Any, case: str) -> Any:
    return await client.post("/", data={"case": case})


async def test_blank_page(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await client.get("/")
        for name, kind in (("style.css", "text/css"), ("icon.svg", "image/svg+xml")):
            file = await client.get(f"/static/{name}")
            assert file.status_code == 200
            assert file.headers["content-type"].startswith(kind)
        missing = await client.get("/static/page.html")
    assert response.status_code == 200
    assert "Demonstration, not for patients" in response.text
    assert not [tag for tag, attributes in tags(response.text) if tag == "script" or "style" in attributes]
    assert missing.status_code == 404


async def test_five_diagnoses_come_back(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await consult(client, "fever\r\nand cough")
    assert response.status_code == 200
    assert scripted.prompts[0].messages[0].content == "fever\nand cough\nFive diagnoses?"
    text = response.text
    places = [
        text.index(f"<li>{name}</li>")
        for name in ("pneumonia", "pulmonary embolism", "heart failure", "pleurisy", "lung abscess", "low oxygen")
    ]
    assert places == sorted(places)
    assert "Demonstration, not for patients" in text
    assert "Fever fits pneumonia." in text
    assert [attributes for tag, attributes in tags(text) if tag == "details"] == [{}, {}]  # folded
    assert "fever\nand cough</textarea>" in text


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ("I cannot place this case.", "lies outside what it knows"),
        ("I'm sorry, I cannot help with that.", "The model declined to answer."),
        ("Well. Hard to say.", "No list of diagnoses could be read"),
        ("1. gout\n2. septic arthritis", "Only 2 of five could be read"),
    ],
)
async def test_other_answers(make_app: Any, client_of: Any, make_scripted: Any, reply: str, shown: str) -> None:
    async with client_of(make_app(make_scripted(thinking="", reply=reply))) as client:
        response = await consult(client, "CUT a case")
    assert shown in response.text
    assert "cut off at the limit of 500 tokens" in response.text
    assert "Reasoning (" not in response.text


@pytest.mark.parametrize("attack", ATTACKS)
async def test_hostile_text_stays_text(make_app: Any, client_of: Any, make_scripted: Any, attack: str) -> None:
    reply = "\n".join([*(f"{place}. {place}{attack}" for place in range(1, 6)), f"Red flags: {attack}"])
    standing = Standing(word="unproven", banner=f"Unproven {attack}", evidence=attack, checkpoint=attack)
    async with client_of(
        make_app(make_scripted(thinking=attack, reply=reply), standing=standing, name=attack)
    ) as client:
        response = await consult(client, attack)
    assert response.status_code == 200
    harmless = {"skip", "banner unproven", "two", "diagnoses", "flags", "quiet", "written"}
    for tag, attributes in tags(response.text):
        assert tag not in {"script", "img", "iframe", "object"}
        assert tag != "style"
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("class", "quiet") in harmless
    assert response.text.count("</textarea>") == 1
    if "7 * 7" in attack:
        assert "49" not in response.text


@pytest.mark.parametrize(
    ("case", "status", "sentence"),
    [
        ("", 400, "The case is empty"),
        ("  \n ", 400, "The case is empty"),
        ("x" * 20_001, 400, "The case has 20001 characters; at most 20000 can be read."),
        ("TOOLONG", 400, "The prompt has 900 tokens"),
        ("EARLYBREAK", 500, "The engine failed on this request"),
        ("HALF", 500, "The engine gave no whole answer"),
    ],
)
async def test_faults_keep_what_was_typed(
    make_app: Any, client_of: Any, scripted: Any, case: str, status: int, sentence: str
) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await consult(client, case)
    assert response.status_code == status
    assert sentence in response.text
    assert f"{case}</textarea>" in response.text
    assert "Demonstration, not for patients" in response.text


async def test_busy(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted, most_waiting=0)) as client:
        response = await consult(client, "my long case")
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert "Too many requests are waiting" in response.text
    assert "my long case</textarea>" in response.text


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b'{"case": "x"}'),
        ("application/x-www-form-urlencoded", b"case=%ff%fe"),
        ("application/x-www-form-urlencoded", b"case=\xff"),
        ("application/x-www-form-urlencoded", b"a=1&b=2&c=3&d=4&e=5"),
        ("application/x-www-form-urlencoded", b"nonsense"),
        ("multipart/form-data", b"x"),
    ],
)
async def test_bad_forms(make_app: Any, client_of: Any, scripted: Any, content_type: str, content: bytes) -> None:
    async with client_of(make_app(scripted)) as client:
        response = await client.post("/", content=content, headers={"content-type": content_type})
    assert response.status_code == 400
    assert "use the page itself, or the API" in response.text
    assert scripted.prompts == []


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page was not looked at in a browser")
@pytest.mark.parametrize(
    ("width", "scheme", "scripts"), [(1280, "light", True), (390, "dark", True), (390, "light", False)]
)
def test_in_a_browser(
    make_app: Any, serve: Any, scripted: Any, tmp_path: Path, width: int, scheme: Any, scripts: bool
) -> None:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
    with serve(make_app(scripted)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto(url)
        page.screenshot(path=str(tmp_path / "blank.png"))
        page.get_by_label("The case").fill("A 67-year-old woman with fever and cough.")
        page.keyboard.press("Tab")  # the button comes next for a keyboard
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Five diagnoses, likeliest first").wait_for()
        assert page.get_by_role("note").inner_text() == "Demonstration, not for patients"
        assert page.locator("ol.diagnoses li").all_inner_texts()[0] == "pneumonia"
        assert page.get_by_label("The case").input_value() == "A 67-year-old woman with fever and cough."
        answer = page.locator("#answer").bounding_box()
        assert answer is not None
        assert 0 <= answer["y"] < 900 - 200, "the answer is out of sight"
        thoughts = page.get_by_text("Fever fits pneumonia.")
        assert not thoughts.is_visible()
        page.get_by_text("Reasoning (7 tokens)").click()
        assert thoughts.is_visible()
        page.screenshot(path=str(tmp_path / "answer.png"), full_page=True)
        box = page.locator("footer").bounding_box()
        assert box is not None
        assert box["width"] <= width
        if scripts:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("getComputedStyle(document.querySelector('.banner')).fontWeight") == "600"
        assert complaints == []
        browser.close()
