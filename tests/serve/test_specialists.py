"""Which adapters of a run are offered, what is claimed of them, and the doors that lead to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rounds.files import digest
from rounds.records import Message, Prompt, Sampling, UserError
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.signing import make_key, sign
from rounds.serve.specialists import NONE, Specialist, Specialists, Together, specialists
from rounds.serve.standing import DEMONSTRATION, Standing, find

RECIPE = """
name = "mine"
student = { checkpoint = "a" }
teacher = { checkpoint = "b" }
[compare]
margin = 0.02
why_margin = "two in a hundred, agreed with the clinic"
"""
CROUP = (
    "A 2-year-old boy has a barking cough, a hoarse voice and stridor. He has a runny nose and a fever. "
    "There is no drooling."
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with specialists in paediatrics and internal medicine, one examined, the other too."""
    run = tmp_path / "mine"
    places = ["packed", "reasoned", *(f"specialise/on/{name}/adapter" for name in ("paediatrics", "internal-medicine"))]
    for name in places:
        (run / name).mkdir(parents=True)
        (run / name / "config.json").write_text(json.dumps({"name": name}), encoding="utf-8")
    (run / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (run / "passport.json").write_text(
        json.dumps({"evidence": "synthetic", "proven": False, "checkpoint": digest(run / "packed"), "verdicts": []}),
        encoding="utf-8",
    )
    write(run)
    return run


def row(run: Path, specialty: str, home: str = "gained", away: str = "kept", flags: str = "kept") -> dict[str, Any]:
    names = ("internal medicine", "paediatrics")
    return {
        "trained_on": specialty,
        "cells": {name: {"finding": home if name == specialty else away} for name in names},
        "over_all": [{"arm": "accuracy", "finding": "kept"}, {"arm": "red flags", "finding": flags}],
        "adapter": digest(run / "specialise" / "on" / specialty.replace(" ", "-") / "adapter"),
    }


def write(run: Path, **stated: Any) -> None:
    rows = [row(run, "paediatrics"), row(run, "internal medicine")]
    given = {"start": "reasoned", "start_digest": digest(run / "reasoned"), "evidence": "synthetic", "rows": rows}
    (run / "specialise.json").write_text(json.dumps({**given, **stated}), encoding="utf-8")


def offered(run: Path, unproven: bool = False, public_key: Path | None = None) -> Specialists:
    return specialists(find(run, unproven, public_key), unproven)


def test_what_gained_and_lost_nothing_is_offered_as_a_demonstration(run: Path) -> None:
    found = offered(run)
    assert (found.start, found.refused) == (run / "reasoned", ())
    assert [(one.name, one.specialty) for one in found.offered] == [
        ("paediatrics", "paediatrics"),
        ("internal-medicine", "internal medicine"),
    ]
    standing = found.offered[0].standing
    assert (standing.word, standing.banner, standing.passport) == ("demonstration", DEMONSTRATION, "")
    assert standing.checkpoint == digest(run / "reasoned")
    assert standing.label["adapter"] == digest(run / "specialise/on/paediatrics/adapter")


@pytest.mark.parametrize(
    ("findings", "evidence", "why"),
    [
        ({"home": "too few cases"}, "synthetic", "at home it is too few cases"),
        ({"home": "lost"}, "synthetic", "at home it is lost"),
        ({"away": "lost"}, "synthetic", "internal medicine is lost"),
        ({"flags": "lost"}, "synthetic", "red flags over all is lost"),
        ({"away": "too few cases"}, "synthetic", ""),
        ({"away": "too few cases"}, "public", "internal medicine is too few cases"),
        ({"home": "kept"}, "local-reviewed", ""),
    ],
)
def test_the_matrix_decides_and_unproven_says_why(run: Path, findings: dict[str, str], evidence: str, why: str) -> None:
    write(run, evidence=evidence, rows=[row(run, "paediatrics", **findings)])
    found = offered(run)
    assert len(found.offered) == (not why)
    if why:
        opens = "--unproven opens it under a banner that says so."
        assert found.refused == (f"mine:paediatrics is not offered: {why}; {opens}",)
    (one,) = offered(run, unproven=True).offered
    assert one.standing.word == ("demonstration" if evidence == "synthetic" and not why else "unproven")
    assert why in one.standing.banner
    assert "not for patients" in one.standing.banner


def test_weights_that_were_not_examined_are_never_served(run: Path) -> None:
    (run / "specialise/on/paediatrics/adapter/config.json").write_text("{}", encoding="utf-8")
    found = offered(run, unproven=True)
    assert [one.name for one in found.offered] == ["internal-medicine"]
    assert "paediatrics/adapter is not the one that was examined (its digest differs)" in found.refused[0]
    (run / "reasoned/config.json").write_text("{}", encoding="utf-8")
    assert not offered(run, unproven=True).offered
    write(run, start_digest="")
    assert "tells no digest of reasoned/, as an older version wrote it; run rounds" in offered(run).refused[0]


def test_under_a_public_key_the_signed_passport_must_name_the_matrix(run: Path, tmp_path: Path) -> None:
    key, passport = tmp_path / "key", run / "passport.json"
    make_key(key)
    public = tmp_path / "key.pub"

    def signed(named: dict[str, str]) -> Specialists:
        stated = json.loads(passport.read_text(encoding="utf-8"))
        passport.write_text(json.dumps({**stated, "files": named}), encoding="utf-8")
        sign(passport, key)
        return offered(run, public_key=public)

    recipe = {"recipe.toml": digest(run / "recipe.toml")}
    assert "specialise.json is not the one that the signed passport.json names" in signed(recipe).refused[0]
    named = recipe | {"specialise.json": digest(run / "specialise.json")}
    assert [one.name for one in signed(named).offered] == ["paediatrics", "internal-medicine"]
    write(run, evidence="local-reviewed")
    found = signed(named)
    assert not found.offered
    assert "rounds passport renew takes it in" in found.refused[0]


def test_a_release_and_a_lone_checkpoint_speak_for_no_adapter(run: Path) -> None:
    assert specialists(find(run / "reasoned", True), True) == NONE
    release = run / "operation" / "releases" / "one"
    (release / "packed").mkdir(parents=True)
    (release / "packed" / "config.json").write_text("{}", encoding="utf-8")
    (release / "specialise.json").write_text((run / "specialise.json").read_text(), encoding="utf-8")
    (run / "served").symlink_to(release)
    assert offered(run, unproven=True) == NONE
    (run / "served").unlink()
    (run / "specialise.json").unlink()
    assert offered(run) == NONE


@pytest.mark.parametrize("text", ["{", "[]", '{"start": "a"}', '{"start": "reasoned", "rows": [{}]}', '{"rows": 3}'])
def test_a_faulty_matrix_is_one_sentence(run: Path, text: str) -> None:
    (run / "specialise.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"is not what rounds specialise writes; run it again, or serve with --no-spec"):
        offered(run)


def standing(word: str, digest: str) -> Standing:
    shown = {"word": word, "banner": f"{word}, not for patients", "evidence": "x", "adapter": digest}
    return Standing.model_validate({**shown, "checkpoint": "cd" * 32})


@pytest.fixture
def special(tmp_path: Path) -> list[Specialist]:
    return [
        Specialist(
            name=specialty.replace(" ", "-"),
            specialty=specialty,
            adapter=tmp_path,
            standing=standing("unproven", sign * 64),
        )
        for specialty, sign in (("paediatrics", "e"), ("internal medicine", "f"))
    ]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(SQLite(tmp_path / "audit.sqlite"))


@pytest.mark.anyio
async def test_each_is_a_model_of_its_own_in_the_api(
    make_app: Any, client_of: Any, chat_body: Any, scripted: Any, special: list[Specialist], audit: Audit
) -> None:
    own = Sampling(max_tokens=99, thinking_budget=40)
    async with client_of(make_app(scripted, specialists=special, audit=audit, sampling=own)) as client:
        told = (await client.get("/v1/models")).json()["data"]
        one = (await client.get("/v1/models/tiny:internal-medicine")).json()
        whole = (await client.post("/v1/chat/completions", json=chat_body() | {"model": "tiny:paediatrics"})).json()
        bare = (await client.post("/v1/chat/completions", json=chat_body())).json()
        asked = chat_body(stream=True) | {"model": "tiny:paediatrics"}
        streamed = (await client.post("/v1/chat/completions", json=asked)).text
        wrong = await client.post("/v1/chat/completions", json=chat_body() | {"model": "tiny:astrology"})
    assert [model["id"] for model in told] == ["tiny", "tiny:paediatrics", "tiny:internal-medicine"]
    assert one["rounds"]["adapter"] == "f" * 64
    assert (whole["model"], whole["rounds"]["adapter"], whole["rounds"]["standing"]) == (
        "tiny:paediatrics", "e" * 64, "unproven",
    )  # fmt: skip
    assert whole["rounds"]["checkpoint"] == "cd" * 32
    assert (bare["model"], "adapter" in bare["rounds"]) == ("tiny", False)
    assert '"model": "tiny:paediatrics"' in streamed
    assert f'"adapter": "{"e" * 64}"' in streamed
    assert (wrong.status_code, "tiny:paediatrics" in wrong.text) == (404, True)
    assert [prompt.adapter for prompt in scripted.prompts] == ["paediatrics", "", "paediatrics"]
    assert [one.thinking_budget for one in scripted.samplings] == [None, 40, None]  # it was chosen for the model alone
    rows = [row for row in audit.every() if row.kind == "request"]
    assert [row.model for row in rows] == ["cd" * 32, "ab" * 32, "cd" * 32]
    assert [json.loads(row.sampling).get("adapter") for row in rows] == ["e" * 64, None, "e" * 64]


@pytest.mark.anyio
async def test_a_case_goes_to_the_specialist_it_reads_as(
    make_app: Any, client_of: Any, scripted: Any, special: list[Specialist]
) -> None:
    async with client_of(make_app(scripted, specialists=special)) as client:

        async def ask(**more: Any) -> dict[str, Any]:
            found: dict[str, Any] = (await client.post("/v1/diagnose", json={"case": CROUP, **more})).json()
            return found

        routed, unsure = await ask(model="auto"), await ask(model="auto", case="A 30-year-old man feels unwell.")
        named, own = await ask(model="tiny:internal-medicine"), await ask()
        wrong = await client.post("/v1/diagnose", json={"case": CROUP, "model": "tiny:astrology"})
        page = (await client.post("/", data={"case": CROUP, "model": "auto"})).text
        doubt = (await client.post("/", data={"case": "A 30-year-old man feels unwell.", "model": "auto"})).text
        blank = (await client.get("/")).text
    assert [(o["model"], o["specialist"], o["specialty"]) for o in (routed, unsure, named, own)] == [
        ("tiny:paediatrics", "paediatrics", "paediatrics"),
        ("tiny", "", "unsure"),
        ("tiny:internal-medicine", "internal medicine", ""),
        ("tiny", "", ""),
    ]
    assert (routed["standing"]["adapter"], "adapter" in own["standing"]) == ("e" * 64, False)
    assert (wrong.status_code, "use one of tiny, tiny:paediatrics" in wrong.text) == (400, True)
    assert "The specialist for paediatrics is asked" in page
    assert "unproven, not for patients" in page
    assert "could not tell the specialty of this case; the model itself is asked" in doubt
    assert "The specialist for internal medicine" in blank


@pytest.mark.anyio
async def test_without_specialists_nothing_is_said_of_them(make_app: Any, client_of: Any, scripted: Any) -> None:
    async with client_of(make_app(scripted)) as client:
        assert 'name="model"' not in (await client.get("/")).text
        routed = (await client.post("/v1/diagnose", json={"case": CROUP, "model": "auto"})).json()
        page = (await client.post("/", data={"case": CROUP, "model": "auto"})).text
    assert (routed["model"], routed["specialty"]) == ("tiny", "paediatrics")
    assert "a case of paediatrics, for which no specialist is offered" in page


def test_a_prompt_goes_to_the_engine_that_has_its_adapter(make_scripted: Any) -> None:
    model, beside = make_scripted(reply="1. gout"), make_scripted(reply="1. croup")
    both = Together(model, beside)
    said = (Message(role="user", content="fever"),)
    asked = [Prompt(case_id="c", template="t@1", messages=said, adapter=name) for name in "ab"]
    bare = asked[0].model_copy(update={"adapter": ""})
    assert [t.reply for t in both.respond([asked[0], bare, asked[1]], Sampling())] == [
        "1. croup",
        "1. gout",
        "1. croup",
    ]
    assert [prompt.adapter for prompt in beside.prompts] == ["a", "b"]
    list(both.stream(asked[1], Sampling()))
    assert len(beside.prompts) == 3
