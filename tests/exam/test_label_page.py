"""The labelling page: what it takes and refuses, that hostile text stays text, and a rater at work in a browser."""

from __future__ import annotations

import http.client
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from rounds import files
from rounds.exam.label import ITEMS, QUESTIONS, Item, Label, Sheet
from rounds.exam.label_page import MOST_BYTES, Desk, serving
from rounds.grade.modes import DRIFT, INVERSION
from rounds.records import UserError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ATTACK = "<script>document.title='owned'</script>\"'><img src=x onerror=\"document.title=1\">{{ 7 * 7 }}</textarea>"
Ask = Callable[..., tuple[int, dict[str, str], str]]


def item(number: int, text: str = "has a red toe.") -> Item:
    return Item(
        id=f"item-{number}",
        vignette=f"Patient {number} {text}",
        diagnosis="gout",
        red_flags=("fever",),
        must_not_miss=(),
        thinking=f"Joint pain fits gout. {text}",
        reply="1. gout\n\n2. asthma\nRed flags: none",
    )


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    files.write_jsonl(tmp_path / ITEMS, items := [item(1), item(2, ATTACK), item(3)])
    return Sheet(tmp_path, tuple(items))


@contextmanager
def open_desk(sheet: Sheet) -> Iterator[tuple[Desk, str]]:
    desk = Desk(sheet, "anna")
    with serving(desk) as (address, server):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield desk, address
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture
def desk(sheet: Sheet) -> Iterator[tuple[Desk, Ask]]:
    with open_desk(sheet) as (desk, address):
        where = urlsplit(address)

        def ask(
            place: str, form: object = None, method: str | None = None, whole: bool = False, **headers: str
        ) -> object:
            body = form if isinstance(form, bytes | None) else urlencode(form, doseq=True).encode()
            sent = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
            with closing(http.client.HTTPConnection("127.0.0.1", where.port, timeout=10)) as line:
                path = place if whole else where.path + place
                names = {name.replace("_", "-"): value for name, value in headers.items()}
                line.request(method or ("GET" if body is None else "POST"), path, body, {**sent, **names})
                answer = line.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read().decode()

        yield desk, ask  # type: ignore[misc]


class Tags(HTMLParser):
    """Start tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def place_of(desk: Desk, name: str) -> int:
    return next(number for number, one in enumerate(desk.items, start=1) if one.id == name)


def test_the_page_shows_the_item_and_every_question(desk: tuple[Desk, Ask]) -> None:
    at, ask = desk
    status, headers, text = ask("1")
    assert status == 200
    assert at.items[0].vignette.split()[1] in text
    assert [tag for tag, found in Tags(text).seen if found.get("type") == "checkbox"] == ["input"] * (
        len(QUESTIONS) + 1
    )
    assert "Right diagnosis" in text
    assert "0 of 3 labelled" in text
    for line in ("1. gout", "2. asthma", "Red flags: none"):
        assert f'<p class="line">{line}</p>' in text
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert (headers["X-Frame-Options"], headers["Cache-Control"]) == ("DENY", "no-store")


def test_hostile_text_stays_text(desk: tuple[Desk, Ask]) -> None:
    at, ask = desk
    _, _, text = ask(str(place_of(at, "item-2")))
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    tags = Tags(text).seen
    assert not [tag for tag, _ in tags if tag in ("script", "img", "style", "iframe", "textarea")]
    assert not [name for _, found in tags for name in found if name.startswith("on") or name == "style"]
    outward = [v for _, found in tags for n, v in found.items() if n in ("src", "href", "action") and v and "//" in v]
    assert outward == []


def test_files_of_the_page_and_nothing_else(desk: tuple[Desk, Ask]) -> None:
    _, ask = desk
    assert ask("label.css")[1]["Content-Type"] == "text/css; charset=utf-8"
    assert ask("label.svg")[1]["Content-Type"] == "image/svg+xml"
    for place in ("label.html.j2", "../key.jsonl", "key.jsonl", "0", "4", "-1", "1.0", "%C2%B2", "9" * 30, "1/2", "x"):
        assert ask(place)[0] == 404, place


def test_a_label_is_on_the_disk_before_the_next_item_shows(desk: tuple[Desk, Ask], sheet: Sheet) -> None:
    at, ask = desk
    status, headers, _ = ask("1", {"mark": [INVERSION, DRIFT]})
    assert status == 303
    assert headers["Location"].endswith("/2")
    name = at.items[0].id
    assert sheet.labels("anna") == {name: Label(item=name, marks=(DRIFT, INVERSION))}
    text = ask("1")[2]
    checked = [found["value"] for tag, found in Tags(text).seen if "checked" in found]
    assert checked == [DRIFT, INVERSION]
    assert "Saved before" in text
    ask("1", {"cannot_tell": "yes"})
    assert sheet.labels("anna")[name] == Label(item=name, marks=(), cannot_tell=True)


def test_nothing_ticked_is_a_judgement(desk: tuple[Desk, Ask], sheet: Sheet) -> None:
    _, ask = desk
    assert ask("2", b"")[0] == 303
    assert [label.marks for label in sheet.labels("anna").values()] == [()]


def test_the_way_goes_on_round_and_ends(desk: tuple[Desk, Ask]) -> None:
    _, ask = desk
    assert ask("")[1]["Location"].endswith("/1")
    assert ask("2", {})[1]["Location"].endswith("/3")
    assert ask("3", {})[1]["Location"].endswith("/1")
    assert "Some answers are open" in ask("done")[2]
    assert ask("1", {})[1]["Location"].endswith("/done")
    assert "All 3 answers are labelled" in ask("done")[2]
    assert ask("")[1]["Location"].endswith("/done")


def test_a_rater_goes_on_where_they_stopped(sheet: Sheet) -> None:
    order = sheet.order("anna")
    sheet.save("anna", Label(item=order[0].id, marks=()))
    assert Desk(sheet, "anna").next_open() == 2
    assert Desk(sheet, "ben").next_open() == 1
    assert Desk(sheet, "anna").key != Desk(sheet, "anna").key


@pytest.mark.parametrize("path", ["/", "/1", "/wrong/1", "/%s/1" % ("A" * 32), "/favicon.ico", "//x/", "/%E9/1"])
def test_without_the_key_there_is_nothing(desk: tuple[Desk, Ask], path: str) -> None:
    status, _, text = desk[1](path, whole=True)
    assert status == 404
    assert "Patient" not in text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
    ],
)
def test_forms_of_other_pages_are_refused(
    headers: dict[str, str], status: int, desk: tuple[Desk, Ask], sheet: Sheet
) -> None:
    assert desk[1]("1", {"mark": DRIFT}, **headers)[0] == status
    assert sheet.labels("anna") == {}


def test_names_of_other_hosts_read_nothing(desk: tuple[Desk, Ask]) -> None:
    status, _, text = desk[1]("1", Host="evil.example:80")
    assert status == 421
    assert "Patient" not in text


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"mark=everything", {}, 400),
        (b"who=me", {}, 400),
        (f"mark={DRIFT}&mark={DRIFT}".replace(" ", "+").encode(), {}, 400),
        (b"mark=%ff", {}, 400),
        (b"mark=\xff", {}, 400),
        (b"nonsense", {}, 400),
        (b"&".join([b"mark=x"] * 40), {}, 400),
        (b"{}", {"Content_Type": "application/json"}, 400),
        (b"x" * (MOST_BYTES + 1), {}, 413),
        (b"", {"Content_Length": "-1"}, 411),
        (b"", {"Content_Length": "²".encode().decode("latin-1")}, 411),
        (b"", {"Content_Length": "9" * 40}, 413),
    ],
)
def test_bad_forms_change_nothing(
    body: bytes, headers: dict[str, str], status: int, desk: tuple[Desk, Ask], sheet: Sheet
) -> None:
    assert desk[1]("1", body, **headers)[0] == status
    assert sheet.labels("anna") == {}


def test_other_methods_are_not_served(desk: tuple[Desk, Ask]) -> None:
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS"):
        assert desk[1]("1", method=method)[0] == 501


def test_a_full_disk_is_said_and_the_page_lives(desk: tuple[Desk, Ask], sheet: Sheet) -> None:
    _, ask = desk
    (sheet.directory / "labels-anna.jsonl").mkdir()
    status, _, text = ask("1", {})
    assert status == 500
    assert "labels-anna.jsonl" in text
    (sheet.directory / "labels-anna.jsonl").rmdir()
    assert ask("1", {})[0] == 303


def test_clients_that_hang_up_or_stall_leave_it_alive(
    desk: tuple[Desk, Ask], capfd: pytest.CaptureFixture[str]
) -> None:
    _, ask = desk
    for start in (b"", b"GET / HT", b"\x16\x03\x01\x02", b"POST /x HTTP/1.1\r\nContent-Length: 99\r\n\r\nmark"):
        with closing(socket.create_connection(("127.0.0.1", _port(ask)), timeout=5)) as line:
            line.sendall(start)
    assert ask("1")[0] == 200
    assert capfd.readouterr() == ("", "")


def _port(ask: Ask) -> int:
    cells = [cell.cell_contents for cell in ask.__closure__ or ()]  # type: ignore[attr-defined]
    return next(int(cell.port) for cell in cells if hasattr(cell, "port"))


def test_a_taken_port_is_one_sentence(sheet: Sheet) -> None:
    with open_desk(sheet) as (_, address):
        port = urlsplit(address).port or 0
        with (
            pytest.raises(UserError, match=f"port {port} cannot be opened .*choose another --port"),
            serving(Desk(sheet, "ben"), port),
        ):
            pass
    with pytest.raises(UserError, match="port 70000 cannot be opened"), serving(Desk(sheet, "ben"), 70000):
        pass


def test_it_listens_on_this_machine_only(sheet: Sheet) -> None:
    with serving(Desk(sheet, "anna")) as (address, server):
        assert server.server_address[0] == "127.0.0.1"
        assert address.startswith("http://127.0.0.1:")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page was not looked at in a browser")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_rater_works_by_keyboard_alone(sheet: Sheet, tmp_path: Path, width: int, scheme: str) -> None:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
    with open_desk(sheet) as (desk, address), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        page = context.new_page()
        complaints: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        for number in range(1, 4):
            page.get_by_role("heading", name=f"Answer {number} of 3").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "To the questions"
            page.keyboard.press("Enter")
            page.keyboard.press("Tab")
            page.keyboard.press("Tab")
            page.keyboard.press("Tab")
            page.keyboard.press("Space")
            assert page.get_by_role("checkbox", name="Reasoning drift").is_checked()
            box = page.locator(":focus").bounding_box()
            assert box is not None
            assert 0 <= box["y"] < 900
            page.screenshot(path=str(tmp_path / f"{number}.png"), full_page=True)
            with page.expect_navigation():  # until the stylesheet is there too
                page.keyboard.press("Enter")
        page.get_by_role("heading", name="All 3 answers are labelled").wait_for()
        assert "owned" not in page.title()
        assert [label.marks for label in desk.labels.values()] == [(DRIFT,)] * 3
        assert page.evaluate("getComputedStyle(document.body).marginTop") == "0px"
        assert {urlsplit(url).netloc for url in asked} == {urlsplit(address).netloc}
        assert complaints == []
        browser.close()
