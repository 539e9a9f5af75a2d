"""The pages in a real browser: how they look, what a keyboard reaches, and what happens when something goes wrong.

Every page is held against axe-core in light and dark; nothing may appear in the console or be fetched from elsewhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rounds import files
from rounds.records import Case, Floor, Interval, Step, Verdict
from rounds.serve.app import Doors
from rounds.serve.fhir_server import FhirServer
from rounds.serve.hooks_call import RECORD
from rounds.serve.keys import Keys, new_key, write_keys
from rounds.serve.specialists import Specialist
from rounds.serve.standing import Standing

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
CASE = "A 47-year-old woman has breathlessness and is coughing up blood. No fever."
THINKING = "Coughing up blood suggests pulmonary embolism. Swelling of one leg fits pulmonary embolism."
REPLY = (
    "1. Pulmonary embolism\n2. Community-acquired pneumonia\n3. Heart failure\n4. Lung cancer\n5. Tuberculosis\n"
    "Red flags: coughing up blood"
)
ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
REPORT = "<!doctype html><html lang=en><title>Report</title><style>h1{color:#123456}</style><main><h1>Found</h1></main>"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: no page was looked at in a browser"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def visiting(browser: Any, url: str, **settings: Any) -> Iterator[Any]:
    """A page of a context of its own; what its console says is a fault unless the test takes it out."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("request", lambda request: page.complaints.append(request.url) if not request.url.startswith(url) else None)
    try:
        page.goto(url)
        yield page
        assert page.complaints == []
    finally:
        context.close()


def ask(page: Any, case: str = CASE) -> None:
    page.locator("#case").fill(case)
    page.get_by_role("button", name="Ask for five diagnoses").click()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    cases = [Case(id=str(i), vignette=f"A {30 + i}-year-old man has a cough.", diagnosis="gout") for i in range(12)]
    files.write_jsonl(tmp_path / "cases" / "exam.jsonl", cases)
    (tmp_path / "report.html").write_text(REPORT, encoding="utf-8")
    interval = Interval(low=-0.1, high=0.05)
    verdict = Verdict(before="base", after="packed", n=9, both=5, only_before=2, only_after=1, neither=1,
                      difference=-0.02, tango=interval, newcombe=interval, p_exact=1.0, p_midp=0.9,
                      finding="too few cases").model_dump()  # fmt: skip
    floor = Floor(name=ATTACK, model="packed", hits=3, n=4, rate=0.75, lower=0.3, floor=0.5, met=False).model_dump()
    lineage = {"base": Step(verb="pretrain", recipe="ab", seconds=2.0, output="ab" * 32).model_dump()}
    stated = {"evidence": "synthetic", "verdicts": [verdict], "floors": [floor], "lineage": lineage, "notes": [ATTACK]}
    (tmp_path / "passport.json").write_text(json.dumps(stated), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (390, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
    ],
)
def test_every_page_is_accessible(
    browser: Any, make_app: Any, serve: Any, make_scripted: Any, home: Path, width: int, scheme: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    def faults(page: Any) -> list[str]:
        found = Axe().run(page).response["violations"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]

    app = make_app(make_scripted(THINKING, REPLY), home=home)
    viewport = {"width": width, "height": 900}
    with serve(app) as url, visiting(browser, url, viewport=viewport, color_scheme=scheme) as page:
        assert faults(page) == []
        ask(page)
        page.get_by_role("heading", name="Five diagnoses, likeliest first").wait_for()
        for summary in page.locator("summary").all():
            summary.click()
        assert faults(page) == []
        ask(page, "A 3-year-old girl with fever.")
        page.get_by_role("heading", name="No diagnoses: outside what").wait_for()
        assert faults(page) == []
        for path in ("/passport", "/audit", "/report"):
            page.goto(url + path)
            assert page.title() != "owned"
            assert faults(page) == []
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(18, 52, 86)"


def test_streamed_with_the_keyboard_alone(browser: Any, make_app: Any, serve: Any, make_scripted: Any) -> None:
    with serve(make_app(make_scripted(THINKING, REPLY))) as url, visiting(browser, url) as page:
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "case":
                break
        page.keyboard.type(CASE)
        for _ in range(3):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Five diagnoses, likeliest first").wait_for()
        assert page.evaluate("scrollY") == 0  # the banner stands above it
        # The focus is on the answer, red flags are what comes next, and the reasoning is folded.
        assert page.evaluate("document.activeElement.tagName") == "H1"
        assert page.title() == "Answer – Rounds"
        assert page.locator("#answer h2").all_inner_texts()[0] == "Red flags"
        assert page.locator(".diagnoses h3").first.inner_text().startswith("Pulmonary embolism")
        assert page.locator("mark.flag").first.inner_text().startswith("coughing up blood\u00a0red flag · for 1")
        thoughts = page.get_by_text("Swelling of one leg fits")
        assert not thoughts.is_visible()
        for _ in range(30):
            page.keyboard.press("Tab")
            if "Reasoning" in page.evaluate("document.activeElement.textContent"):
                break
        page.keyboard.press("Enter")
        assert thoughts.is_visible()
        assert page.locator("#case").input_value() == CASE


def test_without_javascript(browser: Any, make_app: Any, serve: Any, make_scripted: Any) -> None:
    plain = {"java_script_enabled": False, "viewport": {"width": 390, "height": 900}}
    with serve(make_app(make_scripted(THINKING, REPLY))) as url, visiting(browser, url, **plain) as page:
        ask(page)
        page.get_by_role("heading", name="Five diagnoses, likeliest first").wait_for()
        assert page.get_by_role("note").inner_text() == "Demonstration, not for patients"
        assert not page.locator("#file").is_visible()
        page.get_by_text("Reasoning (7 tokens)").click()
        assert page.get_by_text("Swelling of one leg fits").is_visible()
        page.go_back()  # to the blank page: nothing was kept, nothing is asked again
        assert page.locator("#case").input_value() == ""
        assert page.locator(".diagnoses").count() == 0


def test_a_specialist_is_chosen_by_what_the_case_reads_as(
    browser: Any, make_app: Any, serve: Any, make_scripted: Any, tmp_path: Path
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    shown = Standing(word="unproven", banner="Unproven, not for patients", evidence="x", checkpoint="c", adapter="a")
    one = Specialist(name="paediatrics", specialty="paediatrics", adapter=tmp_path, standing=shown)
    scripted = make_scripted(THINKING, REPLY)
    narrow = {"viewport": {"width": 390, "height": 900}}
    with serve(make_app(scripted, specialists=[one])) as url, visiting(browser, url, **narrow) as page:
        page.get_by_label("Who answers").select_option("auto")
        page.locator("#case").fill("A 2-year-old boy has a barking cough, a hoarse voice, stridor and a runny nose.")
        page.get_by_role("button", name="Ask for five diagnoses").click()
        page.get_by_text("The specialist for paediatrics is asked").wait_for()
        assert page.get_by_text("choose the model yourself to override that").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert [found["id"] for found in Axe().run(page).response["violations"]] == []
        page.locator("details.again summary").click()
        assert page.get_by_label("Who answers").input_value() == "auto"
        page.get_by_label("Who answers").select_option("")
        page.get_by_role("button", name="Ask for five diagnoses").click()
        page.get_by_text("The specialist for paediatrics is asked").wait_for(state="detached")
        page.locator(".diagnoses").wait_for()  # the page before is gone before the answer is there
    assert [prompt.adapter for prompt in scripted.prompts] == ["paediatrics", ""]


def test_a_second_press_asks_once(browser: Any, make_app: Any, serve: Any, scripted: Any) -> None:
    with serve(make_app(scripted)) as url, visiting(browser, url) as page:
        page.locator("#case").fill("WAIT a case")
        page.locator("#ask").evaluate("form => { for (let i = 0; i < 5; i++) form.requestSubmit(); }")
        page.get_by_text("Waiting for the model").first.wait_for()
        assert page.get_by_role("button", name="Ask for five diagnoses").is_disabled()
        scripted.open_gate.set()
        page.locator(".diagnoses").wait_for()
    assert len(scripted.prompts) == 1


def test_two_tabs_do_not_meet(browser: Any, make_app: Any, serve: Any, scripted: Any) -> None:
    with serve(make_app(scripted)) as url, visiting(browser, url) as one, visiting(browser, url) as other:
        ask(one, "ENDLESS first case")
        one.get_by_text("The model is writing its list").wait_for()
        ask(other, "second case with fever")
        other.get_by_text("Waiting for the model").first.wait_for()
        one.get_by_role("button", name="Stop").click()
        one.get_by_text("Stopped. Nothing was answered.").wait_for()
        assert one.locator("#case").input_value() == "ENDLESS first case"
        other.locator(".diagnoses").wait_for()
        assert "second case" in other.locator(".vignette").inner_text()


def test_a_connection_lost_in_mid_stream(browser: Any, make_app: Any, serve: Any, scripted: Any) -> None:
    with serve(make_app(scripted)) as url, visiting(browser, url) as page:
        ask(page, "ENDLESS case of mine")
        page.get_by_text("The model is writing its list").wait_for()
        assert page.get_by_text("Not recorded in the audit log yet").count() == 1
        page.context.set_offline(True)
        page.get_by_text("The connection was lost before the answer was whole").wait_for()
        assert page.get_by_text("Fever fits").count() == 0  # what had come of it is gone
        assert page.locator("#case").input_value() == "ENDLESS case of mine"
        page.context.set_offline(False)
        ask(page, "fever, and now whole")
        page.locator(".diagnoses").wait_for()
        page.complaints = [text for text in page.complaints if "ERR_INTERNET_DISCONNECTED" not in text]
    assert scripted.closed == 2


def test_more_than_the_server_takes(browser: Any, make_app: Any, serve: Any, scripted: Any) -> None:
    with serve(make_app(scripted)) as url, visiting(browser, url) as page:
        page.locator("#case").evaluate("field => { field.value = 'x'.repeat(300000); }")
        page.get_by_role("button", name="Ask for five diagnoses").click()
        page.get_by_text("This is more than the server takes at once").wait_for()
        page.complaints = [text for text in page.complaints if "413" not in text]
    assert scripted.prompts == []


@pytest.mark.parametrize("scripts", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_hostile_text_does_nothing(browser: Any, make_app: Any, serve: Any, make_scripted: Any, scripts: bool) -> None:
    reply = "\n".join([*(f"{place}. {place}{ATTACK}" for place in range(1, 6)), f"Red flags: {ATTACK}"])
    app = make_app(make_scripted(ATTACK, reply), name=ATTACK)
    with serve(app) as url, visiting(browser, url, java_script_enabled=scripts) as page:
        ask(page, f"{ATTACK} fever {ATTACK}")
        page.locator(".diagnoses").wait_for()
        assert page.title() == "Answer – Rounds"
        assert page.locator("img").count() == 0
        assert ATTACK in page.locator(".vignette").inner_text()


def test_a_session_that_ended(browser: Any, make_app: Any, serve: Any, make_scripted: Any, tmp_path: Path) -> None:
    place = tmp_path / "keys.json"
    key, known = new_key("ward-7", ("diagnose",))
    write_keys(place, (known,))
    app = make_app(make_scripted(THINKING, REPLY), doors=Doors(keys=Keys(place)))
    with serve(app) as url, visiting(browser, url) as page:
        assert page.url == f"{url}/login?to=/"
        page.get_by_label("Key").fill("not a key")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("This key is not known here").wait_for()
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        ask(page)
        page.locator(".diagnoses").wait_for()
        assert page.get_by_role("link", name="Audit log").count() == 0
        page.goto(f"{url}/audit")
        page.get_by_text("lacks the scope 'audit'").wait_for()
        page.goto(url)
        page.context.clear_cookies()
        ask(page, "a case typed for long")
        page.get_by_text("Your session has ended").wait_for()
        assert page.locator("#case").input_value() == "a case typed for long"
        page.complaints = [text for text in page.complaints if "401" not in text and "403" not in text]


@pytest.mark.parametrize(("width", "scripts"), [(390, False), (390, True)])
def test_a_patient_is_picked(
    browser: Any, make_app: Any, serve: Any, make_scripted: Any, hospital: Any, answer: Any, width: int, scripts: bool
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    def faults(page: Any) -> list[str]:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page).response["violations"] if scripts else []
        return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]

    person = {"resourceType": "Patient", "id": "p-1", "gender": "female", "birthDate": "1979-04-05",
              "name": [{"text": f"Ann Example {ATTACK}"}], "identifier": [{"value": "MRN-77"}]}  # fmt: skip
    others = [{**person, "id": f"p-{n}", "name": [{"given": ["Anna Maria"], "family": "Sample"}]} for n in range(2, 6)]
    blood = {
        "resourceType": "Condition",
        "subject": {"reference": "Patient/p-1"},
        "code": {"text": "coughing up blood"},
    }
    entries = [{"resource": one} for one in (person, *others)]
    hospital.answers["/Patient/_search"] = answer({"resourceType": "Bundle", "entry": entries})
    hospital.answers["/Patient/p-1"] = answer(person)
    for template in list(RECORD.values())[1:]:
        resources = [{"resource": blood}] if template.startswith("Condition") else []
        path = "/" + template.replace("{{context.patientId}}", "p-1")
        hospital.answers[path] = answer({"resourceType": "Bundle", "entry": resources})
    app = make_app(make_scripted(THINKING, REPLY), fhir=FhirServer(hospital.url))
    settings = {"java_script_enabled": scripts, "viewport": {"width": width, "height": 900}}
    with serve(app) as url, visiting(browser, url, **settings) as page:
        page.get_by_role("link", name="Patients").click()
        assert faults(page) == []
        page.get_by_label("Name, or a number").fill("Example")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("heading", name="5 found").wait_for()
        assert faults(page) == []
        assert page.url == f"{url}/patients"
        page.get_by_role("button", name="Open Ann Example").click()
        page.get_by_text("Record of Ann Example").wait_for()
        assert faults(page) == []
        assert page.url == f"{url}/patients/open"
        assert page.locator("img").count() == 0
        assert "coughing up blood" in page.locator("#case").input_value()
        page.get_by_role("button", name="Ask for five diagnoses").click()
        page.get_by_role("heading", name="Five diagnoses, likeliest first").wait_for()
        assert page.locator("mark.flag").first.inner_text().startswith("coughing up blood")


def test_sign_in_at_an_issuer_of_another_site(
    browser: Any, make_app: Any, serve: Any, make_scripted: Any, hospital: Any, answer: Any, tmp_path: Path
) -> None:
    """Cookies cross sites there and back as a browser sends them: localhost is ours, 127.0.0.1 the issuer's."""
    import time
    from urllib.parse import parse_qs

    from joserfc import jwt
    from joserfc.jwk import ECKey

    from rounds.serve.oidc import Oidc, OidcFile
    from rounds.serve.outgoing import Outgoing

    key = ECKey.generate_key("P-256", {"kid": "one"})
    nonce = ""

    def at_the_issuer(query: str) -> Any:
        nonlocal nonce
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        nonce = asked["nonce"]
        return answer(b"", 302, location=f"{asked['redirect_uri']}?code=good&state={asked['state']}")

    def token(_: str) -> Any:
        now = int(time.time())
        claims = {"iss": hospital.url, "sub": "u-1", "aud": "rounds", "exp": now + 60, "iat": now, "nonce": nonce}
        signed = jwt.encode({"alg": "ES256", "kid": "one"}, claims | {"roles": "doctors"}, key, algorithms=["ES256"])
        return answer({"id_token": signed}, kind="application/json")

    about = {"issuer": hospital.url, "jwks_uri": f"{hospital.url}/keys"}
    about |= {f"{name}_endpoint": f"{hospital.url}/{name}" for name in ("authorization", "token")}
    hospital.answers["/.well-known/openid-configuration"] = answer(about, kind="application/json")
    hospital.answers["/keys"] = answer({"keys": [key.as_dict(private=False)]}, kind="application/json")
    hospital.answers |= {"/authorization": at_the_issuer, "/token": token}
    write_keys(tmp_path / "keys", (new_key("program", ("diagnose",))[1],))
    stated = {
        "issuer": hospital.url,
        "client_id": "rounds",
        "scope_claim": "roles",
        "scopes": {"doctors": ("diagnose",)},
    }
    oidc = Oidc(OidcFile(**stated, public_url="http://localhost"), "", Outgoing("the issuer", hospital.url, "issuer"))
    app = make_app(make_scripted(THINKING, REPLY), doors=Doors(Keys(tmp_path / "keys"), oidc=oidc))
    with serve(app) as url:
        ours = url.replace("127.0.0.1", "localhost")
        oidc.stated = OidcFile(**stated, public_url=ours)
        with visiting(browser, ours) as page:
            page.get_by_role("link", name="Sign in with the hospital").click()
            page.get_by_role("button", name="Sign out").wait_for()
            page.get_by_role("heading", name="The case").wait_for()
            assert page.url == f"{ours}/"
            page.complaints = [
                text for text in page.complaints if not text.startswith(f"{hospital.url}/authorization?")
            ]
