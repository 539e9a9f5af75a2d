"""`rounds study` end to end: five endpoints with known discordance, resumed, and studies others recorded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds import files
from rounds.cli.main import main
from rounds.exam.study_result import Result
from rounds.records import Case

SHARED = Path(__file__).parents[3] / "shared" / "data"
SPECIALTIES = ("internal medicine", "surgery", "neurology", "gynaecology", "paediatrics")
INCIDENCES = ("frequent", "less frequent", "rare")
CASES = 110

RIGHT = {
    # The two tables that the paper's p values leave possible: 97/8/0/5, and 43/28/9/30.
    "V3": set(range(97)),
    "R1": set(range(105)),
    "Llama": set(range(71)),
    "R1-8B": set(range(43)) | set(range(71, 80)),
    "Llama again": set(range(71)),
}
"""Model to the numbers of the cases it gets right."""

STUDY = """
title = "Five models"
margin = 0.05
why_margin = "one patient in twenty"
alpha = 0.05
by = ["specialty", "incidence", "specialty*incidence"]
all_pairs = true
evidence = "synthetic"

[cases]
file = "cases.jsonl"

[sampling]
temperature = 0.0
"""


def says(body: dict[str, Any]) -> str:
    """Names gout, the right diagnosis of every case, where its model is to be right."""
    number = int(body["messages"][0]["content"].partition("Patient ")[2].split()[0])
    names = ["asthma", "gout" if number in RIGHT[body["model"]] else "flu", "angina", "migraine", "anaemia"]
    reply = "\n".join(f"{place}. {name}" for place, name in enumerate(names, start=1))
    return f"<think>\nHm.\n</think>\n{reply}"


@pytest.fixture
def servers(serve_chat: Callable[..., Any]) -> dict[str, Any]:
    return {name: serve_chat(says) for name in RIGHT}


Write = Callable[..., list[str]]


@pytest.fixture
def study(tmp_path: Path, servers: dict[str, Any]) -> Write:
    """Writes cases and a study of some of the models; gives the command line that runs it."""
    files.write_jsonl(tmp_path / "cases.jsonl", [a_case(number) for number in range(CASES)])

    def write(*pairs: tuple[str, str], top: str = STUDY, extra: str = "") -> list[str]:
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        models = [f'[[model]]\nname = "{name}"\nendpoint_env = "ENDPOINT_{i}"\n' for i, name in enumerate(names)]
        told = [f'[[pair]]\nbefore = "{before}"\nafter = "{after}"\n' for before, after in pairs]
        path = tmp_path / "five.toml"
        path.write_text("\n".join([top, extra, *models, *told]), encoding="utf-8")
        addresses = [word for name in names for word in ("--endpoint", f"{name}={servers[name].url}")]
        return ["study", str(path), "--out", str(tmp_path / "out"), *addresses]

    return write


def a_case(number: int) -> Case:
    return Case(
        id=f"c{number:03}",
        vignette=f"Patient {number} comes in with a painful, hot and swollen joint that came up over night.",
        diagnosis="gout",
        condition="gout",
        specialty=SPECIALTIES[number % 5],
        incidence=INCIDENCES[number % 3],
    )


FIVE = (("V3", "R1"), ("Llama", "R1-8B"), ("Llama", "Llama again"))


def asked(servers: dict[str, Any]) -> int:
    return sum(len(server.asked) for server in servers.values())


def printed(command: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Result]:
    code = main([*command, "--json"])
    said = capsys.readouterr()
    assert said.out, said.err
    return code, Result.model_validate_json(said.out)


def test_the_papers_design_in_one_command(
    study: Write, servers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = study(*FIVE)
    code, found = printed(command, capsys)
    assert code == 1
    assert asked(servers) == 5 * CASES
    assert {body["model"] for body in servers["R1"].asked} == {"R1"}
    gain, loss, same = found.report.verdicts
    assert (gain.both, gain.only_before, gain.only_after, gain.neither) == (97, 0, 8, 5)
    assert (loss.both, loss.only_before, loss.only_after, loss.neither) == (43, 28, 9, 30)
    assert gain.p_exact == pytest.approx(0.0078125)
    assert loss.p_exact == pytest.approx(0.0026, abs=5e-5)
    # Holm over the family of three: the one gain is the smallest p among p, 1 and 1.
    assert gain.p_holm == pytest.approx(3 * 0.0078125)
    assert (gain.finding, loss.finding, same.finding) == ("gained", "lost", "kept")
    # Cochran's Q by hand: k = 5, columns 97, 105, 71, 52, 71, rows by how many are right.
    assert (found.omnibus.models, found.omnibus.cases, found.omnibus.left_out) == (5, 110, 0)
    assert found.omnibus.q == pytest.approx(by_hand(), rel=1e-12)
    assert found.omnibus.p < 1e-10
    # Five specialties by three incidences, three pairs, and an interval for each without a finding.
    crossed = [cell for cell in found.report.cells if cell.group.startswith("specialty*incidence=")]
    assert len(crossed) == 15 * 3
    assert {cell.finding for cell in found.report.cells} == {None}
    assert sum(cell.n for cell in crossed if (cell.before, cell.after) == ("V3", "R1")) == CASES
    # All pairs: Holm over all ten, both ways.
    assert len(found.all_pairs) == 10
    assert {verdict.finding for verdict in found.all_pairs} == {None}
    least = min(verdict.p_exact for verdict in found.all_pairs)
    assert min(v.p_holm for v in found.all_pairs if v.p_holm is not None) == pytest.approx(10 * least)
    assert found.report.models["R1"]["right"] == pytest.approx(105 / 110)
    assert found.report.models["V3"]["top1"] == 0.0
    assert files.read_json(tmp_path / "out" / "report.json", Result) == found


def by_hand() -> float:
    """Cochran's Q as its paper writes it."""
    rows = [[number in right for right in RIGHT.values()] for number in range(CASES)]
    columns, k = [sum(row[j] for row in rows) for j in range(5)], 5
    total = sum(columns)
    above = (k - 1) * (k * sum(c * c for c in columns) - total**2)
    return above / (k * total - sum(sum(row) ** 2 for row in rows))


def test_a_second_run_does_nothing(
    study: Write, servers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = study(*FIVE)
    first = printed(command, capsys)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    times = asked(servers)
    assert printed(command, capsys) == first
    assert asked(servers) == times
    assert {path: path.stat().st_mtime_ns for path in before} == before
    text = main(command), capsys.readouterr().out
    assert text[0] == 1
    assert "Cochran's Q = " in text[1]
    assert "R1-8B against Llama: lost" in text[1]


@pytest.mark.parametrize(
    ("pairs", "top", "code"),
    [
        ((("V3", "R1"),), STUDY, 0),
        ((("Llama", "Llama again"),), STUDY, 0),
        ((("Llama", "R1-8B"),), STUDY, 1),
        ((("V3", "R1"), ("Llama", "Llama again")), STUDY.replace("alpha = 0.05", "alpha = 0.001"), 0),
        ((("Llama", "R1-8B"),), STUDY.replace("alpha = 0.05", "alpha = 0.001"), 3),
    ],
)
def test_exit_codes_are_those_of_compare(
    study: Write, pairs: tuple[tuple[str, str], ...], top: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(study(*pairs, top=top)) == code
    capsys.readouterr()


def test_killed_it_goes_on_where_it_stopped(
    study: Write, servers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = study(("V3", "R1"))
    servers["R1"].pause = 0.05
    running = subprocess.Popen([sys.executable, "-m", "rounds.cli.main", *command], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while len(servers["R1"].asked) < 40 and time.monotonic() < limit:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait(30)
    out = tmp_path / "out"
    assert not (out / "report.json").exists()
    assert not (out / "answers" / "R1.jsonl").exists()
    journalled = len((out / "answers" / ".R1.journal.jsonl").read_text(encoding="utf-8").splitlines())
    assert 0 < journalled < CASES
    servers["R1"].pause = 0.0
    already = len(servers["R1"].asked)
    code, found = printed(command, capsys)
    assert code == 0
    assert found.report.verdicts[0].n == CASES
    # What was whole in the journal is not asked again, and V3 is not asked at all.
    assert len(servers["R1"].asked) - already in (CASES - journalled, CASES - journalled + 1)
    assert len(servers["V3"].asked) == CASES
    assert not (out / "answers" / ".R1.journal.jsonl").exists()


def test_keys_and_addresses_come_from_the_environment(
    study: Write, servers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = study(("V3", "R1"))
    bare = words[: words.index("--endpoint")]
    assert main(bare) == 2
    assert "model 'V3' has no address; give --endpoint \"V3=URL\", or set the variable ENDPOINT_0." in (
        capsys.readouterr().err
    )
    monkeypatch.setenv("ENDPOINT_0", servers["V3"].url)
    monkeypatch.setenv("ENDPOINT_1", servers["R1"].url)
    monkeypatch.setenv("OPENAI_API_KEY", "a secret")
    assert main(bare) == 0
    assert {body["key"] for body in servers["R1"].asked} == {"Bearer a secret"}
    out = Path(words[words.index("--out") + 1])
    assert not any("a secret" in path.read_text(encoding="utf-8") for path in out.rglob("*") if path.is_file())


def test_one_address_serves_all(study: Write, servers: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = study(("V3", "R1"))
    command = [*words[: words.index("--endpoint")], "--endpoint", servers["Llama"].url]
    assert main(command) == 0
    assert {body["model"] for body in servers["Llama"].asked} == {"V3", "R1"}
    capsys.readouterr()


def test_people_settle_what_pairs_differ_on(study: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = study(("Llama", "R1-8B"))
    assert printed(command, capsys)[0] == 1
    sheet = tmp_path / "out" / "sheet.csv"
    lines = sheet.read_text(encoding="utf-8").splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("gout,flu,"))
    cells = lines[place].split(",")
    cells[3], cells[4] = "yes", "A. Rater"
    lines[place] = ",".join(cells)
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    code, found = printed(command, capsys)
    # To this rater flu is gout: every answer of either model is right now.
    assert (code, found.report.verdicts[0].both) == (0, CASES)
    assert "A. Rater" in sheet.read_text(encoding="utf-8")
    assert printed(command, capsys) == (code, found)


def test_a_plan_is_written_before_the_answers_and_kept(
    study: Write, servers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = study(("V3", "R1"))
    assert main([*command, "--plan-only"]) == 0
    assert capsys.readouterr().out.strip().endswith(files.digest(tmp_path / "out" / "plan.json"))
    assert asked(servers) == 0
    assert main(study(("V3", "R1"), top=STUDY.replace("margin = 0.05", "margin = 0.2"))) == 2
    assert "plan.json: was agreed with another margin than the study has now" in capsys.readouterr().err
    code, found = printed(study(("V3", "R1")), capsys)
    assert code == 0
    assert found.report.digests["plan.json"] == files.digest(tmp_path / "out" / "plan.json")


def test_answers_to_something_else_are_not_taken(study: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(study(("V3", "R1"))) == 0
    other = STUDY.replace("temperature = 0.0", "temperature = 0.5")
    assert main(study(("V3", "R1"), top=other)) == 2
    assert "V3.jsonl: holds answers of another model, or to other cases, template or sampling" in (
        capsys.readouterr().err
    )


def test_floors_are_shown(study: Write, capsys: pytest.CaptureFixture[str]) -> None:
    command = study(("V3", "R1"), extra="[floors]\nright = 0.95\n")
    assert main(command) == 0
    assert "floor right 95.0%, R1: NOT met, lower bound 89.8%" in capsys.readouterr().out


# Studies that others recorded ---------------------------------------------------------------------------------------


def expected(block: str) -> dict[str, Any]:
    return json.loads((SHARED / "99_expected_statistics" / "expected.json").read_text(encoding="utf-8"))[block]


def replay(tmp_path: Path, format: str, path: str, pairs: list[tuple[str, str]], **more: str) -> Result:
    """Run a study on recorded answers."""
    wanted = [SHARED / path, SHARED / "99_expected_statistics" / "expected.json"]
    wanted += [SHARED / more["items"]] if "items" in more else []
    absent = [str(one.relative_to(SHARED)) for one in wanted if not one.is_file()]
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")
    source = {"format": format, "path": path, **{k: v for k, v in more.items() if k == "items"}}
    told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in source.items())
    if "sample" in more:
        told += f", sample = {more['sample']}"
    names = dict.fromkeys(name for pair in pairs for name in pair)
    text = 'title = "Recorded"\nmargin = 0.05\nwhy_margin = "one in twenty cases"\n' + more.get("top", "")
    text += "".join(f"[[model]]\nname = {json.dumps(name)}\nrecorded = {{ {told} }}\n" for name in names)
    text += "".join(f"[[pair]]\nbefore = {json.dumps(b)}\nafter = {json.dumps(a)}\n" for b, a in pairs)
    (tmp_path / "recorded.toml").write_text(text, encoding="utf-8")
    out = tmp_path / "out"
    command = ["study", str(tmp_path / "recorded.toml"), "--data", str(SHARED), "--out", str(out), "--json"]
    assert main(command) in (0, 1, 3)
    return files.read_json(out / "report.json", Result)


def check(found: Result, blocks: dict[tuple[str, str], str], group: str = "all") -> None:
    """Held to the expected blocks, to 1e-6; before is B of a block, after is A."""
    verdicts = {(v.before, v.after, v.group): v for v in (*found.report.verdicts, *found.report.cells)}
    for (before, after), block in blocks.items():
        verdict, wanted = verdicts[before, after, group], expected(block)
        assert (verdict.n, verdict.both, verdict.neither) == (wanted["n"], wanted["both_right"], wanted["both_wrong"])
        assert (verdict.only_after, verdict.only_before) == (wanted["only_A_right"], wanted["only_B_right"])
        assert verdict.unpaired_after == wanted["n_only_A"]
        assert verdict.difference == pytest.approx(wanted["diff_A_minus_B"], abs=1e-6)
        assert verdict.p_exact == pytest.approx(wanted["p_exact"], rel=1e-6)
        assert verdict.p_midp == pytest.approx(wanted["p_midp"], rel=1e-6)
        for name, side in ((after, "A"), (before, "B")):
            if group == "all":
                row = found.report.models[name]
                assert row["right"] == pytest.approx(wanted[f"acc_{side}"], abs=1e-6)
                assert [row["low"], row["high"]] == pytest.approx(wanted[f"wilson95_{side}"], abs=1e-6)


@pytest.mark.shared
def test_medagents_published_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [("DeepSeek-V3", "DeepSeek-R1"), ("Llama-3.3-70B-Instruct-Turbo", "QwQ-32B-Preview")]
    found = replay(tmp_path, "medagents", "09_medagents_recorded_mcq/medqa.answers.jsonl.gz", pairs)
    check(found, {pair: f"09/medqa: {pair[1]} vs {pair[0]}" for pair in pairs})
    assert round(100 * float(found.report.models["DeepSeek-R1"]["right"] or 0), 2) == 92.06
    assert round(100 * float(found.report.models["DeepSeek-V3"]["right"] or 0), 2) == 78.35
    capsys.readouterr()


@pytest.mark.shared
def test_medr_bench_by_rarity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["qwen3-14b-thinking", "o3-mini", "deepseek-r1"]
    pairs = [
        (f"{before}, judged by {judge}", f"{after}, judged by {judge}")
        for judge in ("gpt", "gemma")
        for before, after in (models[:2], [models[0], models[2]], models[1:])
    ]
    path, items = "06_medrbench/recorded_answers.jsonl.gz", "06_medrbench/cases.jsonl.gz"
    found = replay(tmp_path, "medr-bench", path, pairs, items=items, top='by = ["incidence"]\n')
    for group, part in (("all", ""), ("incidence=rare", ", rare"), ("incidence=not rare", ", not rare")):
        blocks = {}
        for before, after in pairs:
            judge = before.rpartition(" ")[2]
            names = (one.partition(",")[0] for one in (after, before))
            blocks[before, after] = f"06/judge {judge}{part}: {' vs '.join(names)}"
        check(found, blocks, group)
    capsys.readouterr()


@pytest.mark.shared
def test_one_trial_by_specialty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [("gpt3_1106", "gpt4_1106"), ("llama2-7b", "mistral-v2")]
    path = "04_craft_md/recorded_answers.jsonl.gz"
    found = replay(tmp_path, "craft-md", path, pairs, sample="0", top='by = ["specialty"]\n')
    check(found, {pair: f"04/craft trial 0 vignette FRQ: {pair[1]} vs {pair[0]}" for pair in pairs})
    blocks = [b for b in json.loads((SHARED / "99_expected_statistics/expected.json").read_text()) if "04/craft" in b]
    for block in (one for one in blocks if "vignette FRQ" not in one):
        group = block.partition("trial 0, ")[2].partition(":")[0]
        check(found, {pairs[0]: block}, f"specialty={group}")
    capsys.readouterr()


@pytest.mark.shared
def test_only_the_safe_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = "18_xstest/labelled_completions_llama2_pair.jsonl.gz"
    found = replay(tmp_path, "xstest", path, [("llama2orig", "llama2new")], top='only = { prompt = "safe" }\n')
    block = "18/xstest safe prompts, full compliance: llama2new vs llama2orig"
    check(found, {("llama2orig", "llama2new"): block})
    capsys.readouterr()
